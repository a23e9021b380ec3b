"""Arrays of numbers out of what other libraries hold them in, or an error that says what to do.

Nothing here knows what a sequence means: `inputs.py`, `targets.py` and `tables.py` do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Fields of torch.nn.utils.rnn.PackedSequence, a named tuple.
PACKED = ("data", "batch_sizes", "sorted_indices", "unsorted_indices")
# Characters of a name or a value in an error, which keep it to a few lines.
NAME_LENGTH = 40
# Tensors of floats for which numpy has no dtype.
NOT_IN_NUMPY = ("torch.bfloat16", "torch.float8")
GROUPS = (
    'Pass the groups without their keys, [g for _, g in df.groupby("id")], and drop the column of '
    "ids from each."
)
REPEAT_STATIC = (
    "The model has one input. Put features that have a value at each step side by side, "
    "np.concatenate([a, b], axis=2), and repeat those that have one value a sequence, static of "
    "shape (n_samples, n_static), at each step: np.concatenate([sequences, "
    "np.repeat(static[:, np.newaxis], sequences.shape[1], axis=1)], axis=2)."
)


def opened(values: Any, name: str) -> Any:
    """Take X or y, which an error calls `name`, out of what holds it.

    Returns an array for tensors, for arrays of objects and for nested lists of one shape; a list
    for packed sequences, for skorch's ``SliceDataset`` and other sequences, and for a Series or
    1-D object array of sequences. Anything else is returned as it is, with NaN for `pandas.NA`
    among objects. A `ValueError` names what no numbers can be read from: masks, mappings, datasets,
    iterators, groups, lazy frames, named fields and columns without numbers.
    """
    if type(values) is np.ndarray and values.dtype.kind not in "OV":
        return values
    check_readable(values, name)
    if isinstance(values, tuple) and getattr(values, "_fields", None) == PACKED:
        return _unpacked(values, name)
    if isinstance(values, Sequence) and not isinstance(values, (list, tuple, str, bytes)):
        return opened([values[i] for i in range(len(values))], name)
    if isinstance(values, (list, tuple)):
        return _array_if_regular(values, name)
    if hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray):
        # A tensor, which scikit-learn may leave as it is.
        return as_real_array(values, name)
    if is_frame(values):
        return numbers_of_frame(values, name)
    if _holds_sequences(values):
        # `list` may not leave the lists in a Series as they are.
        inside = values.to_list() if hasattr(values, "to_list") else list(values)
        return _array_if_regular(inside, name)
    known = hasattr(values, "shape") or hasattr(values, "__array__")
    if not known and not isinstance(values, (str, bytes)):
        _refuse_if_no_array(values, name)
    return na_as_nan(values)


def list_of_arrays(values: Any, name: str) -> list[NDArray[Any]] | None:
    """Arrays of the items of a list, as `opened` returned it, or `None` if it is something else."""
    if not isinstance(values, (list, tuple)) or not values:
        return None
    return [as_real_array(item, f"{name}[{i}]") for i, item in enumerate(values)]


def as_tables(arrays: list[NDArray[Any]], name: str) -> list[NDArray[Any]]:
    """Give each 1-D array an axis of features, and check that all have as many features."""
    tables = [array[:, np.newaxis] if array.ndim == 1 else array for array in arrays]
    for i, (array, table) in enumerate(zip(arrays, tables, strict=True)):
        if table.ndim != 2 or 0 in table.shape:
            # Arrays of one length with a 3-D one among them are several inputs of a model.
            as_long = len({len(a) if a.ndim else 0 for a in arrays}) == 1
            inputs = as_long and any(a.ndim == 3 for a in arrays)
            raise ValueError(
                f"{name}[{i}] has shape {array.shape}; expected (n_timesteps,) or (n_timesteps, "
                f"any number), each at least 1.{f' {REPEAT_STATIC}' if inputs else ''}"
            )
        if table.shape[1] != tables[0].shape[1]:
            raise ValueError(
                f"{name}[{i}] has {table.shape[1]} values at each step, {name}[0] has "
                f"{tables[0].shape[1]}."
            )
    return tables


def as_real_array(values: Any, name: str) -> NDArray[Any]:
    """Make a numpy array of real numbers, or raise a `ValueError`; `None` and NA are NaN."""
    check_readable(values, name)
    if hasattr(values, "toarray") and hasattr(values, "nnz"):  # scipy's sparse arrays
        raise ValueError(f"{name} is sparse; expected a dense array. Use {name}.toarray().")
    if is_frame(values):
        values = numbers_of_frame(values, name)
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


def check_readable(values: Any, name: str) -> None:
    """Refuse masked entries, lazy frames and named fields."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} has masked entries, and what is under the mask would be read. Fill them: "
            "NaN is a missing step in X and a missing label in y, and 0 is no weight."
        )
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


def na_as_nan(values: Any) -> Any:
    """Put NaN for each `pandas.NA` of an array or a Series of objects, if there is one."""
    if getattr(getattr(values, "dtype", None), "kind", None) != "O":
        return values
    # Without pandas, there is no NA to find.
    missing = getattr(sys.modules.get("pandas"), "NA", None)
    array = np.asarray(values, dtype=object)
    found = np.fromiter((value is missing for value in array.flat), bool, array.size)
    return np.where(found.reshape(array.shape), np.nan, array) if found.any() else values


def is_frame(values: Any) -> bool:
    """Whether it is a data frame of pandas or polars, or one that is like them."""
    # A lazy frame has columns as well, but they cost a query.
    lazy = hasattr(values, "collect")
    return not lazy and hasattr(values, "columns") and hasattr(values, "dtypes")


def numbers_of_frame(frame: Any, name: str) -> Any:
    """Put NaN for `pandas.NA` in columns of objects; refuse columns that do not hold numbers."""
    filled = frame
    for position, (column, dtype) in enumerate(zip(frame.columns, frame.dtypes, strict=True)):
        if hasattr(dtype, "is_numeric"):  # polars
            known = dtype.is_numeric() or str(dtype) in ("Boolean", "Null")
            objects = str(dtype) == "Object"
        else:  # pandas
            kind = getattr(dtype, "kind", "O")
            known, objects = kind in "biufc", kind == "O"
        if known:
            continue
        cells = frame.iloc[:, position] if hasattr(frame, "iloc") else frame[:, position]
        values, reason = np.asarray(cells), ""
        numbers = na_as_nan(values)
        try:
            numbers.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            reason = f" ({error})"
        if objects and not reason:
            if numbers is not values:
                filled = frame.copy() if filled is frame else filled
                filled.isetitem(position, numbers)
            continue
        which = f"{name} has a column {str(column)[:NAME_LENGTH]!r} of dtype {dtype}"
        if any(
            hasattr(cell, "__len__") and not isinstance(cell, (str, bytes, Mapping))
            for cell in cells
        ):
            rows = "itertuples(index=False)" if hasattr(frame, "iloc") else "iter_rows()"
            raise ValueError(
                f"{which}, whose cells hold sequences. Make a list with an array of shape "
                "(n_timesteps, n_features) a row, of the columns that hold sequences: "
                f"[np.column_stack(row) for row in {name}.{rows}]."
            )
        raise ValueError(
            f"{which}, which does not hold numbers{reason}. Drop it, or make numbers of it, for "
            "example with sklearn.compose.make_column_transformer."
        )
    return filled


def keys_of(values: Any) -> str:
    """Say what type it is of, and for a mapping what its first keys are."""
    kind = type(values).__name__
    return f"{kind} with the keys {_listed(values)}" if isinstance(values, Mapping) else kind


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Add the name of the array to errors about strings, huge integers and gradients of torch."""
    try:
        yield
    except (RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} is not an array of real numbers: {error}") from error
    except ValueError as error:
        if "string" not in str(error) and "with a sequence" not in str(error):
            raise
        raise ValueError(f"{name} must hold numbers: {error}") from error
    except TypeError as error:
        # scikit-learn's own errors, such as that about sparse arrays, have the name already.
        if "real number" not in str(error):
            raise
        raise TypeError(f"{name} is not an array of real numbers: {error}") from error


def n_dims(values: Any) -> int:
    """Count the dimensions of an array-like."""
    return len(values.shape) if hasattr(values, "shape") else np.asarray(values).ndim


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


def _array_if_regular(values: Sequence[Any], name: str) -> Any:
    """Make one array of nested lists of numbers where they have one shape, else return them.

    Pairs of a key and a group, as `groupby` gives them, are refused.
    """
    first = values[0] if values else None
    if isinstance(first, tuple) and len(first) == 2 and not getattr(first[0], "shape", ()):
        group = first[1]
        if is_frame(group) or hasattr(group, "to_list"):
            raise ValueError(
                f"{name}[0] is a pair of a key and a {type(group).__name__}, as from groupby. "
                f"{GROUPS}"
            )
    if not values or any(getattr(item, "shape", ()) for item in values):
        return values
    check_readable(first, f"{name}[0]")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        return values
    return as_real_array(array, name) if array.dtype == object else array


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


def _listed(names: Iterable[Any]) -> str:
    """Quote the first three of some names."""
    first = list(islice(names, 4))
    quoted = ", ".join(repr(str(name)[:NAME_LENGTH]) for name in first[:3])
    return f"{quoted}{', ...' if len(first) > 3 else ''}"


def _refuse_if_no_array(values: Any, name: str) -> None:
    """Refuse what has samples but is no array of them."""
    indexed = hasattr(values, "__getitem__") and hasattr(values, "__len__")
    if isinstance(values, Mapping):
        advice = REPEAT_STATIC
    elif type(values).__name__.endswith("GroupBy"):  # pandas and polars
        advice = GROUPS
    elif hasattr(values, "dataset") or indexed:
        # A loader gives batches: the samples are in its dataset.
        where = f" of dataset = {name}.dataset" if hasattr(values, "dataset") else ""
        advice = (
            f"If the items{where} are pairs of x and y, pass X=[x for x, _ in dataset] and "
            "y=[y for _, y in dataset], or X=skorch.helper.SliceDataset(dataset, idx=0) and "
            "y=SliceDataset(dataset, idx=1)."
        )
    elif hasattr(values, "__iter__"):
        advice = f"Make it a list first, list({name}), if its items are the samples."
    else:
        return
    raise ValueError(
        f"{name} is a {keys_of(values)}; expected one array or a list of sequences. {advice}"
    )
