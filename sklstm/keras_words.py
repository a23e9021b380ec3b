"""Keras' names of parameters, and what they are called here: for errors about unknown ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

from ._compat import StrOptions
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
    "min_delta": "nothing; any improvement counts",
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
    """Say what the first of Keras' names among some is called here; `None` if there is none."""
    for word in words:
        if word in PARAMETERS:
            return f"Keras' {word} is here: {PARAMETERS[word]}. {PAGE}"
    return None


def refuse_keras_words(method: Callable[P, Result]) -> Callable[P, Result]:
    """Decorate a method: its error about a parameter of Keras says what it is called here.

    The decorated method has the signature of the method, which scikit-learn reads.
    """
    parameters = signature(method).parameters

    @wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Result:
        for name in kwargs:
            if name not in parameters:
                said = advice([name]) or _of_the_estimator(args[0], name)
                if said:
                    raise TypeError(f"{method.__qualname__} has no parameter {name!r}. {said}")
        return method(*args, **kwargs)

    return checked


def warn_of_units_as_layers(init: Callable[P, None]) -> Callable[P, None]:
    """Decorate `__init__`: warn of a large number that is the only argument.

    It is the number of layers here, and the number of units in Keras. A number that is given by
    name, as scikit-learn's own code does everywhere, gives no warning.
    """

    @wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        estimator, *given = args
        number: Any = given[0] if len(given) == 1 and "units" not in kwargs else None
        if isinstance(number, Integral) and int(number) >= MANY_LAYERS:
            name = type(estimator).__name__
            warn(
                f"{name}({number}) has {number} layers. Keras' LSTM({number}) is one layer of "
                f"{number} units, which is {name}(n_layers=1, units={number}). If layers are "
                f"meant, say n_layers={number}. {PAGE}",
                UserWarning,
            )
        init(*args, **kwargs)

    return checked


def _of_the_estimator(estimator: Any, name: str) -> str | None:
    """Say where a parameter belongs that is one of the estimator, not of its `fit`."""
    if name not in signature(type(estimator)).parameters:
        return None
    return f"It is a parameter of the estimator: {type(estimator).__name__}({name}=...)."
