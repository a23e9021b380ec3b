"""Keep the memory that one mini-batch gives back for the next one."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TUNED = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_"}
KEPT = 2**30
GLIBC_MOST = 2**25
_LOCK = threading.Lock()
_n_inside = 0


@contextmanager
def heap_kept() -> Iterator[None]:
    """Have malloc keep freed memory, up to a gibibyte, until the end of the block.

    glibc hands large blocks back to the system as soon as they are freed. A mini-batch frees
    as much as it takes, so each one would have the system map, and clear, all its pages anew,
    which may take as long as the arithmetic. At the end all that is free is handed back, and
    the thresholds are where glibc itself stops raising them. Some versions of glibc hand blocks
    of more than 32 MiB back all the same. Where another malloc is in use, or this one was tuned
    by the environment in which the process was started, nothing is changed. What the process
    itself has set with `mallopt` cannot be known.
    """
    libc = _tunable_libc()
    if libc is None:
        yield
        return
    _count(libc, 1)
    try:
        yield
    finally:
        _count(libc, -1)


def _count(libc: ctypes.CDLL, change: int) -> None:
    """Count who is inside; the first sets the thresholds, the last sets them back."""
    global _n_inside
    with _LOCK:
        _n_inside += change
        if _n_inside == 1 and change == 1:
            if not libc.mallopt(M_MMAP_THRESHOLD, KEPT):
                libc.mallopt(M_MMAP_THRESHOLD, GLIBC_MOST)
            libc.mallopt(M_TRIM_THRESHOLD, KEPT)
        elif _n_inside == 0:
            libc.mallopt(M_MMAP_THRESHOLD, GLIBC_MOST)
            libc.mallopt(M_TRIM_THRESHOLD, 2 * GLIBC_MOST)
            libc.malloc_trim(0)


def _begin_in_child() -> None:
    """Forget in a forked process who was inside in its parent."""
    global _LOCK, _n_inside
    _LOCK, _n_inside = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


@cache
def _tunable_libc() -> ctypes.CDLL | None:
    environment = _environment_at_start()
    tuned = not TUNED.isdisjoint(environment)
    tuned |= "glibc.malloc" in environment.get("GLIBC_TUNABLES", "")
    if tuned or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)


def _environment_at_start() -> Mapping[str, str]:
    """Return the environment that the process was started with, which is what malloc has read.

    What is set later is meant for processes to come: Dask sets MALLOC_TRIM_THRESHOLD_ in the
    process that starts its workers. Where the system does not tell, it is the environment of now.
    """
    try:
        entries = os.fsdecode(Path("/proc/self/environ").read_bytes()).split("\0")
    except OSError:
        return os.environ
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)
