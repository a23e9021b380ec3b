"""The skorch net: mini-batches, loss, callbacks, seeding."""

from __future__ import annotations

import copy
import math
import threading
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

BLOCK = 2**22
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
_RNG_LOCK = threading.RLock()
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

    def __getitem__(self, index: Any) -> tuple[Any, Tensor]:
        inputs: Any = _rows(self.X, index)
        if self.sample_weight is not None:
            inputs = {"x": inputs, "sample_weight": _rows(self.sample_weight, index)}
        return inputs, _rows(self.y, index)

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
    """Iterate over a dataset by slices, or by random rows drawn from torch's generator.

    Slices are made smaller where the sequences are large, to at most `BLOCK` numbers.
    """

    def __init__(self, dataset: SequenceDataset, batch_size: int, shuffle: bool = False) -> None:
        self.dataset = dataset
        self.shuffle = shuffle
        most = BLOCK // dataset.X[:1].size // ROWS * ROWS
        self.batch_size = batch_size if shuffle else max(ROWS, min(batch_size, most))

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        n_samples = len(self.dataset)
        order = torch.randperm(n_samples, device="cpu").numpy() if self.shuffle else None
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

    A single step is taken at `lr`.

    L. N. Smith and N. Topin, "Super-convergence", 2018 (arXiv:1708.07120).
    """

    def initialize(self) -> OneCycle:
        self.schedule_: OneCycleLR | None = None
        return self

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        n_steps = net.max_epochs * math.ceil(len(dataset_train) / net.batch_size)
        if self.schedule_ is None and n_steps > 1:
            self.schedule_ = OneCycleLR(
                net.optimizer_, max_lr=net.lr, total_steps=n_steps, cycle_momentum=False
            )

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        schedule = self.schedule_
        if training and schedule is not None and schedule.last_epoch + 1 < schedule.total_steps:
            schedule.step()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.schedule_ = None


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

    def initialize(self) -> BestEpoch:
        self.restore_ = self.patience is not None
        self.best_epoch_: int | None = None
        self.best_loss_ = math.inf
        self.last_epoch_ = 0
        self.n_misses_ = 0
        self.weights_: list[Tensor] = []
        return self

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.initialize()
        self.last_epoch_ = len(net.history)
        if net.history:
            self.weights_ = _copy_weights(net)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if self.n_misses_ == self.patience:
            del net.history[-1]
            raise StopTraining

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        row = net.history[-1]
        losses = (row["train_loss"], row.get("valid_loss", 0.0))
        if not (all(map(math.isfinite, losses)) and net.weights_are_finite()):
            raise DivergedError
        self.last_epoch_, loss = row["epoch"], row[self.monitor]
        self.n_misses_ = 0 if loss < self.best_loss_ - self.tol else self.n_misses_ + 1
        if loss < self.best_loss_:
            best = loss, row["epoch"], _copy_weights(net)
            self.best_loss_, self.best_epoch_, self.weights_ = best

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if self.restore_ and self.weights_:
            with torch.no_grad():
                for parameter, best in zip(net.module_.parameters(), self.weights_, strict=True):
                    parameter.copy_(best)
        self.weights_ = []


def _copy_weights(net: Any) -> list[Tensor]:
    return [weights.detach().clone() for weights in net.module_.parameters()]


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
        with _own_rng(self.device):
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
            state = copy.deepcopy(other.optimizer_.state_dict()["state"])
            self.optimizer_.load_state_dict({**self.optimizer_.state_dict(), "state": state})

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, **kwargs: Any) -> Any:
        with _own_rng(self.device):
            try:
                super().partial_fit(X, y, classes, **kwargs)
            except KeyboardInterrupt:
                self.best_epoch.on_train_end(self)
                _warn("Training was interrupted before or after its epochs.")
        return self

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> Any:
        try:
            super().fit_loop(X, y, epochs, **kwargs)
        except StopTraining:
            pass
        except KeyboardInterrupt:
            self._end_interrupted()
        except DivergedError:
            self._end_diverged()
        return self

    @property
    def best_epoch(self) -> BestEpoch:
        return dict(self.callbacks_)["best_epoch"]

    def _end_interrupted(self) -> None:
        best, epoch = self.best_epoch, len(self.history)
        if best.last_epoch_ < epoch:
            del self.history[-1]
        best.restore_ = True
        if best.best_epoch_ is not None:
            kept = f"the weights of epoch {best.best_epoch_} are kept"
        elif best.weights_:
            kept = "the weights that it went on from are kept"
        elif self.weights_are_finite():
            kept = "no epoch was finished, the weights are kept as they were then"
        else:
            raise self._divergence_error(epoch)
        _warn(f"Training was interrupted in epoch {epoch}; {kept}.")

    def _end_diverged(self) -> None:
        best, epoch = self.best_epoch, len(self.history)
        if best.best_epoch_ is None:
            raise self._divergence_error(epoch)
        best.restore_ = True
        self.initialize_optimizer()
        _warn(
            f"Training diverged in epoch {epoch} (lr={self.lr!r}); the weights of epoch "
            f"{best.best_epoch_} are kept."
        )

    def _divergence_error(self, epoch: int) -> ValueError:
        return ValueError(
            f"Training diverged in epoch {epoch}: a loss or a weight is not finite at "
            f"lr={self.lr!r}. Lower lr, or check X and y for extreme values."
        )

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if self.history:
            self.history[-1]["batches"].clear()
        super().on_epoch_begin(net, **kwargs)
        self._seed_epoch(len(self.history))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.history.record("lr", float(self.optimizer_.param_groups[0]["lr"]))

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        return super().infer(_sequences_of(x), scaled=True, **fit_params)

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        loss = self.criterion_(y_pred, self.module_.scale(y_true.to(y_pred.device)))
        if isinstance(X, dict):
            loss = loss.mean(dim=1) * X["sample_weight"].to(loss)
        return loss.mean()

    def evaluation_step(self, batch: tuple[Any, Tensor], training: bool = False) -> Tensor:
        """Predict a batch, filled up to a multiple of `ROWS` so that its size changes no bit."""
        x, targets = _sequences_of(batch[0]), batch[1]
        n_missing = -len(x) % ROWS
        filled = torch.cat([x, x[:1].expand(n_missing, -1, -1)])
        y = super().evaluation_step((filled, targets), training)
        return self.module_.unscale(y)[: len(x)]

    def weights_are_finite(self) -> bool:
        return all(bool(p.isfinite().all()) for p in self.module_.parameters())

    def _seed_epoch(self, epoch: int) -> None:
        entropy = np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)
        seed = int(entropy[0])
        torch.default_generator.manual_seed(seed)
        if torch.device(self.device).type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)


def _sequences_of(inputs: Any) -> Any:
    return inputs["x"] if isinstance(inputs, dict) else inputs


def _warn(message: str) -> None:
    warnings.warn(message, ConvergenceWarning, stacklevel=2)


@contextmanager
def _own_rng(device: str) -> Iterator[None]:
    """Leave torch's global generators as they were, and other threads' fits alone."""
    cuda = torch.device(device).type == "cuda"
    with (
        _RNG_LOCK,
        torch.random.fork_rng(devices=[device] if cuda else []),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        yield
