"""What a Keras model is made of, or why it is not a stack of LSTM layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from inspect import signature
from numbers import Real
from typing import Any

DTYPES = ("float32", "float64")
CARRIED = {"units", "return_sequences", "use_bias", "rate", "layer", "backward_layer"}
WITHOUT_EFFECT = {
    "bias_initializer",
    "kernel_initializer",
    "recurrent_initializer",
    "seed",
    "unit_forget_bias",
    "unroll",
    "use_cudnn",
    "weights",
}
ORDER = (
    "expected LSTM layers, or Bidirectional ones, each with at most one Dropout after it, and then "
    "Dense layers"
)


@dataclass
class KerasStack:
    """The layers of a Keras model by what they do, bottom first.

    Parameters
    ----------
    lstms : list of list of keras.layers.LSTM
        Of each layer, the one that reads forwards and, in a bidirectional model, the one that
        reads backwards.

    dropout : list of float
        Rate of the dropout after each of them.

    denses : list of keras.layers.Dense
        Layers above.

    dtype : str
        Type of all weights.
    """

    lstms: list[list[Any]] = field(default_factory=list)
    dropout: list[float] = field(default_factory=list)
    denses: list[Any] = field(default_factory=list)
    dtype: str = "float32"


def read_stack(keras: Any, layers: Iterable[Any]) -> KerasStack:
    """Sort the layers of a model by what they do.

    Parameters
    ----------
    keras : module
        Keras.

    layers : iterable of keras.layers.Layer
        Layers, bottom first.

    Returns
    -------
    KerasStack
        The same layers.

    Raises
    ------
    ValueError
        If there is another layer, or an option that changes predictions or training.
    """
    read: dict[type, Callable[..., None]] = {
        keras.layers.LSTM: _read_lstm,
        keras.layers.Bidirectional: _read_bidirectional,
        keras.layers.Dropout: _read_dropout,
        keras.layers.Dense: _read_dense,
        keras.layers.TimeDistributed: _read_time_distributed,
    }
    stack, layers = KerasStack(), list(layers)
    _check_parts(layers)
    for layer in layers:
        if type(layer) not in read:
            raise ValueError(f"{_place(layer)} is refused: {ORDER}.")
        _check_trained(layer)
        read[type(layer)](keras, stack, layer)
    if not stack.lstms:
        raise ValueError(f"model has no LSTM layer: {ORDER}.")
    for top in stack.denses[-1:]:
        _check_options(keras, top, activation="linear")
    stack.dtype = _common_dtype(layers)
    return stack


def _read_lstm(keras: Any, stack: KerasStack, layer: Any) -> None:
    _check_options(keras, layer)
    _add_lstm(stack, layer, [layer])


def _read_bidirectional(keras: Any, stack: KerasStack, layer: Any) -> None:
    _check_options(keras, layer)
    forward, backward = layer.forward_layer, layer.backward_layer
    for part in (forward, backward):
        if type(part) is not keras.layers.LSTM:
            raise ValueError(f"{_place(part)} in {_place(layer)} is refused: expected LSTM.")
        _check_trained(part)
    _check_options(keras, forward)
    _check_options(keras, backward, go_backwards=True)
    if forward.units != backward.units:
        raise ValueError(
            f"{_place(layer)} has units={forward.units} forwards and units={backward.units} "
            "backwards; expected as many."
        )
    _add_lstm(stack, layer, [forward, backward])


def _add_lstm(stack: KerasStack, layer: Any, directions: list[Any]) -> None:
    if stack.denses:
        raise ValueError(f"{_place(layer)} is above {_place(stack.denses[-1])}: {ORDER}.")
    if stack.lstms and len(stack.lstms[0]) != len(directions):
        raise ValueError(
            f"{_place(layer)} is refused: expected LSTM layers only or Bidirectional ones only."
        )
    stack.lstms.append(directions)
    stack.dropout.append(0.0)


def _read_dropout(keras: Any, stack: KerasStack, layer: Any) -> None:
    _check_options(keras, layer)
    if not layer.rate:
        return
    if not stack.lstms or stack.denses or stack.dropout[-1]:
        raise ValueError(f"{_place(layer)} is not right above an LSTM layer: {ORDER}.")
    if layer.rate == 1:
        raise ValueError(f"{_place(layer)} has rate={layer.rate}; expected a rate in [0, 1).")
    stack.dropout[-1] = float(layer.rate)


def _read_dense(keras: Any, stack: KerasStack, layer: Any) -> None:
    if not stack.lstms:
        raise ValueError(f"{_place(layer)} has no LSTM layer below it: {ORDER}.")
    for below in stack.denses[-1:]:
        _check_options(keras, below, activation="relu")
    stack.denses.append(layer)


def _read_time_distributed(keras: Any, stack: KerasStack, layer: Any) -> None:
    _check_options(keras, layer)
    if type(layer.layer) is not keras.layers.Dense:
        raise ValueError(f"{_place(layer.layer)} in {_place(layer)} is refused: expected Dense.")
    _check_trained(layer.layer)
    _read_dense(keras, stack, layer.layer)


def _check_options(keras: Any, layer: Any, **expected: Any) -> None:
    """Refuse options that differ from Keras's defaults, or from what is expected instead."""
    for name, parameter in signature(type(layer)).parameters.items():
        if name in CARRIED | WITHOUT_EFFECT or parameter.kind is parameter.VAR_KEYWORD:
            continue
        wanted = expected.get(name, parameter.default)
        value = getattr(layer, name, wanted)
        same = keras.activations.get(wanted) if name.endswith("activation") else wanted
        if value != same:
            raise ValueError(f"{_place(layer)} has {name}={_spelled(value)}; expected {wanted!r}.")


def _check_trained(layer: Any) -> None:
    if len(layer.trainable_weights) < len(layer.weights) or not layer.trainable:
        raise ValueError(f"{_place(layer)} has trainable=False; expected True for all of it.")


def _check_parts(layers: list[Any]) -> None:
    """Refuse what any layer, or layer in another, may have beside its own options."""
    seen: set[int] = set()
    for layer in _with_parts(layers):
        if getattr(layer, "activity_regularizer", None) is not None:
            raise ValueError(
                f"{_place(layer)} has activity_regularizer="
                f"{_spelled(layer.activity_regularizer)}; expected None."
            )
        if id(layer) in seen:
            raise ValueError(f"{_place(layer)} is in the model twice.")
        seen.add(id(layer))


def _common_dtype(layers: list[Any]) -> str:
    policies = {layer.dtype_policy.name: layer for layer in _with_parts(layers)}
    for policy, layer in policies.items():
        if policy not in DTYPES:
            raise ValueError(f"{_place(layer)} has dtype={policy!r}; expected one of {DTYPES}.")
    if len(policies) > 1:
        raise ValueError(f"The layers have dtypes {sorted(policies)}; expected the same for all.")
    return next(iter(policies))


def _with_parts(layers: list[Any]) -> Iterator[Any]:
    for layer in layers:
        yield layer
        for name in ("forward_layer", "backward_layer", "layer"):
            if hasattr(layer, name):
                yield getattr(layer, name)


def _place(layer: Any) -> str:
    return f"{type(layer).__name__} layer {layer.name!r}"


def _spelled(value: Any) -> str:
    """Spell a value, or the name of a function or of the kind of an object."""
    if isinstance(value, (Real, str, tuple, list)):
        return repr(value)
    return str(getattr(value, "__name__", type(value).__name__))
