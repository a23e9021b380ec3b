"""A fitted estimator as an ONNX file."""

from __future__ import annotations

from sklearn.utils.validation import check_is_fitted

from sklstm.files.container import StrPath, replacing
from sklstm.regressor import StackedLSTMRegressor


def to_onnx(estimator: StackedLSTMRegressor, path: StrPath) -> None:
    """Write a fitted estimator to an ONNX file, which predicts without torch.

    The file takes one or more unscaled sequences of any length, scales them itself, and
    agrees with `predict` to 1e-5 of the standard deviation of the target, or, with
    ``standardize=False``, of its size.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        Fitted estimator. It is not changed.

    path : str or os.PathLike
        The file. One that exists is replaced, once the new one is whole.

    Raises
    ------
    ImportError
        If onnx is not installed.
    TypeError
        If `estimator` is something else, such as a pipeline.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    OSError
        If the file cannot be written. What was there before still is.

    See Also
    --------
    sklstm.save : Save the estimator itself.

    Notes
    -----
    The input is `X`, float64 of shape (n_samples, n_timesteps, n_features); after a fit on 2-D
    X, of shape (n_samples, n_columns). The output is `y`, float64, of the shape that `predict`
    answers for such an array. Sequences of one call are equally long, and there is at least one:
    without any, onnxruntime ends the process. Nothing is checked, but
    the answer for a sequence with a value that is NaN, infinite or too large for float32 is NaN.

    The layers compute in float32, and so they do after a fit with ``precision="float64"``:
    onnxruntime has no other LSTM on a processor. The graph is of ONNX's opset 15; it was tried
    with onnxruntime 1.15 and later.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor
    >>> from sklstm.interop import to_onnx
    >>> X, y = np.random.default_rng(0).normal(size=(50, 5, 1)), np.arange(50.0)
    >>> model = StackedLSTMRegressor(units=4, max_epochs=2, random_state=0).fit(X, y)
    >>> import onnxruntime, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.onnx")
    ...     to_onnx(model, path)
    ...     session = onnxruntime.InferenceSession(path)
    >>> (y_pred,) = session.run(["y"], {"X": X})
    >>> bool(np.allclose(y_pred, model.predict(X)))
    True
    """
    if not isinstance(estimator, StackedLSTMRegressor):
        raise TypeError(
            f"estimator must be a StackedLSTMRegressor, got {type(estimator).__name__}. Of a "
            "pipeline pass the last step, of a search its best_estimator_."
        )
    check_is_fitted(estimator)
    content = _serialized(estimator)
    with replacing(path) as part:
        part.write_bytes(content)


def _serialized(estimator: StackedLSTMRegressor) -> bytes:
    try:
        from .onnx_graph import onnx_model
    except ModuleNotFoundError as error:
        raise ImportError("to_onnx needs onnx, which the extra sklstm[onnx] brings.") from error
    return onnx_model(estimator).SerializeToString(deterministic=True)
