"""Tables of numbers, one row a time step: what can be read as one, and what cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .containers import (
    as_real_array,
    check_collected,
    frame_without_na,
    holds_sequences,
    is_tensor,
    keys_of,
    list_of_cells,
    na_as_nan,
    naming,
)

DATE_KINDS = "mM"
# Complex numbers are refused by scikit-learn, in its own words.
NUMBER_KINDS = "biufc"


def as_table(X: Any) -> Any:
    """Make a table of one column of a Series, and refuse what holds no plain numbers.

    Parameters
    ----------
    X : array-like, DataFrame or Series
        Of pandas or polars, where it is a DataFrame or a Series.

    Returns
    -------
    array-like or DataFrame
        With two dimensions, unless there are more.

    Raises
    ------
    ValueError
        If there are masked entries, one dimension, or dates or text; with the name of the column
        where it has one. Or if it is no table, but a mapping, an iterator or a lazy frame.
    """
    if np.ma.is_masked(X):
        raise ValueError(
            "X has masked entries, which stand for unknown values. Fill them first: X.filled(0.0) "
            "puts 0 there, and DataFrame.ffill the last known value."
        )
    check_collected(X, "X")
    if is_tensor(X):
        X = as_real_array(X, "X")
    if hasattr(X, "to_frame") and len(X.shape) == 1:
        X = X.to_frame()
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        _check_columns(X)
        return frame_without_na(X)
    _check_is_table(X)
    with naming("X"):
        values = X if hasattr(X, "shape") else np.asarray(X)
    if len(values.shape) == 1:
        raise ValueError(
            f"Expected a table, got a 1D array of shape {tuple(values.shape)}. Reshape your data: "
            "X.reshape(-1, 1) is the table of one series, a row a time step."
        )
    if _holds_dates(values):
        raise ValueError(
            f"X holds dates or durations (dtype {values.dtype}), and LagWindows takes numbers. "
            "Leave them out, or make numbers of them, such as the hour and the weekday."
        )
    return na_as_nan(values)


def _check_is_table(X: Any) -> None:
    """Refuse what has a row after another, or columns, but is no table."""
    known = hasattr(X, "shape") or hasattr(X, "__array__") or isinstance(X, Sequence)
    if known or (not hasattr(X, "__iter__") and not hasattr(X, "__getitem__")):
        return
    advice = "Make it a list first, list(X), if its items are the rows."
    if isinstance(X, Mapping):
        advice = "If it holds columns, give pd.DataFrame(X)."
    raise ValueError(f"X is a {keys_of(X)}; expected a table with a row a time step. {advice}")


def _holds_dates(values: Any) -> bool:
    kind = getattr(values.dtype, "kind", "")
    if kind != "O":
        return bool(kind) and kind in DATE_KINDS
    dates = np.datetime64, np.timedelta64, date, time, timedelta  # pandas.NaT is a date
    return any(isinstance(value, dates) for value in np.asarray(values).flat)


def _check_columns(X: Any) -> None:
    """Name the first column that does not hold numbers."""
    for i, (name, dtype) in enumerate(zip(X.columns, X.dtypes, strict=True)):
        if _is_numeric(dtype):
            continue
        column = X.iloc[:, i] if hasattr(X, "iloc") else X[:, i]
        values = np.asarray(column)
        if _is_temporal(dtype) or _holds_dates(values):
            raise ValueError(
                f"Column {name!r} of X holds dates or durations ({dtype}), and LagWindows takes "
                f"numbers. In pandas, X.set_index({name!r}) keeps dates and lets the order of the "
                "rows be checked; otherwise drop the column. What the model should know of it, "
                "such as the hour and the weekday, goes into columns of numbers."
            )
        if holds_sequences(X, i):
            raise ValueError(
                f"Column {name!r} of X holds sequences, and LagWindows takes numbers: the "
                "table of one series, a row a time step. StackedLSTMRegressor takes sequences as "
                "they are. "
                f"{list_of_cells(X, 'X')}"
            )
        _check_words(na_as_nan(values), name)


def _is_numeric(dtype: Any) -> bool:
    """Whether a pandas or a polars dtype is one of real numbers."""
    if hasattr(dtype, "kind"):
        return dtype.kind in NUMBER_KINDS
    return bool(dtype.is_numeric())


def _is_temporal(dtype: Any) -> bool:
    if hasattr(dtype, "kind"):
        return dtype.kind in DATE_KINDS
    return bool(dtype.is_temporal())


def _check_words(values: NDArray[Any], name: Any) -> None:
    """Refuse text and other objects that are no numbers."""
    for value in values.tolist():
        try:
            float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"Column {name!r} of X holds {repr(value)[:40]}, and LagWindows takes numbers. "
                "Drop the column, or encode it, for example with OneHotEncoder."
            ) from error
