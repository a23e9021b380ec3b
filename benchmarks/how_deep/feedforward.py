"""Whether feed-forward layers before one LSTM do what more LSTM layers do, at equal weights.

Puts 1 to 3 Dense layers of 32 units (ReLU), the same at each step, in front of one LSTM layer, and
compares this with stacks of 1 to 4 LSTM layers. Units are the most that keep the model to 12,000
weights. Fits the demand windows in 6 epochs and prints the test RMSE in MW, and the processor
seconds of a fit. The seeds are those of the model; the data are the same.

    python benchmarks/how_deep/feedforward.py
"""

import argparse
import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from data import ALONE, demand_windows
from torch import Tensor, nn
from variants import stack_class

from sklstm import StackedLSTM, StackedLSTMRegressor
from sklstm.sizing import units_for_budget

BUDGET, WIDTH = 12_000, 32


def fed_forward(n_dense: int) -> type[StackedLSTM]:
    """Make the class of stacks with Dense layers before the first LSTM layer."""

    class Variant(StackedLSTM):
        def __init__(self, n_features: int, *args: Any, **parameters: Any) -> None:
            super().__init__(n_features, *args, **parameters)
            self.dense = nn.Sequential()
            for n_in, n_out in pairwise([n_features, *[WIDTH] * n_dense]):
                self.dense.extend([nn.Linear(n_in, n_out), nn.ReLU()])
            self.layers[0] = nn.LSTM(WIDTH, self.layers[0].hidden_size, batch_first=True)

        def scale_inputs(self, x: Tensor) -> Tensor:
            features: Tensor = self.dense(super().scale_inputs(x))
            return features

    return Variant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)

    train, (X, y) = demand_windows()
    n_features = X.shape[2]
    print("layers            units  weights" + "".join(f"  seed {seed}" for seed in seeds), end="")
    print("    mean  seconds")
    for n_dense, n_lstm in [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (2, 1), (3, 1)]:
        if n_dense:
            taken = (n_features + 1) * WIDTH + (n_dense - 1) * (WIDTH + 1) * WIDTH
            units = units_for_budget(BUDGET - taken, 1, WIDTH)
        else:
            units = units_for_budget(BUDGET, n_lstm, n_features)
        variant = fed_forward(n_dense) if n_dense else StackedLSTM
        errors, start = [], time.process_time()
        for seed in seeds:
            model = StackedLSTMRegressor(n_lstm, units, max_epochs=6, **ALONE, random_state=seed)
            with stack_class(variant):
                model.fit(*train)
            errors.append(float(np.sqrt(np.mean((model.predict(X) - y) ** 2))))
        seconds = (time.process_time() - start) / len(seeds)
        name = f"{n_dense} Dense, {n_lstm} LSTM" if n_dense else f"{n_lstm} LSTM"
        columns = "".join(f"{error:8.1f}" for error in [*errors, np.mean(errors)])
        print(f"{name:16}{units:7}{model.n_parameters_:9}{columns}{seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
