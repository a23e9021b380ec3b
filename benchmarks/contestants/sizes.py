"""The sizes of data and network in `throughput.py`, and the base class of the contestants."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """Sizes of the training data and of the network, and epochs in a timed training."""

    n_samples: int
    n_steps: int
    n_features: int
    units: int
    n_layers: int
    batch_size: int
    n_epochs: int

    def data(self, n_samples: int) -> tuple[Array, Array]:
        """Make X, and y of shape (n_samples, 1)."""
        shape = (n_samples, self.n_steps, self.n_features)
        X = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        return X, X[:, -3:, :1].sum(axis=1)

    def __str__(self) -> str:
        """Describe it in a line."""
        return (
            f"{self.n_samples} x {self.n_steps} x {self.n_features}, {self.n_layers} layer(s) of "
            f"{self.units} units, batches of {self.batch_size}"
        )


SIZES = {
    "small": Size(2048, 12, 1, units=16, n_layers=1, batch_size=32, n_epochs=20),
    "usual": Size(2048, 24, 8, units=64, n_layers=2, batch_size=64, n_epochs=10),
    "long": Size(1024, 100, 16, units=128, n_layers=2, batch_size=64, n_epochs=3),
}


class Contestant(ABC):
    """Something that trains and predicts.

    Parameters
    ----------
    size : Size
        What to train.
    """

    n_rows: ClassVar[int] = 100_000
    n_calls: ClassVar[int] = 200

    def __init__(self, size: Size) -> None:
        self.size = size

    @abstractmethod
    def fit(self, X: Array, y: Array, n_epochs: int) -> None:
        """Train a new model, or continue training."""

    @abstractmethod
    def predict(self, X: Array) -> NDArray[Any]:
        """Predict many rows."""

    def train(self, X: Array, y: Array, n_epochs: int) -> float:
        """Return the seconds of `n_epochs` epochs."""
        return seconds(lambda: self.fit(X, y, n_epochs))

    def arranged(self, X: Array) -> Array:
        """Arrange X as the contestant needs it."""
        return X

    def predicting_one(self, X: Array) -> Callable[[], Any]:
        """Make a function that predicts the first row."""
        row = X[:1]
        return lambda: self.predict(row)


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
