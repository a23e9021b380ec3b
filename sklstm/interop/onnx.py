"""A fitted estimator as an ONNX file."""

from __future__ import annotations

import os
from pathlib import Path

from sklearn.utils.validation import check_is_fitted

from sklstm.regressor import StackedLSTMRegressor


def to_onnx(estimator: StackedLSTMRegressor, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to an ONNX file, which predicts without torch.

    The file takes unscaled sequences in any number and of any length, scales them itself, and
    agrees with `predict` to 1e-5 of the standard deviation of the target, or, with
    ``standardize=False``, of its size.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        Fitted estimator. It is not changed.

    path : str or path-like
        File to write. One that is there is replaced when the new one is complete.

    Raises
    ------
    ImportError
        If onnx is not installed.
    TypeError
        If `estimator` is something else, such as a pipeline.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    OSError
        If the file cannot be written.

    Notes
    -----
    The input is `X`, float64 of shape (n_samples, n_timesteps, n_features); after a fit on 2-D
    X, of shape (n_samples, n_columns). The output is `y`, float64, of the shape that `predict`
    answers for such an array. Sequences of one call are equally long. Nothing is checked, but
    the answer for a sequence with a value that is NaN, infinite or too large for float32 is NaN.

    The layers compute in float32, and so they do after a fit with ``precision="float64"``:
    onnxruntime has no other LSTM on a processor. The graph is of ONNX's opset 15; it was tried
    with onnxruntime 1.15 and later.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from sklstm import StackedLSTMRegressor
    >>> from sklstm.interop import to_onnx
    >>> X = np.random.default_rng(0).normal(size=(50, 10, 1))
    >>> y = X[:, -3:, 0].sum(axis=1)
    >>> model = StackedLSTMRegressor(units=4, max_epochs=1, random_state=0).fit(X, y)
    >>> to_onnx(model, "model.onnx")  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("model.onnx")  # doctest: +SKIP
    >>> (y_pred,) = session.run(["y"], {"X": X})  # doctest: +SKIP
    """
    if not isinstance(estimator, StackedLSTMRegressor):
        raise TypeError(
            f"estimator must be a StackedLSTMRegressor, got {type(estimator).__name__}. Of a "
            "pipeline pass the last step, of a search its best_estimator_."
        )
    check_is_fitted(estimator)
    _write(Path(path), _serialized(estimator))


def _serialized(estimator: StackedLSTMRegressor) -> bytes:
    try:
        from .onnx_graph import onnx_model
    except ModuleNotFoundError as error:
        raise ImportError("to_onnx needs onnx: pip install sklstm[onnx]") from error
    return onnx_model(estimator).SerializeToString(deterministic=True)


def _write(path: Path, content: bytes) -> None:
    """Write a file beside the one that it then becomes."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
