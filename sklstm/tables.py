"""Tables of numbers, one row a time step: what can be read as one, and what cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        where it has one.
    """
    if np.ma.is_masked(X):
        raise ValueError(
            "X has masked entries, which stand for unknown values. Fill them first: X.filled(0.0) "
            "puts 0 there, and DataFrame.ffill the last known value."
        )
    if hasattr(X, "to_frame") and len(X.shape) == 1:
        X = X.to_frame()
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        _check_columns(X)
        return X
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
    return values


def _holds_dates(values: Any) -> bool:
    kind = getattr(values.dtype, "kind", "")
    if kind != "O":
        return bool(kind) and kind in DATE_KINDS
    dates = np.datetime64, np.timedelta64
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
        _check_words(values, name)


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
