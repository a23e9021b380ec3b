"""Every accepted form of y to one internal form, and predictions back to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import _check_sample_weight

from .containers import check_real, n_dims, naming, opened
from .sequences import (
    LARGEST,
    Sequences,
    as_list,
    as_tables,
    check_finite,
    moments_of_known,
    ranges,
)

# Ranges of the middle half and of the middle nine tenths of a normal distribution, in standard
# deviations.
MIDDLE_HALF, MIDDLE_NINE_TENTHS = 1.349, 3.290


@dataclass(frozen=True)
class TargetForm:
    """What y looked like, so that predictions can look like it.

    Parameters
    ----------
    dtype : numpy.dtype
        Its dtype.

    has_steps : bool
        Whether there is a target at each time step.

    has_outputs : bool
        Whether there is an axis of outputs.

    horizon : int or None
        Steps of the horizon, where the outputs of a sample are a table of shape (horizon,
        n_columns): all columns of its first row first.

    container : {"array", "list", "object"}
        Whether the samples are rows of an array or arrays in a list or in an object array.
    """

    dtype: np.dtype[Any]
    has_steps: bool
    has_outputs: bool
    container: str = "array"
    horizon: int | None = None

    def restore(self, y: NDArray[Any], X: Sequences) -> Any:
        """Bring predictions of shape (n_samples or steps, n_outputs, ...) to this form."""
        single = all(dtype.kind == "f" and dtype.itemsize <= 4 for dtype in (X.dtype, self.dtype))
        y = y.astype(np.float32 if single else np.float64, copy=False)
        if not self.has_outputs:
            y = y[:, 0]
        if self.horizon is not None:
            y = y.reshape(len(y), self.horizon, -1, *y.shape[2:])
        return self._split(_at_present_steps(y, X), X.spans) if self.has_steps else y

    def _split(self, y: NDArray[Any], spans: NDArray[np.intp]) -> Any:
        if self.container == "array" and (spans == spans[0]).all():
            return y.reshape(len(spans), spans[0], *y.shape[1:])
        sequences = np.split(y, np.cumsum(spans)[:-1])
        if self.container != "object":
            return sequences
        objects = np.empty(len(sequences), dtype=object)
        objects[:] = sequences
        return objects


def as_targets(
    estimator: Any, X: Sequences, y: ArrayLike | None, *, return_sequences: bool
) -> tuple[Sequences, TargetForm]:
    """Bring y to one form: a target at each present step of X, or one a sample.

    Parameters
    ----------
    estimator : object
        For its name in an error.

    X : Sequences
        The inputs.

    y : array-like, PackedSequence or list of array-like
        Of shape (n_samples,), (n_samples, n_outputs) or (n_samples, horizon, n_columns); with
        `return_sequences`, of shape (n_samples, n_timesteps) or (n_samples, n_timesteps,
        n_outputs), or sequences of shape (n_timesteps,) or (n_timesteps, n_outputs) that are as
        long as those of X. NaN is a missing label.

    return_sequences : bool
        Whether there is a target at each step.

    Returns
    -------
    targets : Sequences
        Of a single step for targets of one a sample: of (n_samples, horizon, n_columns), all
        columns of the first row of the horizon first.

    form : TargetForm
        How to bring predictions back.

    Raises
    ------
    ValueError
        If y is missing, masked, not numeric, infinite, or not as many as X has samples or steps.
    """
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None."
        )
    if not return_sequences:
        return _one_a_sample(X, y)
    inside = opened(y, "y")
    arrays = as_list(inside, "y")
    if arrays is None:
        targets, form = _steps_of_array(inside, "y with return_sequences=True")
    else:
        container = "object" if hasattr(y, "dtype") else "list"
        form = TargetForm(np.result_type(*arrays), True, arrays[0].ndim == 2, container)
        targets = Sequences.joined(as_tables(arrays, "y"))
    _check_labels(targets)
    return _aligned(targets, X), form


def join_steps(y: Any, name: str) -> Sequences:
    """Take targets at each step, or predictions of them, whatever form they have.

    Raises
    ------
    ValueError
        If they are masked, or neither a list of arrays nor an array of 2 or 3 dimensions.
    """
    y = opened(y, name)
    arrays = as_list(y, name)
    return Sequences.joined(as_tables(arrays, name)) if arrays else _steps_of_array(y, name)[0]


def is_full(y: Sequences) -> bool:
    """Tell whether all have as many targets, each of them a label."""
    return y.are_equal and not any(np.isnan(y[block].steps()).any() for block in y.blocks())


def n_labels(y: Sequences) -> NDArray[np.intp]:
    """Count the labels of each sample: all that is not NaN."""
    counts = []
    for block in y.blocks():
        part = y[block]
        at_steps = (~np.isnan(part.steps())).sum(axis=1)
        counts.append(np.add.reduceat(at_steps, np.cumsum(part.lengths) - part.lengths))
    return np.concatenate(counts)


def labels_every_output(y: Sequences) -> bool:
    """Tell whether each output has a label."""
    labelled = np.zeros(y.n_features, dtype=bool)
    for block in y.blocks():
        labelled |= ~np.isnan(y[block].steps()).all(axis=0)
    return bool(labelled.all())


def drop_unused(
    X: Sequences, y: Sequences, sample_weight: ArrayLike | None
) -> tuple[Sequences, Sequences, NDArray[np.float64] | None]:
    """Leave out the samples of weight zero, and those without any label.

    Raises
    ------
    ValueError
        If a weight is negative, not finite or masked, or if no sample is left.
    """
    if sample_weight is None and is_full(y):
        return X, y, None
    kept = n_labels(y) > 0
    if not kept.any():
        raise ValueError("y has no label: it is NaN throughout.")
    weight = None
    if sample_weight is not None:
        weight = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        kept &= weight > 0
        if not kept.any():
            raise ValueError("sample_weight is zero for every sample that has a label.")
        weight = weight[kept] / weight.max()
    return (X, y, weight) if kept.all() else (X[kept], y[kept], weight)


def check_sample_weight(sample_weight: ArrayLike, X: Sequences, **kwargs: Any) -> NDArray[Any]:
    """Check weights as scikit-learn does, whatever library their array is of.

    Raises
    ------
    ValueError
        If they are masked, or not as scikit-learn expects.
    """
    # scikit-learn wants an array, and asks it for the number of samples alone.
    samples, given = np.empty(len(X)), opened(sample_weight, "sample_weight")
    weight: NDArray[Any] = _check_sample_weight(given, samples, **kwargs)
    return weight


def mean_and_scale_of_labels(
    y: Sequences, sample_weight: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each output over its labels.

    Raises
    ------
    ValueError
        If an output has no label.
    """
    moments = moments_of_known(y, sample_weight, lambda labels: ~np.isnan(labels))
    for output, labels in enumerate(moments):
        if not labels.n_seen:
            raise ValueError(f"y has no label for output {output}.")
    mean, scale = zip(*(labels.mean_and_scale() for labels in moments), strict=True)
    return np.concatenate(mean), np.concatenate(scale)


def median_and_spread_of_labels(
    y: Sequences, sample_weight: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median and spread of each output over its labels, which large targets cannot move.

    The spread is the range of the middle half, or where that is zero of the middle nine tenths,
    over what it is in a normal distribution of standard deviation 1; or else the standard
    deviation.

    Raises
    ------
    ValueError
        If an output has no label.
    """
    mean, scale = mean_and_scale_of_labels(y, sample_weight)
    labels = y.steps()
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    weights = np.repeat(weight, y.lengths)
    for output, column in enumerate(labels.T):
        known = ~np.isnan(column)
        at = [0.05, 0.25, 0.5, 0.75, 0.95]
        low, first, median, third, high = _quantiles(column[known], weights[known], at)
        mean[output] = median
        spread = (third - first) / MIDDLE_HALF or (high - low) / MIDDLE_NINE_TENTHS
        scale[output] = spread or scale[output]
    return mean, scale


def _quantiles(
    values: NDArray[Any], weights: NDArray[np.float64], at: list[float]
) -> NDArray[np.float64]:
    """Quantiles of weighted values, interpolated; a weight of two is nearly two values."""
    order = np.argsort(values)
    centres = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(np.multiply(at, weights.sum()), centres, values[order].astype(np.float64))


def mean_score(
    score: Callable[..., float],
    y_true: Sequences,
    y_pred: NDArray[Any],
    sample_weight: ArrayLike | None,
) -> float:
    """Score each output over its labels, and take the mean.

    Parameters
    ----------
    score : callable
        Called with the labels of an output, shape (n_labels,), the predictions for them,
        and `sample_weight`.

    y_true : Sequences
        Targets.

    y_pred : ndarray of shape (n_samples or steps, n_outputs, ...)
        Predictions.

    sample_weight : array-like of shape (n_samples,) or None
        Weights, the same at all steps of a sample.
    """
    weight = None
    if sample_weight is not None:
        weight = np.repeat(check_sample_weight(sample_weight, y_true), y_true.lengths)
    scores = []
    outputs = zip(y_true.steps().T, np.moveaxis(y_pred, 1, 0), strict=True)
    for output, (labels, predictions) in enumerate(outputs):
        known = ~np.isnan(labels)
        if not known.any():
            raise ValueError(f"y has no label for output {output}.")
        weight_known = None if weight is None else weight[known]
        scores.append(score(labels[known], predictions[known], sample_weight=weight_known))
    return float(np.mean(scores))


def _one_a_sample(X: Sequences, y: ArrayLike) -> tuple[Sequences, TargetForm]:
    y = opened(y, "y")
    arrays = as_list(y, "y") or []
    if len({array.shape for array in arrays}) > 1:
        raise ValueError("y has sequences of unequal shapes, which need return_sequences=True.")
    if arrays:
        y = np.stack(arrays)
    if n_dims(y) not in (1, 2, 3):
        raise ValueError(
            f"y should be a 1d array, (n_samples,), 2d, (n_samples, n_outputs), or 3d, "
            f"(n_samples, horizon, n_columns); got shape {np.shape(y)} instead."
        )
    targets = _check_array(y)
    check_consistent_length(X, targets)
    check_finite(targets, "y", allow_nan=True)
    form = TargetForm(
        targets.dtype,
        has_steps=False,
        has_outputs=targets.ndim > 1,
        horizon=targets.shape[1] if targets.ndim == 3 else None,
    )
    return Sequences.equal(targets.reshape(len(targets), 1, -1)), form


def _steps_of_array(y: ArrayLike, name: str) -> tuple[Sequences, TargetForm]:
    if n_dims(y) not in (2, 3):
        raise ValueError(
            f"A target at each step has shape (n_samples, n_timesteps) or (n_samples, "
            f"n_timesteps, n_outputs); {name} has {np.shape(y)}."
        )
    targets = _check_array(y)
    form = TargetForm(targets.dtype, has_steps=True, has_outputs=targets.ndim == 3)
    targets = targets if targets.ndim == 3 else targets[:, :, np.newaxis]
    return Sequences.equal(targets), form


def _check_array(y: ArrayLike) -> NDArray[Any]:
    with naming("y"):
        targets: NDArray[Any] = check_array(
            y,
            ensure_2d=False,
            allow_nd=True,
            dtype="numeric",
            ensure_all_finite=False,
            input_name="y",
        )
    check_real(targets, "y")
    if 0 in targets.shape:
        raise ValueError(f"y has shape {targets.shape}; each axis must be at least 1.")
    return targets


def _check_labels(y: Sequences) -> None:
    for block in y.blocks():
        part = y[block]
        steps = part.steps()
        bad = np.abs(steps.astype(np.float64)) > LARGEST
        if bad.any():
            place, output = np.argwhere(bad)[0]
            ends = np.cumsum(part.lengths)
            sample = int(np.searchsorted(ends, place, side="right"))
            step = place - (ends - part.lengths)[sample]
            raise ValueError(
                f"Input y contains {steps[place, output]:g} at sample {block.start + sample}, "
                f"step {step}, output {output}; expected at most {LARGEST:g}, or NaN for no label."
            )


def check_same_spans(y: Sequences, other: Sequences, name: str) -> None:
    """Refuse sequences that have not as many samples and steps as others."""
    check_consistent_length(other, y)
    unequal = y.spans != other.spans
    if unequal.any():
        sample = int(np.argmax(unequal))
        raise ValueError(
            f"y has {y.spans[sample]} steps at sample {sample}, {name} has {other.spans[sample]}."
        )


def _aligned(y: Sequences, X: Sequences) -> Sequences:
    check_same_spans(y, X, "X")
    if np.array_equal(X.lengths, X.spans):
        return y
    aligned = replace(y, leading=X.leading, lengths=X.lengths)
    lost = n_labels(y) > n_labels(aligned)
    if lost.any():
        raise ValueError(
            f"y has a label at sample {int(np.argmax(lost))} where X has no step; expected NaN."
        )
    return aligned


def _at_present_steps(y: NDArray[Any], X: Sequences) -> NDArray[Any]:
    """Spread predictions over all steps of X, NaN where X is missing."""
    if len(y) == X.spans.sum():
        return y
    spread = np.full((X.spans.sum(), *y.shape[1:]), np.nan, dtype=y.dtype)
    spread[ranges(np.cumsum(X.spans) - X.spans + X.leading, X.lengths)] = y
    return spread
