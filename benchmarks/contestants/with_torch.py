"""The contestants that are made of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from sizes import Array, Contestant, Size
from torch import Tensor, nn

PREDICT_ROWS = 256


class PlainLSTM(nn.Module):
    """Stacked layers, the last output to a Dense layer."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size.n_features, size.units, size.n_layers, batch_first=True)
        self.dense = nn.Linear(size.units, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Predict from the output at the last step."""
        return self.dense(self.lstm(x)[0][:, -1])


class Hand(Contestant):
    """The loop that one writes by hand, with nothing but what is needed."""

    def fit(self, X: Array, y: Array, n_epochs: int) -> None:
        """Train a new model."""
        torch.manual_seed(0)
        inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
        self.module = PlainLSTM(self.size).train()
        optimizer, loss = torch.optim.Adam(self.module.parameters()), nn.MSELoss()
        for _ in range(n_epochs):
            order = torch.randperm(len(inputs))
            for first in range(0, len(inputs), self.size.batch_size):
                batch = order[first : first + self.size.batch_size]
                optimizer.zero_grad()
                loss(self.module(inputs[batch]), targets[batch]).backward()
                optimizer.step()
        self.module.eval()

    @torch.inference_mode()
    def predict(self, X: Array) -> NDArray[Any]:
        """Call the module on slices."""
        parts = torch.from_numpy(X).split(PREDICT_ROWS)
        return torch.cat([self.module(part) for part in parts]).numpy()

    def predicting_one(self, X: Array) -> Callable[[], Any]:
        """Make a function that calls the module, and no more."""
        row = torch.from_numpy(X[:1])
        return torch.inference_mode()(lambda: self.module(row))


class Skorch(Contestant):
    """Plain skorch."""

    def fit(self, X: Array, y: Array, n_epochs: int) -> None:
        """Train a new model."""
        from skorch import NeuralNetRegressor

        torch.manual_seed(0)
        self.net = NeuralNetRegressor(
            PlainLSTM,
            module__size=self.size,
            optimizer=torch.optim.Adam,
            lr=1e-3,
            batch_size=self.size.batch_size,
            iterator_train__shuffle=True,
            max_epochs=n_epochs,
            train_split=None,
            verbose=0,
        ).fit(X, y)

    def predict(self, X: Array) -> NDArray[Any]:
        """Predict in batches as in training."""
        return self.net.predict(X)


class Sklstm(Contestant):
    """`StackedLSTMRegressor`: the network and the training of the loop by hand."""

    training: ClassVar[dict[str, Any]] = {
        "lr": 1e-3,
        "optimizer": "adam",
        "weight_decay": 0.0,
        "lr_schedule": "constant",
        "clip_norm": None,
    }
    network: ClassVar[dict[str, Any]] = {"skip": None, "pooling": "last"}
    precision: ClassVar[dict[str, Any]] = {}

    def fit(self, X: Array, y: Array, n_epochs: int) -> None:
        """Train a new model."""
        from sklstm import StackedLSTMRegressor

        self.model = StackedLSTMRegressor(
            self.size.n_layers,
            self.size.units,
            linear_steps=None,
            batch_size=self.size.batch_size,
            max_epochs=n_epochs,
            random_state=0,
            **self.network,
            **self.training,
            **self.precision,
        ).fit(X, y)

    def predict(self, X: Array) -> NDArray[Any]:
        """Predict as users do."""
        return self.model.predict(X)


class SklstmTraining(Sklstm):
    """The same network, trained as by default, except for the learning rate."""

    training: ClassVar[dict[str, Any]] = {"lr": 1e-3}


class SklstmDefaults(Sklstm):
    """The default network, trained as by default."""

    network: ClassVar[dict[str, Any]] = {}
    training: ClassVar[dict[str, Any]] = {}


class SklstmBfloat16(Sklstm):
    """The network and the training of the loop by hand, in bfloat16."""

    precision: ClassVar[dict[str, Any]] = {"precision": "bfloat16"}
