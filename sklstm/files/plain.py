"""Parameters of an estimator as JSON can hold them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch


def to_plain(name: str, value: Any) -> Any:
    """Return a parameter as JSON can hold it: a tuple as ``{"tuple": list}``, an array as a list.

    Raises
    ------
    ValueError
        If it is neither a number, a string, a device of torch nor `None`, nor a sequence of them.
        The message has its `name`.
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
        # Not str(value), which for a member of an enumeration is its name.
        return str.__str__(value)
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, Sequence):
        items = [to_plain(name, item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise ValueError(
        f"{name}={value!r} cannot be saved: it is neither a number nor a string, nor a sequence "
        "of them."
    )


def from_plain(value: Any) -> Any:
    """Return the parameter that `to_plain` was given; a ValueError if it returned no such value."""
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if isinstance(value, dict):
        if list(value) != ["tuple"] or not isinstance(value["tuple"], list):
            raise ValueError(f"{repr(value)[:40]} is no parameter.")
        return tuple(from_plain(item) for item in value["tuple"])
    return value
