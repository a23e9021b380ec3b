"""How accurate `StackedLSTMRegressor()` is, compared with what a user would choose instead.

Every model has default parameters, except for its seed; the sets are in `sets.py`. The seed also
draws the set, if this is an artificial one. Prints for each set the root mean squared error on the
test part (mean and standard deviation over the seeds), then the processor seconds of a fit on one
thread.

Every result is stored in a file. Results that are in the file are not computed again.

    python benchmarks/accuracy.py
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peers import PEERS
from sets import SETS, Task

from sklstm import StackedLSTMRegressor

OURS, PERSISTENCE = "sklstm", "persistence"
RIVALS = ("ridge", "boosting", "skorch")
Results = dict[tuple[str, str, int], dict[str, float]]
Evaluate = Callable[[str, int, Task], dict[str, float]]


def _rmse(y: Any, y_test: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((y - y_test) ** 2)))


def fit_and_score(model: Any, task: Task) -> dict[str, float]:
    """Return the error on the test part, and the processor seconds of the fit."""
    start = time.process_time()
    model.fit(task.X, task.y.reshape(len(task.y), -1))
    seconds = time.process_time() - start
    y = model.predict(task.X_test).reshape(task.y_test.shape)
    return {"rmse": _rmse(y, task.y_test), "seconds": seconds}


def evaluate(name: str, seed: int, task: Task) -> dict[str, float]:
    """Return them for the model of that name; NaN for persistence where there is none."""
    if name == PERSISTENCE:
        known = task.persistence is not None
        return {"rmse": _rmse(task.persistence, task.y_test) if known else np.nan, "seconds": 0.0}
    model = StackedLSTMRegressor(random_state=seed) if name == OURS else PEERS[name](seed)
    return fit_and_score(model, task)


def run(models: list[str], jobs: list[tuple[str, int]], path: Path, evaluate: Evaluate) -> Results:
    """Evaluate every model on every set and seed, except for results that are in the file."""
    lines = path.read_text().splitlines() if path.exists() else []
    results = {tuple(key): result for key, result in map(json.loads, lines)}
    for name, seed in jobs:
        task = SETS[name](seed)
        for model in models:
            key = (name, model, seed)
            if key not in results:
                results[key] = evaluate(model, seed, task)
                with path.open("a") as file:
                    file.write(json.dumps([key, results[key]]) + "\n")
    return results


def column(results: Results, name: str, model: str, value: str) -> NDArray[np.float64]:
    """Return the values of all seeds."""
    return np.array([r[value] for key, r in results.items() if key[:2] == (name, model)])


def print_errors(results: Results, models: list[str], names: list[str]) -> None:
    """Print errors, and the library's divided by that of the best rival."""
    print(f"{'RMSE':18}" + "".join(f"{model:>20}" for model in models) + f"{'to best rival':>15}")
    for name in names:
        print(f"{name:18}", end="")
        for model in models:
            print(_mean_and_spread(column(results, name, model, "rmse")), end="")
        best = min(column(results, name, rival, "rmse").mean() for rival in RIVALS)
        print(f"{column(results, name, OURS, 'rmse').mean() / best:15.2f}")


def _mean_and_spread(errors: NDArray[np.float64]) -> str:
    if np.isnan(errors).any():
        return " " * 20
    spread = errors.std() if np.ptp(errors) > 1e-9 * errors.max() else 0
    return f"{errors.mean():10.4g} +-{spread:7.2g}"


def print_seconds(results: Results, models: list[str], names: list[str]) -> None:
    """Print the seconds of a fit, and the library's divided by those of plain skorch."""
    print(f"{'seconds':18}" + "".join(f"{model:>10}" for model in models) + f"{'to skorch':>15}")
    for name in names:
        means = [column(results, name, model, "seconds").mean() for model in models]
        ratio = column(results, name, OURS, "seconds") / column(results, name, "skorch", "seconds")
        print(f"{name:18}" + "".join(f"{s:10.1f}" for s in means) + f"{ratio.mean():15.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    everything = [OURS, *RIVALS, "mean", PERSISTENCE]
    parser.add_argument("--models", nargs="+", choices=everything, default=everything)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=Path("accuracy.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    jobs = [(name, seed) for seed in arguments.seeds for name in arguments.sets]
    results = run(arguments.models, jobs, arguments.results, evaluate)
    if {OURS, *RIVALS} <= set(arguments.models):
        print_errors(results, arguments.models, arguments.sets)
        timed = [model for model in arguments.models if model != PERSISTENCE]
        print_seconds(results, timed, arguments.sets)


if __name__ == "__main__":
    main()
