"""Arrays mapped from a file: the pages that were read go back to the system."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

Part = TypeVar("Part")
SHARED = {"r", "r+", "w+"}
SCATTERED = 64


def releasing(values: Any, parts: Iterable[Part], every: int = 1) -> Iterator[Part]:
    """Go through parts of an array, and give its pages back each time some have been read.

    Pages of a file stay with a process as long as there is memory, and count as its own; with
    each row that is read, the system may map two megabytes. `SCATTERED` rows at a time are few
    enough. Only pages of a memory map that is a view of its file are given back: what was
    written to it is in the file.

    Parameters
    ----------
    values : ndarray
        The array, or a view of it.

    parts : iterable
        Whatever tells which part to read next.

    every : int
        Parts after which pages are given back.
    """
    pages = _pages(values)
    for n_read, part in enumerate(parts, start=1):
        yield part
        if pages is not None and n_read % every == 0:
            with suppress(OSError):
                pages.madvise(mmap.MADV_DONTNEED)


def _pages(values: Any) -> mmap.mmap | None:
    while isinstance(values, np.ndarray):
        if isinstance(values, np.memmap):
            shared = values.mode in SHARED and hasattr(mmap, "MADV_DONTNEED")
            return values._mmap if shared else None  # type: ignore[attr-defined]
        values = values.base
    return None
