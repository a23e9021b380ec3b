"""Whether there is room for a model: torch would fill up the memory to find out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from numbers import Integral
from pathlib import Path
from typing import Any

from .shortcut import FEWEST_ROWS

# Bytes to go by where a system does not tell its memory, 16 TiB: more than machines have.
UNKNOWN = 2**44
# The groups that Linux counts this process in, and where it keeps their limits.
GROUPS, LIMITS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def check_room(sizes: dict[str, Any], n_features: int, n_outputs: int, itemsize: int) -> None:
    """Refuse sizes of a model of which not even the weights fit into memory.

    Parameters
    ----------
    sizes : dict
        The parameters `units`, `n_layers`, `head_units`, `linear_steps`, `bidirectional`,
        `pooling` and `return_sequences`.

    n_features : int
        Features at each step.

    n_outputs : int
        Targets.

    itemsize : int
        Bytes of a weight.

    Raises
    ------
    ValueError
        If this process may use less memory than that.
    """
    n_bytes = itemsize * _fewest_numbers(**sizes, n_features=n_features, n_outputs=n_outputs)
    n_there = usable_memory()
    if n_bytes > n_there:
        named = ", ".join(f"{name}={value!r}" for name, value in sizes.items())
        raise ValueError(
            f"A model of {named} takes {-(-n_bytes // 2**30):,} GiB of memory or more, which this "
            f"machine does not have: of its memory, this process may use {n_there / 2**30:,.1f} "
            "GiB."
        )


def usable_memory() -> int:
    """Return the bytes of memory that this process may use, in a container or without."""
    return min([physical_memory(), *_limits()])


def _limits() -> Iterator[int]:
    """Yield the limits on the memory of this process's control groups, of version 1 and 2.

    A group is bound by those around it, too. In a container the path of a group may be that
    outside; then the container's own is at the top of what can be seen.
    """
    try:
        groups = re.findall(r"^\d+:(.*?):(.*)$", GROUPS.read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return
    for controllers, path in groups:
        if not controllers:
            top, name = LIMITS, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = LIMITS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top):
                yield from _number(folder / name)


def _number(path: Path) -> Iterator[int]:
    """Yield the number in a file, if there is one: no limit is "max"."""
    try:
        yield int(path.read_text())
    except (OSError, ValueError):
        return


def physical_memory() -> int:
    """Return the bytes of memory that the machine has, or 16 TiB where it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN


def _fewest_numbers(
    units: Any,
    n_layers: int,
    head_units: Any,
    linear_steps: int,
    bidirectional: bool,
    pooling: str,
    return_sequences: bool,
    n_features: int,
    n_outputs: int,
) -> int:
    """Count, from below, the weights of a stack and what its linear path is set by."""
    cells = _integers([units] if isinstance(units, Integral) else units)
    n_alike = _integers([n_layers])[0] if isinstance(units, Integral) else 1
    stack = n_alike * sum(4 * n_cells * (n_cells + 3) for n_cells in cells)
    n_vectors = 3 if pooling == "concat" and not return_sequences else 1
    pooled = [n_vectors * (1 + bidirectional) * n_cells for n_cells in cells[-1:]]
    dense = [*pooled, *_integers(head_units), n_outputs]
    head = sum(below * above for below, above in pairwise(dense))
    return stack + head + _integers([linear_steps])[0] * n_features * (n_outputs + FEWEST_ROWS)


def _integers(values: Any) -> list[int]:
    """Return sizes, cut off where none fits: integers of any length are no float.

    What is no size is refused where the module is built.
    """
    if getattr(values, "ndim", None) == 0:
        return []
    return [min(int(value), UNKNOWN) for value in values if isinstance(value, Integral)]
