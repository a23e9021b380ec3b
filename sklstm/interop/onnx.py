"""A fitted estimator as an ONNX file."""

from __future__ import annotations

from sklearn.utils.validation import check_is_fitted

from sklstm.files.container import StrPath, replacing
from sklstm.regressor import StackedLSTMRegressor


def to_onnx(estimator: StackedLSTMRegressor, path: StrPath) -> None:
    """Write a fitted estimator to an ONNX file, which predicts without torch.

    The model in the file takes one or more unscaled sequences of any length and scales them itself.
    Its predictions differ from those of `predict` by at most 1e-5 of the standard deviation of the
    target, or, with ``standardize=False``, of its size.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        Fitted estimator. It is not changed.

    path : str or os.PathLike
        The file. A file that exists is replaced after the new one is written completely.

    Raises
    ------
    ImportError
        If onnx is not installed.
    TypeError
        If `estimator` is another object, such as a pipeline.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    OSError
        If the file cannot be written. A file that was there before is unchanged.

    See Also
    --------
    sklstm.save : Save the estimator itself.

    Notes
    -----
    The input is `X`, float64 of shape (n_samples, n_timesteps, n_features); after a fit on 2-D X,
    of shape (n_samples, n_columns). The output is `y`, float64, of the shape that `predict` returns
    for such an array. All sequences of one call have the same length, and there is at least one:
    without any, onnxruntime ends the process. Nothing is checked, but the prediction for a sequence
    with a value that is NaN, infinite or too large for float32 is NaN.

    The layers compute in float32, also after a fit with ``precision="float64"``: onnxruntime has no
    other LSTM for CPUs. The file needs ONNX's opset 15; it was tested with onnxruntime 1.15 and
    later.

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
    try:
        from .onnx_graph import onnx_model
    except ModuleNotFoundError as error:
        raise ImportError("to_onnx needs onnx, which the extra sklstm[onnx] installs.") from error
    content = onnx_model(estimator).SerializeToString(deterministic=True)
    with replacing(path) as part:
        part.write_bytes(content)
