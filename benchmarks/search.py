"""How much faster a search is on several processes, and what layers and steps cost.

The search is `GridSearchCV` over 1, 2 and 3 layers with 4 folds, 2,048 windows of 24 steps of 8
features, 64 units, batches of 64 and 5 epochs, on one process (with all of torch's threads) and on
several. A small search, which is not timed, has started these processes before. The two searches
take turns; prints the median times, and the median of the ratios within a turn. Their scores must
be equal.

The costs are seconds of an epoch: of 1 to 8 layers on these windows, and of 2 layers on windows of
25 to 400 steps. If the cost were proportional to the layers, n layers would cost n times as much as
one, and likewise for steps. The last columns, "in parts of linear", are the cost divided by that:
medians of ratios within a turn. "plain" is the stack of the textbooks, "default" has residual skip
connections and concat pooling; neither has a linear shortcut.

    python benchmarks/search.py
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import print_machine
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV

from sklstm import StackedLSTMRegressor
from sklstm.inspection import depth_cost

N_SAMPLES, N_STEPS, N_FEATURES = 2048, 24, 8
GRID = {"n_layers": [1, 2, 3]}
LAYERS = (1, 2, 3, 4, 6, 8)
STEPS = (25, 50, 100, 200, 400)
KINDS: dict[str, dict[str, Any]] = {"plain": {"skip": None, "pooling": "last"}, "default": {}}


def regressor(kind: str, units: int) -> StackedLSTMRegressor:
    return StackedLSTMRegressor(
        units=units,
        linear_steps=None,
        batch_size=64,
        max_epochs=5,
        random_state=0,
        **KINDS[kind],
    )


def make_data(n_samples: int, n_steps: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    shape = (n_samples, n_steps, N_FEATURES)
    X = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return X, X[:, -3:, 0].sum(axis=1)


def search(n_jobs: int, n_samples: int = N_SAMPLES) -> tuple[float, NDArray[np.float64]]:
    """Return the seconds of a search, and its scores."""
    X, y = make_data(n_samples, N_STEPS)
    start = time.perf_counter()
    found = GridSearchCV(regressor("plain", 64), GRID, cv=4, n_jobs=n_jobs, refit=False).fit(X, y)
    return time.perf_counter() - start, found.cv_results_["mean_test_score"]


def compare_searches(n_jobs: int, n_repeats: int) -> None:
    search(n_jobs, n_samples=64)
    times = []
    for _ in range(n_repeats):
        (alone, scores), (together, same) = search(1), search(n_jobs)
        np.testing.assert_array_equal(scores, same)
        times.append((alone, together))
    alone, together = (median(column) for column in zip(*times, strict=True))
    ratios = [one / several for one, several in times]
    print(f"\nsearch: 1 process {alone:.1f} s, {n_jobs} processes {together:.1f} s, equal scores")
    print(f"faster by {median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})", flush=True)


def layer_seconds(kind: str, units: int) -> NDArray[np.float64]:
    X, y = make_data(N_SAMPLES, N_STEPS)
    return depth_cost(regressor(kind, units), X, y, LAYERS, n_epochs=1).seconds_per_epoch


def step_seconds(kind: str, units: int) -> NDArray[np.float64]:
    costs = (
        depth_cost(regressor(kind, units), *make_data(N_SAMPLES // 4, n), (2,), n_epochs=1)
        for n in STEPS
    )
    return np.concatenate([cost.seconds_per_epoch for cost in costs])


def print_costs(title: str, counts: tuple[int, ...], seconds: Any, n_repeats: int) -> None:
    """Print the cost of each number of layers, or steps, by kind of network and units."""
    columns = "".join(f"{n:8}" for n in counts)
    print(f"\n{title}\nunits  network {columns}   in parts of linear:{columns[8:]}")
    for units in (32, 64):
        runs: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in KINDS}
        for _ in range(n_repeats):
            for kind, costs in runs.items():
                costs.append(seconds(kind, units))
        for kind, costs in runs.items():
            ratios = np.array([cost / (cost[0] * np.array(counts) / counts[0]) for cost in costs])
            cells = "".join(f"{s:8.3f}" for s in np.median(costs, axis=0))
            parts = "".join(f"{r:8.2f}" for r in np.median(ratios, axis=0)[1:])
            print(f"{units:5}  {kind:8}{cells}{'':22}{parts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", nargs="+", choices=["search", "cost"], default=["search", "cost"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of this process; torch's own if not given")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print_machine("sklstm", "torch", "numpy", "scikit-learn", "skorch", "joblib")
    print(f"{torch.get_num_threads()} thread(s)")
    if "search" in arguments.what:
        compare_searches(arguments.jobs, arguments.repeats)
    if "cost" in arguments.what:
        title = f"seconds an epoch, {N_SAMPLES} windows of {N_STEPS} steps, by layers"
        print_costs(title, LAYERS, layer_seconds, arguments.repeats)
        title = f"seconds an epoch, {N_SAMPLES // 4} windows, 2 layers, by steps"
        print_costs(title, STEPS, step_seconds, arguments.repeats)


if __name__ == "__main__":
    main()
