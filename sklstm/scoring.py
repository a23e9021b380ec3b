"""scikit-learn's scorers for targets at each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import check_scoring
from sklearn.utils.metadata_routing import UNUSED

from .data.sequences import Sequences
from .data.targets import check_same_spans, join_steps, mean_score


class _Given(RegressorMixin, BaseEstimator):
    """Predicts what it is given, so that a scorer sees predictions that are there already."""

    def fit(self, X: Any, y: Any = None) -> _Given:
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        return X


class StepScorer(BaseEstimator):
    """What `step_scorer` makes; a `BaseEstimator` for its `set_score_request`."""

    __metadata_request__score: ClassVar[dict[str, str]] = {"estimator": UNUSED}

    def __init__(self, scoring: str | Callable[..., float]) -> None:
        self.scoring = scoring

    def __call__(
        self, estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None = None
    ) -> float:
        return self.score(estimator, X, y, sample_weight)

    def score(
        self, estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None = None
    ) -> float:
        """Score the labelled steps of all sequences."""
        y_true, y_pred = join_steps(y, "y"), join_steps(estimator.predict(X), "the prediction")
        _check_same_shapes(y_true, y_pred)
        return mean_score(self._score, y_true, y_pred.steps(), sample_weight)

    def _score(
        self, y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: NDArray[Any] | None
    ) -> float:
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(check_scoring(_Given(), self.scoring)(_Given(), y_pred, y_true, **weight))


def step_scorer(scoring: str | Callable[..., float]) -> StepScorer:
    """Make a scorer for many-to-many of one for tables.

    scikit-learn's metrics take 1-D and 2-D targets without NaN. This one joins the steps
    of all sequences, leaves out those without a label, and hands the rest on. Several
    outputs are scored one by one, and the mean is taken.

    Parameters
    ----------
    scoring : str or callable
        Name of a scikit-learn scorer, or a scorer, that needs `predict` alone.

    Returns
    -------
    callable
        ``scorer(estimator, X, y, sample_weight=None)``, for the `scoring` of
        cross-validation and searches. `y` is as for `StackedLSTMRegressor` with
        `return_sequences`; `sample_weight` is one weight a sequence, and is routed where
        ``set_score_request(sample_weight=True)`` asks for it.

    Raises
    ------
    ValueError
        If there is no such scorer; when scoring, if the predictions are not one for each
        label.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklstm import StackedLSTMRegressor, step_scorer
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(length, 1)) for length in rng.integers(5, 15, size=60)]
    >>> y = [np.cumsum(x) for x in X]
    >>> model = StackedLSTMRegressor(return_sequences=True, max_epochs=2, random_state=0)
    >>> scoring = step_scorer("neg_mean_absolute_error")
    >>> cross_val_score(model, X, y, scoring=scoring, cv=3).shape
    (3,)
    """
    check_scoring(_Given(), scoring)
    return StepScorer(scoring)


def _check_same_shapes(y_true: Sequences, y_pred: Sequences) -> None:
    if y_true.n_features != y_pred.n_features:
        raise ValueError(
            f"y has {y_true.n_features} outputs at each step, the prediction {y_pred.n_features}."
        )
    check_same_spans(y_true, y_pred, "the prediction")
    lost = ~np.isnan(y_true.steps()) & np.isnan(y_pred.steps())
    if lost.any():
        place = int(lost.any(axis=1).argmax())
        sample = int(np.repeat(np.arange(len(y_true)), y_true.spans)[place])
        raise ValueError(f"y has a label at sample {sample} where the prediction is NaN.")
