"""One model at one depth after the other, each grown from the one before."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any

from sklearn.base import BaseEstimator, clone

from .pipelines import final_step, with_final_step
from .regressor import StackedLSTMRegressor

FEWER, SLOWER = 5, 2


@dataclass
class Stage:
    """A model fitted at one depth, and what it took to grow it from the one before."""

    model: Any
    n_parameters: int
    seconds: float
    n_epochs: int


class Growing(BaseEstimator):
    """Stands in the place of a regressor and fits it at one depth after the other."""

    def __init__(self, regressor: StackedLSTMRegressor, depths: Sequence[int]) -> None:
        self.regressor = regressor
        self.depths = depths

    def fit(self, X: Any, y: Any, **params: Any) -> Growing:
        self.stages_ = list(self._stages(X, y, params))
        return self

    def predict(self, X: Any) -> Any:
        return self.stages_[-1].model.predict(X)

    def get_metadata_routing(self) -> Any:
        return self.regressor.get_metadata_routing()

    def _stages(self, X: Any, y: Any, params: dict[str, Any]) -> Iterator[Stage]:
        given = {name: getattr(self.regressor, name) for name in ("lr", "max_epochs", "warm_start")}
        model, n_before = self.regressor, 0
        for place, depth in enumerate(self.depths):
            start = time.perf_counter()
            model = copy.copy(model).set_params(n_layers=depth, warm_start=True)
            model.fit(X, y, **params)
            seconds = time.perf_counter() - start
            finished = copy.copy(model).set_params(**given)
            yield Stage(finished, model.n_parameters_, seconds, model.n_iter_ - n_before)
            if place == 0:
                n_epochs = math.ceil(model.net_.max_epochs / FEWER)
                model.set_params(max_epochs=n_epochs, lr=model.net_.lr / SLOWER)
            n_before = model.n_iter_


def grow(
    estimator: Any, depths: Sequence[int], X: Any, y: Any, fit_params: dict[str, Any]
) -> list[Stage]:
    """Fit a clone of an estimator at each depth; what comes before the regressor, once."""
    estimator = clone(estimator)
    growing = Growing(final_step(estimator), depths)
    fitted = with_final_step(estimator, growing).fit(X, y, **fit_params)
    stages: list[Stage] = final_step(fitted).stages_
    for stage in stages:
        stage.model = with_final_step(fitted, stage.model)
    return stages


def check_depths(depths: Iterable[int]) -> list[int]:
    """Check that numbers of layers are integers of at least 1 in rising order.

    Parameters
    ----------
    depths : iterable of int
        Numbers of layers.

    Returns
    -------
    list of int
        The same.

    Raises
    ------
    ValueError
        If they are not, or if there are none.
    """
    values = list(depths) if isinstance(depths, Iterable) else []
    whole = all(isinstance(value, Integral) for value in values)
    if not values or not whole or values[0] < 1 or any(a >= b for a, b in pairwise(values)):
        raise ValueError(f"depths must be rising integers of at least 1, got {depths!r}.")
    return [int(value) for value in values]
