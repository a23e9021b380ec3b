"""A Keras stack of LSTM layers as a fitted estimator, and the other way round."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklstm.nn.layers import Residual
from sklstm.nn.stack import StackedLSTM
from sklstm.regressor import StackedLSTMRegressor

from .keras_layers import KerasStack, read_stack

Weights = list[NDArray[Any]]


def from_keras(model: Any) -> StackedLSTMRegressor:
    """Turn a trained Keras model into a fitted estimator.

    The model is a `keras.Sequential` of `LSTM` layers, or `Bidirectional` ones, each with at
    most one `Dropout` after it, and then of `Dense` layers: hidden ones with ReLU, and a linear one
    on top. Without `Dense` layers, the output of the top LSTM layer is the prediction. The
    estimator predicts the same as the model, up to rounding.

    Parameters
    ----------
    model : keras.Sequential
        Model of Keras 3, on any of its backends. It is not changed.

    Returns
    -------
    StackedLSTMRegressor
        Fitted estimator with ``skip=None``, ``pooling="last"``, ``linear_steps=None`` and
        ``standardize=False``. For sequences of any length, it predicts an array of shape
        (n_samples, n_outputs), or (n_samples, n_timesteps, n_outputs) if the model predicts at
        each step.

    Raises
    ------
    ImportError
        If Keras 3 or its backend is not installed.
    TypeError
        If `model` is not a `keras.Sequential`.
    ValueError
        If the model has no weights yet, or weights that are not finite, or a layer or an option
        without a counterpart here.

    See Also
    --------
    to_keras : The other way round.

    Notes
    -----
    With ``warm_start=True`` a fit continues training from these weights, always with the same seed.
    Therefore options that change predictions are refused (other activations, `stateful`,
    `go_backwards`), and so are options that change training: dropout inside a layer, regularizers,
    constraints, frozen layers. Initializers and seeds no longer matter, and `unroll` and
    `use_cudnn` change speed alone. If a model is refused for an option of its training, build it
    again without the option and copy the weights with ``set_weights``: it predicts the same.

    What `compile` set, such as the optimizer and the loss, is not read. If the model has no bias or
    no Dense layer, the estimator has a bias of zeros and an identity as its Dense layer, and trains
    them from there.

    Examples
    --------
    >>> import keras  # doctest: +SKIP
    >>> from sklstm.interop import from_keras
    >>> model = keras.Sequential([  # doctest: +SKIP
    ...     keras.Input((None, 3)),
    ...     keras.layers.LSTM(16, return_sequences=True),
    ...     keras.layers.LSTM(8),
    ...     keras.layers.Dense(1),
    ... ])
    >>> from_keras(model)  # doctest: +SKIP
    StackedLSTMRegressor(linear_steps=None, pooling='last', skip=None,
                         standardize=False, units=(16, 8))
    """
    keras = _import_keras()
    if type(model) is not keras.Sequential:
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise TypeError(f"model must be a keras.Sequential, got {kind}.")
    if not model.built:
        raise ValueError(
            f"model {model.name!r} has no weights yet: let it begin with keras.Input, or call it "
            "on data."
        )
    stack = read_stack(keras, model.layers)
    if not _are_finite(model.get_weights()):
        raise ValueError(f"model {model.name!r} has weights that are not finite.")
    estimator = _untrained(stack, n_features=model.input_shape[-1])

    def copy(weights: Any, values: NDArray[Any] | float = 0.0) -> None:
        weights.copy_(torch.tensor(values))

    parts = [part for directions in stack.lstms for part in directions]
    with torch.no_grad():
        for lstm, part in zip(_lstms(estimator.module_), parts, strict=True):
            kernel, recurrent_kernel, *bias = part.get_weights()
            copy(lstm.weight_ih_l0, kernel.T)
            copy(lstm.weight_hh_l0, recurrent_kernel.T)
            copy(lstm.bias_ih_l0, *bias)
            copy(lstm.bias_hh_l0)
        denses = _denses(estimator.module_)
        identity = [np.eye(denses[-1].out_features)]
        given = [dense.get_weights() for dense in stack.denses] or [identity]
        for layer, (kernel, *bias) in zip(denses, given, strict=True):
            copy(layer.weight, kernel.T)
            copy(layer.bias, *bias)
    return estimator


def to_keras(estimator: StackedLSTMRegressor) -> Any:
    """Turn a fitted estimator into a Keras model.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        Fitted estimator that is a plain stack: with ``skip=None`` if it has several layers,
        ``pooling="last"`` unless it predicts at each step, ``linear_steps=None``, and at most one
        quantile. It is not changed.

    Returns
    -------
    keras.Sequential
        Model of `LSTM` or `Bidirectional`, `Dropout` and `Dense` layers, not compiled, on Keras's
        current backend. For an array of shape (n_samples, n_timesteps, n_features), with any number
        of steps, it predicts one of shape (n_samples, n_outputs), or with `return_sequences`
        (n_samples, n_timesteps, n_outputs). After a fit to y of shape
        (n_samples, horizon, n_columns), `n_outputs` is ``horizon * n_columns``, all columns of the
        first step first.

    Raises
    ------
    ImportError
        If Keras 3 or its backend is not installed.
    TypeError
        If `estimator` is not a `StackedLSTMRegressor`.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    ValueError
        If it was fitted with a parameter that those layers cannot express, or if weights are not
        finite after the scaling is folded into them.

    See Also
    --------
    from_keras : The other way round.

    Notes
    -----
    The scaling of ``standardize=True`` is folded into the kernels and biases of the first LSTM
    layer and of the top Dense layer, so that the model takes and predicts unscaled values without
    extra layers. It differs from the estimator in three points. Inputs more than ten standard
    deviations from the mean stay as they are; in the estimator they grow like logarithms. Values
    with a large offset, such as time stamps, lose digits, because Keras's `predict` reads arrays in
    float32. And to train the model further you need scaled data: fit with ``standardize=False`` for
    this.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor
    >>> from sklstm.interop import to_keras
    >>> X = np.random.default_rng(0).normal(size=(100, 10, 3))
    >>> plain = StackedLSTMRegressor(units=8, skip=None, pooling="last", linear_steps=None)
    >>> to_keras(plain.fit(X, X[:, -1, 0])).output_shape  # doctest: +SKIP
    (None, 1)
    """
    keras = _import_keras()
    module = _plain_module(estimator)
    weights = _folded_weights(module)
    dtype = str(module.dtype).removeprefix("torch.")
    layers = [keras.Input((None, module.n_features), dtype=dtype)]
    lstms = _lstms(module)[:: 2 if module.bidirectional else 1]
    for lstm, dropout in zip(lstms, module.dropouts, strict=True):
        sequences = lstm is not lstms[-1] or module.return_sequences
        layer = keras.layers.LSTM(lstm.hidden_size, return_sequences=sequences, dtype=dtype)
        if module.bidirectional:
            layer = keras.layers.Bidirectional(layer, dtype=dtype)
        layers.append(layer)
        if dropout.p:
            layers.append(keras.layers.Dropout(dropout.p, dtype=dtype))
    *hidden, output = _denses(module)
    for dense in hidden:
        layers.append(keras.layers.Dense(dense.out_features, activation="relu", dtype=dtype))
    layers.append(keras.layers.Dense(output.out_features, dtype=dtype))
    model = keras.Sequential(layers)
    model.set_weights(weights)
    return model


def _import_keras() -> Any:
    try:
        keras = import_module("keras")
    except ImportError as error:
        raise ImportError(
            f"Keras cannot be imported: {error}. The extra sklstm[keras] installs it. It runs on "
            "torch if KERAS_BACKEND=torch is set in the environment before it is imported."
        ) from error
    version = str(getattr(keras, "__version__", None))
    if not version.startswith("3."):
        raise ImportError(f"Keras 3 is needed, got {version}; the extra sklstm[keras] installs it.")
    return keras


def _untrained(stack: KerasStack, n_features: int) -> StackedLSTMRegressor:
    """Fit an estimator of the sizes of a stack without training it."""

    def one_or_all(values: list[Any]) -> Any:
        return values[0] if len(set(values)) == 1 else tuple(values)

    units = [directions[0].units for directions in stack.lstms]
    return_sequences = stack.lstms[-1][0].return_sequences
    estimator = StackedLSTMRegressor(
        n_layers=len(units),
        units=one_or_all(units),
        dropout=one_or_all(stack.dropout),
        bidirectional=len(stack.lstms[0]) == 2,
        skip=None,
        pooling="last",
        head_units=tuple(dense.units for dense in stack.denses[:-1]),
        linear_steps=None,
        return_sequences=return_sequences,
        standardize=False,
        max_epochs=0,
        precision=stack.dtype,
        random_state=0,
    )
    n_outputs = stack.denses[-1].units if stack.denses else units[-1] * len(stack.lstms[-1])
    X = np.zeros((1, 1, n_features), stack.dtype)
    y = np.zeros((1, 1, n_outputs) if return_sequences else (1, n_outputs), stack.dtype)
    return estimator.fit(X, y).set_params(max_epochs="auto", random_state=None)


def _lstms(module: StackedLSTM) -> list[nn.LSTM]:
    return [part for part in module.layers.modules() if isinstance(part, nn.LSTM)]


def _denses(module: StackedLSTM) -> list[nn.Linear]:
    return [part for part in module.head if isinstance(part, nn.Linear)]


def _plain_module(estimator: Any) -> StackedLSTM:
    """Return the module of an estimator that is a plain stack, or say what makes it another."""
    if not isinstance(estimator, StackedLSTMRegressor):
        raise TypeError(
            f"estimator must be a StackedLSTMRegressor, got {type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    module = estimator.module_
    instead = {}  # what Keras has no layers for: what to fit with instead
    if any(isinstance(skip, Residual) for skip in module.skips):
        instead["skip='residual'"] = "skip=None"
    if module.pooling != "last" and not module.return_sequences:
        instead[f"pooling={module.pooling!r}"] = "pooling='last'"
    if module.linear is not None:
        instead[f"linear_steps={module.linear_steps}"] = "linear_steps=None"
    if module.input_scaler is not None and module.input_scaler.mean.ndim > 1:
        instead["a scale for each column of 2-D X"] = "columns of one scale, or standardize=False"
    if module.n_quantiles is not None:
        quantiles = estimator._plan.loss_params["quantile"]
        instead[f"quantile={quantiles!r}"] = "a number as quantile"
    if instead:
        raise ValueError(
            f"estimator was fitted with {', '.join(instead)}, which a keras.Sequential cannot "
            f"express. Fit it with {', '.join(instead.values())}."
        )
    return module


def _folded_weights(module: StackedLSTM) -> Weights:
    """Return the weights in Keras's order, with the scaling folded into them."""

    def array(values: Any) -> NDArray[Any]:
        return values.detach().cpu().double().numpy()

    weights = []
    for place, lstm in enumerate(_lstms(module)):
        kernel, recurrent_kernel = array(lstm.weight_ih_l0).T, array(lstm.weight_hh_l0).T
        bias = array(lstm.bias_ih_l0) + array(lstm.bias_hh_l0)
        if place < (2 if module.bidirectional else 1) and module.input_scaler is not None:
            kernel = kernel / array(module.input_scaler.scale)[:, np.newaxis]
            bias = bias - array(module.input_scaler.mean) @ kernel
        weights += [kernel, recurrent_kernel, bias]
    for dense in _denses(module):
        weights += [array(dense.weight).T, array(dense.bias)]
    if module.output_scaler is not None:
        mean, scale = array(module.output_scaler.mean), array(module.output_scaler.scale)
        weights[-2:] = [weights[-2] * scale, weights[-1] * scale + mean]
    dtype = str(module.dtype).removeprefix("torch.")
    with np.errstate(over="ignore"):
        weights = [values.astype(dtype) for values in weights]
    if not _are_finite(weights):
        raise ValueError(
            f"With the scales of standardize=True folded in, weights are not finite in {dtype}. "
            "Scale X and y before the fit."
        )
    return weights


def _are_finite(weights: Weights) -> bool:
    return all(bool(np.isfinite(values).all()) for values in weights)
