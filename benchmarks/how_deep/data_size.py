"""Whether deeper stacks need more data: depths by number of points, at equal training.

Predicts the Mackey-Glass series 84 steps ahead from windows of 24, trained on its last 1,000 to
100,000 points before the 5,000 of the test. Every fit makes about 1,560 steps of 64 windows: with
1,000 points in 100 epochs, with 100,000 in one. So a larger set means more data, but not more
training. Prints the test RMSE in standard deviations of the series: a constant prediction of the
mean has 1. Seed s makes the series and the model.

    python benchmarks/how_deep/data_size.py
"""

import argparse

import numpy as np
import torch
from data import ALONE, mackey_glass
from numpy.lib.stride_tricks import sliding_window_view

from sklstm import StackedLSTMRegressor

WINDOW, HORIZON, N_TEST = 24, 84, 5000
EPOCHS = {1000: 100, 3000: 33, 10_000: 10, 30_000: 3, 100_000: 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument(
        "--points", type=int, nargs="+", default=[1000, 10_000, 100_000], choices=EPOCHS
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    sets = []
    for seed in arguments.seeds:
        series = mackey_glass(max(EPOCHS) + N_TEST + WINDOW + 2 * HORIZON, seed)
        y = (series - series.mean()) / series.std()
        X = sliding_window_view(series, WINDOW)[:-HORIZON, :, np.newaxis]
        sets.append((X.astype(np.float32), y[WINDOW + HORIZON - 1 :]))
    print("  points  layers" + "".join(f"  seed {seed}" for seed in arguments.seeds) + "  median")
    for n_points in arguments.points:
        for n_layers in arguments.depths:
            errors = []
            for seed, (X, y) in zip(arguments.seeds, sets, strict=True):
                train = slice(len(X) - N_TEST - HORIZON - n_points, len(X) - N_TEST - HORIZON)
                model = StackedLSTMRegressor(
                    n_layers,
                    32,
                    batch_size=64,
                    max_epochs=EPOCHS[n_points],
                    **ALONE,
                    random_state=seed,
                ).fit(X[train], y[train])
                error = model.predict(X[-N_TEST:]) - y[-N_TEST:]
                errors.append(float(np.sqrt(np.mean(error**2))))
            columns = "".join(f"{error:8.3f}" for error in [*errors, np.median(errors)])
            print(f"{n_points:8}{n_layers:8}{columns}", flush=True)


if __name__ == "__main__":
    main()
