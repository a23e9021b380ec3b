"""Warnings of the package, and how they are given."""

from __future__ import annotations

import inspect
import warnings
from types import FrameType

__all__ = ["SequenceDataWarning"]

# Frames of these packages stand between the line that a user wrote and the one that warns.
BETWEEN = {"sklstm", "sklearn", "skorch", "torch", "joblib", "contextlib"}


class SequenceDataWarning(UserWarning):
    """X or y can be used, but they look as if something had gone wrong before.

    The message says what was seen, what it means and what to do.
    """


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the caller: the first one outside this package and what it is built on.

    Parameters
    ----------
    message : str
        What to say.

    category : type
        The class of the warning.
    """
    frame, stacklevel = inspect.currentframe(), 1
    while frame is not None and _package(frame) in BETWEEN:
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, category, stacklevel=stacklevel)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
