"""How closely Keras and ONNX models agree with the estimators that they come from.

    KERAS_BACKEND=torch python benchmarks/agreement.py

First table: the largest difference between the predictions of a Keras model and of the estimator
that `from_keras` makes of it, and between those of this estimator and of the Keras model that
`to_keras` makes of it. Models have one to four layers, one or two directions, and one prediction or
one at each step. Second table: the largest difference between `predict` and onnxruntime, divided by
the standard deviation of the target, at two batch sizes and two lengths.
"""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
from keras.layers import LSTM, Bidirectional, Dense

from sklstm import StackedLSTMRegressor
from sklstm.interop import from_keras, to_keras, to_onnx

N_FEATURES = 3
MODELS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "textbook stack": {"skip": None, "pooling": "last", "linear_steps": None},
    "four layers, both directions": {"n_layers": 4, "bidirectional": True},
    "quantiles": {"loss": "quantile", "quantile": [0.1, 0.9]},
    "a prediction at each step": {"return_sequences": True},
}


def keras_model(
    n_layers: int, bidirectional: bool, each_step: bool, rng: np.random.Generator
) -> keras.Sequential:
    """Make a Keras stack with random weights."""
    layers = [LSTM(8, return_sequences=True) for _ in range(n_layers - 1)]
    layers.append(LSTM(8, return_sequences=each_step))
    if bidirectional:
        layers = [Bidirectional(layer) for layer in layers]
    model = keras.Sequential([keras.Input((None, N_FEATURES)), *layers, Dense(2)])
    model.set_weights([rng.normal(scale=0.4, size=w.shape) for w in model.get_weights()])
    return model


def print_keras(rng: np.random.Generator) -> None:
    X = rng.normal(size=(64, 12, N_FEATURES)).astype(np.float32)
    print("layers  directions  each step  from_keras  to_keras")
    for n_layers, both, each_step in product((1, 2, 3, 4), (False, True), (False, True)):
        model = keras_model(n_layers, both, each_step, rng)
        estimator = from_keras(model)
        predicted = estimator.predict(X)
        there, back = (
            np.abs(other.predict(X, verbose=0) - predicted).max()
            for other in (model, to_keras(estimator))
        )
        print(f"{n_layers:6}{1 + both:12}{each_step!s:>11}{there:12.1e}{back:10.1e}")


def print_onnx(rng: np.random.Generator) -> None:
    X = rng.normal(size=(300, 10, N_FEATURES))
    shapes = list(product((1, 50), (4, 25)))
    print(f"\n{'rows x steps':30}" + "".join(f"{f'{n} x {t}':>10}" for n, t in shapes))
    for name, parameters in MODELS.items():
        each_step = parameters.get("return_sequences", False)
        y = X[:, :, 0].cumsum(axis=1) if each_step else X[:, -3:, 0].sum(axis=1)
        model = StackedLSTMRegressor(units=16, max_epochs=3, random_state=0, **parameters)
        model.fit(X, y)
        with tempfile.TemporaryDirectory() as folder:
            to_onnx(model, Path(folder, "model.onnx"))
            session = onnxruntime.InferenceSession(Path(folder, "model.onnx"))
        apart = []
        for n_rows, n_steps in shapes:
            rows = rng.normal(size=(n_rows, n_steps, N_FEATURES))
            (predicted,) = session.run(["y"], {"X": rows})
            apart.append(np.abs(predicted - model.predict(rows)).max() / y.std())
        print(f"{name:30}" + "".join(f"{value:10.1e}" for value in apart))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    print_keras(rng)
    print_onnx(rng)
