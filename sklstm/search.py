"""DepthSearchCV: the depth curve of a stacked LSTM, by growing instead of starting over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, _fit_context, clone
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.metaestimators import _safe_split, available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params, check_is_fitted

from .exceptions import warn
from .growing import check_depths, grow
from .pipelines import final_prefix, final_regressor

Records = list[dict[str, float]]


def _if_refit(search: DepthSearchCV) -> bool:
    if not search.refit:
        raise AttributeError(
            f"This {type(search).__name__} has refit=False, hence no best_estimator_ to predict "
            f"with. Fit an estimator with best_params_, or set refit=True."
        )
    return True


class DepthSearchCV(MetaEstimatorMixin, BaseEstimator):
    """Search over the depth of a stacked LSTM, with cross-validation.

    In each fold the shallowest depth is fitted from scratch; every further one grows from
    the depth before it [1]_: its new layers start as the identity, and all layers train on
    for a fifth of the epochs at half the learning rate. So the curve of four depths takes
    less than a full fit of its deepest model, where a grid search pays for each depth in
    full.

    Read more in the :ref:`User Guide <how_deep>`.

    Parameters
    ----------
    estimator : StackedLSTMRegressor, Pipeline or TransformedTargetRegressor
        The regressor, with a `skip`, a pipeline that ends in one, or what transforms the
        targets of either. Earlier steps and the transformer are fitted once a fold.

    depths : sequence of int, default=(1, 2, 3, 4)
        Values of `n_layers`, rising.

    cv : int, cross-validation generator or iterable, default=None
        As in :class:`~sklearn.model_selection.GridSearchCV`: `None` is 5-fold.

    scoring : str or callable, default=None
        One scorer; the estimator's `score` when `None`.

    n_jobs : int, default=None
        Folds fitted in parallel, through joblib.

    refit : bool, default=True
        Whether to grow a model on all data to the best depth.

    select : {"best", "one_standard_error"}, default="best"
        The best depth: that of the best mean score, or the shallowest one whose mean score
        is within one standard error of it [2]_.

    verbose : int, default=0
        Above 0, joblib reports the folds.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        A row for each depth, in the columns of
        :class:`~sklearn.model_selection.GridSearchCV`. A fit time is what the depth added
        to those before it; `mean_cumulative_fit_time` is the sum. Further columns:
        `n_parameters`, and `mean_fit_epochs`, the epochs that the depth added.

    best_estimator_ : StackedLSTMRegressor, Pipeline or TransformedTargetRegressor
        The model grown on all data; with `refit`.

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
        Seconds that the refit took; with `refit`.

    n_features_in_ : int
        Features seen in `fit`; with `refit`, where the best estimator has them.

    feature_names_in_ : ndarray of str
        Their names; with `refit`, where the best estimator has them.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : Any parameters, each combination from scratch.
    DepthCurveDisplay : Draws the curve.
    units_for_budget : Depths of equal size.

    Notes
    -----
    Deeper models have trained for more epochs in all than shallower ones. Fitting the
    estimator with `best_params_` from scratch makes another model than `best_estimator_`.
    `early_stopping` holds out the tail of each training part, never a test part.

    References
    ----------
    .. [1] M. Hermans and B. Schrauwen, "Training and analysing deep recurrent neural
       networks", NIPS 2013, train deep networks layer by layer.
    .. [2] L. Breiman, J. Friedman, R. Olshen and C. Stone, "Classification and regression
       trees", 1984 (the one-standard-error rule).

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
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.depths = depths
        self.cv = cv
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.refit = refit
        self.select = select
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **params: Any) -> DepthSearchCV:
        """Grow the estimator through all depths in each fold, and choose one.

        Parameters
        ----------
        X : array-like or list of array-like
            Sequences, or what the first step of the pipeline takes.

        y : array-like or list of array-like
            Targets.

        **params : dict
            `groups` for the splitter, and parameters of the estimator's `fit`; arrays as
            long as X are split with it. With metadata routing, what estimator, scorer and
            splitter ask for.

        Returns
        -------
        DepthSearchCV
            The fitted search itself.

        Raises
        ------
        TypeError
            If the estimator does not end in a `StackedLSTMRegressor`.
        ValueError
            If `depths` are not rising positive integers, the estimator cannot grow, a
            score is not a number, or a fit of a fold fails.
        """
        _check_can_grow(clone(self.estimator, safe=False))
        depths = check_depths(self.depths)
        scorer = check_scoring(self.estimator, self.scoring)
        X, y = indexable(X, y)
        routed = self._route(_check_method_params(X, params))
        splits = self._split(X, y, routed.splitter.split)
        fit_params, score_params = dict(routed.estimator.fit), dict(routed.scorer.score)
        records = Parallel(n_jobs=self.n_jobs, verbose=self.verbose)(
            delayed(_grow_and_score)(
                self.estimator, depths, scorer, X, y, split, fit_params, score_params
            )
            for split in splits
        )
        columns = _columns(records)
        _warn_of_undefined(columns["test_score"])
        results = _results(f"{final_prefix(self.estimator)}n_layers", depths, columns)
        best = _SELECTIONS[self.select](columns["test_score"])
        self._refit(depths[: best + 1], X, y, routed.estimator.fit)
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
        if params and not _routing_enabled():
            raise ValueError(
                f"score takes {sorted(params)} with metadata routing alone: "
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
        """Say what `fit` and `score` hand on to the estimator, the scorer and the splitter."""
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

    def _route(self, params: dict[str, Any]) -> Bunch:
        if _routing_enabled():
            return process_routing(self, "fit", **params)
        to_fit = {name: value for name, value in params.items() if name != "groups"}
        return Bunch(
            estimator=Bunch(fit=to_fit),
            splitter=Bunch(split={"groups": params.get("groups")}),
            scorer=Bunch(score={}),
        )

    def _split(self, X: Any, y: Any, split_params: dict[str, Any]) -> list[Any]:
        splits = list(check_cv(self.cv, y).split(X, y, **split_params))
        if not splits:
            raise ValueError(f"cv={self.cv!r} makes no split.")
        return splits

    def _refit(self, depths: list[int], X: Any, y: Any, fit_params: dict[str, Any]) -> None:
        if self.refit:
            start = time.perf_counter()
            self.best_estimator_ = grow(self.estimator, depths, X, y, fit_params)[-1].model
            self.refit_time_ = time.perf_counter() - start
        elif hasattr(self, "best_estimator_"):
            del self.best_estimator_, self.refit_time_


def _check_can_grow(estimator: Any) -> None:
    regressor = final_regressor(estimator)
    if regressor.skip is None:
        raise ValueError(
            "estimator has skip=None: a plain stack cannot grow. Set skip='residual', or search "
            "with GridSearchCV."
        )
    for name in ("units", "dropout"):
        value = getattr(regressor, name)
        if isinstance(value, Iterable):
            raise ValueError(
                f"estimator has {name}={value!r}: give one number for every layer, as the number "
                "of layers changes."
            )


def _grow_and_score(
    estimator: Any,
    depths: list[int],
    scorer: Callable[..., float],
    X: Any,
    y: Any,
    split: tuple[NDArray[Any], NDArray[Any]],
    fit_params: dict[str, Any],
    score_params: dict[str, Any],
) -> Records:
    """Grow through all depths on the training part of one split, and score its test part."""
    train, test = split
    fit_params = _check_method_params(X, fit_params, train)
    score_params = _check_method_params(X, score_params, test)
    X_train, y_train = _safe_split(estimator, X, y, train)
    X_test, y_test = _safe_split(estimator, X, y, test, train)
    records: Records = []
    for stage in grow(estimator, depths, X_train, y_train, fit_params):
        start = time.perf_counter()
        score = scorer(stage.model, X_test, y_test, **score_params)
        if not isinstance(score, Real):
            raise ValueError(f"scoring must return one number, got {score!r}.")
        records.append(
            {
                "test_score": score,
                "fit_time": stage.seconds,
                "score_time": time.perf_counter() - start,
                "fit_epochs": stage.n_epochs,
                "n_parameters": stage.n_parameters,
            }
        )
    return records


def _columns(records: list[Records]) -> dict[str, NDArray[np.float64]]:
    """Turn records, a list of depths for each fold, into arrays of (n_depths, n_folds)."""
    columns = {
        name: np.array([[record[name] for record in fold] for fold in records], dtype=float).T
        for name in records[0][0]
    }
    columns["cumulative_fit_time"] = columns["fit_time"].cumsum(axis=0)
    return columns


def _results(
    parameter: str, depths: list[int], columns: dict[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """Arrange columns as GridSearchCV does."""
    results: dict[str, Any] = {}
    for name, values in columns.items():
        results[f"mean_{name}"], results[f"std_{name}"] = values.mean(axis=1), values.std(axis=1)
    for fold, scores in enumerate(columns["test_score"].T):
        results[f"split{fold}_test_score"] = scores
    means = _means(columns["test_score"])
    results["rank_test_score"] = 1 + (means[:, np.newaxis] < means).sum(axis=1)
    results[f"param_{parameter}"] = np.ma.masked_array(depths, mask=False)
    results["params"] = [{parameter: depth} for depth in depths]
    del results["std_n_parameters"]
    results["n_parameters"] = results.pop("mean_n_parameters").astype(int)
    return results


def _warn_of_undefined(scores: NDArray[np.float64]) -> None:
    means = scores.mean(axis=1)
    if not np.isfinite(means).all():
        warn(f"Mean test scores are not finite: {means}.", UserWarning)


def standard_errors(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the standard error of each row's mean; zero where there is a single column."""
    n_folds = scores.shape[1]
    errors: NDArray[np.float64] = scores.std(axis=1, ddof=min(1, n_folds - 1)) / np.sqrt(n_folds)
    return errors


def _means(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = np.nan_to_num(scores.mean(axis=1), nan=-np.inf)
    return means


def _best(scores: NDArray[np.float64]) -> int:
    return int(_means(scores).argmax())


def _within_one_standard_error(scores: NDArray[np.float64]) -> int:
    best = _best(scores)
    margin = np.nan_to_num(standard_errors(scores)[best])
    means = _means(scores)
    return int((means >= means[best] - margin).argmax())


_SELECTIONS = {"best": _best, "one_standard_error": _within_one_standard_error}
