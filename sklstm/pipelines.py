"""The regressor at the end of a pipeline, and what comes before it."""

from __future__ import annotations

import copy
from typing import Any

from sklearn.pipeline import Pipeline

from .regressor import StackedLSTMRegressor


def final_step(estimator: Any) -> Any:
    """Return what stands at the end of a pipeline, or the estimator itself."""
    if isinstance(estimator, Pipeline) and estimator.steps:
        return final_step(estimator.steps[-1][1])
    return estimator


def final_regressor(estimator: Any) -> StackedLSTMRegressor:
    """Find the regressor at the end of a pipeline, or of pipelines in pipelines.

    Parameters
    ----------
    estimator : StackedLSTMRegressor or sklearn.pipeline.Pipeline
        The regressor, or a pipeline whose last step is one.

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
        kind = type(last).__name__ if last is estimator else f"a Pipeline of {type(last).__name__}"
        raise TypeError(
            f"estimator must be a StackedLSTMRegressor or a Pipeline ending in one, got {kind}."
        )
    return last


def final_prefix(estimator: Any) -> str:
    """Return what comes before the names of the final step's parameters."""
    if not isinstance(estimator, Pipeline):
        return ""
    name, last = estimator.steps[-1]
    return f"{name}__{final_prefix(last)}"


def with_final_step(estimator: Any, step: Any) -> Any:
    """Return a pipeline with another final step, and with the same steps before it."""
    if not isinstance(estimator, Pipeline):
        return step
    name, last = estimator.steps[-1]
    changed = copy.copy(estimator)
    changed.steps = [*estimator.steps[:-1], (name, with_final_step(last, step))]
    return changed


def reaching(estimator: Any, X: Any) -> Any:
    """Put X through the steps before the regressor at the end of a fitted pipeline."""
    while isinstance(estimator, Pipeline):
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator.steps[-1][1]
    return X
