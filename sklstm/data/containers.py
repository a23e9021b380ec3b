"""X and y of any library to numpy arrays, data frames or lists, or an error that says what to do.

Nothing here knows what a sequence or a target is: `sequences.py` and `targets.py` do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKED = ("data", "batch_sizes", "sorted_indices", "unsorted_indices")
# Characters of a column's or a key's name in an error.
NAME_LENGTH = 40
# Tensors of floats for which numpy has no dtype.
NOT_IN_NUMPY = ("torch.bfloat16", "torch.float8")
GROUPS = (
    'Pass the groups without their keys, [g for _, g in df.groupby("id")], and drop the column of '
    "ids from each."
)


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
        ``SliceDataset``, and for a Series or 1-D object array of sequences; else what was given,
        with NaN for `pandas.NA` among objects.

    Raises
    ------
    ValueError
        If it is masked, a mapping, a dataset, an iterator, groups or a lazy frame, or has named
        fields, or is a data frame with a column that does not hold numbers.
    """
    if type(values) is np.ndarray and values.dtype.kind not in "OV":
        return values
    check_readable(values, name)
    if _is_packed(values):
        return _unpacked(values, name)
    if isinstance(values, Sequence) and not isinstance(values, (list, tuple, str, bytes)):
        return opened([values[i] for i in range(len(values))], name)
    if isinstance(values, (list, tuple)):
        _check_no_groups(values, name)
        return _array_if_regular(values, name)
    if is_tensor(values):
        return as_real_array(values, name)
    if _is_frame(values):
        check_columns(values, name)
        return frame_without_na(values)
    if _holds_sequences(values):
        return _array_if_regular(values.to_list() if _is_series(values) else list(values), name)
    _check_holds_values(values, name)
    return na_as_nan(values)


def as_real_array(values: Any, name: str) -> NDArray[Any]:
    """Make a numpy array of real numbers; `None` and `pandas.NA` are NaN.

    Raises
    ------
    ValueError
        If it cannot be one.
    """
    check_readable(values, name)
    if hasattr(values, "toarray") and hasattr(values, "nnz"):  # scipy's sparse arrays
        raise ValueError(f"{name} is sparse; expected a dense array. Use {name}.toarray().")
    if _is_frame(values):
        check_columns(values, name)
    if str(getattr(values, "dtype", "")).startswith(NOT_IN_NUMPY):
        values = values.float()
    try:
        array = np.asarray(values)
        if array.dtype == object:
            array = na_as_nan(array).astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{name} is not an array of real numbers: {error}") from error
    check_real(array, name)
    return array


def check_real(values: NDArray[Any], name: str) -> None:
    """Refuse strings, objects, dates and complex numbers."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {values.dtype}; expected real numbers.")


def na_as_nan(values: Any) -> Any:
    """Put NaN for each `pandas.NA` of an array or a Series of objects.

    Without one, what was given is returned.
    """
    if getattr(getattr(values, "dtype", None), "kind", None) != "O":
        return values
    # Without pandas, there is no NA to find.
    missing = getattr(sys.modules.get("pandas"), "NA", None)
    array = np.asarray(values, dtype=object)
    found = np.fromiter((value is missing for value in array.flat), bool, array.size)
    return np.where(found.reshape(array.shape), np.nan, array) if found.any() else values


def check_readable(values: Any, name: str) -> None:
    """Refuse what an array of numbers is to be made of first.

    Raises
    ------
    ValueError
        If it is masked, as what is under the mask would be read; if it is a lazy frame; or if it
        has named fields.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} has masked entries, and what is under the mask would be read. Fill them: "
            "NaN is a missing step in X and a missing label in y, and 0 is no weight."
        )
    check_collected(values, name)


def check_collected(values: Any, name: str) -> None:
    """Refuse a lazy frame of polars, whose columns cost a query, and an array with named fields."""
    if hasattr(values, "collect") and hasattr(values, "lazy"):
        raise ValueError(
            f"{name} is a {type(values).__name__}, which holds a query and no values yet: call "
            ".collect() first."
        )
    fields = getattr(getattr(values, "dtype", None), "names", None)
    if isinstance(fields, tuple):
        raise ValueError(
            f"{name} has named fields, {_listed(fields)}, and no columns: give "
            f"pd.DataFrame({name})."
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
        if reason is not None and holds_sequences(frame, position):
            raise ValueError(
                f"{name} has a column {str(column)[:NAME_LENGTH]!r} of dtype {dtype}, whose cells "
                f"hold sequences. {list_of_cells(frame, name)}"
            )
        if reason is not None:
            raise ValueError(
                f"{name} has a column {str(column)[:NAME_LENGTH]!r} of dtype {dtype}, which does "
                f"not hold numbers{reason}. Drop it, or make numbers of it, for example with "
                "sklearn.compose.make_column_transformer."
            )


def holds_sequences(frame: Any, position: int) -> bool:
    """Whether some cell of a column of pandas or polars is a sequence, such as a Series."""
    column = frame.iloc[:, position] if hasattr(frame, "iloc") else frame[:, position]
    return any(
        hasattr(cell, "__len__") and not isinstance(cell, (str, bytes, Mapping)) for cell in column
    )


def list_of_cells(frame: Any, name: str) -> str:
    """Say how to make a list of sequences of a data frame whose cells are sequences."""
    rows = "itertuples(index=False)" if hasattr(frame, "iloc") else "iter_rows()"
    return (
        "Make a list with an array of shape (n_timesteps, n_features) a row, of the columns that "
        f"hold sequences: [np.column_stack(row) for row in {name}.{rows}]."
    )


def keys_of(values: Any) -> str:
    """Say what type it is of, and for a mapping what its first keys are."""
    kind = type(values).__name__
    return f"{kind} with the keys {_listed(values)}" if isinstance(values, Mapping) else kind


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Say which array the strings, the huge integers or torch's gradients are in."""
    try:
        yield
    except (RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} is not an array of real numbers: {error}") from error
    except ValueError as error:
        if "string" not in str(error) and "with a sequence" not in str(error):
            raise
        raise ValueError(f"{name} must hold numbers: {error}") from error
    except TypeError as error:
        # scikit-learn's own, such as those of sparse arrays, say all themselves.
        if "real number" not in str(error):
            raise
        raise TypeError(f"{name} is not an array of real numbers: {error}") from error


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
    check_collected(values[0], f"{name}[0]")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        return values
    return as_real_array(array, name) if array.dtype == object else array


def is_tensor(values: Any) -> bool:
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


def frame_without_na(frame: Any) -> Any:
    """Put NaN for each `pandas.NA` in columns of objects, which scikit-learn reads as numbers."""
    filled = frame
    for position, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, np.dtype) and dtype.kind == "O":
            column = frame.iloc[:, position]
            numbers = na_as_nan(column)
            if numbers is not column:
                filled = frame.copy() if filled is frame else filled
                filled.isetitem(position, numbers)
    return filled


def _listed(names: Iterable[Any]) -> str:
    """Quote the first three of some names."""
    first = list(islice(names, 4))
    quoted = ", ".join(repr(str(name)[:NAME_LENGTH]) for name in first[:3])
    return f"{quoted}{', ...' if len(first) > 3 else ''}"


def _check_no_groups(values: Sequence[Any], name: str) -> None:
    """Refuse the pairs of a key and a group that `groupby` gives."""
    first = values[0] if values else None
    if not isinstance(first, tuple) or len(first) != 2:
        return
    key, group = first
    if not getattr(key, "shape", ()) and (_is_frame(group) or _is_series(group)):
        kind = type(group).__name__
        raise ValueError(f"{name}[0] is a pair of a key and a {kind}, as from groupby. {GROUPS}")


def _check_holds_values(values: Any, name: str) -> None:
    """Refuse what has samples but is no array of them."""
    kind = type(values).__name__
    if hasattr(values, "shape") or hasattr(values, "__array__") or isinstance(values, (str, bytes)):
        return
    if isinstance(values, Mapping):
        raise ValueError(
            f"{name} is a {keys_of(values)}; expected one array or a list of sequences. "
            f"{REPEAT_STATIC}"
        )
    if kind.endswith("GroupBy"):  # pandas and polars
        raise ValueError(f"{name} is a {kind}; expected an array or a list of sequences. {GROUPS}")
    # A loader gives batches: the samples are in its dataset.
    loads = hasattr(values, "dataset")
    if loads or (hasattr(values, "__getitem__") and hasattr(values, "__len__")):
        where = f" of dataset = {name}.dataset" if loads else ""
        raise ValueError(
            f"{name} is a {kind}; expected an array or a list of sequences. If the items{where} "
            "are pairs of x and y, pass X=[x for x, _ in dataset] and y=[y for _, y in dataset], "
            "or X=skorch.helper.SliceDataset(dataset, idx=0) and y=SliceDataset(dataset, idx=1)."
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
        na_as_nan(np.asarray(column)).astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        return f" ({error})"
    return None
