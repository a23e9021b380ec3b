"""Every accepted form of X to one internal form, `Sequences`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import _check_feature_names, validate_data

from .containers import REPEAT_STATIC, as_real_array, check_real, n_dims, naming, opened
from .mapped import SCATTERED, releasing

BLOCK_BYTES = 2 * 2**20
FAR, ABSURD = 10.0, 1e4
# Part of a shared scale below which a column of 2-D X has one of its own. Lags of a series that
# rises over the whole table have a half and more of it.
HIDDEN = 0.25
MOST_PASSES, ENOUGH = 8, 2**16
# Scaled, what the rounding of a constant comes to at most.
ROUNDING = 1e-6
LARGEST = float(np.finfo(np.float32).max)
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of any lengths, over an array that is not copied.

    Sequence ``i`` is `spans[i]` steps of ``values[rows[i]]``, from step `firsts[i]` on:
    `leading[i]` missing ones, `lengths[i]` present ones, and missing ones again.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_steps, n_features)
        Any dtype, strides and storage: only what a batch needs is ever read.

    rows, firsts, spans, leading, lengths : ndarray of shape (n_samples,)
        Where the sequences are.
    """

    values: NDArray[Any]
    rows: Indices
    firsts: Indices
    spans: Indices
    leading: Indices
    lengths: Indices

    @classmethod
    def equal(cls, values: NDArray[Any]) -> Sequences:
        """Take the rows of a 3-D array as sequences of equal length."""
        n_samples, n_steps, _ = values.shape
        zeros, steps = _repeated(0, n_samples), _repeated(n_steps, n_samples)
        return cls(values, np.arange(n_samples), zeros, steps, zeros, steps)

    @classmethod
    def joined(cls, arrays: Sequence[NDArray[Any]]) -> Sequences:
        """Take 2-D arrays, joined along time, as a sequence each."""
        spans = np.array([len(array) for array in arrays])
        values = np.concatenate(arrays)
        if (spans == spans[0]).all():
            return cls.equal(values.reshape(len(spans), spans[0], -1))
        zeros = _repeated(0, len(spans))
        return cls(values[np.newaxis], zeros, np.cumsum(spans) - spans, spans, zeros, spans)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Sequences:
        return Sequences(
            self.values,
            self.rows[index],
            self.firsts[index],
            self.spans[index],
            self.leading[index],
            self.lengths[index],
        )

    @property
    def n_features(self) -> int:
        return int(self.values.shape[2])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def are_equal(self) -> bool:
        """Whether all have the same length."""
        return bool((self.lengths == self.lengths[0]).all())

    @cached_property
    def are_rows(self) -> bool:
        """Whether each is a whole row of the values."""
        return bool((self.lengths == self.values.shape[1]).all())

    def batch(self, index: Any) -> tuple[NDArray[Any], Indices | None]:
        """Copy some of them, padded, and tell their lengths unless these are equal."""
        if self.are_rows:
            return self.values[self.rows[index]], None
        part = self[index]
        return part.padded(), None if part.are_equal else part.lengths

    def padded(self) -> NDArray[Any]:
        """Present steps, shape (n_samples, longest, n_features), the last one repeated."""
        if self.are_rows:
            return self.values[self.rows]
        longest = np.arange(self.lengths.max())
        steps = np.minimum(longest, self.lengths[:, np.newaxis] - 1)
        starts = self.firsts + self.leading
        return self._at(self.rows[:, np.newaxis], starts[:, np.newaxis] + steps)

    def steps(self) -> NDArray[Any]:
        """Present steps of one sequence after the other, shape (n_steps, n_features)."""
        if self.are_rows:
            return self.values[self.rows].reshape(-1, self.n_features)
        rows = np.repeat(self.rows, self.lengths)
        return self._at(rows, ranges(self.firsts + self.leading, self.lengths))

    def blocks(self) -> Iterator[slice]:
        """Slices of the sequences that hold some MiB each, and at least one sequence."""
        return releasing(self.values, self._blocks())

    def _blocks(self) -> Iterator[slice]:
        step_bytes = 8 * max(1, self.n_features)
        if self.are_rows:
            yield from _slices(len(self), BLOCK_BYTES // (step_bytes * self.values.shape[1]))
            return
        ends = np.cumsum(self.lengths) * step_bytes
        first = 0
        while first < len(self):
            before = ends[first - 1] if first else 0
            last = int(np.searchsorted(ends, before + BLOCK_BYTES, side="right"))
            yield slice(first, max(first + 1, last))
            first = max(first + 1, last)

    def _at(self, rows: Indices, steps: Indices) -> NDArray[Any]:
        if not self.values.flags.c_contiguous:
            return self.values[rows, steps]
        _, n_steps, n_features = self.values.shape
        return self.values.reshape(-1, n_features).take(rows * n_steps + steps, axis=0)


def _repeated(value: int, n: int) -> Indices:
    """Give each sample a value that is stored once."""
    return np.broadcast_to(np.intp(value), n)


def ranges(starts: Indices, lengths: Indices) -> Indices:
    """Join ``arange(start, start + length)`` for each start and length."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1])


def as_sequences(
    estimator: Any, X: ArrayLike, *, n_timesteps: int | None, reset: bool
) -> Sequences:
    """Bring X to one form, without a copy where it is an array.

    Parameters
    ----------
    estimator : object
        Its ``n_features_in_`` and ``feature_names_in_`` are set or checked.

    X : array-like, PackedSequence or list of array-like
        Of shape (n_samples, n_timesteps, n_features); or (n_samples, n_columns), where a
        row is one univariate sequence unless `n_timesteps` is given; or sequences of
        shape (n_timesteps, n_features) or (n_timesteps,) that differ in length. Steps
        at either end of a sequence are missing if all their features are NaN, but for
        2-D X.

    n_timesteps : int or None
        Time steps in a row of 2-D X, all features of the first step first.

    reset : bool
        Whether to set the attributes (in fit) or to check against them.

    Returns
    -------
    Sequences
        In the dtype of X.

    Raises
    ------
    ValueError
        If X is of another shape than described or than seen in fit, empty along an axis,
        not real numbers, or not finite in float32.
    """
    X = opened(X, "X")
    arrays = as_list(X, "X")
    if arrays is not None:
        series = all(array.ndim == 1 for array in arrays)
        if series and (n_timesteps is not None or (not reset and estimator._X_form == "rows")):
            X = _stacked(arrays)
        else:
            _check_same_form(estimator, "series" if series else "steps", reset)
            if reset:
                _check_feature_names(estimator, X, reset=True)
            tables = as_tables(arrays, "X")
            _check_n_features(estimator, tables[0].shape[1], reset)
            parts = (slice(i, i + 1) for i in range(len(tables)))
            found = ((i, _find_steps(tables[i.start][np.newaxis], i.start)) for i in parts)
            return _with_steps(Sequences.joined(tables), found)
    checked = _check_array(estimator, X, reset)
    if checked.ndim == 3:
        _check_n_features(estimator, checked.shape[2], reset)
        found = ((i, _find_steps(checked[i], i.start)) for i in _blocks(checked))
        return _with_steps(Sequences.equal(checked), found)
    check_finite(checked, "X")
    return Sequences.equal(_steps_in_rows(checked, n_timesteps))


def as_list(values: Any, name: str) -> list[NDArray[Any]] | None:
    """Arrays in what `opened` returned as a list or tuple, or `None` if it is something else."""
    if not isinstance(values, (list, tuple)) or not values:
        return None
    return [as_real_array(item, f"{name}[{i}]") for i, item in enumerate(values)]


def as_tables(arrays: list[NDArray[Any]], name: str) -> list[NDArray[Any]]:
    """Check that arrays are a sequence each, and give every one an axis of features.

    Raises
    ------
    ValueError
        With the place of the array that is empty or not as the others.
    """
    tables = [array[:, np.newaxis] if array.ndim == 1 else array for array in arrays]
    for i, (array, table) in enumerate(zip(arrays, tables, strict=True)):
        if table.ndim != 2 or 0 in table.shape:
            inputs = f" {REPEAT_STATIC}" if _are_several_inputs(arrays) else ""
            raise ValueError(
                f"{name}[{i}] has shape {array.shape}; expected (n_timesteps,) or (n_timesteps, "
                f"any number), each at least 1.{inputs}"
            )
        if table.shape[1] != tables[0].shape[1]:
            raise ValueError(
                f"{name}[{i}] has {table.shape[1]} values at each step, {name}[0] has "
                f"{tables[0].shape[1]}."
            )
    return tables


def _are_several_inputs(arrays: list[NDArray[Any]]) -> bool:
    """Whether arrays are one input each, with all samples, rather than one sequence each."""
    alike = len({len(array) if array.ndim else 0 for array in arrays}) == 1
    return alike and any(array.ndim == 3 for array in arrays)


class Moments:
    """Means and standard deviations of columns, block by block, that constants come out of exactly.

    Rounding makes some variance of a constant: of a large one more than 1, of a weighted one at
    times less than 0. And the mean of equal numbers may be none of them.
    """

    smallest: NDArray[np.float64]
    largest: NDArray[np.float64]

    def __init__(self) -> None:
        self.scaler = StandardScaler()
        self.n_seen = 0

    def add(self, steps: NDArray[np.float64], weight: NDArray[np.float64] | None) -> None:
        """Take some more steps, shape (n_steps, n_columns), into account."""
        smallest, largest = steps.min(axis=0), steps.max(axis=0)
        if self.n_seen:
            smallest = np.minimum(smallest, self.smallest)
            largest = np.maximum(largest, self.largest)
        self.smallest, self.largest = smallest, largest
        self.n_seen += len(steps)
        with np.errstate(invalid="ignore"):  # the root of a variance below 0
            self.scaler.partial_fit(steps, sample_weight=weight)

    @property
    def vary(self) -> NDArray[np.bool_]:
        """Whether the variance of each column is more than rounding could make of a constant."""
        variance = self.scaler.var_.clip(0)
        # scikit-learn's scale is the standard deviation, or 1 where that may be rounding
        return (variance > 0) & (self.scaler.scale_ == np.sqrt(variance))

    def mean_and_scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean and the standard deviation of each column, shape (n_columns,).

        The scale of a column that does not vary is 1, or so large that its rounding counts for
        less than `ROUNDING`.
        """
        mean = self.scaler.mean_.clip(self.smallest, self.largest)
        rounding = (self.largest - self.smallest) / ROUNDING
        return mean, np.where(self.vary, self.scaler.scale_, rounding.clip(1))


def mean_and_scale(
    values: Sequences, sample_weight: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each feature but for its outliers, block by block.

    What is more than `FAR` standard deviations from the mean is left out, and so is what is
    `ABSURD` times as far from the median as nine in ten values. The two are then taken again,
    until nothing more is left out, some passes at most. A feature that is constant otherwise
    keeps all.

    Parameters
    ----------
    values : Sequences
        Read a block at a time.

    sample_weight : ndarray of shape (n_samples,) or None
        Weight of each sample, the same at all its steps.

    Returns
    -------
    mean, scale : ndarray of shape (n_features,)
        The mean of a constant feature is its value, and the scale is 1.
    """
    moments = Moments()
    for block in values.blocks():
        moments.add(*_steps_and_weight(values[block], sample_weight, block))
    mean, scale = moments.mean_and_scale()
    smallest, largest = moments.smallest, moments.largest
    median, distance = _median_and_absurd_distance(values)
    use_median = (distance > 0) & (distance < FAR * scale)
    centre = np.where(use_median, median, mean)
    reach = np.where(use_median, distance, FAR * scale)
    reach = np.where(smallest < largest, reach, np.inf)
    if (np.maximum(largest - centre, centre - smallest) <= reach).all():
        return mean, scale
    return _without_outliers(values, sample_weight, centre, reach)


def mean_and_scale_of_columns(
    values: Sequences, sample_weight: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each feature at each step, as `mean_and_scale` has them.

    Parameters
    ----------
    values : Sequences
        Each a whole row of its values.

    sample_weight : ndarray of shape (n_samples,) or None
        Weight of each sample.

    Returns
    -------
    mean, scale : ndarray of shape (n_timesteps, n_features)
    """
    mean, scale = mean_and_scale(_as_columns(values), sample_weight)
    shape = (-1, values.n_features)
    return mean.reshape(shape), scale.reshape(shape)


def _as_columns(values: Sequences) -> Sequences:
    """Take sequences that are whole rows as one step each, with the features of all steps."""
    return Sequences.equal(values.values.reshape(len(values.values), 1, -1))[values.rows]


def columns_differ(values: Sequences, sample_weight: NDArray[np.float64] | None) -> bool:
    """Tell whether a scale shared by all steps would hide how a feature varies at one of them.

    It does where the feature has, at some step where it is not constant, less than `HIDDEN` of the
    shared scale: then the columns are other quantities, or one of other size. The lags of a series
    have nearly one scale.
    """
    _, shared = mean_and_scale(values, sample_weight)
    _, own = mean_and_scale_of_columns(values, sample_weight)
    return bool((_vary(values) & (own < HIDDEN * shared)).any())


def _vary(values: Sequences) -> NDArray[np.bool_]:
    """Tell which feature has several values at which step, shape (n_timesteps, n_features)."""
    first = values.batch(slice(0, 1))[0]
    return np.logical_or.reduce(
        [(values.batch(block)[0] != first).any(axis=0) for block in values.blocks()]
    )


def _median_and_absurd_distance(
    values: Sequences,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng, n_steps = np.random.default_rng(0), max(1, ENOUGH // values.n_features)
    n_samples = min(len(values), math.ceil(n_steps / values.lengths.mean()))
    drawn = values[np.sort(rng.choice(len(values), n_samples, replace=False))]
    parts = releasing(values.values, _slices(n_samples, SCATTERED))
    steps = np.concatenate([drawn[part].steps() for part in parts])
    steps = steps[rng.choice(len(steps), min(len(steps), n_steps), replace=False)]
    low, median, high = np.quantile(steps.astype(np.float64, copy=False), [0.05, 0.5, 0.95], axis=0)
    return median, ABSURD * (high - low) / 2


def _without_outliers(
    values: Sequences,
    sample_weight: NDArray[np.float64] | None,
    centre: NDArray[np.float64],
    reach: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    constant = np.isinf(reach)
    scale, n_kept = np.where(constant, 1.0, reach / FAR), []
    for _ in range(MOST_PASSES):
        moments = moments_of_known(values, sample_weight, partial(_is_near, centre, reach))
        vary = ~constant & [bool(near.n_seen and near.vary[0]) for near in moments]
        for feature in np.flatnonzero(vary):
            centre[feature], scale[feature] = np.ravel(moments[feature].mean_and_scale())
        reach = np.where(constant, np.inf, FAR * scale)
        n_kept, n_before = [near.n_seen for near in moments], n_kept
        if n_kept == n_before:
            break
    return centre, scale


def _is_near(
    mean: NDArray[np.float64], distance: NDArray[np.float64], steps: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return np.abs(steps - mean) <= distance


def moments_of_known(
    values: Sequences,
    sample_weight: NDArray[np.float64] | None,
    known: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
) -> list[Moments]:
    """Take the moments of each feature, over the values for which `known` is true.

    A scaler a feature, as one for all would lose its count in a block where none is known.
    """
    moments = [Moments() for _ in range(values.n_features)]
    for block in values.blocks():
        steps, weight = _steps_and_weight(values[block], sample_weight, block)
        for feature, column, kept in zip(moments, steps.T, known(steps).T, strict=True):
            if kept.any():
                feature.add(column[kept, np.newaxis], None if weight is None else weight[kept])
    return moments


def _steps_and_weight(
    part: Sequences, sample_weight: NDArray[np.float64] | None, block: slice
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    steps = part.steps().astype(np.float64, copy=False)
    return steps, None if sample_weight is None else np.repeat(sample_weight[block], part.lengths)


def check_finite(values: NDArray[Any], name: str, *, allow_nan: bool = False) -> None:
    """Refuse what is not a real number within float32's range, but for NaN if that is allowed.

    Raises
    ------
    ValueError
        With the name of the array, the place and what stands there.
    """
    check_real(values, name)
    for block in _blocks(values):
        chunk = values[block]
        if not _in_range(chunk):
            bad = ~(np.abs(chunk.astype(np.float64)) <= LARGEST)
            raise_at(bad & ~np.isnan(chunk) if allow_nan else bad, chunk, block.start, name)


def raise_at(bad: NDArray[np.bool_], chunk: NDArray[Any], first_sample: int, name: str) -> None:
    """Name the first bad place of a chunk and what stands there, if there is one."""
    if not bad.any():
        return
    place = np.argwhere(bad)[0]
    value = chunk[tuple(place)]
    last = "feature" if name == "X" else "column"
    axes = {1: ("sample",), 2: ("sample", "column"), 3: ("sample", "step", last)}
    place[0] += first_sample
    where = ", ".join(f"{axis} {i}" for axis, i in zip(axes[chunk.ndim], place, strict=True))
    kind = "NaN" if np.isnan(value) else "infinity" if np.isinf(value) else "a value"
    reason = "" if kind != "a value" else f" ({value:g}) too large for float32"
    raise ValueError(f"Input {name} contains {kind}{reason} at {where}.")


def _find_steps(values: NDArray[Any], first_sample: int) -> tuple[Indices, Indices] | None:
    """Count the missing steps before, and the present ones, or return `None` if none is missing.

    All there is must be finite.
    """
    check_real(values, "X")
    n_steps = values.shape[1]
    if _in_range(values):
        return None
    present = ~np.isnan(values).all(axis=2)
    if not present.any(axis=1).all():
        empty = first_sample + int(np.argmin(present.any(axis=1)))
        raise ValueError(f"X is NaN at all {n_steps} steps of sample {empty}.")
    leading = present.argmax(axis=1)
    ends = n_steps - present[:, ::-1].argmax(axis=1)
    steps = np.arange(n_steps)
    inside = (steps >= leading[:, np.newaxis]) & (steps < ends[:, np.newaxis])
    bad = ~(np.abs(values.astype(np.float64)) <= LARGEST) & inside[:, :, np.newaxis]
    raise_at(bad, values, first_sample, "X")
    return leading, ends - leading


def _with_steps(
    sequences: Sequences, found: Iterable[tuple[slice, tuple[Indices, Indices] | None]]
) -> Sequences:
    """Leave out the missing steps, of parts in which some are missing."""
    parts = [(part, steps) for part, steps in found if steps is not None]
    if not parts:
        return sequences
    leading, lengths = sequences.leading.copy(), sequences.spans.copy()
    for part, steps in parts:
        leading[part], lengths[part] = steps
    return replace(sequences, leading=leading, lengths=lengths)


def _in_range(values: NDArray[Any]) -> bool:
    if values.dtype.kind != "f":
        return True
    return float(values.min()) >= -LARGEST and float(values.max()) <= LARGEST


def _check_array(estimator: Any, X: ArrayLike, reset: bool) -> NDArray[Any]:
    if not reset and _is_plain(X) and not hasattr(estimator, "feature_names_in_"):
        _check_same_form(estimator, "steps", reset)
        return X
    dims = n_dims(X)
    if dims == 0:
        raise ValueError(
            f"X must be an array or a list of sequences, got a scalar: {type(X).__name__}."
        )
    if dims > 3:
        raise ValueError(
            f"X has {dims} dimensions, shape {np.shape(X)}; expected 3: (n_samples, "
            "n_timesteps, n_features), or 2: (n_samples, n_columns)."
        )
    if dims == 1 and (reset or estimator._X_form != "rows"):
        raise ValueError(_why_not_1d(estimator, np.shape(X), reset))
    if dims > 1:
        _check_same_form(estimator, "rows" if dims == 2 else "steps", reset, X)
    with naming("X"):
        checked: NDArray[Any] = validate_data(
            estimator,
            X,
            reset=reset,
            allow_nd=True,
            ensure_2d=dims != 3 and (reset or estimator._X_form == "rows"),
            ensure_all_finite=False,
            dtype="numeric",
        )
    if checked.ndim != dims or 0 in checked.shape:
        raise ValueError(
            f"X has shape {checked.shape}; (n_samples, n_timesteps, n_features) must each be at "
            "least 1."
        )
    return checked


def _is_plain(X: Any) -> TypeGuard[NDArray[Any]]:
    """Whether X is what most checks would leave as it is."""
    return type(X) is np.ndarray and X.ndim == 3 and X.size > 0 and X.dtype.kind in "biuf"


def _stacked(rows: list[NDArray[Any]]) -> NDArray[Any]:
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"X[{i}] has {len(row)} columns, X[0] has {len(rows[0])}; rows of 2-D X must be "
                "of equal length."
            )
    return np.stack(rows)


def _check_same_form(
    estimator: Any, form: str, reset: bool, table: ArrayLike | None = None
) -> None:
    """Tell rows of a table from 3-D X; a list of 1-D arrays was as good as either."""
    if reset:
        estimator._X_form = form
    elif (form == "rows") != (estimator._X_form == "rows") and estimator._X_form != "series":
        forms = {
            "rows": "2-D",
            "steps": "3-D or a list of 2-D arrays",
            "series": "a list of 1-D arrays",
        }
        advice = ""
        if form == "rows" and table is not None:
            shape = np.shape(table)
            advice = f" X has shape {shape}.{_how_to_make_3d(estimator, shape)}"
        raise ValueError(
            f"X is {forms[form]}, but {type(estimator).__name__} was fitted with X that is "
            f"{forms[estimator._X_form]}.{advice}"
        )


def _why_not_1d(estimator: Any, shape: tuple[int, ...], reset: bool) -> str:
    """Say what 1-D X should have been."""
    if reset:
        return (
            f"Expected 2D array, got 1D array instead: X has shape {shape}. One sequence is "
            f"np.reshape(X, (1, {shape[0]}, 1)); a series from which to learn is a column, "
            "np.reshape(X, (-1, 1)), of which LagWindows makes windows."
        )
    return (
        f"X has shape {shape}, but {type(estimator).__name__} was fitted with sequences: expected "
        f"shape (n_samples, n_timesteps, {estimator.n_features_in_}), or a list of sequences."
        f"{_how_to_make_3d(estimator, shape)}"
    )


def _how_to_make_3d(estimator: Any, shape: tuple[int, ...]) -> str:
    """Show how one sequence, or rows of flattened ones, become 3-D X; nothing if they cannot."""
    n_features = estimator.n_features_in_
    *n_samples, n_columns = shape
    if n_samples and n_columns == n_features:
        wanted = (1, *shape)
    elif n_columns and n_columns % n_features == 0:
        wanted = (*(n_samples or [1]), n_columns // n_features, n_features)
    else:
        return ""
    what = "One sequence is" if wanted[0] == 1 else f"{wanted[0]} sequences are"
    return f" {what} np.reshape(X, {wanted})."


def _check_n_features(estimator: Any, n_features: int, reset: bool) -> None:
    if reset:
        estimator.n_features_in_ = n_features
    elif n_features != estimator.n_features_in_:
        raise ValueError(
            f"X has {n_features} features at each step, but {type(estimator).__name__} is "
            f"expecting {estimator.n_features_in_} features as input."
        )


def _steps_in_rows(X: NDArray[Any], n_timesteps: int | None) -> NDArray[Any]:
    n_samples, n_columns = X.shape
    if n_timesteps is None:
        return X[:, :, np.newaxis]
    if n_columns % n_timesteps:
        raise ValueError(
            f"X has {n_columns} columns, which n_timesteps={n_timesteps} does not divide."
        )
    return X.reshape(n_samples, n_timesteps, n_columns // n_timesteps)


def _blocks(values: NDArray[Any]) -> Iterator[slice]:
    return releasing(values, _slices(len(values), BLOCK_BYTES // (values[:1].size * 8)))


def _slices(n: int, size: int) -> Iterator[slice]:
    """Cut so many samples into slices of a size, or of one sample."""
    size = max(1, size)
    return (slice(first, min(first + size, n)) for first in range(0, n, size))
