"""The skorch callbacks that a user gives: copies of them, and what they cannot do."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sklearn.base import clone
from skorch.callbacks import Checkpoint, EarlyStopping, LRScheduler
from skorch.exceptions import SkorchException

VALIDATION_LOSS = "valid_loss"


def copied(callbacks: Any) -> Any:
    """Copy callbacks, as `clone` does; one that cannot be copied stands for itself.

    skorch takes callbacks that scikit-learn cannot clone: those that set an attribute in
    `__init__` that is no argument of it, take `**kwargs`, or hold a lock, a file or a writer.

    Parameters
    ----------
    callbacks : list or tuple of callbacks or of pairs of name and callback, or anything else
        As the estimator has them; anything else is copied as a whole.

    Returns
    -------
    list or tuple, or anything else
        As they were.
    """
    if type(callbacks) in (list, tuple):
        return type(callbacks)([copied(callback) for callback in callbacks])
    try:
        return clone(callbacks, safe=False)
    except Exception:  # whatever a constructor or a deep copy of somebody else's may raise
        return callbacks


def check_callbacks(callbacks: Sequence[Any], *, one_cycle: bool, validates: bool) -> None:
    """Check that callbacks are some, and that they go with the rest of a fit.

    Parameters
    ----------
    callbacks : sequence of callbacks or of pairs of name and callback
        As the estimator has them.

    one_cycle : bool
        Whether the fit has a schedule of the learning rate of its own.

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
        name = f"callbacks[{place}]={_name(callback)}"
        if one_cycle and _is_a(callback, LRScheduler):
            raise ValueError(
                f"{name} is a second schedule of the learning rate beside lr_schedule='one_cycle'. "
                "Set lr_schedule='constant'."
            )
        if not validates and isinstance(callback, (EarlyStopping, Checkpoint)):
            monitor = callback.monitor
            if isinstance(monitor, str) and monitor.startswith(VALIDATION_LOSS):
                raise ValueError(f"{name} monitors {monitor!r}. {_HOW_TO_VALIDATE}")


@contextmanager
def naming_missing_loss() -> Iterator[None]:
    """Say what to do where a callback reads a validation loss that a fit does not have."""
    try:
        yield
    except (KeyError, ValueError, SkorchException) as error:
        if f"'{VALIDATION_LOSS}" not in str(error):
            raise
        raise ValueError(
            f"callbacks: one monitors {error.args[0]!r}. {_HOW_TO_VALIDATE}"
        ) from error


_HOW_TO_VALIDATE = (
    "This fit has no validation loss. In fit, set early_stopping=True, pass validation_data, or "
    "monitor 'train_loss'; partial_fit has 'train_loss' alone."
)


def _is_a(callback: Any, kind: type) -> bool:
    """Whether a callback, which may be a class that skorch is to instantiate, is of a kind."""
    return issubclass(callback if inspect.isclass(callback) else type(callback), kind)


def _name(callback: Any) -> str:
    return (callback if inspect.isclass(callback) else type(callback)).__name__
