"""The contestants that are made of Keras."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sizes import Array, Contestant, Size, seconds

PREDICT_ROWS = 256


class Keras(Contestant):
    """A Sequential model, built and compiled before anything is timed."""

    n_rows, n_calls = 10_000, 30
    backend: str

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        os.environ["KERAS_BACKEND"] = self.backend
        import keras

        keras.utils.set_random_seed(0)
        layers = keras.layers
        lower = [layers.LSTM(size.units, return_sequences=True) for _ in range(size.n_layers - 1)]
        top = [layers.LSTM(size.units), layers.Dense(1)]
        shape = (size.n_steps, size.n_features)
        self.model = keras.Sequential([keras.Input(shape), *lower, *top])
        self.model.compile(optimizer="adam", loss="mse")

    def fit(self, X: Array, y: Array, n_epochs: int) -> None:
        """Continue training."""
        self.model.fit(X, y, batch_size=self.size.batch_size, epochs=n_epochs, verbose=0)

    def predict(self, X: Array) -> NDArray[Any]:
        """Predict in larger batches than Keras' own."""
        return self.model.predict(X, batch_size=PREDICT_ROWS, verbose=0)


class KerasTorch(Keras):
    """Keras on torch."""

    backend = "torch"


class KerasTensorflow(Keras):
    """Keras on TensorFlow."""

    backend = "tensorflow"


class Aeon(Contestant):
    """aeon's recurrent regressor, which is Keras on TensorFlow."""

    n_rows, n_calls = 10_000, 30

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        os.environ["KERAS_BACKEND"] = "tensorflow"
        from aeon.regression.deep_learning import RecurrentRegressor

        self.folder = tempfile.TemporaryDirectory()
        self.model = RecurrentRegressor(
            n_layers=size.n_layers,
            n_units=size.units,
            dropout_intermediate=0.0,
            dropout_output=0.0,
            batch_size=size.batch_size,
            random_state=0,
            file_path=f"{self.folder.name}/",
        )

    def fit(self, X: Array, y: Array, n_epochs: int) -> None:
        """Train a new model."""
        self.model.set_params(n_epochs=n_epochs).fit(X, y[:, 0])

    def predict(self, X: Array) -> NDArray[Any]:
        """Predict in batches as in training."""
        return self.model.predict(X)

    def train(self, X: Array, y: Array, n_epochs: int) -> float:
        """Return the seconds of `n_epochs` epochs without building and compiling."""
        once = seconds(lambda: self.fit(X, y, n_epochs))
        return seconds(lambda: self.fit(X, y, 2 * n_epochs)) - once

    def arranged(self, X: Array) -> Array:
        """Arrange X as (n_samples, n_features, n_timesteps)."""
        return np.ascontiguousarray(X.transpose(0, 2, 1))
