"""How long a prediction for one row takes: `predict`, the bare module, onnxruntime.

Contestants, on one thread each, with one and the same fitted model of default training:

- predict: `StackedLSTMRegressor.predict` of a float32 array. It checks and scales the array, and
  its bits are those of any batch.
- module: a call of `module_` in evaluation mode, under `torch.inference_mode`, with a float32
  tensor; scaling included.
- onnx: `InferenceSession.run` of the file that `to_onnx` writes, with a float64 array; scaling
  included.

They take turns within a round. Prints the median and the 95th percentile of the calls of the
quietest round, the one with the lowest median, in milliseconds for a call; then the microseconds
for a row in calls of more rows.

    python benchmarks/latency.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from contestants.sizes import SIZES, Size
from machine import print_machine

from sklstm import StackedLSTMRegressor
from sklstm.interop import to_onnx

Call = Callable[[], Any]
BATCHES = (1, 4, 16, 64, 256)
CONTESTANTS = ("predict", "module", "onnx")


def fitted(size: Size) -> StackedLSTMRegressor:
    """Fit the default network of a size for an epoch: latency does not depend on the weights."""
    X, y = size.data(size.n_samples)
    model = StackedLSTMRegressor(size.n_layers, size.units, max_epochs=1, random_state=0)
    return model.fit(X, y[:, 0])


def open_session(model: StackedLSTMRegressor) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(model, path)
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(path, options, providers=providers)


def calls_of(model: StackedLSTMRegressor, X: np.ndarray) -> dict[str, Call]:
    """Return the call with which each contestant predicts some rows."""
    session, module = open_session(model), model.module_.eval()
    x, X64 = torch.from_numpy(X), X.astype(np.float64)

    def call_module() -> torch.Tensor:
        with torch.inference_mode():
            return module(x)

    return {
        "predict": lambda: model.predict(X),
        "module": call_module,
        "onnx": lambda: session.run(["y"], {"X": X64}),
    }


def milliseconds(call: Call, n_calls: int) -> np.ndarray:
    """Time `n_calls` calls, after a few that do not count."""
    for _ in range(max(3, n_calls // 10)):
        call()
    times = np.empty(n_calls)
    for i in range(n_calls):
        start = time.perf_counter()
        call()
        times[i] = time.perf_counter() - start
    return 1e3 * times


def quietest(calls: dict[str, Call], n_calls: int, n_rounds: int) -> dict[str, np.ndarray]:
    """Return each contestant's times of the round in which its median was lowest."""
    rounds = [
        {name: milliseconds(call, n_calls) for name, call in calls.items()} for _ in range(n_rounds)
    ]
    return {name: min((one[name] for one in rounds), key=np.median) for name in calls}


def print_one_row(sizes: list[str], arguments: argparse.Namespace) -> None:
    print(f"\n{'one row, ms':14}" + "".join(f"{name:>10}{'p95':>10}" for name in CONTESTANTS))
    for name in sizes:
        X, _ = SIZES[name].data(1)
        times = quietest(calls_of(fitted(SIZES[name]), X), arguments.calls, arguments.rounds)
        cells = (f"{np.median(t):10.3f}{np.quantile(t, 0.95):10.3f}" for t in times.values())
        print(f"{name:14}" + "".join(cells), flush=True)


def print_rows(size: str, arguments: argparse.Namespace) -> None:
    print(f"\n{size + ', us a row':14}" + "".join(f"{name:>10}" for name in CONTESTANTS))
    model, (X, _) = fitted(SIZES[size]), SIZES[size].data(max(BATCHES))
    for n_rows in BATCHES:
        n_calls = max(20, arguments.calls // n_rows)
        times = quietest(calls_of(model, X[:n_rows]), n_calls, arguments.rounds)
        cells = (f"{1e3 * np.median(t) / n_rows:10.1f}" for t in times.values())
        print(f"{n_rows:<14}" + "".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--calls", type=int, default=1000, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print_machine("sklstm", "torch", "numpy", "scikit-learn", "onnxruntime")
    print_one_row(arguments.sizes, arguments)
    print_rows("usual", arguments)


if __name__ == "__main__":
    main()
