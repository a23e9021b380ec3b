"""Depths compared within each fold, where a difference is not hidden by those between folds."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

# Quantiles of Student's t distribution: chance alone makes a mean difference of as many standard
# errors, or more, in 5 of 100 cases. By degrees of freedom, one fewer than there are folds.
QUANTILES = {1: 6.31, 2: 2.92, 3: 2.35}


def quantile(n_freedom: int) -> float:
    """Return the 95 % quantile of Student's t distribution, to about one percent.

    The expansion is number 26.7.5 of M. Abramowitz and I. Stegun, "Handbook of mathematical
    functions", 1964.
    """
    return QUANTILES.get(n_freedom, 1.645 + 1.524 / n_freedom + 1.42 / n_freedom**2)


@dataclass(frozen=True, eq=False)
class DepthComparison:
    """Scores by number of layers, as differences to one depth within each fold.

    Folds are easy or hard for all depths alike, so scores of one depth differ far more between
    folds than depths do within a fold. The mean of the differences within folds has a standard
    error that tells whether depth matters [1]_. :func:`compare_depths` makes one.

    Parameters
    ----------
    depths : list of int
        Numbers of layers, in increasing order.

    scores : ndarray of shape (n_depths, n_folds)
        Scores; higher is better. NaN where a depth was not fitted in a fold; a score that is
        not finite counts as none.

    reference : int
        The depth that the others are compared with.

    Attributes
    ----------
    differences : ndarray of shape (n_depths, n_folds)
        Scores minus those of the reference in the same fold.

    mean : ndarray of shape (n_depths,)
        Mean difference over the folds of a depth; above 0 is better than the reference.

    standard_error : ndarray of shape (n_depths,)
        Standard error of the mean difference; NaN with a single fold. The training parts of
        folds overlap, so it is rather too small than too large.

    best_depth : int
        Of the depths that share most folds with the reference, that with the highest mean; the
        shallowest of equals.

    References
    ----------
    .. [1] T. G. Dietterich, "Approximate statistical tests for comparing supervised
       classification learning algorithms", Neural Computation 10(7), 1998 (the paired test over
       folds, and why its error is too small).

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import DepthComparison
    >>> scores = np.array([[-50.0, -80.0, -65.0], [-48.0, -77.0, -64.0]])
    >>> comparison = DepthComparison([1, 2], scores, reference=1)
    >>> comparison.mean
    array([0., 2.])
    >>> print(comparison.verdict("MW"))
    2 layers: 2 MW better than 1, standard error 0.58: deeper is better.
    """

    depths: list[int]
    scores: NDArray[np.float64]
    reference: int

    def __post_init__(self) -> None:
        depths, scores = [int(depth) for depth in self.depths], np.array(self.scores, dtype=float)
        if depths != sorted(set(depths)):
            raise ValueError(f"depths must be in increasing order, got {self.depths!r}.")
        if scores.ndim != 2 or len(scores) != len(depths):
            raise ValueError(
                f"scores must have shape (n_depths, n_folds) with {len(depths)} depths, got "
                f"{scores.shape}."
            )
        if self.reference not in depths:
            raise ValueError(f"reference must be one of {depths}, got {self.reference!r}.")
        object.__setattr__(self, "depths", depths)
        object.__setattr__(self, "scores", scores)

    @property
    def differences(self) -> NDArray[np.float64]:
        scores = finite_or_nan(self.scores)
        return scores - scores[self.depths.index(self.reference)]

    @property
    def mean(self) -> NDArray[np.float64]:
        return row_means(self.differences)

    @property
    def standard_error(self) -> NDArray[np.float64]:
        return standard_errors(self.differences)

    @property
    def best_depth(self) -> int:
        shared = (~np.isnan(self.differences)).sum(axis=1)
        means = np.where(shared == shared.max(), self.mean, -np.inf)
        return self.depths[int(np.nan_to_num(means, nan=-np.inf).argmax())]

    def verdict(self, unit: str = "") -> str:
        """Say in a sentence whether the best depth is better than the reference.

        Parameters
        ----------
        unit : str, default=""
            Unit of the scores, such as "MW".

        Returns
        -------
        str
            The sentence. It calls a difference chance unless Student's t test over the folds
            finds it at a level of 5 %: above 6.3 standard errors with two folds, 2.9 with three
            and 2.1 with five. The best of several depths is the best by chance more often than
            that.
        """
        best, reference = self.best_depth, self.reference
        row = self.depths.index(best)
        mean, error = self.mean[row], self.standard_error[row]
        n_folds = int(np.count_nonzero(~np.isnan(self.differences[row])))
        if n_folds == 0:
            return f"{_layers(reference)}: there is no score to compare with."
        if len(self.depths) == 1:
            return f"{_layers(best)}: no other depth was tried."
        if best == reference:
            return f"{_layers(best)}: no other depth has a better mean score."
        if mean == 0:
            return f"{_layers(best)}: as good as {reference}."
        sentence = f"{_layers(best)}: {f'{_rounded(mean)} {unit}'.strip()} better than {reference}"
        if n_folds == 1:
            return f"{sentence} in a single fold, which cannot tell that from chance."
        sentence += f", standard error {_rounded(error)}: "
        if mean < quantile(n_folds - 1) * error:
            return f"{sentence}that may be chance."
        return f"{sentence}deeper is {'better' if best > reference else 'worse'}."


def _layers(depth: int) -> str:
    return f"{depth} layer{'s' if depth > 1 else ''}"


def _rounded(value: float) -> str:
    """Write two digits, or all of a larger number."""
    return f"{value:.2g}" if abs(value) < 99.5 else f"{value:.0f}"


def compare_depths(search: Any, reference: int | None = None) -> DepthComparison:
    """Compare the depths of a fitted search within each fold.

    Parameters
    ----------
    search : DepthSearchCV, GridSearchCV or RandomizedSearchCV
        Fitted. If it searched other parameters too, depths are compared at the best values of
        those.

    reference : int, default=None
        The depth to compare with; the shallowest when `None`.

    Returns
    -------
    DepthComparison
        Mean differences, their standard errors, and a verdict in words.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the search is not fitted.
    TypeError
        If it is not a search.
    ValueError
        If it did not search `n_layers`, or not `reference`, or has several metrics and `refit`
        names none of them.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklstm import StackedLSTMRegressor, compare_depths
    >>> X = np.random.default_rng(0).normal(size=(90, 10, 1))
    >>> model = StackedLSTMRegressor(units=8, max_epochs=2, random_state=0)
    >>> grid = {"n_layers": [1, 2], "dropout": [0.0, 0.1]}
    >>> search = GridSearchCV(model, grid, cv=3).fit(X, X[:, -1, 0])
    >>> compare_depths(search).differences.shape
    (2, 3)
    """
    metric = "score"
    if getattr(search, "multimetric_", False):
        metric = search.refit
        if not isinstance(metric, str):
            raise ValueError(
                f"search has several metrics and refit={metric!r}: set refit to the name of the "
                "metric to compare by."
            )
    rows = rows_by_depth(search)
    columns = [search.cv_results_[f"split{n}_test_{metric}"] for n in range(search.n_splits_)]
    depths = list(rows)
    scores = np.column_stack(columns)[list(rows.values())].astype(float)
    scores = scores[:, ~np.isnan(scores).all(axis=0)]  # a race leaves folds out
    if scores.shape[1] == 0:
        raise ValueError("search has no score that is a number.")
    return DepthComparison(depths, scores, depths[0] if reference is None else reference)


def rows_by_depth(search: Any) -> dict[int, int]:
    """Return the row of each depth in the results of a search, with the best other parameters."""
    if not hasattr(search, "cv_results_"):
        if not hasattr(search, "cv"):
            raise TypeError(
                "search must be a DepthSearchCV, a GridSearchCV or a RandomizedSearchCV, got "
                f"{type(search).__name__}."
            )
        check_is_fitted(search)
    if "n_resources" in search.cv_results_:
        raise TypeError(
            f"search is a {type(search).__name__}: its scores at different resources cannot be "
            "compared."
        )
    candidates = search.cv_results_["params"]
    best = candidates[search.best_index_]
    name = next((name for name in best if name.rpartition("__")[2] == "n_layers"), None)
    if name is None or not isinstance(best[name], Integral):
        raise ValueError(f"search has no number of layers in best_params_, which are {best!r}.")
    # Values are compared as they print: arrays have no single truth value.
    others = {key: repr(value) for key, value in best.items() if key != name}
    rows: dict[int, int] = {}
    # The best row is first, as a random search may have tried a candidate more than once.
    for row in sorted(range(len(candidates)), key=lambda row: row != search.best_index_):
        params = {key: repr(value) for key, value in candidates[row].items() if key != name}
        depth = candidates[row].get(name)
        if params == others and isinstance(depth, Integral):
            rows.setdefault(int(depth), row)
    return dict(sorted(rows.items()))


def finite_or_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace infinite values by NaN."""
    return np.where(np.isfinite(values), values, np.nan)


def row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the mean of each row over its values that are not NaN; NaN where there is none."""
    counts = (~np.isnan(values)).sum(axis=1)
    total = np.nansum(values, axis=1)
    return np.divide(total, counts, out=np.full(len(values), np.nan), where=counts > 0)


def row_spreads(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the standard deviation of each row over its values that are not NaN."""
    with np.errstate(invalid="ignore"):  # of infinite values, it is NaN
        deviations = (values.T - row_means(values)).T
    spreads: NDArray[np.float64] = np.sqrt(row_means(deviations**2))
    return spreads


def standard_errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the standard error of the mean of each row; NaN where there is a single value."""
    counts = (~np.isnan(values)).sum(axis=1)
    return np.divide(
        row_spreads(values),
        np.sqrt(np.maximum(counts - 1, 0)),
        out=np.full(len(values), np.nan),
        where=counts > 1,
    )


def first_near(scores: NDArray[np.float64], best: int) -> int:
    """Return the first row that is behind the best one by no more than one standard error.

    The standard error is that of their difference within folds.
    """
    behind = scores[best] - scores
    within = row_means(behind) <= np.nan_to_num(standard_errors(behind))
    return int((within | (np.arange(len(scores)) == best)).argmax())
