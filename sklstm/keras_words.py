"""Keras' words for parameters, and what they are here: errors say it where Keras' are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

from sklearn.utils._param_validation import StrOptions

from .exceptions import warn

P = ParamSpec("P")
Result = TypeVar("Result")

PAGE = "See the page 'Coming from Keras' of the documentation, docs/keras.rst."
# Keras' parameters that are called otherwise here, or are not there. The table "Parameters" on the
# page says the same.
PARAMETERS = {
    "activation": "nothing; the layers have tanh, and their gates the sigmoid",
    "class_weight": "sample_weight of fit",
    "clipnorm": "clip_norm, of all gradients together",
    "epochs": "max_epochs",
    "global_clipnorm": "clip_norm",
    "go_backwards": "nothing; pass X[:, ::-1]",
    "initial_epoch": "warm_start=True",
    "input_shape": "nothing; fit reads it from X",
    "kernel_regularizer": "weight_decay",
    "learning_rate": "lr",
    "metrics": "nothing; take score, or any metric of scikit-learn",
    "min_delta": "tol",
    "patience": "n_iter_no_change",
    "recurrent_activation": "nothing; the layers have tanh, and their gates the sigmoid",
    "recurrent_dropout": "dropout, which is between the layers",
    "seed": "random_state",
    "shuffle": "nothing; training always shuffles",
    "stateful": "nothing; pass whole sequences",
    "validation_data": "validation_data of fit",
    "validation_split": "early_stopping=True, validation_fraction",
}
LOSSES = {"mse": "squared_error", "mae": "absolute_error"}
# Layers from which on a number that stands alone is more likely Keras' number of units.
MANY_LAYERS = 32


class LossNames(StrOptions):
    """Names of losses; an error says which they are of Keras'."""

    def __str__(self) -> str:
        words = ", ".join(f"Keras' {word!r} is loss={name!r}" for word, name in LOSSES.items())
        return f"{super().__str__()} ({words})"


def advice(words: Iterable[str]) -> str | None:
    """Say what the first of Keras' words among some is here; `None` if there is none."""
    for word in words:
        if word in PARAMETERS:
            return f"Keras' {word} is here: {PARAMETERS[word]}. {PAGE}"
    return None


def refuse_keras_words(method: Callable[P, Result]) -> Callable[P, Result]:
    """Have the error about a keyword that is Keras' say what it is called here.

    The signature stays that of the method, which scikit-learn reads.
    """
    parameters = signature(method).parameters

    @wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Result:
        unknown = [name for name in kwargs if name not in parameters]
        said = advice(unknown) or _of_the_estimator(args[0], unknown)
        if said:
            raise TypeError(f"{method.__qualname__} has no parameter {unknown[0]!r}. {said}")
        return method(*args, **kwargs)

    return checked


def warn_of_units_as_layers(init: Callable[P, None]) -> Callable[P, None]:
    """Warn where a large number stands alone: it is the layers, and the units in Keras.

    By name, as everywhere in scikit-learn's own code, it is taken as meant.
    """

    @wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        given = args[1:]
        if len(given) == 1 and "units" not in kwargs and _are_many_layers(given[0]):
            name, number = type(args[0]).__name__, given[0]
            warn(
                f"{name}({number}) has {number} layers. Keras' LSTM({number}) is one layer of "
                f"{number} units, which is {name}(n_layers=1, units={number}). If layers are "
                f"meant, say n_layers={number}. {PAGE}",
                UserWarning,
            )
        init(*args, **kwargs)

    return checked


def _of_the_estimator(estimator: Any, unknown: list[str]) -> str | None:
    """Say where a parameter belongs that is the estimator's own, not its `fit`'s."""
    name = type(estimator).__name__
    for word in unknown:
        if word in signature(type(estimator)).parameters:
            return f"It is a parameter of the estimator: {name}({word}=...)."
    return None


def _are_many_layers(n_layers: Any) -> bool:
    return isinstance(n_layers, Integral) and int(n_layers) >= MANY_LAYERS
