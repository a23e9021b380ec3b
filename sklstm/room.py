"""Whether the machine has room for a model: torch would fill up its memory to find out."""

from __future__ import annotations

import os
from itertools import pairwise
from numbers import Integral
from typing import Any

from .linear import FEWEST_ROWS

UNKNOWN = 2**44


def check_room(sizes: dict[str, Any], n_features: int, n_outputs: int, itemsize: int) -> None:
    """Refuse sizes of a model of which not even the weights fit into memory.

    Parameters
    ----------
    sizes : dict
        The parameters `units`, `n_layers`, `head_units` and `linear_steps`.

    n_features : int
        Features at each step.

    n_outputs : int
        Targets.

    itemsize : int
        Bytes of a weight.

    Raises
    ------
    ValueError
        If the machine has less memory than that.
    """
    n_bytes = itemsize * _fewest_numbers(**sizes, n_features=n_features, n_outputs=n_outputs)
    if n_bytes > physical_memory():
        named = ", ".join(f"{name}={value!r}" for name, value in sizes.items())
        raise ValueError(
            f"A model of {named} takes {n_bytes / 2**30:,.0f} GiB of memory or more, which this "
            "machine does not have."
        )


def physical_memory() -> int:
    """Return the bytes of memory that the machine has, or 16 TiB where it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN


def _fewest_numbers(
    units: Any, n_layers: int, head_units: Any, linear_steps: int, n_features: int, n_outputs: int
) -> int:
    """Count, from below, the weights of a stack and what its linear path is set by."""
    cells = _integers([units] if isinstance(units, Integral) else units)
    n_alike = int(n_layers) if isinstance(units, Integral) else 1
    stack = n_alike * sum(4 * n_cells * (n_cells + 3) for n_cells in cells)
    head = sum(below * above for below, above in pairwise([1, *_integers(head_units), n_outputs]))
    return stack + head + int(linear_steps) * n_features * (n_outputs + FEWEST_ROWS)


def _integers(values: Any) -> list[int]:
    return [int(value) for value in values if isinstance(value, Integral)]
