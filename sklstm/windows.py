"""From the table of a series to windows."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data

from .sequences import check_finite


class LagWindows(TransformerMixin, BaseEstimator):
    """Turn each row of a table into the window of rows that ends with it.

    Row ``t`` of the result holds rows ``t - length + 1`` to ``t`` of the table, oldest
    first. The number of samples stays the same, so the transformer works in a pipeline
    and under cross-validation, and `length` can be tuned. Nothing is copied but the table
    itself, once: the windows are views.

    A window ends with its own row, so that row must hold only what is known when the
    prediction is made, and the target of row ``t`` must lie after it: to forecast column
    ``c`` one step ahead, ``y[t]`` is ``c`` at ``t + 1``.

    Read more in the :ref:`User Guide <windows>`.

    Parameters
    ----------
    length : int, default=24
        Rows in a window, its own one included.

    padding : {"edge", "nan", "error"}, default="edge"
        What stands for the rows before the first one, in the first ``length - 1``
        windows: the first row repeated, NaN, or an error.

    Attributes
    ----------
    n_features_in_ : int
        Columns of the table.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where the table was a DataFrame whose column names are all
        strings.

    See Also
    --------
    StackedLSTMRegressor : Takes the windows as X.

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
        """Check the table; nothing is learnt from it.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_columns)
            Table, one row a time step, oldest first.

        y : None
            Ignored.

        Returns
        -------
        LagWindows
            The transformer itself.
        """
        self._check_table(X, reset=True)
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Make the windows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_columns)
            Table, one row a time step, oldest first; finite numbers.

        Returns
        -------
        ndarray of shape (n_rows, length, n_columns)
            Windows; a read-only view over one padded copy of the table.

        Raises
        ------
        ValueError
            If the table is not as described, or `padding` is "error" and there is no
            history for the first row.
        """
        self._validate_params()
        table = self._check_table(X, reset=False)
        padded = np.concatenate([self._rows_before(table), table])
        return sliding_window_view(padded, self.length, axis=0).transpose(0, 2, 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _check_table(self, X: ArrayLike, *, reset: bool) -> NDArray[Any]:
        table = validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=False
        )
        check_finite(table, "X")
        return table

    def _rows_before(self, table: NDArray[Any]) -> NDArray[Any]:
        n_missing = self.length - 1
        if self.padding == "error" and n_missing:
            raise ValueError(
                f"Row 0 has no history for length={self.length} and padding='error'. Use "
                "padding='edge', or window the table before splitting it."
            )
        if self.padding == "nan":
            return np.full((n_missing, table.shape[1]), np.nan, dtype=table.dtype)
        return np.repeat(table[:1], n_missing, axis=0)
