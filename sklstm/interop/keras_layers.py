"""The layers of a Keras model, if they are a stack of LSTM layers that the estimator can be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from inspect import signature
from numbers import Real
from typing import Any

DTYPES = ("float32", "float64")
# Options that become parameters of the estimator, and options that change neither predictions nor
# training from the weights on. All others must have their default.
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
    """The layers of a Keras model by their kind, bottom first.

    `lstms` has a list for each LSTM layer: the layer, or in a bidirectional model the one that
    reads forwards and the one that reads backwards. `dropout` has the rate after each of them.
    `denses` are the layers above, and `dtype` is the type of all weights.
    """

    lstms: list[list[Any]] = field(default_factory=list)
    dropout: list[float] = field(default_factory=list)
    denses: list[Any] = field(default_factory=list)
    dtype: str = "float32"


def read_stack(keras: Any, layers: Iterable[Any]) -> KerasStack:
    """Sort the layers of a model, bottom first, by their kind.

    Raises
    ------
    ValueError
        If there is another layer, or an option that changes predictions or training.
    """
    kinds, stack, layers = keras.layers, KerasStack(), list(layers)
    parts = _check_parts(layers)
    for layer in layers:
        kind = type(layer)
        if kind in (kinds.LSTM, kinds.Bidirectional):
            _add_lstm(keras, stack, layer)
        elif kind is kinds.Dropout:
            _check_options(keras, layer)
            if layer.rate:
                if not stack.lstms or stack.denses or stack.dropout[-1]:
                    raise ValueError(f"{_place(layer)} is not right above an LSTM layer: {ORDER}.")
                if layer.rate == 1:
                    raise ValueError(
                        f"{_place(layer)} has rate={layer.rate}; expected a rate in [0, 1)."
                    )
                stack.dropout[-1] = float(layer.rate)
        elif kind in (kinds.Dense, kinds.TimeDistributed):
            dense = layer
            if kind is kinds.TimeDistributed:
                _check_options(keras, layer)
                dense = layer.layer
                if type(dense) is not kinds.Dense:
                    raise ValueError(
                        f"{_place(dense)} in {_place(layer)} is refused: expected Dense."
                    )
            if not stack.lstms:
                raise ValueError(f"{_place(dense)} has no LSTM layer below it: {ORDER}.")
            for below in stack.denses[-1:]:
                _check_options(keras, below, activation="relu")
            stack.denses.append(dense)
        else:
            raise ValueError(f"{_place(layer)} is refused: {ORDER}.")
    if not stack.lstms:
        raise ValueError(f"model has no LSTM layer: {ORDER}.")
    for top in stack.denses[-1:]:
        _check_options(keras, top, activation="linear")
    policies = {part.dtype_policy.name: part for part in parts}
    for policy, part in policies.items():
        if policy not in DTYPES:
            raise ValueError(f"{_place(part)} has dtype={policy!r}; expected one of {DTYPES}.")
    if len(policies) > 1:
        raise ValueError(f"The layers have dtypes {sorted(policies)}; expected the same for all.")
    (stack.dtype,) = policies
    return stack


def _add_lstm(keras: Any, stack: KerasStack, layer: Any) -> None:
    """Add an LSTM layer, or the two of a Bidirectional one."""
    _check_options(keras, layer)
    directions = [layer]
    if type(layer) is keras.layers.Bidirectional:
        directions = [layer.forward_layer, layer.backward_layer]
        for part, backwards in zip(directions, (False, True), strict=True):
            if type(part) is not keras.layers.LSTM:
                raise ValueError(f"{_place(part)} in {_place(layer)} is refused: expected LSTM.")
            _check_options(keras, part, go_backwards=backwards)
        forward, backward = directions
        if forward.units != backward.units:
            raise ValueError(
                f"{_place(layer)} has units={forward.units} forwards and units={backward.units} "
                "backwards; expected as many."
            )
    if stack.denses:
        raise ValueError(f"{_place(layer)} is above {_place(stack.denses[-1])}: {ORDER}.")
    if stack.lstms and len(stack.lstms[0]) != len(directions):
        raise ValueError(
            f"{_place(layer)} is refused: expected LSTM layers only or Bidirectional ones only."
        )
    stack.lstms.append(directions)
    stack.dropout.append(0.0)


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


def _check_parts(layers: list[Any]) -> list[Any]:
    """Return the layers and the layers inside them; refuse what any of them may have."""
    parts: list[Any] = []
    for layer in layers:
        inner = ("forward_layer", "backward_layer", "layer")
        parts += [layer, *(getattr(layer, name) for name in inner if hasattr(layer, name))]
    for number, part in enumerate(parts):
        regularizer = getattr(part, "activity_regularizer", None)
        if regularizer is not None:
            raise ValueError(
                f"{_place(part)} has activity_regularizer={_spelled(regularizer)}; expected None."
            )
        if any(part is other for other in parts[:number]):
            raise ValueError(f"{_place(part)} is in the model twice.")
        if len(part.trainable_weights) < len(part.weights) or not part.trainable:
            raise ValueError(f"{_place(part)} has trainable=False; expected True for all of it.")
    return parts


def _place(layer: Any) -> str:
    return f"{type(layer).__name__} layer {layer.name!r}"


def _spelled(value: Any) -> str:
    """Spell a value, or the name of a function or of the kind of an object."""
    if isinstance(value, (Real, str, tuple, list)):
        return repr(value)
    return str(getattr(value, "__name__", type(value).__name__))
