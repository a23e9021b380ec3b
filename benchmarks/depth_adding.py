"""Whether a stack trains at every depth: the adding problem, by number of layers.

Fits the stack alone to 5,000 sequences of 50 steps, and prints the mean squared error on 2,000
others: a line for each depth, a column for each seed. `n_layers`, `units` and `max_epochs` are set,
and there is no linear shortcut; all other parameters have their defaults. The model and the data
have seed s, the 2,000 sequences seed 1000 + s. Depths of 4 and more are fitted with `skip=None`
too. A constant prediction of 1 has an error of 0.167.

    python benchmarks/depth_adding.py
"""

import argparse
import time
from statistics import mean

import numpy as np
import torch
from how_deep.data import ALONE, adding_problem

from sklstm import StackedLSTMRegressor

N_TRAIN, N_VALIDATION, N_TIMESTEPS, UNITS = 5_000, 2_000, 50, 32
PLAIN_FROM = 4


def fit_and_score(n_layers: int, skip: str | None, epochs: int, seed: int) -> tuple[float, float]:
    """Return the error on the other sequences, and the processor seconds of the fit."""
    X, y = adding_problem(N_TRAIN, N_TIMESTEPS, seed)
    X_other, y_other = adding_problem(N_VALIDATION, N_TIMESTEPS, 1000 + seed)
    model = StackedLSTMRegressor(
        n_layers, UNITS, skip=skip, max_epochs=epochs, **ALONE, random_state=seed
    )
    start = time.process_time()
    model.fit(X, y)
    seconds = time.process_time() - start
    return float(np.mean((model.predict(X_other) - y_other) ** 2)), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 2, 4, 8, 16, 30])
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    print(f"{N_TRAIN} sequences of {N_TIMESTEPS} steps, {UNITS} units, {arguments.epochs} epochs")
    print("skip     layers" + "".join(f"   seed {s}" for s in arguments.seeds) + "   seconds")
    for skip in ("residual", None):
        for n_layers in arguments.depths:
            if skip is None and n_layers < PLAIN_FROM:
                continue
            runs = [fit_and_score(n_layers, skip, arguments.epochs, s) for s in arguments.seeds]
            errors = "".join(f"{error:9.5f}" for error, _ in runs)
            seconds = mean(seconds for _, seconds in runs)
            print(f"{skip!s:8}{n_layers:7}{errors}{seconds:10.0f}", flush=True)


if __name__ == "__main__":
    main()
