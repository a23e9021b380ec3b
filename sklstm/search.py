"""DepthSearchCV: which number of layers, with fewer fits than a grid search makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import Parallel
from sklearn.utils.validation import check_is_fitted

from ._compat import HasMethods, Interval, StrOptions, check_method_params, fit_context
from .comparison import (
    finite_or_nan,
    first_near,
    row_means,
    row_spreads,
    standard_errors,
)
from .exceptions import warn
from .pipelines import final_prefix, final_regressor
from .race import Race


def _if_refit(search: DepthSearchCV) -> bool:
    if not search.refit:
        raise AttributeError(
            f"This {type(search).__name__} has refit=False, so there is no best_estimator_ to "
            "predict with. Fit an estimator with best_params_, or set refit=True."
        )
    return True


# This is no subclass of scikit-learn's BaseSearchCV: that one scores all candidates of a round in
# all folds, and decides the linear shortcut again for each depth.
class DepthSearchCV(MetaEstimatorMixin, BaseEstimator):
    """Search over the depth of a stacked LSTM, with cross-validation.

    Depths race over the folds [1]_. In a third of them, every depth is fitted. In another third,
    only the better half of the depths is, at least two, and with them the shallowest, with which
    they are compared. The rest of the folds is left out. Each fit is from scratch and of all
    epochs, as in a grid search, and so is that of the best depth to all data. With four depths and
    three folds, the search takes half to two thirds of the time of a grid search.

    Read more in the :ref:`User Guide <how_deep>`.

    Parameters
    ----------
    estimator : StackedLSTMRegressor, Pipeline or TransformedTargetRegressor
        A regressor, a pipeline that ends in one, or a `TransformedTargetRegressor` around
        either. ``linear_steps="auto"`` is decided once in each fold, at the shallowest depth,
        and once more in the refit.

    depths : sequence of int, default=(1, 2, 3, 4)
        Values of `n_layers`, in increasing order.

    cv : int, cross-validation generator or iterable, default=None
        As in :class:`~sklearn.model_selection.GridSearchCV`: `None` is 5-fold.

    scoring : str or callable, default=None
        One scorer; the estimator's `score` when `None`.

    n_jobs : int, default=None
        Number of fits that run in parallel, with joblib.

    refit : bool, default=True
        Whether to fit the best depth to all data.

    select : {"best", "one_standard_error"}, default="best"
        Which depth is the best: the one with the best mean score, or the shallowest one that
        is behind it by no more than one standard error of the difference within folds [2]_.

    n_repeats : int, default=1
        Fits of each depth in each fold, from different initial weights; the score of a fold is
        their mean. With more, the luck of a start is less likely to be taken for depth.

    error_score : "raise" or float, default=nan
        Score of a depth in a fold in which its fit or its scoring fails, with a warning; "raise"
        raises the error.

    verbose : int, default=0
        Above 0, joblib reports the fits.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        A row for each depth, in the columns of
        :class:`~sklearn.model_selection.GridSearchCV`. Further columns are
        `n_folds`, in how many folds a depth was scored, `mean_difference` and
        `standard_error_difference`, of its scores to those of the shallowest depth in the same
        folds, `n_parameters`, and `mean_fit_epochs`. Where a depth was not fitted, the score of
        a fold is NaN. To be comparable, `mean_test_score` of a depth in fewer folds is that of
        the shallowest plus the mean difference to it. Depths in more folds rank first.

    best_estimator_ : StackedLSTMRegressor, Pipeline or TransformedTargetRegressor
        The model of the best depth, fitted to all data. Only with `refit`.

    best_depth_ : int
        Its number of layers.

    best_params_ : dict
        The parameter that sets it.

    best_index_ : int
        Its row in `cv_results_`.

    best_score_ : float
        Its mean score in cross-validation.

    depths_ : list of int
        The depths searched.

    scorer_ : callable
        The scorer used.

    n_splits_ : int
        Number of folds.

    refit_time_ : float
        Seconds that the refit took. Only with `refit`.

    n_features_in_ : int
        Number of features seen in `fit`. Only with `refit`, if the best estimator has it.

    feature_names_in_ : ndarray of str
        Their names. Only with `refit`, if the best estimator has them.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : Any parameters, each combination trained in full.
    compare_depths : Differences between depths, and a verdict in words.
    DepthCurveDisplay : Draws them.
    units_for_budget : Depths of equal size.

    Notes
    -----
    The folds begin in the middle, so folds of time begin with a typical amount of data. With two
    depths, or fewer than three folds, the search saves little. `early_stopping` holds out the last
    samples of each training part, never a test part.

    References
    ----------
    .. [1] O. Maron and A. W. Moore, "Hoeffding races: accelerating model selection search for
       classification and function approximation", NIPS 1993.
    .. [2] L. Breiman, J. Friedman, R. Olshen and C. Stone, "Classification and regression
       trees", 1984 (the one-standard-error rule; here the error is that of paired differences).

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import DepthSearchCV, StackedLSTMRegressor
    >>> X = np.random.default_rng(0).normal(size=(200, 10, 1))
    >>> y = X[:, -3:, 0].sum(axis=1)
    >>> model = StackedLSTMRegressor(units=8, max_epochs=5, random_state=0)
    >>> search = DepthSearchCV(model, depths=(1, 2), cv=3).fit(X, y)
    >>> search.cv_results_["mean_test_score"].shape
    (2,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods("fit")],
        "depths": ["array-like"],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "n_jobs": [Integral, None],
        "refit": ["boolean"],
        "select": [StrOptions({"best", "one_standard_error"})],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "error_score": [StrOptions({"raise"}), Real],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any,
        depths: Sequence[int] = (1, 2, 3, 4),
        *,
        cv: Any = None,
        scoring: str | Callable[..., float] | None = None,
        n_jobs: int | None = None,
        refit: bool = True,
        select: str = "best",
        n_repeats: int = 1,
        error_score: str | float = np.nan,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.depths = depths
        self.cv = cv
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.refit = refit
        self.select = select
        self.n_repeats = n_repeats
        self.error_score = error_score
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **params: Any) -> DepthSearchCV:
        """Compare the depths, choose one, and fit it to all data.

        Parameters
        ----------
        X : array-like or list of array-like
            Sequences, or what the first step of the pipeline accepts.

        y : array-like or list of array-like
            Targets.

        **params : dict
            `groups` for the splitter, and parameters of the estimator's `fit`; arrays as
            long as X are split with it. With metadata routing, what the estimator, the
            scorer and the splitter request.

        Returns
        -------
        DepthSearchCV
            The fitted search itself.

        Raises
        ------
        TypeError
            If the estimator does not end in a `StackedLSTMRegressor`.
        ValueError
            If `depths` are not positive integers in increasing order, the estimator has sizes of
            layers or a `checkpoint`. Where all depths fail in the first folds, the first of their
            errors is raised.
        """
        _check_depth_is_free(clone(self.estimator, safe=False))
        depths = check_depths(self.depths)
        scorer = check_scoring(self.estimator, self.scoring)
        X, y = indexable(X, y)
        fit_params = check_method_params(X, params)
        score_params: dict[str, Any] = {}
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **fit_params)
            fit_params, score_params = dict(routed.estimator.fit), dict(routed.scorer.score)
            split_params = routed.splitter.split
        else:
            split_params = {"groups": fit_params.pop("groups", None)}
        splits = list(check_cv(self.cv, y).split(X, y, **split_params))
        if not splits:
            raise ValueError(f"cv={self.cv!r} makes no split.")
        race = Race(
            self.estimator,
            depths,
            splits,
            scorer,
            (X, y, fit_params, score_params),
            self.n_repeats,
            self.error_score,
            Parallel(n_jobs=self.n_jobs, verbose=self.verbose),
        )
        results = _results(race.run(), depths, f"{final_prefix(self.estimator)}n_layers")
        best = _best_row(results, self.select)
        if self.refit:
            start = time.perf_counter()
            best_estimator = clone(self.estimator).set_params(**results["params"][best])
            self.best_estimator_ = best_estimator.fit(X, y, **fit_params)
            self.refit_time_ = time.perf_counter() - start
        elif hasattr(self, "best_estimator_"):
            del self.best_estimator_, self.refit_time_
        self.depths_, self.n_splits_, self.scorer_ = depths, len(splits), scorer
        self.cv_results_, self.best_index_ = results, best
        self.best_depth_, self.best_params_ = depths[best], results["params"][best]
        self.best_score_ = float(results["mean_test_score"][best])
        return self

    @available_if(_if_refit)
    def predict(self, X: Any) -> Any:
        """Predict with the best estimator.

        Parameters
        ----------
        X : array-like or list of array-like
            As in `fit`.

        Returns
        -------
        ndarray or list of ndarray
            Predictions in the form of the y of `fit`.
        """
        check_is_fitted(self)
        return self.best_estimator_.predict(X)

    @available_if(_if_refit)
    def score(self, X: Any, y: Any, **params: Any) -> float:
        """Score the best estimator with `scoring`.

        Parameters
        ----------
        X : array-like or list of array-like
            As in `fit`.

        y : array-like or list of array-like
            Targets.

        **params : dict
            With metadata routing, parameters of the scorer.

        Returns
        -------
        float
            The score.
        """
        check_is_fitted(self)
        if params and not get_config()["enable_metadata_routing"]:
            raise ValueError(
                f"score accepts {sorted(params)} only with metadata routing: "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        routed = process_routing(self, "score", **params).scorer.score if params else {}
        return self.scorer_(self.best_estimator_, X, y, **routed)

    @property
    def n_features_in_(self) -> int:
        return self.best_estimator_.n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        return self.best_estimator_.feature_names_in_

    def get_metadata_routing(self) -> MetadataRouter:
        """Tell which parameters `fit` and `score` pass to estimator, scorer and splitter."""
        to_fit = MethodMapping().add(caller="fit", callee="fit")
        to_scorer = MethodMapping()
        to_scorer.add(caller="fit", callee="score").add(caller="score", callee="score")
        to_split = MethodMapping().add(caller="fit", callee="split")
        return (
            MetadataRouter(owner=self)
            .add(estimator=self.estimator, method_mapping=to_fit)
            .add(scorer=check_scoring(self.estimator, self.scoring), method_mapping=to_scorer)
            .add(splitter=self.cv, method_mapping=to_split)
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        own = get_tags(self.estimator)
        tags.estimator_type, tags.regressor_tags = own.estimator_type, own.regressor_tags
        tags.input_tags, tags.target_tags = own.input_tags, own.target_tags
        return tags


def check_depths(depths: Iterable[int]) -> list[int]:
    """Return numbers of layers as a list; they must be integers from 1, in increasing order."""
    values = list(depths) if isinstance(depths, Iterable) else []
    whole = all(isinstance(value, Integral) for value in values)
    if not values or not whole or values[0] < 1 or any(a >= b for a, b in pairwise(values)):
        raise ValueError(
            f"depths must be integers of at least 1 in increasing order, got {depths!r}."
        )
    return [int(value) for value in values]


def _check_depth_is_free(estimator: Any) -> None:
    regressor = final_regressor(estimator)
    if regressor.checkpoint is not None:
        raise ValueError(
            f"estimator has checkpoint={regressor.checkpoint!r}: the fits of a search would all "
            "write to one file. Set checkpoint=None."
        )
    for name in ("units", "dropout"):
        value = getattr(regressor, name)
        if isinstance(value, Iterable):
            raise ValueError(
                f"estimator has {name}={value!r}: give one number for every layer, as the number "
                "of layers changes."
            )


def _results(
    columns: dict[str, NDArray[np.float64]], depths: list[int], parameter: str
) -> dict[str, Any]:
    """Arrange columns of shape (n_depths, n_folds) as GridSearchCV does."""
    scores, ran = columns["test_score"], columns.pop("ran") > 0
    failed: NDArray[np.bool_] = np.any(ran & np.isnan(scores), axis=1)
    results: dict[str, Any] = {}
    n_parameters = np.nan_to_num(row_means(columns.pop("n_parameters"))).astype(int)
    for name, values in columns.items():
        results[f"mean_{name}"], results[f"std_{name}"] = row_means(values), row_spreads(values)
    for fold, values in enumerate(scores.T):
        results[f"split{fold}_test_score"] = values
    differences = finite_or_nan(scores) - finite_or_nan(scores[0])
    results["mean_difference"] = row_means(differences)
    results["standard_error_difference"] = standard_errors(differences)
    results["n_folds"] = ran.sum(axis=1)
    results["mean_test_score"] = _comparable_means(scores, ran, failed)
    if not np.isfinite(results["mean_test_score"]).all():
        warn(f"Mean test scores are not finite: {results['mean_test_score']}.", UserWarning)
    means = np.nan_to_num(results["mean_test_score"], nan=-np.inf)
    ranked = list(zip(~failed, results["n_folds"], means, strict=True))
    results["rank_test_score"] = np.array([1 + sum(b > a for b in ranked) for a in ranked])
    results[f"param_{parameter}"] = np.ma.masked_array(depths, mask=False)
    results["params"] = [{parameter: depth} for depth in depths]
    results["n_parameters"] = n_parameters
    return results


def _comparable_means(
    scores: NDArray[np.float64], ran: NDArray[np.bool_], failed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Compute the mean of each row as if it were in all folds in which the first row is.

    A fold is easy or hard for all depths, so in a fold in which a row is not, it has its mean
    difference to the first row. A row with a score that failed has none.
    """
    means = row_means(scores)
    left = ran.sum(axis=1) < ran.sum(axis=1).max()
    if not failed[0]:
        differences = finite_or_nan(scores) - finite_or_nan(scores[0])
        means[left] = (means[0] + row_means(differences))[left]
    means[failed] = np.nan
    return means


def _best_row(results: dict[str, Any], select: str) -> int:
    """Return the row that ranks first, or the first row within one standard error of it."""
    best = int(results["rank_test_score"].argmin())
    if select == "best":
        return best
    names = sorted(name for name in results if name.startswith("split"))
    scores = finite_or_nan(np.column_stack([results[name] for name in names]))
    scores[np.isnan(results["mean_test_score"])] = np.nan
    return first_near(scores, best)
