"""The skorch net: mini-batches, loss, callbacks, seeding."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback, GradientNormClipping
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import Dataset
from tqdm.auto import tqdm

PREDICT_ROWS = 256
ROWS = 4

LOSSES: dict[str, type[nn.Module]] = {
    "squared_error": nn.MSELoss,
    "absolute_error": nn.L1Loss,
    "huber": nn.HuberLoss,
}
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}
Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


class SequenceDataset(Dataset[Any]):
    """Sequences, targets and weights, indexed a batch at a time.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_timesteps, n_features)
        Any dtype, strides and storage: only the rows of a batch are ever read.

    y : ndarray of shape (n_samples, n_outputs), default=None
        Targets, unscaled.

    sample_weight : ndarray of shape (n_samples,), default=None
        Weights; only their ratios matter.
    """

    def __init__(
        self,
        X: NDArray[Any],
        y: NDArray[Any] | None = None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> None:
        self.X = X
        self.y = np.empty((len(X), 0)) if y is None else y.reshape(len(y), -1)
        self.sample_weight = None if sample_weight is None else sample_weight / sample_weight.mean()

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: Any) -> tuple[Tensor, Any]:
        targets: Any = _rows(self.y, index)
        if self.sample_weight is not None:
            targets = targets, _rows(self.sample_weight, index)
        return _rows(self.X, index), targets

    def split(self, n_head: int) -> tuple[SequenceDataset, SequenceDataset]:
        """Return the first `n_head` samples and the rest, without a copy."""
        return self._part(slice(None, n_head)), self._part(slice(n_head, None))

    def _part(self, part: slice) -> SequenceDataset:
        return SequenceDataset(
            self.X[part],
            self.y[part],
            None if self.sample_weight is None else self.sample_weight[part],
        )


def _rows(values: NDArray[Any], index: Any) -> Tensor:
    single = values.dtype.kind == "f" and values.dtype.itemsize <= 4
    dtype = np.float32 if single else np.float64
    return torch.from_numpy(np.require(values[index], dtype, ["C", "W"]))


class Batches:
    """Iterate over a dataset by slices, or by random rows drawn from torch's generator."""

    def __init__(self, dataset: SequenceDataset, batch_size: int, shuffle: bool = False) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        n_samples = len(self.dataset)
        order = torch.randperm(n_samples).numpy() if self.shuffle else None
        for start in range(0, n_samples, self.batch_size):
            batch = slice(start, min(start + self.batch_size, n_samples))
            yield self.dataset[batch if order is None else order[batch]]


class TailSplit:
    """Hold out the last part of the data: overlapping windows leak into a random split."""

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction

    def __call__(
        self, dataset: SequenceDataset, y: Any = None
    ) -> tuple[SequenceDataset, SequenceDataset]:
        n_samples = len(dataset)
        n_tail = math.ceil(self.fraction * n_samples)
        if n_tail == n_samples:
            raise ValueError(
                f"early_stopping with validation_fraction={self.fraction} leaves nothing to "
                f"train on: n_samples={n_samples}."
            )
        return dataset.split(n_samples - n_tail)


class OneCycle(Callback):
    """Learning rate of one cycle: up to `lr` over the first 30 % of the steps, then to 0.

    L. N. Smith and N. Topin, "Super-convergence", 2018 (arXiv:1708.07120).
    """

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.schedule_: OneCycleLR | None = None

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        if self.schedule_ is None:
            n_batches = math.ceil(len(dataset_train) / net.batch_size)
            self.schedule_ = OneCycleLR(
                net.optimizer_,
                max_lr=net.lr,
                total_steps=net.max_epochs * n_batches,
                cycle_momentum=False,
            )

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        schedule = self.schedule_
        if training and schedule is not None and schedule.last_epoch + 1 < schedule.total_steps:
            schedule.step()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        del self.schedule_


class BestEpoch(Callback):
    """Remember the weights of the best epoch, and stop when it is long past.

    Parameters
    ----------
    monitor : {"train_loss", "valid_loss"}
        The loss to watch.

    patience : int or None
        Epochs without an improvement of more than `tol` before training stops and the
        best weights are put back; `None` trains to the end and keeps the last ones.

    tol : float
        Smallest improvement that counts.
    """

    def __init__(self, monitor: str, patience: int | None, tol: float) -> None:
        self.monitor = monitor
        self.patience = patience
        self.tol = tol

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.restore_ = self.patience is not None
        self.best_epoch_: int | None = None
        self.best_loss_ = math.inf
        self.n_misses_ = 0
        self.weights_: list[Tensor] = []

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        row = net.history[-1]
        losses = (row["train_loss"], row.get("valid_loss", 0.0))
        if not (all(map(math.isfinite, losses)) and net.weights_are_finite()):
            raise DivergedError
        loss = row[self.monitor]
        self.n_misses_ = 0 if loss < self.best_loss_ - self.tol else self.n_misses_ + 1
        if loss < self.best_loss_:
            self.best_loss_, self.best_epoch_ = loss, row["epoch"]
            self.weights_ = [p.detach().clone() for p in net.module_.parameters()]
        if self.n_misses_ == self.patience:
            raise StopTraining

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if self.restore_ and self.weights_:
            with torch.no_grad():
                for parameter, best in zip(net.module_.parameters(), self.weights_, strict=True):
                    parameter.copy_(best)
        self.weights_ = []


class Progress(Callback):
    """A progress bar: epochs, losses, time left."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=net.max_epochs, unit="epoch")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        row = net.history[-1]
        losses = {name: row[name] for name in ("train_loss", "valid_loss") if name in row}
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_


class StopTraining(KeyboardInterrupt):
    """Training is done, in skorch's way of saying so."""


class DivergedError(Exception):
    """A loss or a weight is not finite."""


def training_callbacks(
    *,
    lr_schedule: str,
    clip_norm: float | None,
    monitor: str,
    patience: int | None,
    tol: float,
    progress: bool,
) -> list[tuple[str, Callback]]:
    """List the callbacks of one fit, in the order in which they run."""
    callbacks: list[tuple[str, Callback]] = []
    if clip_norm is not None:
        callbacks.append(("clip_norm", GradientNormClipping(clip_norm)))
    if lr_schedule == "one_cycle":
        callbacks.append(("lr_schedule", OneCycle()))
    if progress:
        callbacks.append(("progress", Progress()))
    return [*callbacks, ("best_epoch", BestEpoch(monitor, patience, tol))]


def resolve_device(device: str) -> str:
    """Turn "auto" into a device, and refuse one that cannot be used.

    Raises
    ------
    ValueError
        If torch does not know the device, or cannot hold float64 numbers on it.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ValueError(f"device={device!r} cannot be used here: {reason}") from error
    return device


class StackedLSTMNet(NeuralNetRegressor):
    """A skorch net that trains in standardized units and predicts in the target's.

    Parameters
    ----------
    *args, **kwargs
        As for :class:`skorch.NeuralNetRegressor`.

    seed : int, default=0
        Initialization depends on it alone; shuffling and dropout of an epoch on it and on
        the number of the epoch. Torch's global generators are left as they were.
    """

    def __init__(self, *args: Any, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seed = seed

    def initialize(self) -> StackedLSTMNet:
        with _forked_rng(self.device):
            self._seed_epoch(0)
            super().initialize()
        return self

    def set_statistics(self, inputs: Statistics, outputs: Statistics) -> None:
        """Set the mean and the scale of the features and of the targets."""
        for scaler, (mean, scale) in (
            (self.module_.input_scaler, inputs),
            (self.module_.output_scaler, outputs),
        ):
            scaler.mean.copy_(torch.from_numpy(mean))
            scaler.scale.copy_(torch.from_numpy(scale))

    def resume(self, other: StackedLSTMNet) -> None:
        """Go on from the weights, statistics and history of another net."""
        self.module_.load_state_dict(other.module_.state_dict())
        rows = ({**row, "batches": []} for row in other.history)
        self.history_: Any = type(other.history)(rows)

    def resume_optimizer(self, other: StackedLSTMNet) -> None:
        """Go on with another net's optimizer state, if the optimizers are of one kind."""
        if type(self.optimizer_) is type(other.optimizer_):
            state = other.optimizer_.state_dict()["state"]
            self.optimizer_.load_state_dict({**self.optimizer_.state_dict(), "state": state})

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> Any:
        with _forked_rng(self.device):
            try:
                super().fit_loop(X, y, epochs, **kwargs)
            except StopTraining:
                pass
            except (KeyboardInterrupt, DivergedError) as stop:
                self._fall_back(stop)
        return self

    def _fall_back(self, stop: BaseException) -> None:
        """Return to the best epoch so far, or say that there is none."""
        best = dict(self.callbacks_)["best_epoch"]
        best.restore_ = True
        diverged = isinstance(stop, DivergedError)
        what = "diverged" if diverged else "was interrupted"
        what = f"Training {what} in epoch {len(self.history)}"
        if self.history and "train_loss" not in self.history[-1]:
            del self.history[-1]
        if best.best_epoch_ is not None:
            kept = f"the weights of epoch {best.best_epoch_} are kept"
        elif not diverged and self.weights_are_finite():
            kept = "no epoch was finished, the weights are kept as they were then"
        else:
            raise ValueError(
                f"{what}: a loss or a weight is not finite at lr={self.lr!r}. Lower lr, or "
                "check X and y for extreme values."
            )
        warnings.warn(f"{what} (lr={self.lr!r}); {kept}.", ConvergenceWarning, stacklevel=2)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if self.history:
            self.history[-1]["batches"].clear()
        super().on_epoch_begin(net, **kwargs)
        self._seed_epoch(len(self.history))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.history.record("lr", self._lr())

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        return super().infer(x, scaled=True, **fit_params)

    def get_loss(
        self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False
    ) -> Tensor:
        weighted = isinstance(y_true, (tuple, list))
        targets, weight = y_true if weighted else (y_true, None)
        loss = self.criterion_(y_pred, self.module_.scale(targets.to(y_pred.device)))
        if weight is not None:
            loss = loss.mean(dim=1) * weight.to(loss)
        return loss.mean()

    def evaluation_step(self, batch: tuple[Tensor, Any], training: bool = False) -> Tensor:
        """Predict a batch, filled up to a multiple of `ROWS` so that its size changes no bit."""
        x, targets = batch
        n_missing = -len(x) % ROWS
        filled = torch.cat([x, x[:1].expand(n_missing, -1, -1)])
        y = super().evaluation_step((filled, targets), training)
        return self.module_.unscale(y)[: len(x)]

    def _lr(self) -> float:
        return float(self.optimizer_.param_groups[0]["lr"])

    def weights_are_finite(self) -> bool:
        return all(bool(p.isfinite().all()) for p in self.module_.parameters())

    def _seed_epoch(self, epoch: int) -> None:
        entropy = np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)
        seed = int(entropy[0])
        torch.default_generator.manual_seed(seed)
        if torch.device(self.device).type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)


@contextmanager
def _forked_rng(device: str) -> Iterator[None]:
    cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        yield
