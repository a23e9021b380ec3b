"""What a fit does at each batch and epoch: skorch callbacks of one idea each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm

START, FLOOR, MEMORY = 25, 0.3, 0.2
FALL, LAST, FEWEST = 0.05, 5, 30


class StopTraining(KeyboardInterrupt):
    """Training is done, in skorch's way of saying so."""


class DivergedError(Exception):
    """A loss or a weight is not finite."""


class ClipNorm(Callback):
    """Limit the norm of the gradient over all weights.

    R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural
    networks", ICML 2013.

    Parameters
    ----------
    max_norm : float
        Largest norm.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    @torch.no_grad()
    def on_grad_computed(self, net: Any, *args: Any, **kwargs: Any) -> None:
        gradients = [weight.grad for weight in net.in_training() if weight.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        part = self.max_norm / (norm + 1e-6)
        if part < 1:
            torch._foreach_mul_(gradients, part)


class OneCycle(Callback):
    """Learning rate of one cycle: up to `lr` over the first 30 % of the steps, then to `FLOOR`.

    A single step is taken at `lr`.

    L. N. Smith and N. Topin, "Super-convergence", 2018 (arXiv:1708.07120).
    """

    remembers = ("n_steps_",)

    def initialize(self) -> OneCycle:
        self.schedule_: OneCycleLR | None = None
        self.n_steps_ = 0
        return self

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        n_steps = net.max_epochs * math.ceil(len(dataset_train) / net.batch_size)
        if self.schedule_ is None and n_steps > 1:
            self.schedule_ = OneCycleLR(
                net.optimizer_,
                max_lr=net.lr,
                total_steps=n_steps,
                cycle_momentum=False,
                div_factor=START,
                final_div_factor=1 / (START * FLOOR),
            )
            self._go_on(self.schedule_)

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        schedule = self.schedule_
        if training and schedule is not None and schedule.last_epoch + 1 < schedule.total_steps:
            schedule.step()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.n_steps_ = 0 if self.schedule_ is None else self.schedule_.last_epoch

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.initialize()

    def _go_on(self, schedule: OneCycleLR) -> None:
        if self.n_steps_:
            schedule.load_state_dict({"last_epoch": self.n_steps_ - 1, "_step_count": 2})
            schedule.step()


class Average(Callback):
    """Exponential average of the weights, over some `MEMORY` of all steps.

    B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by averaging",
    SIAM Journal on Control and Optimization 30(4), 1992.
    """

    remembers = ("n_steps_",)

    def initialize(self) -> Average:
        self.in_training_: list[Tensor] = []
        self.weights_: list[Tensor] = []
        self.n_steps_ = 0
        return self

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.in_training_ = list(net.module_.parameters())
        self.weights_ = copies(self.in_training_)
        self.n_steps_ = 0

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        self.memory_ = MEMORY * net.max_epochs * math.ceil(len(dataset_train) / net.batch_size)

    @torch.no_grad()
    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if training:
            self.n_steps_ += 1
            part = max(1 / max(1.0, self.memory_), 9 / (10 + self.n_steps_))
            torch._foreach_lerp_(self.weights_, self.in_training_, part)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.initialize()


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

    remembers = ("best_epoch_", "best_loss_", "last_epoch_", "n_misses_", "goes_on_")

    def __init__(self, monitor: str, patience: int | None, tol: float) -> None:
        self.monitor = monitor
        self.patience = patience
        self.tol = tol

    def initialize(self) -> BestEpoch:
        self.restore_ = self.patience is not None
        self.best_epoch_: int | None = None
        self.best_loss_ = math.inf
        self.last_epoch_ = 0
        self.goes_on_ = False
        self.n_held_out_ = 0
        self.n_misses_ = 0
        self.is_over_ = False
        self.weights_: list[Tensor] = []
        return self

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.initialize()
        self.last_epoch_ = len(net.history)
        self.goes_on_ = bool(net.history)
        if net.history:
            self.weights_ = copies(net.weights_to_keep())

    def on_epoch_begin(self, net: Any, dataset_valid: Any = None, **kwargs: Any) -> None:
        self.n_held_out_ = 0 if dataset_valid is None else len(dataset_valid)
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
            best = loss, row["epoch"], copies(net.weights_to_keep())
            self.best_loss_, self.best_epoch_, self.weights_ = best

    def fall_at_end(self, net: Any) -> tuple[float, float] | None:
        """Return from where to where the loss fell in the last fifth of the epochs.

        `None` if it did not fall by more than 5 %: a schedule that ends at a low rate lowers
        the loss at the end by a little whatever its length. So do the first epochs, and a new
        cycle after others: fewer than five epochs, and a fit that goes on, tell nothing. Nor
        does the loss on fewer than 30 samples.
        """
        n_last = len(net.history) // LAST
        held_out = 0 if self.patience is None else self.n_held_out_
        if self.goes_on_ or held_out < FEWEST or not n_last:
            return None
        losses = net.history[:, self.monitor]
        before, last = min(losses[:-n_last]), min(losses[-n_last:])
        return (before, last) if last < min((1 - FALL) * before, before - self.tol) else None

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if self.is_over_:  # called again after an interrupt: the weights are in place
            return
        net.set_weights(self.weights_ if self.restore_ and self.weights_ else net.weights_to_keep())
        self.is_over_ = True
        self.weights_ = []


def copies(weights: Iterable[Tensor]) -> list[Tensor]:
    """Copy weights, without their gradients."""
    return [tensor.detach().clone() for tensor in weights]


class Progress(Callback):
    """A progress bar: epochs, losses, time left."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=net.max_epochs, unit="epoch")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        row = net.history[-1]
        losses = {name: row[name] for name in ("train_loss", "valid_loss") if name in row}
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update()

    def skip(self, n_epochs: int) -> None:
        """Count epochs that are done already."""
        self.bar_.initial = self.bar_.n = n_epochs
        self.bar_.refresh()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_


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
        callbacks.append(("clip_norm", ClipNorm(clip_norm)))
    if lr_schedule == "one_cycle":
        callbacks.append(("lr_schedule", OneCycle()))
    if progress:
        callbacks.append(("progress", Progress()))
    callbacks.append(("best_epoch", BestEpoch(monitor, patience, tol)))
    if lr_schedule == "one_cycle":
        callbacks.append(("average", Average()))
    return callbacks
