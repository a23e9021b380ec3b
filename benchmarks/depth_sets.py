"""Sets for the question how deep: on most of them depth matters, on some it does not.

In a set of two stages, a later stage has to combine over time what an earlier one has combined over
time. Each set is drawn by a seed: sequences and targets to learn from, and about 2,000 to predict.
The real series is one of `sets.py`; its data are the same for all seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sets
from how_deep.data import adding_problem, mackey_glass
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sets import Task
from sklearn.model_selection import KFold, TimeSeriesSplit

Arrays = tuple[NDArray[np.float64], NDArray[np.float64]]
N_TEST = 2000


def gated_max(n: int, rng: np.random.Generator) -> Arrays:
    """Multiply a maximum over time by the sign at the first step, and add a saturated sum."""
    X = rng.normal(size=(n, 24, 6))
    highest, total = X[:, :, 1].max(axis=1), X[:, :, 2].sum(axis=1)
    return X, np.sign(X[:, 0, 0]) * highest + np.tanh(total / np.sqrt(24))


def _values_and_marks(n: int, rng: np.random.Generator) -> Arrays:
    return rng.normal(size=(n, 32)), (rng.random((n, 32)) < 0.15).astype(float)


def highest_sum(n: int, rng: np.random.Generator) -> Arrays:
    """Find the highest of the running sums, which marks reset."""
    values, marks = _values_and_marks(n, rng)
    total, highest = np.zeros(n), np.full(n, -np.inf)
    for value, mark in zip(values.T, marks.T, strict=True):
        total = total * (1 - mark) + value
        highest = np.maximum(highest, total)
    return np.stack([values, marks], axis=-1), highest


def sum_of_highest(n: int, rng: np.random.Generator) -> Arrays:
    """Sum the maxima between marks."""
    values, marks = _values_and_marks(n, rng)
    highest, total = np.zeros(n), np.zeros(n)
    for value, mark in zip(values.T, marks.T, strict=True):
        total += highest * mark
        highest = np.maximum(highest * (1 - mark), value)
    return np.stack([values, marks], axis=-1), total + highest


def odd_runs(n: int, rng: np.random.Generator) -> Arrays:
    """Count the runs of equal signs that have an odd length."""
    signs = rng.random((n, 32)) < 0.5
    odd, count = np.ones(n, dtype=bool), np.zeros(n)
    for before, now in zip(signs.T[:-1], signs.T[1:], strict=True):
        ends = before != now
        count += ends & odd
        odd = ends | ~odd
    return np.where(signs, 1.0, -1.0)[:, :, np.newaxis], count + odd


def adding_means(n: int, rng: np.random.Generator) -> Arrays:
    """Add the running means at two marked steps."""
    X, _ = adding_problem(n, 32, int(rng.integers(2**31)))
    values, marks = X.transpose(2, 0, 1)
    return X, (values.cumsum(axis=1) / np.arange(1, 33) * marks).sum(axis=1)


def roughest_part(n: int, rng: np.random.Generator) -> Arrays:
    """Find the roughest eight steps of noise whose strength wanders: log mean square."""
    strength = np.exp(0.35 * rng.normal(size=(n, 48)).cumsum(axis=1))
    X = strength / strength.mean(axis=1, keepdims=True) * rng.normal(size=(n, 48))
    squares = sliding_window_view(X**2, 8, axis=1).mean(axis=2)
    return X[:, :, np.newaxis], np.log(squares.max(axis=1))


def switched_sum(n: int, rng: np.random.Generator) -> Arrays:
    """Sum a feature, fading, with the signs of the fading sum of another one."""
    X = rng.normal(size=(n, 32, 2))
    slow, total = np.zeros(n), np.zeros(n)
    for switch, value in X.transpose(1, 2, 0):
        slow = 0.8 * slow + switch
        total = 0.9 * total + np.sign(slow) * value
    return X, total


def chaos(n: int, rng: np.random.Generator) -> Arrays:
    """Predict the Mackey-Glass series 84 steps ahead, from 24 steps."""
    series = mackey_glass(n + 24 + 84, int(rng.integers(2**31)))
    windows = sliding_window_view(series, 24)[:n, :, np.newaxis]
    return windows, series[24 + 84 - 1 :][:n]


def adding(n: int, rng: np.random.Generator) -> Arrays:
    """Add two marked numbers: the adding problem."""
    return adding_problem(n, 32, int(rng.integers(2**31)))


def noisy_mean(n: int, rng: np.random.Generator) -> Arrays:
    """Average a feature, and add as much noise."""
    X = rng.normal(size=(n, 24, 3))
    return X, X[:, :, 0].mean(axis=1) * np.sqrt(24) + rng.normal(size=n)


def recent_products(n: int, rng: np.random.Generator) -> Arrays:
    """Sum the products of two features at the last four steps, and add noise."""
    X = rng.normal(size=(n, 24, 3))
    return X, (X[:, -4:, 0] * X[:, -4:, 1]).sum(axis=1) + 0.5 * rng.normal(size=n)


@dataclass(frozen=True)
class DepthSet:
    """Makes a set from a seed; and the splitter of its folds."""

    make: Callable[[int], Task]
    folds: Any


def _made(function: Callable[..., Arrays], n: int) -> DepthSet:
    in_time = function is chaos
    gap = 100 if in_time else 0

    def make(seed: int) -> Task:
        X, y = function(n + gap + N_TEST, np.random.default_rng(seed))
        return Task(X[:n], y[:n], X[n + gap :], y[n + gap :])

    return DepthSet(make, TimeSeriesSplit(3, gap=gap) if in_time else KFold(3))


def _real(function: Callable[[int], Task], n: int) -> DepthSet:
    def make(seed: int) -> Task:
        task = function(seed)
        return Task(task.X[-n:], task.y[-n:], task.X_test, task.y_test)

    return DepthSet(make, TimeSeriesSplit(3))


SETS: dict[str, DepthSet] = {
    "gated_max": _made(gated_max, 1600),
    "highest_sum": _made(highest_sum, 800),
    "sum_of_highest": _made(sum_of_highest, 800),
    "odd_runs": _made(odd_runs, 800),
    "adding_means": _made(adding_means, 800),
    "roughest_part": _made(roughest_part, 400),
    "switched_sum": _made(switched_sum, 800),
    "chaos": _made(chaos, 1000),
    "adding": _made(adding, 800),
    "noisy_mean": _made(noisy_mean, 400),
    "recent_products": _made(recent_products, 400),
    "pedestrians": _real(sets.pedestrians_next, 1200),
}
