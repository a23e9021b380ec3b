"""The epochs of a fit as tasks that scikit-learn's callbacks see."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from skorch.callbacks import Callback

from sklstm._compat import has_callbacks

from .callbacks import StopTraining


@dataclass
class FitTask:
    """A fit, as scikit-learn's callbacks see it.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        The estimator.

    X, y, sample_weight
        As given to its `fit`.
    """

    estimator: Any
    X: Any
    y: Any
    sample_weight: Any

    def begin(self, recipe: Any, n_epochs: int) -> list[tuple[str, Callback]]:
        """Tell the callbacks, if there are any; return what tells them of each epoch."""
        self.context: Any = None
        if not has_callbacks(self.estimator):
            return []
        self.recipe = recipe
        self.context = self.estimator._init_callback_context(max_subtasks=n_epochs)
        self.context.call_on_fit_task_begin(**self._told())
        return [("epoch_tasks", EpochTasks(self))]

    def begin_epoch(self, net: Any) -> Any:
        """Tell the callbacks of a new epoch, and return its context."""
        context = self.context.subcontext(task_name="epoch")
        return context.call_on_fit_task_begin(**self._told(), **self._fitted(net))

    def end_epoch(self, net: Any, context: Any) -> bool:
        """Tell the callbacks of the end of an epoch, and return whether one wants to stop."""
        return bool(context.call_on_fit_task_end(**self._told(), **self._fitted(net)))

    def end(self) -> None:
        """Tell the callbacks that the estimator is fitted."""
        if self.context is not None:
            self.context.call_on_fit_task_end(**self._told(), reconstruction_attributes={})

    def _told(self) -> dict[str, Any]:
        weighted = self.sample_weight is not None
        metadata = {"sample_weight": self.sample_weight} if weighted else None
        return {"estimator": self.estimator, "X": self.X, "y": self.y, "metadata": metadata}

    def _fitted(self, net: Any) -> dict[str, Any]:
        return {
            "reconstruction_attributes": lambda: {
                "net_": as_if_stopped(net),
                "_recipe": self.recipe,
            }
        }


class EpochTasks(Callback):
    """Tell scikit-learn's callbacks of each epoch.

    Parameters
    ----------
    task : FitTask or None
        The fit; `None` once it is over, so that the net keeps neither data nor estimator.
    """

    def __init__(self, task: FitTask | None) -> None:
        self.task = task

    def initialize(self) -> EpochTasks:
        self.stops_ = False
        return self

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if self.task is None:
            return
        if self.stops_:
            del net.history[-1]
            raise StopTraining
        self.context_ = self.task.begin_epoch(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if self.task is not None:
            self.stops_ = self.task.end_epoch(net, self.context_)
            del self.context_

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.initialize()
        self.task = None


def as_if_stopped(net: Any) -> Any:
    """Copy a net in training, with the weights and the history as if it had been stopped."""
    stopped = copy.copy(net)  # which copies module and optimizer
    stopped.history_ = type(net.history)(row for row in net.history if "train_loss" in row)
    stopped.callbacks_ = [
        (name, copy.copy(callback))
        for name, callback in net.callbacks_
        if not isinstance(callback, EpochTasks)
    ]
    own = dict(stopped.callbacks_)
    for name in ("best_epoch", "average"):
        if name in own:
            own[name].on_train_end(stopped)
    return stopped
