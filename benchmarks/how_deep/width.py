"""Whether to make a stack deeper or wider: depths at equal numbers of weights.

Fits the demand windows in 6 epochs with 3,000, 12,000 and 48,000 weights, in layers with as many
units as these allow (`units_for_budget`), and prints the test RMSE in MW, and the processor seconds
of a fit. The seeds are those of the model; the data are the same.

    python benchmarks/how_deep/width.py
"""

import argparse
import time

import numpy as np
import torch
from data import ALONE, demand_windows

from sklstm import StackedLSTMRegressor
from sklstm.sizing import units_for_budget


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)

    train, (X, y) = demand_windows()
    print("budget  layers  units" + "".join(f"  seed {seed}" for seed in seeds), end="")
    print("    mean  seconds")
    for budget in (3000, 12_000, 48_000):
        for n_layers in (1, 2, 4, 8)[: 4 if budget == 48_000 else 3]:
            units = units_for_budget(budget, n_layers, X.shape[2])
            errors, start = [], time.process_time()
            for seed in seeds:
                model = StackedLSTMRegressor(
                    n_layers, units, max_epochs=6, **ALONE, random_state=seed
                )
                y_pred = model.fit(*train).predict(X)
                errors.append(float(np.sqrt(np.mean((y_pred - y) ** 2))))
            seconds = (time.process_time() - start) / len(seeds)
            columns = "".join(f"{error:8.1f}" for error in [*errors, np.mean(errors)])
            print(f"{budget:6}{n_layers:8}{units:7}{columns}{seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
