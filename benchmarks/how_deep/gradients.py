"""Whether the gradient vanishes through the layers of a stack as it does through time.

Measures `gradient_flow` before training, on 200 sequences of the adding problem (50 steps), for
stacks of 32 units. Prints two ratios: the norm of the gradient of the bottom layer's weights over
that of the top layer's; and, for the output of the layer below the top, the norm of the gradient at
the first step, which has passed back through 49 steps of the top layer, over that at the last step.
"a layer" and "a step" are the factors for one layer and one step: their powers are the medians.
Seed s makes the data and the model. The head reads the last step alone (`pooling="last"`), so that
all of the gradient has passed through time. The precision is float64, as some numbers are small.

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
        for skip in (None, "residual"):
            through_layers, through_time = [], []
            for seed in seeds:
                model = StackedLSTMRegressor(
                    n_layers,
                    32,
                    skip=skip,
                    pooling="last",
                    precision="float64",
                    **ALONE,
                    random_state=seed,
                )
                flow = gradient_flow(model, *adding_problem(200, 50, seed))
                through_layers.append(flow.weights[0] / flow.weights[-1])
                through_time.append(flow.outputs[-2, 0] / flow.outputs[-2, -1])
            row = ""
            for ratios, n_factors in [(through_layers, n_layers - 1), (through_time, 49)]:
                factor = np.median(ratios) ** (1 / n_factors)
                row += "".join(f"{ratio:8.0e}" for ratio in ratios) + f"{factor:9.2f}"
            print(f"{n_layers:6}  {skip!s:9}{row.lstrip()}", flush=True)


if __name__ == "__main__":
    main()
