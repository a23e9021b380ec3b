"""What a user would choose instead of `StackedLSTMRegressor`, each for windows of one length."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch import NeuralNetRegressor
from torch import Tensor, nn


class PlainLSTM(nn.Module):
    """What the tutorials build: two layers of 64, the last output to a Dense layer."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_features, 64, num_layers=2, batch_first=True)
        self.dense = nn.Linear(64, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the output at the last step."""
        return self.dense(self.lstm(x)[0][:, -1])


class ByHand:
    """A plain LSTM in skorch, Adam at 1e-3 for 50 epochs, standardized by hand."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> ByHand:
        """Standardize features and targets, and train."""
        torch.manual_seed(self.seed)
        self.mean, self.scale = X.mean(axis=(0, 1)), X.std(axis=(0, 1)) + 1e-9
        self.targets = StandardScaler().fit(y.reshape(len(y), -1))
        scaled = self.targets.transform(y.reshape(len(y), -1)).astype(np.float32)
        self.net = NeuralNetRegressor(
            PlainLSTM,
            module__n_features=X.shape[2],
            module__n_outputs=scaled.shape[1],
            optimizer=torch.optim.Adam,
            lr=1e-3,
            max_epochs=50,
            train_split=None,
            verbose=0,
        )
        self.net.fit(self._scaled(X), scaled)
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Predict in the units of the targets."""
        y = self.targets.inverse_transform(self.net.predict(self._scaled(X)))
        return y[:, 0] if y.shape[1] == 1 else y

    def _scaled(self, X: NDArray[Any]) -> NDArray[np.float32]:
        return ((X - self.mean) / self.scale).astype(np.float32)


def _flat(X: NDArray[Any]) -> NDArray[Any]:
    return X.reshape(len(X), -1)


def mean(seed: int) -> Any:
    """Predict the mean, always."""
    return DummyRegressor()


def ridge(seed: int) -> Any:
    """Ridge regression on the flattened window, its penalty chosen by leave-one-out."""
    alphas = np.logspace(-3, 5, 17)
    return make_pipeline(FunctionTransformer(_flat), StandardScaler(), RidgeCV(alphas))


def boosting(seed: int) -> Any:
    """Gradient boosting on the flattened window, one model for each output."""
    model = MultiOutputRegressor(HistGradientBoostingRegressor(random_state=seed))
    return make_pipeline(FunctionTransformer(_flat), model)


PEERS = {"mean": mean, "ridge": ridge, "boosting": boosting, "skorch": ByHand}
