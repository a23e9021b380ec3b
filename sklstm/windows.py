"""From the table of a series to windows."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_array, validate_data

from ._compat import Interval, StrOptions, fit_context
from .data.array_likes import naming
from .data.inputs import check_finite
from .data.row_order import RowIndex
from .data.tables import as_table
from .exceptions import SequenceDataWarning, warn

# Share of padded windows above which a fit warns. On three monthly series, cut to 20 to 84 rows,
# leaving the padded windows out made the error 0.6 to 1.3 times as large below this share, and 0.3
# to 3.1 times above it. Three years of months with 12 lags, 0.306 of them padded, are above it.
MOST_PADDED = 0.3


class LagWindows(
    OneToOneFeatureMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]
):
    """Turn each row of a table into the window of rows that ends with it.

    Row ``t`` of the result holds rows ``t - length + 1`` to ``t`` of the table, oldest first. The
    number of samples stays the same, so the transformer works in a pipeline and under
    cross-validation, and `length` can be tuned. The table is copied once; the windows are views.

    A window ends with its own row. That row must hold only what is known when the prediction is
    made, and the target of row ``t`` must lie after it: to forecast column ``c`` one step ahead,
    ``y[t]`` is ``c`` at ``t + 1``.

    Rows must be of one series, consecutive, and oldest first. Where the index of a pandas object
    shows that they are not, a `SequenceDataWarning` says so: its dates fall, repeat or leave
    holes, or its numbers are not in order. An array has no index to check.

    Read more in the :ref:`User Guide <windows>`.

    Parameters
    ----------
    length : int, default=24
        Rows in a window.

    padding : {"edge", "nan", "error"}, default="edge"
        What replaces the rows before the first one, in the first ``length - 1`` windows:

        - "edge": the first row, repeated. A table of fewer than `length` rows has no complete
          window, and gives a `SequenceDataWarning`.
        - "nan": NaN, which the regressor reads as missing steps.
        - "error": as "edge", but a table of fewer than `length` rows is an error.

    Attributes
    ----------
    n_features_in_ : int
        Columns of the table.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if the table was a DataFrame whose column names are all strings, or
        a Series with such a name.

    See Also
    --------
    StackedLSTMRegressor : Takes the windows as X.

    Notes
    -----
    ``get_feature_names_out`` returns the names of the columns, the last axis of the windows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import LagWindows
    >>> table = np.arange(4.0).reshape(-1, 1)
    >>> LagWindows(length=2).fit_transform(table)[:, :, 0]
    array([[0., 0.],
           [0., 1.],
           [1., 2.],
           [2., 3.]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "length": [Interval(Integral, 1, None, closed="left")],
        "padding": [StrOptions({"edge", "nan", "error"})],
    }

    def __init__(self, length: int = 24, *, padding: str = "edge") -> None:
        self.length = length
        self.padding = padding

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None) -> LagWindows:
        """Check the table. Nothing is learnt from its values.

        Parameters
        ----------
        X : array-like, DataFrame or Series of shape (n_rows, n_columns)
            Table, one row a time step, oldest first. A Series is a table of one column.

        y : None
            Ignored.

        Returns
        -------
        LagWindows
            The transformer itself.

        Raises
        ------
        ValueError
            If the table is not as described, or `padding` is "error" and it has fewer than
            `length` rows.

        Warns
        -----
        SequenceDataWarning
            If the index shows rows that are out of order, repeated or missing, or if more than
            three in ten windows are padded and `padding` is not "nan".
        """
        self._fit_table(X)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: ArrayLike, y: Any = None) -> NDArray[Any]:
        """Check the table and make its windows.

        Parameters
        ----------
        X : array-like, DataFrame or Series of shape (n_rows, n_columns)
            As in `fit`.

        y : None
            Ignored.

        Returns
        -------
        ndarray of shape (n_rows, length, n_columns)
            As from `transform`.

        Raises
        ------
        ValueError
            As in `fit`.

        Warns
        -----
        SequenceDataWarning
            As in `fit`.
        """
        return self._windows(self._fit_table(X))

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Make the windows.

        Parameters
        ----------
        X : array-like, DataFrame or Series of shape (n_rows, n_columns)
            Table of finite numbers, one row a time step, oldest first. The first ``length - 1``
            windows are padded: to predict, put so many rows of history before the new ones.

        Returns
        -------
        ndarray of shape (n_rows, length, n_columns)
            Windows: a read-only view of one padded copy of the table.

        Raises
        ------
        ValueError
            If the table is not as described, or `padding` is "error" and it has fewer than
            `length` rows.

        Warns
        -----
        SequenceDataWarning
            If the dates or times of the index are out of order, or dates are repeated or missing,
            or if the table has fewer than `length` rows and `padding` is "edge".
        """
        self._validate_params()
        table, index = self._read(X, reset=False)
        if index is not None and not index.are_counts:
            _warn(index.trouble(longest_step=getattr(self, "_longest_step", None)))
        n_missing = self.length - len(table)
        if n_missing > 0 and self.padding == "edge":
            _warn(
                f"X has {_rows(table)}, and length={self.length}: even the last window has "
                f"{n_missing} {'copy' if n_missing == 1 else 'copies'} of the first row in place "
                "of what came before. For the forecast from the last row, pass the last "
                f"{self.length} rows and take the last prediction. padding='error' refuses such "
                "tables."
            )
        return self._windows(table)

    def set_output(self, *, transform: str | None = None) -> LagWindows:
        """Do nothing: windows have three dimensions, and stay an array.

        Pipelines call it whose other steps can return DataFrames.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            Ignored.

        Returns
        -------
        LagWindows
            The transformer itself.
        """
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _fit_table(self, X: ArrayLike) -> NDArray[Any]:
        table, index = self._read(X, reset=True)
        self._longest_step = None
        if index is not None:
            _warn(index.trouble())
            if index.are_dates:
                self._longest_step = int(abs(index.steps()).max())
        n_rows = len(table)
        n_padded = min(n_rows, self.length - 1)
        if n_padded > MOST_PADDED * n_rows and self.padding != "nan":
            leave_out = (
                ", or leave the padded windows out of the fit: make the windows first, and take "
                f"LagWindows({self.length}).fit_transform(X)[{self.length - 1}:]"
                if n_rows >= self.length
                else ""
            )
            _warn(
                f"{n_padded} of {n_rows} windows of length={self.length} begin before the table: "
                "copies of its first row replace what is missing, and a model learns from them. "
                f"Pass more rows, take a smaller length{leave_out}."
            )
        return table

    def _read(self, X: ArrayLike, *, reset: bool) -> tuple[NDArray[Any], RowIndex | None]:
        """Return the table as an array of finite numbers, and its index if it says something."""
        if isinstance(self.length, bool):  # an int for scikit-learn
            raise ValueError(
                "The 'length' parameter of LagWindows must be an int in the range [1, inf). Got "
                f"{self.length!r} instead."
            )
        X = as_table(X)
        options = {"dtype": [np.float64, np.float32], "ensure_all_finite": False}
        with naming("X"):
            try:
                if reset or hasattr(self, "n_features_in_"):
                    table = validate_data(self, X, reset=reset, **options)
                else:
                    table = check_array(X, estimator=self, input_name="X", **options)
            except OverflowError as error:
                message = f"X holds a number that is too large for float64: {error}."
                raise ValueError(message) from error
        check_finite(table, "X")
        if len(table) < self.length and self.padding == "error":
            raise ValueError(
                f"X has {_rows(table)}, fewer than length={self.length}, so no window is complete, "
                f"and padding='error'. Pass at least {self.length} rows: for the forecast from the "
                f"last row, the last {self.length}, and take the last prediction."
            )
        return table, RowIndex.of(X)

    def _windows(self, table: NDArray[Any]) -> NDArray[Any]:
        n_missing = self.length - 1
        if self.padding == "nan":
            before = np.full((n_missing, table.shape[1]), np.nan, dtype=table.dtype)
        else:
            before = np.repeat(table[:1], n_missing, axis=0)
        padded = np.concatenate([before, table])
        return sliding_window_view(padded, self.length, axis=0).transpose(0, 2, 1)


def _warn(message: str | None) -> None:
    if message is not None:
        warn(message, SequenceDataWarning)


def _rows(table: NDArray[Any]) -> str:
    return "1 row" if len(table) == 1 else f"{len(table)} rows"
