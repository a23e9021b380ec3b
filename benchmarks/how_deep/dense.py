"""What the Dense layers after the LSTM layers are for: none, one, or more of them.

Fits 1 and 2 layers of 32 units for 6 epochs to the demand windows and prints the test RMSE in
MW. One Dense layer is the default; "32, Dense" has a hidden one of 32 units before it. Without
any, the output of a top LSTM layer of one unit is the prediction. This layer has no skip
connection, as the projection in it would be a Dense layer. Its output lies between -1 and 1,
and the standardized target between -2.0 and 5.1 in training: the output is taken as it is, or
multiplied by 6. All read the last output alone (`pooling="last"`), which is the prediction where
there is no Dense layer. The seeds are those of the model; the data are the same.

    python benchmarks/how_deep/dense.py
"""

import argparse
from typing import Any

import numpy as np
import torch
from data import ALONE, demand_windows
from torch import Tensor, nn
from variants import stack_class

from sklstm import StackedLSTM, StackedLSTMRegressor
from sklstm.nn.layers import Dropout, NoSkip


class Times(nn.Module):
    """Multiplies by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return self.factor * x


def headless(factor: float) -> type[StackedLSTM]:
    """Make the class of stacks with one more LSTM layer, of one unit, instead of a head."""

    class Headless(StackedLSTM):
        def __init__(self, *args: Any, **parameters: Any) -> None:
            super().__init__(*args, **parameters)
            self.layers.append(nn.LSTM(self.layers[-1].hidden_size, 1, batch_first=True))
            self.skips.append(NoSkip())
            self.dropouts.append(Dropout(0.0))
            self.head = Times(factor)

    return Headless


WAYS: dict[str, tuple[int, type[StackedLSTM], tuple[int, ...]]] = {
    "LSTM 32, LSTM 1": (1, headless(1), ()),
    "LSTM 32, LSTM 1, times 6": (1, headless(6), ()),
    "LSTM 32, Dense": (1, StackedLSTM, ()),
    "LSTM 32, LSTM 32, LSTM 1, times 6": (2, headless(6), ()),
    "LSTM 32, LSTM 32, Dense": (2, StackedLSTM, ()),
    "LSTM 32, LSTM 32, 32, Dense": (2, StackedLSTM, (32,)),
    "LSTM 32, LSTM 32, 32, 32, Dense": (2, StackedLSTM, (32, 32)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)

    train, (X, y) = demand_windows()
    print(f"{'layers':34} weights" + "".join(f"  seed {seed}" for seed in seeds) + "    mean")
    for name, (n_layers, variant, head_units) in WAYS.items():
        errors = []
        for seed in seeds:
            model = StackedLSTMRegressor(
                n_layers,
                32,
                head_units=head_units,
                pooling="last",
                max_epochs=6,
                **ALONE,
                random_state=seed,
            )
            with stack_class(variant):
                model.fit(*train)
            errors.append(float(np.sqrt(np.mean((model.predict(X) - y) ** 2))))
        columns = "".join(f"{error:8.1f}" for error in [*errors, np.mean(errors)])
        print(f"{name:34}{model.n_parameters_:8}{columns}", flush=True)


if __name__ == "__main__":
    main()
