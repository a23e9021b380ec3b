"""From the table of a series to windows."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, validate_data

from .data.containers import naming
from .data.row_order import RowIndex
from .data.sequences import check_finite
from .data.tables import as_table
from .exceptions import SequenceDataWarning, warn

# Share of padded windows in training from which on they are worth a word. On three monthly series,
# cut to 20 to 84 rows, leaving them out made the error 0.6 to 1.3 times as large below this share,
# and 0.3 to 3.1 times above it: they decide then, for better or worse. Three years of months
# with 12 lags, of which 0.306 are padded, are above it.
MOST_PADDED = 0.3


class LagWindows(
    OneToOneFeatureMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]
):
    """Turn each row of a table into the window of rows that ends with it.

    Row ``t`` of the result holds rows ``t - length + 1`` to ``t`` of the table, oldest
    first. The number of samples stays the same, so the transformer works in a pipeline
    and under cross-validation, and `length` can be tuned. Nothing is copied but the table
    itself, once: the windows are views.

    A window ends with its own row, so that row must hold only what is known when the
    prediction is made, and the target of row ``t`` must lie after it: to forecast column
    ``c`` one step ahead, ``y[t]`` is ``c`` at ``t + 1``.

    Rows must be of one series, consecutive, and oldest first. The index of a pandas object can
    tell: a `SequenceDataWarning` says so where its dates fall, repeat or leave holes, or where an
    index of numbers is not in order. Rows of an array tell nothing.

    Read more in the :ref:`User Guide <windows>`.

    Parameters
    ----------
    length : int, default=24
        Rows in a window, its own one included.

    padding : {"edge", "nan", "error"}, default="edge"
        What stands for the rows before the first one, in the first ``length - 1``
        windows:

        - "edge": the first row, repeated. A table of fewer than `length` rows gives a
          `SequenceDataWarning`, as it has no complete window.
        - "nan": NaN, which the regressor reads as missing steps.
        - "error": as "edge", but a table of fewer than `length` rows is refused.

    Attributes
    ----------
    n_features_in_ : int
        Columns of the table.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where the table was a DataFrame whose column names are all
        strings, or a Series with such a name.

    See Also
    --------
    StackedLSTMRegressor : Takes the windows as X.

    Notes
    -----
    ``get_feature_names_out`` gives the names of the columns, which are the last axis of the
    windows.

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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None) -> LagWindows:
        """Check the table. Of its values nothing is learnt.

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
            If the index says that rows are out of order, repeated or missing, or if more than
            three in ten windows are padded by `padding` "edge" or "error".
        """
        self._fit_table(X)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
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
            Table, one row a time step, oldest first; finite numbers. The first ``length - 1``
            windows are padded: to predict, pass so many rows of history along.

        Returns
        -------
        ndarray of shape (n_rows, length, n_columns)
            Windows; a read-only view over one padded copy of the table.

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
        self._check_length()
        X = as_table(X)
        table = self._check_table(X, reset=False)
        index = RowIndex.of(X)
        if index is not None and not index.are_counts:
            _warn(index.trouble(longest_step=getattr(self, "_longest_step", None)))
        self._check_history(len(table))
        return self._windows(table)

    def set_output(self, *, transform: str | None = None) -> LagWindows:
        """Do nothing: windows have three dimensions, and stay an array.

        It is there for pipelines whose other steps can give DataFrames.

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
        self._check_length()
        X = as_table(X)
        table = self._check_table(X, reset=True)
        index = RowIndex.of(X)
        self._longest_step = None
        if index is not None:
            _warn(index.trouble())
            if index.are_dates:
                self._longest_step = int(abs(index.steps()).max())
        self._check_history(len(table), fitting=True)
        return table

    def _check_length(self) -> None:
        if isinstance(self.length, bool):
            raise ValueError(
                "The 'length' parameter of LagWindows must be an int in the range [1, inf). Got "
                f"{self.length!r} instead."
            )

    def _check_table(self, X: ArrayLike, *, reset: bool) -> NDArray[Any]:
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
        return table

    def _check_history(self, n_rows: int, *, fitting: bool = False) -> None:
        """Refuse, or warn of, a table in which too few windows are complete."""
        n_padded = min(n_rows, self.length - 1)
        rows = "1 row" if n_rows == 1 else f"{n_rows} rows"
        if n_rows < self.length and self.padding == "error":
            raise ValueError(
                f"X has {rows}, fewer than length={self.length}, so no window is complete, and "
                f"padding='error'. Pass at least {self.length} rows: for the forecast from the "
                f"last row, the last {self.length}, and take the last prediction."
            )
        if self.padding == "nan":
            return
        if fitting and n_padded > MOST_PADDED * n_rows:
            leave_out = (
                ", or leave the padded windows out of the fit: make the windows first, and take "
                f"LagWindows({self.length}).fit_transform(X)[{self.length - 1}:]"
                if n_rows >= self.length
                else ""
            )
            _warn(
                f"{n_padded} of {n_rows} windows of length={self.length} begin before the table: "
                "copies of its first row stand in for what is missing, and a model learns from "
                f"them. Pass more rows, take a smaller length{leave_out}."
            )
        if not fitting and n_rows < self.length:
            n_missing = self.length - n_rows
            _warn(
                f"X has {rows}, and length={self.length}: even the last window has {n_missing} "
                f"{'copy' if n_missing == 1 else 'copies'} of the first row in place of what "
                f"came before. For the forecast from the last row, pass the last {self.length} "
                "rows and take the last prediction. padding='error' refuses such tables."
            )

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
