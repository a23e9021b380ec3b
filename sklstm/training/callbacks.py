"""What happens at each batch and epoch of a fit: skorch callbacks of one idea each.

What a callback remembers from epoch to epoch is in the `state_` of the net, so that a checkpoint
has it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from skorch.callbacks import Callback
from torch.nn.utils import clip_grad_norm_
from tqdm.auto import tqdm

from .plan import FitPlan
from .state import copies

# The one-cycle rate rises over a part of the steps, from a 25th of the highest rate, and falls to a
# part of it. These are torch's defaults but for the end: as the weights are averaged, 0.3 there is
# better than nearly 0 (benchmarks/ablation.py).
RISING_PART, START_DIVISOR, END_PART = 0.3, 25, 0.3
# Part of all steps over which the weights are averaged.
AVERAGED_PART = 0.2


class DivergedError(Exception):
    """A loss or a weight is not finite."""


class ClipNorm(Callback):
    """Scale gradients down to a largest norm over all weights.

    R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural
    networks", ICML 2013. skorch's `GradientNormClipping` walks through the module in each step,
    which takes longer than the clipping.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def on_grad_computed(self, net: Any, *args: Any, **kwargs: Any) -> None:
        clip_grad_norm_(net.weights_in_training(), self.max_norm)


def one_cycle(step: int, n_steps: int, highest: float) -> float:
    """Return the learning rate of a step, counted from 0, of a cycle.

    It rises and falls along half a cosine each, as in `torch.optim.lr_scheduler.OneCycleLR`
    (L. N. Smith and N. Topin, "Super-convergence", arXiv:1708.07120, 2018).
    """
    if n_steps == 1:
        return highest
    lowest = highest / START_DIVISOR
    top, last = RISING_PART * n_steps - 1, n_steps - 1
    if step <= top:
        first, end, part = lowest, highest, step / top
    else:
        first, part = highest, (step - top) / (last - top)
        end = lowest / (1 / (START_DIVISOR * END_PART))  # rounded as torch does
    return end + (first - end) / 2.0 * (math.cos(math.pi * part) + 1)


class OneCycle(Callback):
    """Set the learning rate of each step to that of one cycle over all steps of the fit."""

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        self.n_steps_ = net.steps_in_fit(dataset_train)
        self._set_rate(net)

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if training:
            net.state_.steps_done += 1
            self._set_rate(net)

    def _set_rate(self, net: Any) -> None:
        step = min(net.state_.steps_done, self.n_steps_ - 1)
        for group in net.optimizer_.param_groups:
            group["lr"] = one_cycle(step, self.n_steps_, net.lr)


class Average(Callback):
    """Keep an exponential average of the weights, over a part of all steps.

    B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by averaging",
    SIAM Journal on Control and Optimization 30(4), 1992. torch's `AveragedModel` walks through two
    modules in each step, which in small models takes many times as long as the averaging.
    """

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.weights_ = list(net.module_.parameters())
        if net.state_.average is None:
            net.state_.average = copies(self.weights_)

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        self.n_averaged_ = max(1.0, AVERAGED_PART * net.steps_in_fit(dataset_train))

    @torch.no_grad()
    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if training:
            # The first steps count for more, or the average would keep the initial weights long.
            part = max(1 / self.n_averaged_, 9 / (10 + net.state_.steps_done))
            torch._foreach_lerp_(net.state_.average, self.weights_, part)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        del self.weights_


class BestEpoch(Callback):
    """Remember the weights of the best epoch, and stop training when it is long past.

    Parameters
    ----------
    monitor : {"train_loss", "valid_loss"}
        The loss to watch.

    patience : int or None
        Epochs without a lower loss after which training stops; `None` never stops it.
    """

    def __init__(self, monitor: str, patience: int | None) -> None:
        self.monitor = monitor
        self.patience = patience

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        if net.state_.is_over:  # a user trains the net itself, with the methods of skorch
            net.begin()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        state, row = net.state_, net.history[-1]
        losses = (row["train_loss"], row.get("valid_loss", 0.0))
        if not (all(map(math.isfinite, losses)) and net.weights_are_finite()):
            raise DivergedError
        state.last_epoch, loss = row["epoch"], row[self.monitor]
        if loss < state.best_loss:
            best = loss, row["epoch"], copies(net.weights_to_keep()), 0
            # In one statement, which Ctrl-C cannot cut in two.
            state.best_loss, state.best_epoch, state.best_weights, state.n_misses = best
        else:
            state.n_misses += 1
        if self.patience is not None and state.n_misses >= self.patience:
            state.stop = True


class Progress(Callback):
    """A progress bar: epochs, losses, time left."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=net.max_epochs, initial=net.state_.epochs_done, unit="epoch")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        row = net.history[-1]
        losses = {name: row[name] for name in ("train_loss", "valid_loss") if name in row}
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_


class EpochTasks(Callback):
    """Tell a task of the beginning and the end of each epoch; its answer may stop training.

    Parameters
    ----------
    task : object or None
        With ``begin_epoch(net)`` and ``end_epoch(net)``, which returns whether to stop. `None` once
        the fit is over, so that the net keeps neither data nor estimator.
    """

    def __init__(self, task: Any) -> None:
        self.task = task

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if self.task is not None:
            self.task.begin_epoch(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if self.task is not None and self.task.end_epoch(net):
            net.state_.stop = True

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.task = None


def callbacks_of(plan: FitPlan, *, progress: bool) -> list[tuple[str, Callback]]:
    """List the callbacks of a fit, in the order in which they run."""
    stops, cycles = plan.early_stopping, plan.lr_schedule == "one_cycle"
    best = BestEpoch(
        "valid_loss" if stops else "train_loss", plan.n_iter_no_change if stops else None
    )
    listed: list[tuple[str, Callback | None]] = [
        ("clip_norm", None if plan.clip_norm is None else ClipNorm(plan.clip_norm)),
        ("lr_schedule", OneCycle() if cycles else None),
        ("best_epoch", best),
        ("progress", Progress() if progress else None),
        ("average", Average() if cycles else None),
    ]
    return [(name, callback) for name, callback in listed if callback is not None]
