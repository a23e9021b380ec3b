"""The regressor at the end of a pipeline or inside another estimator, and what is before it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from .regressor import StackedLSTMRegressor


def final_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, or the estimator itself.

    Of a `TransformedTargetRegressor`, it is the last step of its regressor, the fitted one if
    there is one.
    """
    while True:
        if isinstance(estimator, Pipeline) and estimator.steps:
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, TransformedTargetRegressor):
            estimator = _regressor_of(estimator)
        else:
            return estimator


def final_regressor(estimator: Any) -> StackedLSTMRegressor:
    """Return the regressor at the end of an estimator, not a copy; refuse other estimators."""
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
    """Return the prefix of the names of the final step's parameters, such as "lstm__"."""
    if isinstance(estimator, TransformedTargetRegressor):
        return f"regressor__{final_prefix(_regressor_of(estimator))}"
    if not isinstance(estimator, Pipeline):
        return ""
    name, last = estimator.steps[-1]
    return f"{name}__{final_prefix(last)}"


def transform_X(estimator: Any, X: Any) -> Any:
    """Transform X with the steps before the regressor at the end of a fitted estimator."""
    while isinstance(estimator, (Pipeline, TransformedTargetRegressor)):
        if isinstance(estimator, TransformedTargetRegressor):
            estimator = _regressor_of(estimator)
            continue
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator.steps[-1][1]
    return X


def transform_y(estimator: Any, y: Any) -> Any:
    """Transform y with the transformers of targets around the regressor of a fitted estimator."""
    while isinstance(estimator, (Pipeline, TransformedTargetRegressor)):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
            continue
        # As `TransformedTargetRegressor.fit` does: a transformer sees a column, and a single
        # column is a vector again for the regressor.
        y = np.asarray(y)
        is_vector = y.ndim == 1
        y = estimator.transformer_.transform(y.reshape(-1, 1) if is_vector else y)
        if is_vector and y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        estimator = estimator.regressor_
    return y


def _regressor_of(estimator: TransformedTargetRegressor) -> Any:
    return getattr(estimator, "regressor_", estimator.regressor)
