"""The skorch callbacks that a user gives: copies of them, and checks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sklearn.base import clone
from skorch.callbacks import Checkpoint, EarlyStopping, LRScheduler
from skorch.exceptions import SkorchException

VALIDATION_LOSS = "valid_loss"
HOW_TO_VALIDATE = (
    "This fit has no validation loss. In fit, set early_stopping=True, pass validation_data, or "
    "monitor 'train_loss'; partial_fit has 'train_loss' alone."
)


def copied(callbacks: Any) -> Any:
    """Copy callbacks, or pairs of name and callback, as `clone` does.

    A callback that cannot be copied stands for itself. There are such: they set an attribute in
    `__init__` that is no argument, take `**kwargs`, or hold a lock, a file or a writer.
    """
    if type(callbacks) in (list, tuple):
        return type(callbacks)([copied(callback) for callback in callbacks])
    try:
        return clone(callbacks, safe=False)
    except Exception:  # a constructor or a deep copy of somebody else may raise anything
        return callbacks


def check_callbacks(callbacks: Sequence[Any], *, one_cycle: bool, validates: bool) -> None:
    """Check callbacks, or pairs of name and callback.

    Parameters
    ----------
    callbacks : sequence
        As the estimator has them.

    one_cycle : bool
        Whether the fit has its own schedule of the learning rate.

    validates : bool
        Whether the fit has a validation loss.

    Raises
    ------
    TypeError
        If one is no skorch callback.
    ValueError
        If one does not go with the rest of the fit.
    """
    for place, given in enumerate(callbacks):
        callback = given[-1] if isinstance(given, tuple) and given else given
        if not hasattr(callback, "on_train_begin"):
            raise TypeError(
                f"callbacks must be skorch callbacks, got callbacks[{place}]={given!r}."
            )
        # A class stands for a callback that skorch makes of it.
        kind = callback if inspect.isclass(callback) else type(callback)
        name = f"callbacks[{place}]={kind.__name__}"
        if one_cycle and issubclass(kind, LRScheduler):
            raise ValueError(
                f"{name} is a second schedule of the learning rate beside lr_schedule='one_cycle'. "
                "Set lr_schedule='constant'."
            )
        if not validates and isinstance(callback, (EarlyStopping, Checkpoint)):
            monitor = callback.monitor
            if isinstance(monitor, str) and monitor.startswith(VALIDATION_LOSS):
                raise ValueError(f"{name} monitors {monitor!r}. {HOW_TO_VALIDATE}")


@contextmanager
def naming_missing_loss() -> Iterator[None]:
    """Say what to do if a callback reads a validation loss that the fit does not have."""
    try:
        yield
    except (KeyError, ValueError, SkorchException) as error:
        if f"'{VALIDATION_LOSS}" not in str(error):
            raise
        raise ValueError(f"callbacks: one monitors {error.args[0]!r}. {HOW_TO_VALIDATE}") from error
