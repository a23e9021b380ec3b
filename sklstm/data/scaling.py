"""Means and scales of X and y that outliers cannot move."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from .sequences import Sequences

Floats = NDArray[np.float64]
Statistics = tuple[Floats, Floats]

# Standard deviations from which on a value is an outlier: the layers hardly tell larger ones apart
# (`nn.layers.FAR`), and of a normal distribution no value is ever as far out.
FAR = 10.0
# Half the ranges of the middle nine tenths from which on a value is an outlier, however many there
# are: bursts over small noise, which the model should see, are at 1e3, and units that were mixed
# up at 1e6.
ABSURD = 1e4
# Numbers that are drawn to find out where outliers begin: quantiles of so many are good to a few
# hundredths of a standard deviation.
ENOUGH = 2**16
# Part of a shared scale below which a column of 2-D X has one of its own. Lags of a series that
# rises over the whole table have a half and more of it.
HIDDEN = 0.25
# Scaled, the largest value that rounding makes of a constant: too small for the model to see.
ROUNDING = 1e-6
# Ranges of the middle half and of the middle nine tenths of a normal distribution, in standard
# deviations.
MIDDLE_HALF, MIDDLE_NINE_TENTHS = 1.349, 3.290


class Moments:
    """Means and standard deviations of columns, block by block, that are exact for constants.

    Rounding makes some variance of a constant: of a large one more than 1, of a weighted one at
    times less than 0. And the mean of equal numbers may be none of them.
    """

    smallest: Floats
    largest: Floats

    def __init__(self) -> None:
        self.scaler = StandardScaler()
        self.n_seen = 0

    def add(self, steps: Floats, weight: Floats | None) -> None:
        """Take some more steps, shape (n_steps, n_columns), into account."""
        smallest, largest = steps.min(axis=0), steps.max(axis=0)
        if self.n_seen:
            smallest = np.minimum(smallest, self.smallest)
            largest = np.maximum(largest, self.largest)
        self.smallest, self.largest = smallest, largest
        self.n_seen += len(steps)
        with np.errstate(invalid="ignore"):  # the root of a variance below 0
            self.scaler.partial_fit(steps, sample_weight=weight)

    def mean_and_scale(self) -> Statistics:
        """Return the mean and the standard deviation of each column, shape (n_columns,).

        The scale of a constant is 1, or so large that its rounding counts for less than `ROUNDING`.
        """
        mean = self.scaler.mean_.clip(self.smallest, self.largest)
        rounding = (self.largest - self.smallest) / ROUNDING
        return mean, np.where(self.vary, self.scaler.scale_, rounding.clip(1))

    @property
    def vary(self) -> NDArray[np.bool_]:
        """Whether the variance of each column is more than rounding could make of a constant."""
        variance = self.scaler.var_.clip(0)
        # scikit-learn's scale is the standard deviation, or 1 where that may be rounding.
        return (variance > 0) & (self.scaler.scale_ == np.sqrt(variance))


def mean_and_scale(values: Sequences, sample_weight: Floats | None) -> Statistics:
    """Mean and standard deviation of each feature but for its outliers, shape (n_features,).

    A value is an outlier if it is more than `FAR` standard deviations from the mean, or `ABSURD`
    times as far from the median as nine in ten other values. Where a feature has some, a second
    pass leaves them out. The scale of a constant is 1. `sample_weight` is one weight a sequence.
    """
    moments = Moments()
    for block in values.blocks():
        steps = values[block].steps().astype(np.float64, copy=False)
        moments.add(steps, _at_steps(sample_weight, values, block))
    mean, scale = moments.mean_and_scale()
    median, absurd, reach = _where_outliers_begin(values, sample_weight)
    out = np.maximum(moments.largest - mean, mean - moments.smallest) > FAR * scale
    out |= np.maximum(moments.largest - median, median - moments.smallest) > absurd
    out &= (moments.smallest < moments.largest) & np.isfinite(reach)
    if out.any():
        near = _moments_of_some(
            values, sample_weight, lambda steps: ~out | (np.abs(steps - median) <= reach)
        )
        for feature in np.flatnonzero(out & [bool(kept.vary[0]) for kept in near]):
            mean[feature], scale[feature] = np.ravel(near[feature].mean_and_scale())
    return mean, scale


def _where_outliers_begin(
    values: Sequences, sample_weight: Floats | None
) -> tuple[Floats, Floats, Floats]:
    """Return each feature's median, and the distances from it at which values are absurd, and out.

    `ENOUGH` numbers are looked at, drawn at random. Values are out beyond `FAR` standard deviations
    around the median, those of the values that are in: repeated passes that each leave some out
    would end there. Where that leaves the median alone, as it does of a rain gauge's values, most
    of which are zero, only the others count.
    """
    rng, n_steps = np.random.default_rng(0), max(1, ENOUGH // values.n_features)
    n_samples = min(len(values), math.ceil(n_steps / values.lengths.mean()))
    drawn, steps, lengths = values.draw(n_samples, rng)
    weight = np.ones(len(values)) if sample_weight is None else sample_weight
    some = rng.choice(len(steps), min(len(steps), n_steps), replace=False)
    steps, weight = (
        steps[some].astype(np.float64, copy=False),
        np.repeat(weight[drawn], lengths)[some],
    )
    median = np.median(steps, axis=0)
    absurd, reach = np.full((2, len(median)), np.inf)
    for feature, column in enumerate(steps.T - median[:, np.newaxis]):
        others = column[column != 0]
        if not len(others):
            continue
        low, high = np.quantile(others, [0.05, 0.95])
        absurd[feature] = ABSURD * max(high, -low)
        order = np.argsort(np.abs(column))
        distance = np.abs(column[order])
        weights = np.where(distance <= absurd[feature], weight[order], 0)
        for first in (0, len(column) - len(others)):
            near, of_near = distance[first:], weights[first:]
            # The standard deviation of all values that are as near as each one.
            deviation = np.sqrt(np.cumsum(of_near * near**2) / np.cumsum(of_near))
            reach[feature] = FAR * deviation[near <= FAR * deviation][-1]
            if reach[feature] > 0:
                break
    return median, absurd, np.minimum(absurd, reach)


def mean_and_scale_of_columns(values: Sequences, sample_weight: Floats | None) -> Statistics:
    """`mean_and_scale` of each feature at each step, shape (n_timesteps, n_features).

    Each sequence must be a whole row of its values.
    """
    columns = Sequences.equal(values.values.reshape(len(values.values), 1, -1))[values.rows]
    mean, scale = mean_and_scale(columns, sample_weight)
    return mean.reshape(-1, values.n_features), scale.reshape(-1, values.n_features)


def columns_differ(values: Sequences, sample_weight: Floats | None) -> bool:
    """Tell whether a scale shared by all steps would hide how a feature varies at one of them.

    It does where the feature has, at some step where it is not constant, less than `HIDDEN` of the
    shared scale: then the columns are different quantities, or of different size. The lags of a
    series have nearly one scale.
    """
    _, shared = mean_and_scale(values, sample_weight)
    _, own = mean_and_scale_of_columns(values, sample_weight)
    first = values.batch(slice(0, 1))[0]
    vary = np.zeros(own.shape, dtype=bool)
    for block in values.blocks():
        vary |= (values.batch(block)[0] != first).any(axis=0)
    return bool((vary & (own < HIDDEN * shared)).any())


def mean_and_scale_of_labels(y: Sequences, sample_weight: Floats | None) -> Statistics:
    """Mean and standard deviation of each output over its labels, shape (n_outputs,)."""
    moments = _moments_of_some(y, sample_weight, lambda labels: ~np.isnan(labels))
    for output, labels in enumerate(moments):
        if not labels.n_seen:
            raise ValueError(f"y has no label for output {output}.")
    mean, scale = zip(*(labels.mean_and_scale() for labels in moments), strict=True)
    return np.concatenate(mean), np.concatenate(scale)


def median_and_spread_of_labels(y: Sequences, sample_weight: Floats | None) -> Statistics:
    """Median and spread of each output over its labels, which large targets cannot move.

    The spread is the range of the middle half, or where that is zero of the middle nine tenths,
    divided by what it is in a normal distribution of standard deviation 1. Where both are zero, it
    is the standard deviation.
    """
    median, spread = mean_and_scale_of_labels(y, sample_weight)
    labels = y.steps()
    weights = np.ones(len(labels))
    if sample_weight is not None:
        weights = np.repeat(sample_weight, y.lengths)
    for output, column in enumerate(labels.T):
        known = np.flatnonzero(~np.isnan(column))
        order = known[np.argsort(column[known])]
        # Interpolated between the values; a weight of two is nearly two values.
        centres = np.cumsum(weights[order]) - weights[order] / 2
        at = np.multiply([0.05, 0.25, 0.5, 0.75, 0.95], weights[known].sum())
        low, first, median[output], third, high = np.interp(
            at, centres, column[order].astype(np.float64)
        )
        middle = (third - first) / MIDDLE_HALF or (high - low) / MIDDLE_NINE_TENTHS
        spread[output] = middle or spread[output]
    return median, spread


def _moments_of_some(
    values: Sequences, sample_weight: Floats | None, are_kept: Callable[[Floats], NDArray[np.bool_]]
) -> list[Moments]:
    """Take the moments of each feature over the values that are kept.

    Each has its own `Moments`: one for all would lose its count in a block where none is kept.
    """
    moments = [Moments() for _ in range(values.n_features)]
    for block in values.blocks():
        steps = values[block].steps().astype(np.float64, copy=False)
        weight = _at_steps(sample_weight, values, block)
        for feature, column, kept in zip(moments, steps.T, are_kept(steps).T, strict=True):
            if kept.any():
                feature.add(column[kept, np.newaxis], None if weight is None else weight[kept])
    return moments


def _at_steps(sample_weight: Floats | None, values: Sequences, block: slice) -> Floats | None:
    """Repeat the weight of each sample at all its steps."""
    if sample_weight is None:
        return None
    return np.repeat(sample_weight[block], values.lengths[block])
