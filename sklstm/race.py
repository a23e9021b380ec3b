"""A race of depths over folds: all of them in some folds, the better half of them in more."""

from __future__ import annotations

import copy
import math
import pickle
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed

from ._compat import check_method_params, safe_split
from .exceptions import warn
from .pipelines import final_prefix, final_step

Split = tuple[NDArray[Any], NDArray[Any]]


@dataclass
class Fit:
    """What one depth reached in one fold from one start; of a failure, the error and its text."""

    test_score: float
    fit_time: float = math.nan
    score_time: float = math.nan
    fit_epochs: float = math.nan
    n_parameters: float = math.nan
    error: Exception | None = None
    text: str = ""


# A fit by its row among the depths, its fold and its repeat.
Place = tuple[int, int, int]


@dataclass
class Race:
    """Fits depths in folds.

    In a third of the folds every depth is fitted. In another third, only the better half of them
    is, at least two, and with them the shallowest, with which the others are compared. The rest of
    the folds is left out, to save time. All fits are full ones: after fewer epochs, depths
    often change places.

    Parameters
    ----------
    estimator : estimator
        Fits of it are clones.

    depths : list of int
        Numbers of layers.

    splits : list of (train, test)
        Indices of the folds.

    scorer : callable
        Scores a fitted estimator.

    data : tuple (X, y, fit_params, score_params)
        Data of the folds, and what goes to `fit` and to the scorer with them.

    n_repeats : int
        Fits of each depth in each fold, with seeds of their own.

    error_score : "raise" or float
        Score of a fit that fails.

    parallel : Parallel
        Runs the fits.
    """

    estimator: Any
    depths: list[int]
    splits: list[Split]
    scorer: Callable[..., float]
    data: tuple[Any, Any, dict[str, Any], dict[str, Any]]
    n_repeats: int
    error_score: str | float
    parallel: Parallel

    def run(self) -> dict[str, NDArray[np.float64]]:
        """Return columns of shape (n_depths, n_folds), means over the repeats.

        NaN is no fit, or one that failed; the column "ran" has 1 where there was a fit.
        """
        first, second = rounds(len(self.splits))
        fits = self._fit(range(len(self.depths)), first)
        _raise_if_all_failed(fits.values())
        left = better_half(self._column(fits, "test_score")[:, first])
        fits |= self._fit(left, second)
        _warn_of_failures(fits.values())
        names = ("test_score", "fit_time", "score_time", "fit_epochs", "n_parameters")
        columns = {name: self._column(fits, name) for name in names}
        columns["ran"] = np.zeros_like(columns["test_score"])
        for row, fold, _ in fits:
            columns["ran"][row, fold] = 1
        return columns

    def _fit(self, rows: Sequence[int], folds: Sequence[int]) -> dict[Place, Fit]:
        """Fit some of the depths in some of the folds."""
        prefix = final_prefix(self.estimator)
        repeats = self._repeats(f"{prefix}random_state")
        decided = self._decide(folds, repeats)
        # The deepest first: they take longest, and none is left to be waited for at the end.
        places = list(product(sorted(rows, reverse=True), folds, range(self.n_repeats)))
        fits = self.parallel(
            delayed(_fit_and_score)(
                clone(self.estimator).set_params(
                    **{f"{prefix}n_layers": self.depths[row]},
                    **repeats[repeat],
                    **decided.get((fold, repeat), {}),
                ),
                self.scorer,
                self.splits[fold],
                *self.data,
                self.error_score,
            )
            for row, fold, repeat in places
        )
        return dict(zip(places, fits, strict=True))

    def _decide(
        self, folds: Sequence[int], repeats: list[dict[str, int]]
    ) -> dict[tuple[int, int], dict[str, int | None]]:
        """Decide ``linear_steps="auto"`` in each fold, by an untrained fit of the shallowest depth.

        The trial in each of the other fits would take a fifth of their time.
        """
        prefix = final_prefix(self.estimator)
        if self.estimator.get_params()[f"{prefix}linear_steps"] != "auto":
            return {}
        untrained = {
            f"{prefix}n_layers": self.depths[0],
            f"{prefix}max_epochs": 0,
            f"{prefix}callbacks": None,
        }
        places = list(product(folds, range(self.n_repeats)))
        found = self.parallel(
            delayed(_linear_steps)(
                clone(self.estimator).set_params(**untrained, **repeats[repeat]),
                self.splits[fold],
                *self.data[:3],
            )
            for fold, repeat in places
        )
        return {
            place: {f"{prefix}linear_steps": n_steps or None}
            for place, n_steps in zip(places, found, strict=True)
            if n_steps is not None
        }

    def _repeats(self, name: str) -> list[dict[str, int]]:
        """Return what each repeat sets: the first nothing, the others the named seed."""
        random = check_random_state(copy.deepcopy(self.estimator.get_params()[name]))
        seeds = random.randint(np.iinfo(np.int32).max, size=self.n_repeats - 1)
        return [{}, *({name: int(seed)} for seed in seeds)]

    def _column(self, fits: dict[Place, Fit], name: str) -> NDArray[np.float64]:
        values = np.full((len(self.depths), len(self.splits), self.n_repeats), np.nan)
        for place, fit in fits.items():
            values[place] = getattr(fit, name)
        means: NDArray[np.float64] = values.mean(axis=2)
        return means


def rounds(n_folds: int) -> tuple[list[int], list[int]]:
    """Return the folds of the first and of the second round, from the middle outwards.

    Of folds of time, those in the middle have a typical amount of data; then come later ones.
    """
    middle = n_folds // 2
    order = sorted(range(n_folds), key=lambda fold: (abs(fold - middle), -fold))
    n_first = math.ceil(n_folds / 3)
    return order[:n_first], order[n_first : n_first + max(1, n_folds // 3)]


def better_half(scores: NDArray[np.float64]) -> list[int]:
    """Return the rows with the better means, at least two, and the first row."""
    means = np.nan_to_num(scores.mean(axis=1), nan=-np.inf)
    n_left = max(2, math.ceil(len(means) / 2))
    left = np.argsort(-means, kind="stable")[:n_left]
    return sorted({0, *map(int, left)})


def _linear_steps(
    estimator: Any, split: Split, X: Any, y: Any, fit_params: dict[str, Any]
) -> int | None:
    """Return what an estimator decides on the training part of a split; None if it fails."""
    X_train, y_train = safe_split(estimator, X, y, split[0])
    try:
        estimator.fit(X_train, y_train, **check_method_params(X, fit_params, split[0]))
    except Exception:  # the fits will fail too, and say why
        return None
    n_steps: int = final_step(estimator).linear_steps_
    return n_steps


def _fit_and_score(
    estimator: Any,
    scorer: Callable[..., float],
    split: Split,
    X: Any,
    y: Any,
    fit_params: dict[str, Any],
    score_params: dict[str, Any],
    error_score: str | float,
) -> Fit:
    """Fit an estimator to the training part of a split, and score it on the test part."""
    train, test = split
    X_train, y_train = safe_split(estimator, X, y, train)
    X_test, y_test = safe_split(estimator, X, y, test, train)
    start = time.perf_counter()
    try:
        estimator.fit(X_train, y_train, **check_method_params(X, fit_params, train))
        fitted = time.perf_counter()
        score = scorer(estimator, X_test, y_test, **check_method_params(X, score_params, test))
        if hasattr(score, "item"):  # an array without dimensions
            score = score.item()
        if not isinstance(score, Real):
            raise ValueError(f"scoring must return one number, got {score!r}.")
    except Exception as error:
        if error_score == "raise":
            raise
        text = traceback.format_exc()
        return Fit(float(error_score), error=_sendable(error), text=text)
    model = final_step(estimator)
    return Fit(
        float(score),
        fitted - start,
        time.perf_counter() - fitted,
        model.n_iter_,
        model.n_parameters_,
    )


def _sendable(error: Exception) -> Exception:
    """Return an error that can be sent to another process, without the frames that hold data."""
    error = error.with_traceback(None)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _raise_if_all_failed(fits: Iterable[Fit]) -> None:
    first, *others = fits
    if first.error is not None and all(fit.error is not None for fit in others):
        raise first.error from RuntimeError(first.text)  # which has the lines where it was raised


def _warn_of_failures(fits: Collection[Fit]) -> None:
    texts = Counter(fit.text for fit in fits if fit.error is not None)
    if texts:
        several = "\n".join(
            f"{count} of them with this error:\n{text}" for text, count in texts.items()
        )
        warn(
            f"{texts.total()} of the {len(fits)} fits failed; their scores are error_score.\n"
            f"{several}",
            FitFailedWarning,
        )
