"""The regressor at the end of a pipeline or inside another estimator, and what comes before it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from .regressor import StackedLSTMRegressor


def final_step(estimator: Any) -> Any:
    """Return what stands at the end of a pipeline, or the estimator itself.

    A `TransformedTargetRegressor` is seen through: its regressor, the fitted one if there is one.
    """
    if isinstance(estimator, Pipeline) and estimator.steps:
        return final_step(estimator.steps[-1][1])
    if isinstance(estimator, TransformedTargetRegressor):
        return final_step(_regressor_of(estimator))
    return estimator


def final_regressor(estimator: Any) -> StackedLSTMRegressor:
    """Find the regressor at the end of a pipeline, or of pipelines in pipelines.

    Parameters
    ----------
    estimator : StackedLSTMRegressor, Pipeline or TransformedTargetRegressor
        The regressor, a pipeline whose last step is one, or what transforms the targets of
        either.

    Returns
    -------
    StackedLSTMRegressor
        That regressor, not a copy of it.

    Raises
    ------
    TypeError
        If there is another estimator.
    """
    last = final_step(estimator)
    if not isinstance(last, StackedLSTMRegressor):
        kind = type(last).__name__
        if last is not estimator:
            kind = f"a {type(estimator).__name__} of {kind}"
        raise TypeError(
            "estimator must be a StackedLSTMRegressor or a Pipeline or TransformedTargetRegressor "
            f"ending in one, got {kind}."
        )
    return last


def final_prefix(estimator: Any) -> str:
    """Return what comes before the names of the final step's parameters."""
    if isinstance(estimator, TransformedTargetRegressor):
        return f"regressor__{final_prefix(_regressor_of(estimator))}"
    if not isinstance(estimator, Pipeline):
        return ""
    name, last = estimator.steps[-1]
    return f"{name}__{final_prefix(last)}"


def with_final_step(estimator: Any, step: Any) -> Any:
    """Return a pipeline with another final step, and with the same steps before it."""
    if isinstance(estimator, TransformedTargetRegressor):
        changed = copy.copy(estimator)
        if hasattr(estimator, "regressor_"):
            changed.regressor_ = with_final_step(estimator.regressor_, step)
            step = clone(step)
        changed.regressor = with_final_step(estimator.regressor, step)
        return changed
    if not isinstance(estimator, Pipeline):
        return step
    name, last = estimator.steps[-1]
    changed = copy.copy(estimator)
    changed.steps = [*estimator.steps[:-1], (name, with_final_step(last, step))]
    return changed


def reaching(estimator: Any, X: Any) -> Any:
    """Put X through the steps before the regressor at the end of a fitted pipeline."""
    while isinstance(estimator, (Pipeline, TransformedTargetRegressor)):
        if isinstance(estimator, TransformedTargetRegressor):
            estimator = _regressor_of(estimator)
            continue
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator.steps[-1][1]
    return X


def targets_reaching(estimator: Any, y: Any) -> Any:
    """Put y through the transformers of targets around the regressor of a fitted estimator."""
    if isinstance(estimator, Pipeline):
        return targets_reaching(estimator.steps[-1][1], y)
    if not isinstance(estimator, TransformedTargetRegressor):
        return y
    targets = np.asarray(y)
    single = targets.ndim == 1
    targets = estimator.transformer_.transform(targets.reshape(-1, 1) if single else targets)
    if single and targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    return targets_reaching(estimator.regressor_, targets)


def _regressor_of(estimator: TransformedTargetRegressor) -> Any:
    return getattr(estimator, "regressor_", estimator.regressor)
