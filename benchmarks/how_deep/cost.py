"""Whether m layers cost m times the training time and the memory of one.

Trains on 1,000 of the demand windows (24 steps, batches of 64) with 1 to 16 layers, and prints the
seconds of an epoch and the MiB of one layer, and those of more layers divided by them. The memory
is that of weights, gradients, optimizer and one mini-batch, as `depth_cost` counts it. All depths
are trained in turn, and this is repeated. Prints the medians of the ratios within a repeat, and the
lowest and highest ratio of two layers.

    python benchmarks/how_deep/cost.py
"""

import argparse

import numpy as np
import torch
from data import ALONE, demand_windows

from sklstm import StackedLSTMRegressor
from sklstm.inspection import depth_cost

DEPTHS = (1, 2, 3, 4, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)

    (X, y), _ = demand_windows()
    print("             one layer   times that of one layer, with layers     two layers")
    print("units  skip           1 " + "".join(f"{n:8}" for n in DEPTHS[1:]) + "   from - to")
    for units in (16, 64, 128):
        for skip in ("residual", None):
            model = StackedLSTMRegressor(
                units=units, skip=skip, batch_size=64, **ALONE, random_state=0
            )
            runs = [
                depth_cost(model, X[:1000], y[:1000], DEPTHS, n_epochs=2) for _ in range(repeats)
            ]
            seconds = np.array([run.seconds_per_epoch for run in runs])
            ratios = seconds[:, 1:] / seconds[:, :1]
            columns = "".join(f"{ratio:8.2f}" for ratio in np.median(ratios, axis=0))
            one = np.median(seconds[:, 0])
            spread = f"{ratios[:, 0].min():7.2f} -{ratios[:, 0].max():5.2f}"
            print(f"{units:5}  {skip!s:8}{one:7.3f} s{columns}{spread}", flush=True)
            memory = runs[0].memory
            columns = "".join(f"{ratio:8.2f}" for ratio in memory[1:] / memory[0])
            print(f"{'':12}{memory[0] / 2**20:10.2f} MiB{columns[2:]}", flush=True)


if __name__ == "__main__":
    main()
