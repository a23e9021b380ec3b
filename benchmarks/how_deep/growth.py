"""Whether to train layer by layer: stacks grown, and the same ones trained all at once.

Fits depths 1 to 4, 32 units, in 12 epochs: grown (`warm_start=True`, a layer on top of the fitted
ones after every 12 / n_layers epochs; no layer is frozen), with residual skip connections all at
once, and plain all at once. One layer is the same in all three. Prints the mean squared error on
2,000 other sequences of the adding problem (2,500 for training) and the test RMSE in MW of the
demand windows, and the mean processor seconds of a fit. The seeds are those of the model; the data
are the same.

    python benchmarks/how_deep/growth.py
"""

import argparse
import time
from statistics import mean
from typing import Any

import numpy as np
import torch
from data import ALONE, adding_problem, demand_windows

from sklstm import StackedLSTMRegressor

EPOCHS = 12


def at_once(skip: str | None, n_layers: int, seed: int, X: Any, y: Any) -> StackedLSTMRegressor:
    model = StackedLSTMRegressor(
        n_layers, 32, skip=skip, max_epochs=EPOCHS, **ALONE, random_state=seed
    )
    return model.fit(X, y)


def grown(n_layers: int, seed: int, X: Any, y: Any) -> StackedLSTMRegressor:
    model = StackedLSTMRegressor(
        units=32, max_epochs=EPOCHS // n_layers, warm_start=True, **ALONE, random_state=seed
    )
    for n in range(1, n_layers + 1):
        model.set_params(n_layers=n).fit(X, y)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)

    adding = adding_problem(2500, 50, 0), adding_problem(2000, 50, 1000)
    for title, (train, test) in [
        ("Adding problem, MSE", adding),
        ("Demand, RMSE in MW", demand_windows()),
    ]:
        print(f"\n{title}, {EPOCHS} epochs\n{'layers  way':22}", end="")
        print("".join(f"   seed {seed}" for seed in seeds) + "   seconds")
        for n_layers in (1, 2, 3, 4):
            for way in ("at once", "grown", "plain")[: 1 if n_layers == 1 else 3]:
                errors, seconds = [], []
                for seed in seeds:
                    start = time.process_time()
                    if way == "grown":
                        model = grown(n_layers, seed, *train)
                    else:
                        skip = None if way == "plain" else "residual"
                        model = at_once(skip, n_layers, seed, *train)
                    seconds.append(time.process_time() - start)
                    errors.append(np.mean((model.predict(test[0]) - test[1]) ** 2))
                columns = "".join(
                    f"{np.sqrt(error):9.1f}" if "MW" in title else f"{error:9.5f}"
                    for error in errors
                )
                print(f"{n_layers:6}  {way:14}{columns}{mean(seconds):10.1f}", flush=True)


if __name__ == "__main__":
    main()
