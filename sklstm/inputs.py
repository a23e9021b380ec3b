"""X and y of any library to numpy arrays, data frames or lists, or an error that says what to do.

Nothing here knows what a sequence or a target is: `sequences.py` and `targets.py` do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKED = ("data", "batch_sizes", "sorted_indices", "unsorted_indices")
# Characters of a column's or a key's name in an error.
NAME_LENGTH = 40


def opened(values: Any, name: str) -> Any:
    """Take X or y out of whatever holds it.

    Parameters
    ----------
    values : object
        What was given.

    name : str
        What it is called in an error.

    Returns
    -------
    object
        A numpy array for tensors and for nested lists that are an array; a list for packed
        sequences, for other sequences than lists and tuples, such as skorch's
        ``SliceDataset``, and for a Series or 1-D object array of sequences; else what was given.

    Raises
    ------
    ValueError
        If it is masked, a mapping, a dataset or an iterator, or a data frame with a column
        that does not hold numbers.
    """
    if type(values) is np.ndarray and values.dtype.kind != "O":
        return values
    check_unmasked(values, name)
    if _is_packed(values):
        return _unpacked(values, name)
    if isinstance(values, Sequence) and not isinstance(values, (list, tuple, str, bytes)):
        return opened([values[i] for i in range(len(values))], name)
    if isinstance(values, (list, tuple)):
        return _array_if_regular(values, name)
    if _is_tensor(values):
        return as_real_array(values, name)
    if _is_frame(values):
        check_columns(values, name)
    elif _holds_sequences(values):
        return _array_if_regular(values.to_list() if _is_series(values) else list(values), name)
    else:
        _check_holds_values(values, name)
    return values


def as_real_array(values: Any, name: str) -> NDArray[Any]:
    """Make a numpy array of real numbers; `None` is NaN.

    Raises
    ------
    ValueError
        If it cannot be one.
    """
    check_unmasked(values, name)
    if _is_frame(values):
        check_columns(values, name)
    try:
        array = np.asarray(values)
        if array.dtype == object:
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{name} is not an array of real numbers: {error}") from error
    check_real(array, name)
    return array


def check_real(values: NDArray[Any], name: str) -> None:
    """Refuse strings, objects, dates and complex numbers."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {values.dtype}; expected real numbers.")


def check_unmasked(values: Any, name: str) -> None:
    """Refuse a masked array with masked entries: what is under the mask would be read."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} has masked entries, and what is under the mask would be read. Fill them: "
            "NaN is a missing step in X and a missing label in y, and 0 is no weight."
        )


def check_columns(frame: Any, name: str) -> None:
    """Refuse a data frame of pandas or polars with a column that does not hold numbers.

    Raises
    ------
    ValueError
        With the name of the column, its dtype and what to do.
    """
    for position, (column, dtype) in enumerate(zip(frame.columns, frame.dtypes, strict=True)):
        reason = _why_no_numbers(frame, position, dtype)
        if reason is not None:
            raise ValueError(
                f"{name} has a column {str(column)[:NAME_LENGTH]!r} of dtype {dtype}, which does "
                f"not hold numbers{reason}. Drop it, or make numbers of it, for example with "
                "sklearn.compose.make_column_transformer."
            )


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Say which array the strings, the huge integers or torch's gradients are in."""
    try:
        yield
    except (RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} is not an array of real numbers: {error}") from error
    except ValueError as error:
        if "string" not in str(error):
            raise
        raise ValueError(f"{name} must hold numbers: {error}") from error


def n_dims(values: Any) -> int:
    """Count the dimensions of an array-like."""
    return len(values.shape) if hasattr(values, "shape") else np.asarray(values).ndim


def _is_packed(values: Any) -> bool:
    """Whether it is a torch.nn.utils.rnn.PackedSequence, which is a named tuple."""
    return isinstance(values, tuple) and getattr(values, "_fields", None) == PACKED


def _unpacked(packed: Any, name: str) -> list[NDArray[Any]]:
    """Return the sequences of a PackedSequence in the order in which they were packed.

    Its data hold all first steps, then all second steps and so on, the longest sequence first.
    """
    data, sizes = as_real_array(packed.data, name), np.asarray(packed.batch_sizes)
    starts, ends = np.cumsum(sizes) - sizes, np.searchsorted(-sizes, -np.arange(sizes[0]))
    arrays = [data[starts[:end] + i] for i, end in enumerate(ends)]
    if packed.unsorted_indices is None:
        return arrays
    return [arrays[i] for i in np.asarray(packed.unsorted_indices.cpu())]


def _array_if_regular(values: Any, name: str) -> Any:
    """Nested lists of numbers as one array if they can be, or else as they are."""
    if not values or any(getattr(item, "shape", ()) for item in values):
        return values
    try:
        array = np.asarray(values)
    except ValueError:
        return values
    return as_real_array(array, name) if array.dtype == object else array


def _is_tensor(values: Any) -> bool:
    """Whether it is an array of another library, which scikit-learn may leave as it is."""
    return hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray)


def _is_frame(values: Any) -> bool:
    """Whether it is a data frame of pandas or polars, or one that is like them."""
    return hasattr(values, "columns") and hasattr(values, "dtypes")


def _is_series(values: Any) -> bool:
    """Whether it is a Series of pandas or polars, whose lists `list` may not leave as they are."""
    return hasattr(values, "to_list")


def _holds_sequences(values: Any) -> bool:
    """Whether it is a Series or a 1-D array of objects, each of which is a sequence."""
    dtype = getattr(values, "dtype", None)
    if len(getattr(values, "shape", ())) != 1:
        return False
    if str(dtype).startswith(("List", "Array")):  # polars
        return True
    if getattr(dtype, "kind", None) != "O":
        return False
    return any(hasattr(item, "__len__") and not isinstance(item, str) for item in values)


def _check_holds_values(values: Any, name: str) -> None:
    """Refuse what has samples but is no array of them."""
    kind = type(values).__name__
    if hasattr(values, "shape") or hasattr(values, "__array__") or isinstance(values, (str, bytes)):
        return
    if isinstance(values, Mapping):
        keys = ", ".join(repr(str(key)[:NAME_LENGTH]) for key in list(values)[:3])
        raise ValueError(
            f"{name} is a {kind} with the keys {keys}{', ...' if len(values) > 3 else ''}; "
            f"expected one array or a list of sequences. {REPEAT_STATIC}"
        )
    if hasattr(values, "__getitem__") and hasattr(values, "__len__"):
        raise ValueError(
            f"{name} is a {kind}; expected an array or a list of sequences. If its items are "
            "pairs of x and y, pass X=[x for x, _ in dataset] and y=[y for _, y in dataset], or "
            "X=skorch.helper.SliceDataset(dataset, idx=0) and y=SliceDataset(dataset, idx=1)."
        )
    if hasattr(values, "__iter__"):
        raise ValueError(
            f"{name} is a {kind}; expected an array or a list of sequences. Make it a list first, "
            f"list({name}), if its items are the sequences."
        )


REPEAT_STATIC = (
    "The model has one input. Put features that have a value at each step side by side, "
    "np.concatenate([a, b], axis=2), and repeat those that have one value a sequence, static of "
    "shape (n_samples, n_static), at each step: np.concatenate([sequences, "
    "np.repeat(static[:, np.newaxis], sequences.shape[1], axis=1)], axis=2)."
)


def _why_no_numbers(frame: Any, position: int, dtype: Any) -> str | None:
    """Say why a column cannot be read as numbers; `None` if it can."""
    if hasattr(dtype, "is_numeric"):  # polars
        known = dtype.is_numeric() or str(dtype) in ("Boolean", "Null")
        column = None if known or str(dtype) != "Object" else frame[:, position]
    else:  # pandas
        known = getattr(dtype, "kind", "O") in "biufc"
        column = None if known or getattr(dtype, "kind", "O") != "O" else frame.iloc[:, position]
    if known:
        return None
    if column is None:
        return ""
    try:
        np.asarray(column).astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        return f" ({error})"
    return None
