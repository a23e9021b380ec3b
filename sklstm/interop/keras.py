"""A Keras stack of LSTM layers as a fitted estimator, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklstm.nn.layers import Residual, Standardize, dtype_of
from sklstm.nn.stack import StackedLSTM
from sklstm.regressor import StackedLSTMRegressor

from .keras_layers import KerasStack, read_stack

Weights = list[NDArray[Any]]


def from_keras(model: Any) -> StackedLSTMRegressor:
    """Turn a trained Keras model into a fitted estimator.

    The model is a `keras.Sequential` of `LSTM` layers, or `Bidirectional` ones, each with at
    most one `Dropout` after it, and then of `Dense` layers, hidden ones with ReLU and a linear
    one on top. Without `Dense` layers, what the top LSTM layer puts out is the output.
    Predictions are those of the model, up to rounding.

    Parameters
    ----------
    model : keras.Sequential
        Model of Keras 3, on any of its backends. It is not changed.

    Returns
    -------
    StackedLSTMRegressor
        Fitted estimator with ``skip=None``, ``pooling="last"``, ``linear_steps=None`` and
        ``standardize=False``. For sequences of any length, it predicts an array of shape
        (n_samples, n_outputs), or (n_samples, n_timesteps, n_outputs) if the model answers at
        each step.

    Raises
    ------
    ImportError
        If Keras 3 or the backend that it is set to is not installed.
    TypeError
        If `model` is not a `keras.Sequential`.
    ValueError
        If the model has no weights yet, or some that are not finite, or a layer or an option
        that is refused.

    See Also
    --------
    to_keras : The other way round.

    Notes
    -----
    With ``warm_start=True`` a fit goes on from the weights, always with the same seed. Therefore
    an option is refused not only where it changes predictions (other activations, `stateful`,
    `go_backwards`), but also where it changes training: dropout inside a layer, regularizers,
    constraints, frozen layers. Initializers and seeds have done their work, and `unroll` and
    `use_cudnn` change speed alone. A model that is refused for how it was trained predicts the
    same when it is built again without the option and given the weights, with ``set_weights``.

    What `compile` set, such as the optimizer and the loss, is left behind. Where the model has
    no bias or no Dense layer, the estimator has a bias of zeros and the identity as its Dense
    layer, and trains them when it goes on.

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
    _check_model(keras, model)
    stack = read_stack(keras, model.layers)
    if not _are_finite(model.get_weights()):
        raise ValueError(f"model {model.name!r} has weights that are not finite.")
    estimator = _untrained(stack, n_features=model.input_shape[-1])
    _load(
        estimator.module_,
        [part.get_weights() for directions in stack.lstms for part in directions],
        [dense.get_weights() for dense in stack.denses],
    )
    return estimator


def to_keras(estimator: StackedLSTMRegressor) -> Any:
    """Turn a fitted estimator into a Keras model.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        Fitted estimator that is a plain stack: with ``skip=None`` if it has several layers,
        ``pooling="last"`` if it answers once a sequence, ``linear_steps=None``, and a single
        quantile if any. It is not changed.

    Returns
    -------
    keras.Sequential
        Model of `LSTM` or `Bidirectional`, `Dropout` and `Dense` layers, not compiled, on the
        backend that Keras is set to. From an array of shape
        (n_samples, n_timesteps, n_features), with any number of steps, it predicts one of shape
        (n_samples, n_outputs), or (n_samples, n_timesteps, n_outputs) with `return_sequences`.
        After a fit to y of shape (n_samples, horizon, n_columns), `n_outputs` is
        ``horizon * n_columns``, all columns of the first step first.

    Raises
    ------
    ImportError
        If Keras 3 or the backend that it is set to is not installed.
    TypeError
        If `estimator` is not a `StackedLSTMRegressor`.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    ValueError
        If it was fitted with a parameter that those layers cannot express, or if weights are
        not finite once the scaling is folded into them.

    See Also
    --------
    from_keras : The other way round.

    Notes
    -----
    The scaling of ``standardize=True`` is folded into the kernels and biases of the first LSTM
    layer and of the top Dense layer: the model takes and gives unscaled values, and no layer
    comes on top of those of the stack. Three things differ from the estimator. Inputs beyond
    ten standard deviations from the mean, which the estimator lets grow as logarithms, stay as
    they are. Numbers far from zero for their spread, such as time stamps, lose digits, as
    Keras's `predict` reads arrays in float32. And a model that is to be trained further wants
    data that are scaled: to that end, fit with ``standardize=False``.

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
    dtype = str(dtype_of(module.layers[0])).removeprefix("torch.")
    weights = _finite(_folded_weights(module), dtype)
    model = keras.Sequential(
        [keras.Input((None, module.n_features), dtype=dtype), *_keras_layers(keras, module, dtype)]
    )
    model.set_weights(weights)
    return model


def _import_keras() -> Any:
    try:
        keras = import_module("keras")
    except ImportError as error:
        raise ImportError(
            f"Keras cannot be imported: {error}. The extra sklstm[keras] brings it, and it runs "
            "on torch if KERAS_BACKEND=torch is set in the environment before it is imported."
        ) from error
    version = str(getattr(keras, "__version__", None))
    if not version.startswith("3."):
        raise ImportError(f"Keras 3 is needed, got {version}; the extra sklstm[keras] brings it.")
    return keras


def _check_model(keras: Any, model: Any) -> None:
    kind = type(model)
    if kind is not keras.Sequential:
        raise TypeError(
            f"model must be a keras.Sequential, got {kind.__module__}.{kind.__qualname__}."
        )
    if not model.built:
        raise ValueError(
            f"model {model.name!r} has no weights yet: let it begin with keras.Input, or call it "
            "on data."
        )


def _untrained(stack: KerasStack, n_features: int) -> StackedLSTMRegressor:
    """Fit an estimator of the sizes of a stack without training it."""
    units = [directions[0].units for directions in stack.lstms]
    return_sequences = stack.lstms[-1][0].return_sequences
    estimator = StackedLSTMRegressor(
        n_layers=len(units),
        units=_per_layer(units),
        dropout=_per_layer(stack.dropout),
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


def _per_layer(values: list[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else tuple(values)


@torch.no_grad()
def _load(module: StackedLSTM, lstm_weights: list[Weights], dense_weights: list[Weights]) -> None:
    for lstm, (kernel, recurrent_kernel, *bias) in zip(_lstms(module), lstm_weights, strict=True):
        _copy(lstm.weight_ih_l0, kernel.T)
        _copy(lstm.weight_hh_l0, recurrent_kernel.T)
        _copy(lstm.bias_ih_l0, *bias)
        _copy(lstm.bias_hh_l0)
    denses = _denses(module)
    identity = [np.eye(denses[-1].out_features)]
    for dense, (kernel, *bias) in zip(denses, dense_weights or [identity], strict=True):
        _copy(dense.weight, kernel.T)
        _copy(dense.bias, *bias)


def _copy(weights: Any, values: NDArray[Any] | float = 0.0) -> None:
    weights.copy_(torch.tensor(values))


def _lstms(module: StackedLSTM) -> list[nn.LSTM]:
    return [part for part in module.layers.modules() if isinstance(part, nn.LSTM)]


def _denses(module: StackedLSTM) -> list[nn.Linear]:
    return [part for part in module.head if isinstance(part, nn.Linear)]


def _plain_module(estimator: Any) -> StackedLSTM:
    """Return the module of an estimator that is a plain stack."""
    if not isinstance(estimator, StackedLSTMRegressor):
        raise TypeError(
            f"estimator must be a StackedLSTMRegressor, got {type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    beyond = dict(_beyond_keras(estimator))
    if beyond:
        raise ValueError(
            f"estimator was fitted with {', '.join(beyond)}, which a keras.Sequential cannot "
            f"express. Fit it with {', '.join(beyond.values())}."
        )
    return estimator.module_


def _beyond_keras(estimator: StackedLSTMRegressor) -> Iterator[tuple[str, str]]:
    """Yield what an estimator was fitted with that Keras has no layers for, and what would do."""
    module = estimator.module_
    if any(isinstance(path, Residual) for path in module.paths):
        yield f"skip={estimator.net_.get_params_for('module')['skip']!r}", "skip=None"
    if module.pooling != "last" and not module.return_sequences:
        yield f"pooling={module.pooling!r}", "pooling='last'"
    if module.linear is not None:
        yield f"linear_steps={module.linear_steps}", "linear_steps=None"
    if module.input_scaler is not None and module.input_scaler.mean.ndim > 1:
        yield "a scale for each column of 2-D X", "columns of one scale, or standardize=False"
    if module.n_quantiles is not None:
        quantiles = estimator.net_.get_params_for("criterion")["quantiles"]
        yield f"quantile={quantiles!r}", "a number as quantile"


def _keras_layers(keras: Any, module: StackedLSTM, dtype: str) -> Iterator[Any]:
    """Make the layers of a module, without their weights."""
    *lower, _ = module.layers
    answers = [*[True for _ in lower], module.return_sequences]
    lstms = _lstms(module)[:: 2 if module.bidirectional else 1]
    for lstm, dropout, return_sequences in zip(lstms, module.dropouts, answers, strict=True):
        layer = keras.layers.LSTM(lstm.hidden_size, return_sequences=return_sequences, dtype=dtype)
        yield keras.layers.Bidirectional(layer, dtype=dtype) if module.bidirectional else layer
        if dropout.p:
            yield keras.layers.Dropout(dropout.p, dtype=dtype)
    *hidden, output = (dense.out_features for dense in _denses(module))
    for units in hidden:
        yield keras.layers.Dense(units, activation="relu", dtype=dtype)
    yield keras.layers.Dense(output, dtype=dtype)


def _folded_weights(module: StackedLSTM) -> Weights:
    """Weights of the layers in Keras's order, float64, the scaling folded into them."""
    weights = []
    for place, lstm in enumerate(_lstms(module)):
        kernel, recurrent_kernel = _array(lstm.weight_ih_l0).T, _array(lstm.weight_hh_l0).T
        bias = _array(lstm.bias_ih_l0) + _array(lstm.bias_hh_l0)
        if place < (2 if module.bidirectional else 1) and module.input_scaler is not None:
            mean, scale = _statistics(module.input_scaler)
            kernel = kernel / scale[:, np.newaxis]
            bias = bias - mean @ kernel
        weights += [kernel, recurrent_kernel, bias]
    for dense in _denses(module):
        weights += [_array(dense.weight).T, _array(dense.bias)]
    if module.output_scaler is not None:
        mean, scale = _statistics(module.output_scaler)
        weights[-2:] = [weights[-2] * scale, weights[-1] * scale + mean]
    return weights


def _statistics(scaler: Standardize) -> tuple[NDArray[Any], NDArray[Any]]:
    return _array(scaler.mean), _array(scaler.scale)


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().double().numpy()


def _finite(weights: Weights, dtype: str) -> Weights:
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
