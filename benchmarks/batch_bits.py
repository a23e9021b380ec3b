"""Count models whose prediction for a sample changes, in any bit, with its batch.

Each layer and each model predicts 300 rows as one batch, then parts of them. A case is one size of
layer or model. It has changed if any part differs from the whole in any bit. The number of rows is
filled up to a multiple of 1, 2, 4 or 32 before each call, as the first column says.

    python benchmarks/batch_bits.py
"""

from itertools import product

import numpy as np
import torch
from torch import nn

from sklstm import StackedLSTMRegressor

PARTS = [slice(first, first + n) for first in (0, 37) for n in (1, 2, 3, 5, 8, 31, 64, 127, 255)]
DTYPES = (torch.float32, torch.float64)


def filled(function, x, multiple):
    """Call a function on rows filled up to a multiple."""
    missing = -len(x) % multiple
    return function(torch.cat([x, x[:1].expand(missing, *x.shape[1:])]))[: len(x)]


def changes(predict, x):
    """Return whether any part is predicted with other bits than in the whole."""
    whole = predict(x)
    return any(not np.array_equal(predict(x[part]), whole[part]) for part in PARTS)


def lstm_cases(dtype):
    """Yield LSTM layers, as functions of their input, and inputs."""
    for units, n_features in product((1, 7, 16, 33, 64, 128), (1, 2, 8, 17)):
        layer = nn.LSTM(n_features, units, batch_first=True, dtype=dtype)
        yield (
            lambda x, layer=layer: layer(x)[0][:, -1],
            torch.randn(300, 30, n_features, dtype=dtype),
        )


def linear_cases(dtype):
    """Yield Linear layers and inputs."""
    for units, n_outputs in product((1, 7, 16, 33, 64, 128), (1, 2, 8, 17)):
        yield nn.Linear(units, n_outputs, dtype=dtype), torch.randn(300, units, dtype=dtype)


def model_cases(precision):
    """Yield prediction functions of estimators, and inputs."""
    rng = np.random.default_rng(0)
    for units, n_features, n_layers, bidirectional, head_units, n_outputs in product(
        (7, 33, 64), (1, 8), (1, 3), (False, True), ((), (7,)), (1, 5)
    ):
        X = rng.normal(size=(300, 30, n_features))
        model = StackedLSTMRegressor(
            n_layers,
            units,
            bidirectional=bidirectional,
            head_units=head_units,
            linear_steps=30,  # "auto" would train each model for a trial
            precision=precision,
            max_epochs=0,
            random_state=0,
        )
        yield model.fit(X, rng.normal(size=(300, n_outputs))).predict, X


def count(cases, multiple=None):
    """Count the cases, and those whose bits change."""
    changed = []
    for function, x in cases:
        if multiple is None:
            changed.append(changes(function, x))
        else:
            changed.append(changes(lambda part, f=function: filled(f, part, multiple), x))
    return sum(changed), len(changed)


def main():
    """Print how many cases change."""
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print(f"{'':<28} {'float32':>10} {'float64':>10}")
    with torch.no_grad():
        for name, cases in (("nn.LSTM", lstm_cases), ("nn.Linear", linear_cases)):
            for multiple in (1, 2, 4, 32):
                counts = [count(cases(dtype), multiple) for dtype in DTYPES]
                shown = [f"{changed} of {n}" for changed, n in counts]
                print(f"{name + f', multiples of {multiple}':<28} {shown[0]:>10} {shown[1]:>10}")
    counts = [count(model_cases(precision)) for precision in ("float32", "float64")]
    shown = [f"{changed} of {n}" for changed, n in counts]
    print(f"{'StackedLSTMRegressor':<28} {shown[0]:>10} {shown[1]:>10}")


if __name__ == "__main__":
    main()
