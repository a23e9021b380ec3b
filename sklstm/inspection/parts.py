"""The parts of a fitted model, and how many weights each has."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

from sklstm.nn.summary import Architecture, describe
from sklstm.pipelines import final_regressor


def architecture(estimator: Any) -> Architecture:
    """Describe a fitted model part by part: what each part reads and outputs, and its weights.

    Parameters
    ----------
    estimator : StackedLSTMRegressor or sklearn.pipeline.Pipeline
        A fitted model; a pipeline ends in a `StackedLSTMRegressor`.

    Returns
    -------
    Architecture
        A table when it is printed. It has the attributes `parts`, a tuple, bottom first, whose
        entries have `name`, `reads`, `outputs`, `notes` and `n_parameters`; and `n_parameters`,
        the number of all trained weights.

    Raises
    ------
    TypeError
        If the estimator is of another kind.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor
    >>> from sklstm.inspection import architecture
    >>> X = np.random.default_rng(0).normal(size=(50, 10, 3))
    >>> model = StackedLSTMRegressor(units=8, pooling="last", linear_steps=None, max_epochs=1)
    >>> architecture(model.fit(X, X[:, -1, 0]))
    part     reads    outputs     weights   share  notes
    --------------------------------------------------------------
    input    X        3 features        0    0.0%  standardized
    LSTM 1   input    8 units         416   41.6%
    LSTM 2   LSTM 1   8 units         576   57.5%  added to LSTM 1
    pooling  LSTM 2   8 numbers         0    0.0%  last step
    output   pooling  1 number          9    0.9%
    --------------------------------------------------------------
    total                           1,001  100.0%
    """
    regressor = final_regressor(estimator)
    check_is_fitted(regressor)
    return describe(regressor.module_)
