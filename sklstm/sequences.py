"""Every accepted form of X and y to one internal form, and predictions back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_consistent_length, gen_batches
from sklearn.utils.validation import _check_sample_weight, validate_data

BLOCK_BYTES = 16 * 2**20
LARGEST = float(np.finfo(np.float32).max)


def as_sequences(
    estimator: Any, X: ArrayLike, *, n_timesteps: int | None, reset: bool
) -> NDArray[Any]:
    """Bring X to shape (n_samples, n_timesteps, n_features), without a copy where possible.

    Parameters
    ----------
    estimator : object
        Its ``n_features_in_`` and ``feature_names_in_`` are set or checked.

    X : array-like of shape (n_samples, n_timesteps, n_features) or (n_samples, n_columns)
        Sequences; a 2-D row is one univariate sequence unless `n_timesteps` is given.

    n_timesteps : int or None
        Time steps in a row of 2-D X, all features of the first step first.

    reset : bool
        Whether to set the attributes (in fit) or to check against them.

    Returns
    -------
    ndarray of shape (n_samples, n_timesteps, n_features)
        The sequences, in their own dtype.

    Raises
    ------
    ValueError
        If X is of another shape than described or than seen in fit, empty along an axis,
        not real numbers, or not finite in float32.
    """
    n_dims = _n_dims(X)
    if n_dims > 3:
        raise ValueError(
            f"X has {n_dims} dimensions, shape {np.shape(X)}; expected 3: (n_samples, "
            "n_timesteps, n_features), or 2: (n_samples, n_columns)."
        )
    _check_same_form(estimator, n_dims, reset)
    with _naming("X"):
        checked = validate_data(
            estimator,
            X,
            reset=reset,
            allow_nd=True,
            ensure_2d=n_dims != 3,
            ensure_all_finite=False,
            dtype="numeric",
        )
    sequences = (
        _steps_in_rows(checked, n_timesteps)
        if n_dims == 2
        else _check_sequences(estimator, checked, reset)
    )
    check_finite(checked, "X")
    return sequences


def as_targets(estimator: Any, X: NDArray[Any], y: ArrayLike | None) -> NDArray[Any]:
    """Check that y is one row of finite numbers a sample.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_outputs)

    Raises
    ------
    ValueError
        If y is missing, not numeric, not finite, or of another length than X.
    """
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None."
        )
    if _n_dims(y) not in (1, 2):
        raise ValueError(
            f"y should be a 1d array, (n_samples,), or 2d, (n_samples, n_outputs); got shape "
            f"{np.shape(y)} instead."
        )
    with _naming("y"):
        targets: NDArray[Any] = check_array(
            y, ensure_2d=False, dtype="numeric", ensure_all_finite=False, input_name="y"
        )
    check_consistent_length(X, targets)
    if 0 in targets.shape:
        raise ValueError(f"y has no column: shape {targets.shape}.")
    check_finite(targets, "y")
    return targets


def drop_weightless(
    X: NDArray[Any], y: NDArray[Any], sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64] | None]:
    """Leave out the samples whose weight is zero.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or if every weight is zero.
    """
    if sample_weight is None:
        return X, y, None
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    kept = weight > 0
    if not kept.any():
        raise ValueError("sample_weight is zero for every sample.")
    return (X, y, weight) if kept.all() else (X[kept], y[kept], weight[kept])


def mean_and_scale(
    values: NDArray[Any], sample_weight: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation along the last axis, in one pass over blocks.

    Parameters
    ----------
    values : ndarray of shape (n_samples, ..., n_features)
        Read a block at a time.

    sample_weight : ndarray of shape (n_samples,) or None
        Weight of each sample, the same at all its steps.

    Returns
    -------
    mean, scale : ndarray of shape (n_features,)
        The scale of a constant feature is 1.
    """
    scaler = StandardScaler()
    for block in _blocks(values):
        rows = np.asarray(values[block], dtype=np.float64).reshape(-1, values.shape[-1])
        weight = None
        if sample_weight is not None:
            weight = sample_weight[block]
            weight = np.repeat(weight, len(rows) // len(weight))
        scaler.partial_fit(rows, sample_weight=weight)
    return scaler.mean_, scaler.scale_


def check_finite(values: NDArray[Any], name: str) -> None:
    """Refuse what is not a real number within float32's range.

    Raises
    ------
    ValueError
        With the name of the array, the place and what stands there.
    """
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {values.dtype}; expected real numbers.")
    if values.dtype.kind != "f":
        return
    for block in _blocks(values):
        chunk = values[block]
        if not (float(chunk.min()) >= -LARGEST and float(chunk.max()) <= LARGEST):
            _raise_not_finite(chunk, block.start, name)


def prediction_dtype(X: NDArray[Any], y_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float64, unless both X and y are floats of single precision or below."""
    single = all(dtype.kind == "f" and dtype.itemsize <= 4 for dtype in (X.dtype, y_dtype))
    return np.dtype(np.float32 if single else np.float64)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say which array the strings are in: scikit-learn's message does not."""
    try:
        yield
    except ValueError as error:
        if "string" not in str(error):
            raise
        raise ValueError(f"{name} must hold numbers: {error}") from error


def _n_dims(values: Any) -> int:
    return len(values.shape) if hasattr(values, "shape") else np.asarray(values).ndim


def _check_same_form(estimator: Any, n_dims: int, reset: bool) -> None:
    if reset:
        estimator._X_is_3d = n_dims == 3
    elif n_dims in (2, 3) and estimator._X_is_3d != (n_dims == 3):
        raise ValueError(
            f"X has {n_dims} dimensions, but {type(estimator).__name__} was fitted with "
            f"{5 - n_dims}-D X."
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


def _check_sequences(estimator: Any, X: NDArray[Any], reset: bool) -> NDArray[Any]:
    if X.ndim != 3 or 0 in X.shape:
        raise ValueError(
            f"X has shape {X.shape}; (n_samples, n_timesteps, n_features) must each be at least 1."
        )
    n_features = X.shape[2]
    if reset:
        estimator.n_features_in_ = n_features
    elif n_features != estimator.n_features_in_:
        raise ValueError(
            f"X has {n_features} features at each step (shape {X.shape}), but "
            f"{type(estimator).__name__} is expecting {estimator.n_features_in_} features as "
            "input."
        )
    return X


def _raise_not_finite(chunk: NDArray[Any], first_sample: int, name: str) -> None:
    bad = ~(np.abs(chunk.astype(np.float64)) <= LARGEST)
    place = np.argwhere(bad)[0]
    value = chunk[tuple(place)]
    axes = {1: ("sample",), 2: ("sample", "column"), 3: ("sample", "step", "feature")}
    place[0] += first_sample
    where = ", ".join(f"{axis} {i}" for axis, i in zip(axes[chunk.ndim], place, strict=True))
    kind = "NaN" if np.isnan(value) else "infinity" if np.isinf(value) else "a value"
    reason = "" if kind != "a value" else f" ({value:g}) too large for float32"
    raise ValueError(f"Input {name} contains {kind}{reason} at {where}.")


def _blocks(values: NDArray[Any]) -> Iterator[slice]:
    row_bytes = values[:1].size * 8
    return iter(gen_batches(len(values), max(1, BLOCK_BYTES // row_bytes)))
