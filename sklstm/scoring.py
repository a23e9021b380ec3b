"""Scorers of scikit-learn for targets at each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import check_scoring
from sklearn.utils.metadata_routing import UNUSED

from .data.targets import check_same_spans, join_steps, mean_score


class _Given(RegressorMixin, BaseEstimator):
    """Predicts what it is given, so that a scorer can score predictions that exist already."""

    def fit(self, X: Any, y: Any = None) -> _Given:
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        return X


class StepScorer(BaseEstimator):
    """The scorer that `step_scorer` returns; a `BaseEstimator` for its `set_score_request`."""

    __metadata_request__score: ClassVar[dict[str, str]] = {"estimator": UNUSED}

    def __init__(self, scoring: str | Callable[..., float]) -> None:
        self.scoring = scoring

    def score(
        self, estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None = None
    ) -> float:
        """Score the labelled steps of all sequences."""
        y_true, y_pred = join_steps(y, "y"), join_steps(estimator.predict(X), "the prediction")
        if y_true.n_features != y_pred.n_features:
            raise ValueError(
                f"y has {y_true.n_features} outputs at each step, the prediction has "
                f"{y_pred.n_features}."
            )
        check_same_spans(y_true, y_pred, "the prediction")
        lost = (~np.isnan(y_true.steps()) & np.isnan(y_pred.steps())).any(axis=1)
        if lost.any():
            sample = int(np.repeat(np.arange(len(y_true)), y_true.spans)[lost.argmax()])
            raise ValueError(f"y has a label at sample {sample} where the prediction is NaN.")

        def score_output(labels: Any, predictions: Any, sample_weight: Any) -> float:
            weight = {} if sample_weight is None else {"sample_weight": sample_weight}
            scorer = check_scoring(_Given(), self.scoring)
            return float(scorer(_Given(), predictions, labels, **weight))

        return mean_score(score_output, y_true, y_pred.steps(), sample_weight)

    __call__ = score


def step_scorer(scoring: str | Callable[..., float]) -> StepScorer:
    """Make a scorer for targets at each step from a scorer for tables.

    The metrics of scikit-learn accept 1-D and 2-D targets without NaN. This scorer joins the
    steps of all sequences, leaves out those without a label, and scores the others. Several
    outputs are scored one by one, and the score is their mean.

    Parameters
    ----------
    scoring : str or callable
        A scorer that needs only `predict`, or the name of one in scikit-learn.

    Returns
    -------
    callable
        ``scorer(estimator, X, y, sample_weight=None)``, for the `scoring` of
        cross-validation and searches. `y` is as for `StackedLSTMRegressor` with
        `return_sequences`; `sample_weight` has one weight for each sequence, and is routed
        to the scorer after ``set_score_request(sample_weight=True)``.

    Raises
    ------
    ValueError
        If there is no such scorer. When scoring, if a label has no prediction, or the
        shapes differ.

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
