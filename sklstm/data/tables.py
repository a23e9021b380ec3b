"""Tables of numbers, one row a time step, as `LagWindows` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time, timedelta
from typing import Any

import numpy as np

from .array_likes import is_frame, keys_of, naming, opened

DATES = np.datetime64, np.timedelta64, date, time, timedelta  # pandas.NaT is a date


def as_table(X: Any) -> Any:
    """Return X with two dimensions or more, a table of one column for a Series.

    A `ValueError` names masked entries, dates and text, with their column where it has a name, and
    what is no table.
    """
    if np.ma.is_masked(X):
        raise ValueError(
            "X has masked entries, which stand for unknown values. Fill them first: X.filled(0.0) "
            "puts 0 there, and DataFrame.ffill the last known value."
        )
    if isinstance(X, Mapping):
        raise ValueError(
            f"X is a {keys_of(X)}; expected a table with a row a time step. If it holds columns, "
            "give pd.DataFrame(X)."
        )
    if hasattr(X, "to_frame") and len(X.shape) == 1:
        X = X.to_frame()
    if is_frame(X):
        for i, (name, dtype) in enumerate(zip(X.columns, X.dtypes, strict=True)):
            column = X.iloc[:, i] if hasattr(X, "iloc") else X[:, i]
            if _holds_dates(dtype, column):
                raise ValueError(
                    f"X has a column {str(name)!r} that holds dates or durations ({dtype}), and "
                    "LagWindows takes numbers. In pandas, "
                    f"X.set_index({name!r}) keeps dates and lets the order of the rows be checked; "
                    "otherwise drop the column. What the model should know of it, such as the hour "
                    "and the weekday, goes into columns of numbers."
                )
    with naming("X"):
        values = opened(np.asarray(X) if isinstance(X, (list, tuple)) else X, "X")
        values = values if hasattr(values, "shape") else np.asarray(values)
    if len(values.shape) == 1:
        raise ValueError(
            f"Expected a table, got a 1D array of shape {tuple(values.shape)}. Reshape your data: "
            "X.reshape(-1, 1) is the table of one series, a row a time step."
        )
    if not is_frame(values) and _holds_dates(values.dtype, values):
        raise ValueError(
            f"X holds dates or durations (dtype {values.dtype}), and LagWindows takes numbers. "
            "Leave them out, or make numbers of them, such as the hour and the weekday."
        )
    return values


def _holds_dates(dtype: Any, values: Any) -> bool:
    """Whether the dtype is one of dates or durations, or some of the objects are dates."""
    kind = getattr(dtype, "kind", "")
    if hasattr(dtype, "is_temporal"):  # polars
        kind = "M" if dtype.is_temporal() else "O" if str(dtype) == "Object" else ""
    if kind == "O":
        return any(isinstance(value, DATES) for value in np.asarray(values, dtype=object).flat)
    return kind in ("m", "M")
