"""Whether the gradient vanishes through the layers of a stack as it does through time.

Measures `gradient_flow` before training, on 200 sequences of the adding problem (50 steps),
for stacks of 32 units. Prints the norm of the gradient of the bottom layer's weights as a
part of the top layer's; and of the gradient of what the layer below the top puts out, that at
the first step, which comes back through 49 steps of the top layer, as a part of that at the
last step. "a layer" and "a step" are the factors that, layer by layer and step by step, make
up the medians. Seed s makes the data and the model; float64, as some numbers are small.

    python benchmarks/how_deep/gradients.py
"""

import argparse

import numpy as np
import torch
from data import ALONE, adding_problem

from sklstm import StackedLSTMRegressor
from sklstm.inspection import gradient_flow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)

    columns = "".join(f"  seed {seed}" for seed in seeds)
    width = len(columns) + 9
    print(f"{'':14}{'  bottom / top layer':{width}}  first / last step below the top")
    print(f"layers  skip  {columns}  a layer{columns}   a step")
    for n_layers in (2, 4, 8, 16, 30):
        for skip in (None, "auto"):
            through_layers, through_time = [], []
            for seed in seeds:
                model = StackedLSTMRegressor(
                    n_layers, 32, skip=skip, precision="float64", **ALONE, random_state=seed
                )
                flow = gradient_flow(model, *adding_problem(200, 50, seed))
                through_layers.append(flow.weights[0] / flow.weights[-1])
                through_time.append(flow.outputs[-2, 0] / flow.outputs[-2, -1])
            print(f"{n_layers:6}  {skip!s:6}", end="")
            for ratios, n_factors in [(through_layers, n_layers - 1), (through_time, 49)]:
                factor = np.median(ratios) ** (1 / n_factors)
                print("".join(f"{ratio:8.0e}" for ratio in ratios) + f"{factor:9.2f}", end="")
            print(flush=True)


if __name__ == "__main__":
    main()
