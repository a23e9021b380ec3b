"""Whether a stack that grows learns what one from scratch learns, and when it should grow.

Fits three layers of 32 units to sets on which depth matters (`depth_sets.py`), without a linear
shortcut, and prints the RMSE on new data in standard deviations of the targets, for each seed of
data and model: three layers from scratch; one layer that is trained for a quarter of the epochs,
grown (`warm_start=True`, `n_layers=3`) and trained in full; one that is grown after a full fit, and
trained in full again; and one layer, trained in full twice. The last columns have the mean, and the
mean over that of three layers from scratch.

    python benchmarks/growth.py
"""

import argparse
import math
from statistics import mean

import numpy as np
import torch
from depth_sets import SETS
from how_deep.data import ALONE
from sets import Task
from sklearn.metrics import root_mean_squared_error

from sklstm import StackedLSTMRegressor

TAKEN = ("gated_max", "highest_sum", "switched_sum")


def errors(task: Task, seed: int) -> dict[str, float]:
    """Return the error of each way to train."""

    def fitted(n_layers: int, start: StackedLSTMRegressor | None = None, part: float = 1.0):
        model = start or StackedLSTMRegressor(units=32, warm_start=True, **ALONE, random_state=seed)
        model.set_params(n_layers=n_layers, max_epochs=math.ceil(part * n_epochs))
        return model.fit(task.X, task.y)

    def error(model: StackedLSTMRegressor) -> float:
        return root_mean_squared_error(task.y_test, model.predict(task.X_test)) / task.y_test.std()

    scratch = StackedLSTMRegressor(3, 32, **ALONE, random_state=seed).fit(task.X, task.y)
    n_epochs = scratch.max_epochs_
    return {
        "from scratch": error(scratch),
        "grown after a quarter": error(fitted(3, fitted(1, part=0.25))),
        "grown after a full fit": error(fitted(3, fitted(1))),
        "one layer, fitted twice": error(fitted(1, fitted(1))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    columns = "".join(f"  seed {seed}" for seed in seeds)
    print(f"{'set':14}{'three layers':24}{columns}    mean   ratio")
    for name in TAKEN:
        runs = [errors(SETS[name].make(seed), seed) for seed in seeds]
        for way in runs[0]:
            values = [run[way] for run in runs]
            ratio = mean(values) / mean(run["from scratch"] for run in runs)
            shown = "".join(f"{value:8.3f}" for value in [*values, np.mean(values), ratio])
            print(f"{name:14}{way:24}{shown}", flush=True)


if __name__ == "__main__":
    main()
