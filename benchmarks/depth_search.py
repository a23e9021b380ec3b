"""DepthSearchCV against GridSearchCV: the same depths, folds and estimator.

Searches depths 1 to 4 with three folds of time, on windows of electricity demand (6 hours ahead,
RMSE in MW) and, if the file is given, on bike sharing (the next hour, RMSE in rides). Prints
processor seconds and the scores of both for each seed. The standard error is that of the grid's
best mean over the folds.

    python benchmarks/depth_search.py [--bike bike_sharing_hour.csv.gz]
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from how_deep.data import ALONE, WINDOW, demand_table
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.pipeline import make_pipeline

from sklstm import DepthSearchCV, LagWindows, StackedLSTMRegressor

DEPTHS = (1, 2, 3, 4)
BIKE = ["hr", "weekday", "workingday", "weathersit", "temp", "hum", "windspeed", "cnt"]


def bike_table(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return hourly weather, calendar and count, and the count of the next hour."""
    table = pd.read_csv(path)[BIKE].to_numpy(float)
    return table[:-1], table[1:, -1]


def fitted(search: BaseEstimator, X: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    start = time.process_time()
    search.fit(X, y)
    return time.process_time() - start


def compare(name: str, X: NDArray[np.float64], y: NDArray[np.float64], seed: int) -> None:
    model = StackedLSTMRegressor(units=32, **ALONE, random_state=seed)
    estimator = make_pipeline(LagWindows(WINDOW), model)
    options = {
        "cv": TimeSeriesSplit(3, gap=WINDOW),
        "scoring": "neg_root_mean_squared_error",
    }
    grid = GridSearchCV(estimator, {"stackedlstmregressor__n_layers": DEPTHS}, **options)
    search = DepthSearchCV(estimator, DEPTHS, **options)
    seconds = fitted(grid, X, y), fitted(search, X, y)
    best = [grid.cv_results_[f"split{fold}_test_score"][grid.best_index_] for fold in range(3)]
    error = np.std(best, ddof=1) / np.sqrt(3)
    for kind, searched, spent in zip(("grid", "grown"), (grid, search), seconds, strict=True):
        curve = "".join(f"{-score:8.2f}" for score in searched.cv_results_["mean_test_score"])
        print(f"{name:>7}{seed:6}{kind:>7}{spent:9.0f}{curve}{-searched.best_score_:9.2f}", end="")
        if kind == "grid":
            print(f"{error:10.2f}")
        else:
            within = search.best_score_ >= grid.best_score_ - error
            print(f"{'':10}   {seconds[0] / spent:.2f} x less time, within: {within}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bike", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tables = {"demand": demand_table()}
    if arguments.bike:
        tables["bike"] = bike_table(arguments.bike)
    print("32 units, depths 1 to 4, three folds, refit included; one thread")
    depths = "".join(f"{depth:>8}" for depth in DEPTHS)
    print(f"    set  seed search  seconds{depths}     best  std err")
    for name, (X, y) in tables.items():
        for seed in arguments.seeds:
            compare(name, X, y, seed)


if __name__ == "__main__":
    main()
