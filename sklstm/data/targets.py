"""Every accepted y to one internal form, `Sequences`, and predictions back to the form of y."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length

from sklstm._compat import check_sample_weight

from .array_likes import as_tables, check_real, list_of_arrays, n_dims, naming, opened
from .inputs import LARGEST, check_finite, is_plain
from .sequences import Sequences, ranges


@dataclass(frozen=True)
class TargetForm:
    """What y looked like in `fit`; predictions take the same form."""

    dtype: np.dtype[Any]
    has_steps: bool  # whether there is a target at each time step
    has_outputs: bool  # whether there is an axis of outputs
    # "array"; or "list" or "object", for arrays in a list or in an array of objects.
    container: str = "array"
    # Where the outputs of a sample are a table of shape (horizon, n_columns).
    horizon: int | None = None

    def restore(self, y: NDArray[Any], X: Sequences) -> Any:
        """Bring predictions of shape (n_samples or steps, n_outputs, ...) to this form."""
        single = all(dtype.kind == "f" and dtype.itemsize <= 4 for dtype in (X.dtype, self.dtype))
        y = y.astype(np.float32 if single else np.float64, copy=False)
        if not self.has_outputs:
            y = y[:, 0]
        if self.horizon is not None:
            y = y.reshape(len(y), self.horizon, -1, *y.shape[2:])
        if not self.has_steps:
            return y
        ends = np.cumsum(X.spans)
        if len(y) < ends[-1]:  # NaN where a step of X is missing
            present, y = y, np.full((ends[-1], *y.shape[1:]), np.nan, dtype=y.dtype)
            y[ranges(ends - X.spans + X.leading, X.lengths)] = present
        if self.container == "array" and (X.spans == X.spans[0]).all():
            return y.reshape(len(X), X.spans[0], *y.shape[1:])
        sequences = np.split(y, ends[:-1])
        if self.container != "object":
            return sequences
        objects = np.empty(len(sequences), dtype=object)
        objects[:] = sequences
        return objects


def read_targets(X: Sequences, y: Any, *, return_sequences: bool) -> tuple[Sequences, TargetForm]:
    """Read y: a target at each present step of X with `return_sequences`, else one a sample.

    Parameters
    ----------
    X : Sequences
        The inputs.

    y : array-like, PackedSequence or list of array-like
        Of shape (n_samples,), (n_samples, n_outputs) or (n_samples, horizon, n_columns). With
        `return_sequences`, of shape (n_samples, n_timesteps) or (n_samples, n_timesteps,
        n_outputs), or sequences of shape (n_timesteps,) or (n_timesteps, n_outputs) that are as
        long as those of X. NaN is a missing label.

    return_sequences : bool
        Whether there is a target at each step.

    Returns
    -------
    targets : Sequences
        Of one step for targets of one a sample; of (n_samples, horizon, n_columns), all columns
        of the first row of the horizon first.

    form : TargetForm
        How to bring predictions back.
    """
    if y is None:
        raise ValueError("StackedLSTMRegressor requires y to be passed, but the target y is None.")
    inside, arrays = y, None
    if not is_plain(y, 1, 2, 3):
        inside = opened(y, "y")
        arrays = list_of_arrays(inside, "y")
    if return_sequences:
        if arrays is None:
            at_steps, form = _steps_of_array(inside, "y with return_sequences=True")
        else:
            container = "object" if hasattr(y, "dtype") else "list"
            form = TargetForm(np.result_type(*arrays), True, arrays[0].ndim == 2, container)
            at_steps = Sequences.joined(as_tables(arrays, "y"))
        return _at_present_steps(at_steps, X), form
    if arrays and len({array.shape for array in arrays}) > 1:
        raise ValueError("y has sequences of unequal shapes, which need return_sequences=True.")
    targets = np.stack(arrays) if arrays else inside
    if not is_plain(targets, 1, 2, 3) and n_dims(targets) not in (1, 2, 3):
        raise ValueError(
            f"y should be a 1d array, (n_samples,), 2d, (n_samples, n_outputs), or 3d, "
            f"(n_samples, horizon, n_columns); got shape {np.shape(targets)} instead."
        )
    targets = _as_array(targets)
    check_consistent_length(X, targets)
    check_finite(targets, "y", allow_nan=True)
    horizon = targets.shape[1] if targets.ndim == 3 else None
    form = TargetForm(targets.dtype, False, targets.ndim > 1, horizon=horizon)
    return Sequences.equal(targets.reshape(len(targets), 1, -1)), form


def _at_present_steps(y: Sequences, X: Sequences) -> Sequences:
    """Check targets at all steps, and leave out those where X is missing."""
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
    check_same_spans(y, X, "X")
    if np.array_equal(X.lengths, X.spans):
        return y
    present = replace(y, leading=X.leading, lengths=X.lengths)
    lost = n_labels(y) > n_labels(present)
    if lost.any():
        raise ValueError(
            f"y has a label at sample {int(np.argmax(lost))} where X has no step; expected NaN."
        )
    return present


def join_steps(y: Any, name: str) -> Sequences:
    """Read targets at each step, or predictions of them, in any of their forms."""
    y = opened(y, name)
    arrays = list_of_arrays(y, name)
    return Sequences.joined(as_tables(arrays, name)) if arrays else _steps_of_array(y, name)[0]


def check_same_spans(y: Sequences, other: Sequences, name: str) -> None:
    """Refuse sequences that have not as many samples and steps as others."""
    check_consistent_length(other, y)
    unequal = y.spans != other.spans
    if unequal.any():
        sample = int(np.argmax(unequal))
        raise ValueError(
            f"y has {y.spans[sample]} steps at sample {sample}, {name} has {other.spans[sample]}."
        )


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
    """Leave out samples of weight zero or without any label; no weight is larger than 1."""
    if sample_weight is None and is_full(y):
        return X, y, None
    kept = n_labels(y) > 0
    if not kept.any():
        raise ValueError("y has no label: it is NaN throughout.")
    weight = None
    if sample_weight is not None:
        weight = _checked_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        kept &= weight > 0
        if not kept.any():
            raise ValueError("sample_weight is zero for every sample that has a label.")
        weight = weight[kept] / weight.max()
    return (X, y, weight) if kept.all() else (X[kept], y[kept], weight)


def mean_score(
    score: Callable[..., float],
    y_true: Sequences,
    y_pred: NDArray[Any],
    sample_weight: ArrayLike | None,
) -> float:
    """Score each output over its labels, and take the mean.

    `score` takes the labels of an output, the predictions for them and `sample_weight`. The
    predictions have shape (n_samples or steps, n_outputs, ...); weights are one a sample.
    """
    weight = None
    if sample_weight is not None:
        weight = np.repeat(_checked_weight(sample_weight, y_true), y_true.lengths)
    scores = []
    outputs = zip(y_true.steps().T, np.moveaxis(y_pred, 1, 0), strict=True)
    for output, (labels, predictions) in enumerate(outputs):
        known = ~np.isnan(labels)
        if not known.any():
            raise ValueError(f"y has no label for output {output}.")
        weight_known = None if weight is None else weight[known]
        scores.append(score(labels[known], predictions[known], sample_weight=weight_known))
    return float(np.mean(scores))


def _steps_of_array(y: Any, name: str) -> tuple[Sequences, TargetForm]:
    if n_dims(y) not in (2, 3):
        raise ValueError(
            f"A target at each step has shape (n_samples, n_timesteps) or (n_samples, "
            f"n_timesteps, n_outputs); {name} has {np.shape(y)}."
        )
    targets = _as_array(y)
    form = TargetForm(targets.dtype, has_steps=True, has_outputs=targets.ndim == 3)
    return Sequences.equal(targets if targets.ndim == 3 else targets[:, :, np.newaxis]), form


def _as_array(y: Any) -> NDArray[Any]:
    """Make an array of real numbers and NaN, as scikit-learn does."""
    if is_plain(y, 1, 2, 3):
        return y
    with naming("y"):
        targets: NDArray[Any] = check_array(
            y, ensure_2d=False, allow_nd=True, ensure_all_finite=False, input_name="y"
        )
    check_real(targets, "y")
    if 0 in targets.shape:
        raise ValueError(f"y has shape {targets.shape}; each axis must be at least 1.")
    return targets


def _checked_weight(
    sample_weight: ArrayLike,
    X: Sequences,
    *,
    dtype: type | None = None,
    ensure_non_negative: bool = False,
) -> NDArray[Any]:
    """Check weights as scikit-learn does, whatever library their array is of."""
    # scikit-learn reads the number of samples alone from the array that it wants.
    samples, given = np.empty(len(X)), opened(sample_weight, "sample_weight")
    weight: NDArray[Any] = check_sample_weight(
        given, samples, dtype=dtype, ensure_non_negative=ensure_non_negative
    )
    return weight
