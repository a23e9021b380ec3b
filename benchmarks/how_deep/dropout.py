"""Where dropout belongs in a stack: nowhere, between the layers, before the head, or both.

Fits 3 layers of 64 units to the last 2,000 training windows of the demand (31 epochs) and to all
14,605 (4 epochs), and prints the test RMSE in MW, its mean over the seeds, and the mean of the RMSE
on the training windows, predicted without dropout. The seeds are those of the model; the data are
the same.

    python benchmarks/how_deep/dropout.py
"""

import argparse

import numpy as np
import torch
from data import ALONE, demand_windows

from sklstm import StackedLSTMRegressor

WAYS = {
    "none": (0.0, 0.0, 0.0),
    "between, 0.2": (0.2, 0.2, 0.0),
    "between, 0.5": (0.5, 0.5, 0.0),
    "before the head, 0.2": (0.0, 0.0, 0.2),
    "before the head, 0.5": (0.0, 0.0, 0.5),
    "after every layer, 0.2": (0.2, 0.2, 0.2),
    "after every layer, 0.5": (0.5, 0.5, 0.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)

    train, test = demand_windows()
    last = train[0][-2000:], train[1][-2000:]
    print("windows  dropout" + " " * 17, end="")
    print("".join(f"  seed {seed}" for seed in seeds) + "    mean  training")
    for (X, y), epochs, n_seeds in [(last, 31, 3), (train, 4, 2)]:
        for name, dropout in WAYS.items():
            errors = []
            for seed in seeds[:n_seeds]:
                model = StackedLSTMRegressor(
                    3, 64, dropout, max_epochs=epochs, **ALONE, random_state=seed
                )
                model.fit(X, y)
                errors.append(
                    [np.sqrt(np.mean((model.predict(X) - y) ** 2)) for X, y in (test, (X, y))]
                )
            mean, on_training = np.mean(errors, axis=0)
            columns = "".join(f"{error:8.1f}" for error, _ in errors)
            columns = f"{columns:{8 * len(seeds)}}{mean:8.1f}{on_training:10.1f}"
            print(f"{len(X):7}  {name:24}{columns}", flush=True)


if __name__ == "__main__":
    main()
