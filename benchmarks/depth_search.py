"""Does depth help, and does DepthSearchCV see it? Against GridSearchCV, in the same folds.

For each set of `depth_sets.py` and each seed, both search depths 1 to 4 in three folds, 32 units,
otherwise with the defaults, and fit their choice to all data. Prints three tables.

The first has each search: RMSE by depth in units of the standard deviation of the targets, the
depth chosen, the error of its refitted model on new data, and processor seconds.

The second says whether depth helps when every depth is trained in full: RMSE of the grid search,
means of the seeds; by how much the best depth is better than one layer, within folds and seeds, and
the standard error of that; and the RMSE of one layer, fitted to all data, on these and on new data.

The third has, for each set, the error of the search's choice over that of the grid's choice, means
of the seeds; in how many of the seeds the grid's score of the chosen depth is within one paired
standard error of the grid's best; and the part of its seconds.

    python benchmarks/depth_search.py
"""

import argparse
import time
import warnings
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from depth_sets import SETS
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sets import Task
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import GridSearchCV

from sklstm import DepthSearchCV, StackedLSTMRegressor, compare_depths

DEPTHS = [1, 2, 3, 4]


@dataclass
class Outcome:
    """Scores of shape (n_depths, n_folds), their means, and what became of the choice."""

    scores: NDArray[np.float64]
    means: NDArray[np.float64]
    chosen: int
    error: float
    seconds: float

    def line(self) -> str:
        """Return the scores by depth, the choice, its error and the seconds."""
        curve = "".join(f"{-score:8.3f}" for score in self.means)
        return f"{curve}{self.chosen:8}{self.error:8.3f}{self.seconds:9.0f}"


def outcome(search: Any, task: Task) -> Outcome:
    spread = float(np.std(task.y_test))
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(task.X, task.y)
    seconds = time.process_time() - start
    error = root_mean_squared_error(task.y_test, search.predict(task.X_test)) / spread
    chosen = search.best_params_["n_layers"]
    means = search.cv_results_["mean_test_score"] / spread
    return Outcome(compare_depths(search).scores / spread, means, chosen, error, seconds)


@dataclass
class Searched:
    """What both searches found in a set, and what one layer does on its training and new data."""

    grid: Outcome
    race: Outcome
    one_layer: tuple[float, float]


def searched(name: str, seed: int) -> Searched:
    torch.set_num_threads(1)
    task, folds = SETS[name].make(seed), SETS[name].folds
    model = StackedLSTMRegressor(units=32, random_state=seed)
    options = {"cv": folds, "scoring": "neg_root_mean_squared_error"}
    grid = outcome(GridSearchCV(model, {"n_layers": DEPTHS}, **options), task)
    race = outcome(DepthSearchCV(model, DEPTHS, **options), task)
    one = StackedLSTMRegressor(1, 32, random_state=seed).fit(task.X, task.y)
    on_training, on_new = (
        root_mean_squared_error(y, one.predict(X)) / np.std(task.y_test)
        for X, y in ((task.X, task.y), (task.X_test, task.y_test))
    )
    return Searched(grid, race, (on_training, on_new))


def does_depth_help(name: str, runs: list[Searched]) -> str:
    scores = np.concatenate([run.grid.scores for run in runs], axis=1)
    means = scores.mean(axis=1)
    lead = scores[means.argmax()] - scores[0]
    error = lead.std(ddof=1) / np.sqrt(len(lead))
    curve = "".join(f"{-score:8.3f}" for score in means)
    percent, of_error = 100 * lead.mean() / -means[0], 100 * error / -means[0]
    on_training, on_new = np.mean([run.one_layer for run in runs], axis=0)
    return (
        f"{name:16}{curve}{means.argmax() + 1:6}{percent:9.1f} %{of_error:9.1f} %"
        f"{on_training:10.3f}{on_new:7.3f}"
    )


def summary(runs: list[Searched]) -> tuple[float, int, list[float]]:
    """Return the ratio of the errors, the seeds within a standard error, and parts of the time."""
    grid_error, error = np.mean([[run.grid.error, run.race.error] for run in runs], axis=0)
    within = 0
    for run in runs:
        grid, race = run.grid, run.race
        behind = grid.scores[grid.chosen - 1] - grid.scores[race.chosen - 1]
        within += bool(behind.mean() <= behind.std(ddof=1) / np.sqrt(len(behind)))
    return error / grid_error, within, [run.race.seconds / run.grid.seconds for run in runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--jobs", type=int, default=1, help="sets that run at the same time")
    arguments = parser.parse_args()
    depths = "".join(f"{depth:>8}" for depth in DEPTHS)
    print(f"set              seed  search{depths}  chosen   error  seconds")
    found: dict[str, list[Searched]] = {name: [] for name in arguments.sets}
    places = list(product(arguments.sets, arguments.seeds))
    parallel = Parallel(n_jobs=arguments.jobs, return_as="generator")
    runs = parallel(delayed(searched)(name, seed) for name, seed in places)
    for (name, seed), run in zip(places, runs, strict=True):
        found[name].append(run)
        for kind, result in (("grid", run.grid), ("race", run.race)):
            print(f"{name:16}{seed:5}  {kind:6}{result.line()}", flush=True)
    print(f"\n{'':61}std  one layer, error on")
    print(f"set             {depths}  best  better by      error  training    new")
    for name, of_set in found.items():
        print(does_depth_help(name, of_set))
    print("\nset             error / grid's   within   time / grid's")
    times: list[float] = []
    for name, of_set in found.items():
        ratio, within, parts = summary(of_set)
        times += parts
        print(f"{name:16}{ratio:14.3f}{within:6} of {len(of_set)}{np.mean(parts):16.2f}")
    print(f"time, median {np.median(times):.2f}, highest {max(times):.2f}")


if __name__ == "__main__":
    main()
