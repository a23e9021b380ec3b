"""Parameters as plain facts, which JSON can hold, and back."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from sklstm import __version__

LIBRARIES = ("numpy", "scikit-learn", "skorch", "torch")


def versions() -> dict[str, str]:
    """Return the versions of what has a say in a fit."""
    return {"sklstm": __version__, **{name: version(name) for name in LIBRARIES}}


def to_plain(name: str, value: Any) -> Any:
    """Turn a parameter into what JSON can hold.

    Parameters
    ----------
    name : str
        Its name, for the error.

    value : object
        A string, number, boolean or torch device, `None`, or a sequence or array of them.

    Returns
    -------
    object
        Python's own numbers and strings, a device by its name, a tuple as ``{"tuple": list}``,
        any other sequence as a list.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if hasattr(value, "__array__"):
        value = np.asarray(value).tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, str):
        # Not str(value): that of a member of an enumeration is its name.
        return str.__str__(value)
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, tuple):
        return {"tuple": [to_plain(name, item) for item in value]}
    if isinstance(value, Sequence):
        return [to_plain(name, item) for item in value]
    raise ValueError(
        f"{name}={value!r} cannot be saved: it is neither a number nor a string, nor a sequence "
        "of them."
    )


def from_plain(value: Any) -> Any:
    """Turn what `to_plain` returned back into a parameter.

    Raises
    ------
    ValueError
        If it was not returned by `to_plain`.
    """
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if isinstance(value, dict):
        if list(value) != ["tuple"] or not isinstance(value["tuple"], list):
            raise ValueError(f"{repr(value)[:40]} is no parameter.")
        return tuple(from_plain(item) for item in value["tuple"])
    return value
