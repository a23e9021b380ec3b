"""DepthSearchCV: scores at each depth, from one model that grows instead of many from scratch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from ._compat import HasMethods, StrOptions, check_method_params, fit_context, safe_split
from .exceptions import warn
from .pipelines import final_prefix, final_regressor, final_step, with_final_step
from .regressor import StackedLSTMRegressor

# A deeper model trains for a fifth of the epochs of the first depth, at half its learning rate: it
# starts with the predictions of the depth before it, and has only to refine them. Both are choices,
# made so that four depths cost less than one full fit of the deepest.
EPOCHS_DIVISOR, LR_DIVISOR = 5, 2


def _if_refit(search: DepthSearchCV) -> bool:
    if not search.refit:
        raise AttributeError(
            f"This {type(search).__name__} has refit=False, so there is no best_estimator_ to "
            "predict with. Fit an estimator with best_params_, or set refit=True."
        )
    return True


# This is no subclass of scikit-learn's BaseSearchCV: that one fits a clone for each candidate and
# each fold separately, whatever `_run_search` asks for, and here all depths of a fold share one
# model. Its `fit` would have to be replaced, and `fit` is most of what it offers.
class DepthSearchCV(MetaEstimatorMixin, BaseEstimator):
    """Search over the depth of a stacked LSTM, with cross-validation.

    In each fold, the shallowest depth is fitted from scratch. Every deeper one grows from
    the depth before it [1]_: its new layers start as the identity, and all layers train
    for a fifth of the epochs at half the learning rate. So the scores of four depths take
    less time than a full fit of the deepest model, where a grid search fits each depth in
    full.

    Read more in the :ref:`User Guide <how_deep>`.

    Parameters
    ----------
    estimator : StackedLSTMRegressor, Pipeline or TransformedTargetRegressor
        A regressor with a `skip`, a pipeline that ends in one, or a
        `TransformedTargetRegressor` around either. The earlier steps and the transformer
        of the targets are fitted once in each fold.

    depths : sequence of int, default=(1, 2, 3, 4)
        Values of `n_layers`, in increasing order.

    cv : int, cross-validation generator or iterable, default=None
        As in :class:`~sklearn.model_selection.GridSearchCV`: `None` is 5-fold.

    scoring : str or callable, default=None
        One scorer; the estimator's `score` when `None`.

    n_jobs : int, default=None
        Number of folds that are fitted in parallel, with joblib.

    refit : bool, default=True
        Whether to grow a model on all data to the best depth.

    select : {"best", "one_standard_error"}, default="best"
        Which depth is the best: the one with the best mean score, or the shallowest one
        whose mean score is within one standard error of the best [2]_.

    verbose : int, default=0
        Above 0, joblib reports the folds.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        A row for each depth, in the columns of
        :class:`~sklearn.model_selection.GridSearchCV`. A fit time is what the depth added
        to the depths before it; `mean_cumulative_fit_time` is the sum. Further columns are
        `n_parameters`, and `mean_fit_epochs`, the epochs that the depth added.

    best_estimator_ : StackedLSTMRegressor, Pipeline or TransformedTargetRegressor
        The model grown on all data. Only with `refit`.

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
    sklearn.model_selection.GridSearchCV : Any parameters, each combination from scratch.
    DepthCurveDisplay : Draws the scores over the depths.
    units_for_budget : Depths of equal size.

    Notes
    -----
    In all, deeper models have trained for more epochs than shallower ones. Fitting the
    estimator with `best_params_` from scratch makes another model than `best_estimator_`.
    `early_stopping` holds out the last samples of each training part, never a test part.

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

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **params: Any) -> DepthSearchCV:
        """Grow the estimator through all depths in each fold, and choose one depth.

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
            If `depths` are not positive integers in increasing order, the estimator cannot
            grow, a score is not a number, or a fit of a fold fails.
        """
        _check_can_grow(clone(self.estimator, safe=False))
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
        folds = Parallel(n_jobs=self.n_jobs, verbose=self.verbose)(
            delayed(_grow_and_score)(
                self.estimator, depths, scorer, X, y, split, fit_params, score_params
            )
            for split in splits
        )
        # Each column has a row for each depth, and in it a value for each fold.
        columns = {
            name: np.array([[stage[name] for stage in fold] for fold in folds], dtype=float).T
            for name in folds[0][0]
        }
        columns["cumulative_fit_time"] = columns["fit_time"].cumsum(axis=0)
        results = _results(columns, depths, f"{final_prefix(self.estimator)}n_layers")
        best = _best_row(columns["test_score"], self.select)
        if self.refit:
            start = time.perf_counter()
            stages = grow(self.estimator, depths[: best + 1], X, y, fit_params)
            self.best_estimator_ = stages[-1].model
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


def _check_can_grow(estimator: Any) -> None:
    regressor = final_regressor(estimator)
    if regressor.skip is None:
        raise ValueError(
            "estimator has skip=None: a plain stack cannot grow. Set skip='residual', or search "
            "with GridSearchCV."
        )
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


@dataclass
class Stage:
    """A model fitted at one depth, and the seconds and epochs that this depth added."""

    model: Any
    n_parameters: int
    seconds: float
    n_epochs: int


class Growing(BaseEstimator):
    """Takes the place of a regressor in its pipeline, and fits it at one depth after the other."""

    def __init__(self, regressor: StackedLSTMRegressor, depths: Sequence[int]) -> None:
        self.regressor = regressor
        self.depths = depths

    def fit(self, X: Any, y: Any, **params: Any) -> Growing:
        given = {name: getattr(self.regressor, name) for name in ("lr", "max_epochs", "warm_start")}
        model, n_before = self.regressor, 0
        self.stages_: list[Stage] = []
        for depth in self.depths:
            start = time.perf_counter()
            model = copy.copy(model).set_params(n_layers=depth, warm_start=True)
            model.fit(X, y, **params)
            seconds = time.perf_counter() - start
            finished = copy.copy(model).set_params(**given)
            n_added = model.n_iter_ - n_before
            self.stages_.append(Stage(finished, model.n_parameters_, seconds, n_added))
            if depth == self.depths[0]:
                n_epochs = math.ceil(model.max_epochs_ / EPOCHS_DIVISOR)
                model.set_params(max_epochs=n_epochs, lr=model.lr_ / LR_DIVISOR)
            n_before = model.n_iter_
        return self

    def predict(self, X: Any) -> Any:
        return self.stages_[-1].model.predict(X)

    def get_metadata_routing(self) -> Any:
        return self.regressor.get_metadata_routing()


def grow(
    estimator: Any, depths: Sequence[int], X: Any, y: Any, fit_params: dict[str, Any]
) -> list[Stage]:
    """Fit a clone of an estimator at each depth, and the steps before its regressor once."""
    estimator = clone(estimator)
    growing = Growing(final_step(estimator), depths)
    fitted = with_final_step(estimator, growing).fit(X, y, **fit_params)
    stages: list[Stage] = final_step(fitted).stages_
    for stage in stages:
        stage.model = with_final_step(fitted, stage.model)
    return stages


def _grow_and_score(
    estimator: Any,
    depths: list[int],
    scorer: Callable[..., float],
    X: Any,
    y: Any,
    split: tuple[NDArray[Any], NDArray[Any]],
    fit_params: dict[str, Any],
    score_params: dict[str, Any],
) -> list[dict[str, float]]:
    """Grow through all depths on the training part of one split, and score its test part."""
    train, test = split
    X_train, y_train = safe_split(estimator, X, y, train)
    X_test, y_test = safe_split(estimator, X, y, test, train)
    fit_params = check_method_params(X, fit_params, train)
    score_params = check_method_params(X, score_params, test)
    fold: list[dict[str, float]] = []
    for stage in grow(estimator, depths, X_train, y_train, fit_params):
        start = time.perf_counter()
        score = scorer(stage.model, X_test, y_test, **score_params)
        if not isinstance(score, Real):
            raise ValueError(f"scoring must return one number, got {score!r}.")
        fold.append(
            {
                "test_score": score,
                "fit_time": stage.seconds,
                "score_time": time.perf_counter() - start,
                "fit_epochs": stage.n_epochs,
                "n_parameters": stage.n_parameters,
            }
        )
    return fold


def _results(
    columns: dict[str, NDArray[np.float64]], depths: list[int], parameter: str
) -> dict[str, Any]:
    """Arrange columns of shape (n_depths, n_folds) as GridSearchCV does."""
    means = columns["test_score"].mean(axis=1)
    if not np.isfinite(means).all():
        warn(f"Mean test scores are not finite: {means}.", UserWarning)
    results: dict[str, Any] = {}
    for name, values in columns.items():
        results[f"mean_{name}"], results[f"std_{name}"] = values.mean(axis=1), values.std(axis=1)
    for fold, scores in enumerate(columns["test_score"].T):
        results[f"split{fold}_test_score"] = scores
    # A score that is not a number ranks last.
    means = np.nan_to_num(means, nan=-np.inf)
    results["rank_test_score"] = 1 + (means[:, np.newaxis] < means).sum(axis=1)
    results[f"param_{parameter}"] = np.ma.masked_array(depths, mask=False)
    results["params"] = [{parameter: depth} for depth in depths]
    del results["std_n_parameters"]
    results["n_parameters"] = results.pop("mean_n_parameters").astype(int)
    return results


def _best_row(scores: NDArray[np.float64], select: str) -> int:
    """Return the row of the best mean, or the first row within one standard error of it."""
    means = np.nan_to_num(scores.mean(axis=1), nan=-np.inf)
    best = int(means.argmax())
    if select == "best":
        return best
    margin = np.nan_to_num(standard_errors(scores)[best])
    return int((means >= means[best] - margin).argmax())


def standard_errors(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the standard error of each row's mean; zero where there is a single column."""
    n_folds = scores.shape[1]
    errors: NDArray[np.float64] = scores.std(axis=1, ddof=min(1, n_folds - 1)) / np.sqrt(n_folds)
    return errors
