"""Memory that one mini-batch frees, kept for the next one."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

# Parameters of mallopt, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Variables that tune glibc's malloc.
TUNED = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_"}
# Bytes that are kept, and those up to which glibc raises its threshold for mapped blocks by itself.
KEPT, GLIBC_MOST = 2**30, 2**25
_LOCK = threading.Lock()
_n_inside = 0


@contextmanager
def heap_kept() -> Iterator[None]:
    """Let malloc keep freed memory, up to a gibibyte, until the end of the block.

    glibc returns large blocks to the system as soon as they are freed. A mini-batch frees as much
    as it allocates, so for each one the system would map all its pages again and clear them, which
    can take as long as the arithmetic (docs/speed.rst). At the end all freed memory
    is returned, and the thresholds are those up to which glibc itself raises them. Some versions
    of glibc return blocks of more than 32 MiB all the same. Nothing is changed where another malloc
    is used, or where the environment in which the process was started tunes this one. What the
    process itself has set with `mallopt` cannot be known.
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
    """Count the fits inside: the first one sets the thresholds, the last one sets them back."""
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
    """Forget, in a forked process, the fits of its parent."""
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
    """Return the environment in which the process was started, which malloc has read.

    Variables that are set later are for other processes: Dask sets MALLOC_TRIM_THRESHOLD_ in the
    process that starts its workers. Where the system does not tell, today's environment is taken.
    """
    try:
        entries = os.fsdecode(Path("/proc/self/environ").read_bytes()).split("\0")
    except OSError:
        return os.environ
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)
