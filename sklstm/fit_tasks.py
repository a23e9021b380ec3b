"""A fit and its epochs as tasks that scikit-learn's callbacks see."""

from __future__ import annotations

from typing import Any

from .training.net import StackedLSTMNet
from .training.plan import FitPlan


class FitTask:
    """A fit, as scikit-learn's callbacks see it.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        The estimator, on which the callbacks are set.

    X, y, sample_weight
        As given to its `fit`.

    plan : FitPlan
        Plan of the fit.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, plan: FitPlan) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.estimator = estimator
        self.plan = plan
        self.told = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self.context: Any = None
        self.epoch: Any = None

    def begin(self, n_epochs: int) -> None:
        """Tell the callbacks that the fit begins."""
        self.context = self.estimator._init_callback_context(max_subtasks=n_epochs)
        self.context.call_on_fit_task_begin(**self.told)

    def begin_epoch(self, net: StackedLSTMNet) -> None:
        """Tell the callbacks that an epoch begins."""
        self.epoch = self.context.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.told, **self._fitted(net))

    def end_epoch(self, net: StackedLSTMNet) -> bool:
        """Tell the callbacks that an epoch ends, and return whether one wants to stop."""
        return bool(self.epoch.call_on_fit_task_end(**self.told, **self._fitted(net)))

    def end(self) -> None:
        """Tell the callbacks that the estimator is fitted."""
        self.context.call_on_fit_task_end(**self.told, reconstruction_attributes={})

    def _fitted(self, net: StackedLSTMNet) -> dict[str, Any]:
        """Return what makes a fitted estimator of a copy, as if training had been stopped now."""
        return {
            "reconstruction_attributes": lambda: {"net_": net.as_if_stopped(), "_plan": self.plan}
        }
