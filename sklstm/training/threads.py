"""One thread for each piece of work, and several pieces at once: bits do not depend on threads.

Where torch splits one operation over threads, sums are added up in an order that depends on their
number. Here the work itself is cut into pieces, in a way that does not depend on the machine; each
piece runs on one thread, and the results are taken in the order of the pieces.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


_inside = threading.local()


@contextmanager
def own_torch() -> Iterator[int]:
    """Compute as if torch were this thread's own: one thread an operation, and no mode of others.

    Operations that torch splits over threads also hang in a forked process whose parent had such
    threads. Modes that somebody entered around the call (autocast, inference, another default
    device) would reach into the block. Blocks may be nested.

    Yields
    ------
    int
        Threads that torch would have used: that many pieces of work may run at once.
    """
    outside = getattr(_inside, "n_threads", None)
    if outside is not None:
        yield outside
        return
    n_threads = torch.get_num_threads()
    n_before = _compute_alone()
    _inside.n_threads = n_threads
    try:
        with _own_modes():
            yield n_threads
    finally:
        _inside.n_threads = None
        torch.set_num_threads(n_threads)
        _set_mkl_threads(n_before)


def _compute_alone() -> int:
    """Give torch and MKL one thread in this thread, and return MKL's number from before."""
    torch.get_num_threads()  # or the first operation of a new thread takes the process's number
    torch.set_num_threads(1)
    return _set_mkl_threads(1)


def _set_mkl_threads(n_threads: int) -> int:
    """Set MKL's number of threads for this thread alone, and return the one from before.

    What torch sets is a number of the process, so the end of a prediction in another thread would
    put it back in the middle of a fit. The number of a thread goes before that; 0 is none.
    """
    mkl = _mkl()
    return 0 if mkl is None else mkl(n_threads)


@cache
def _mkl() -> Any:
    """Find MKL's function in torch; builds with another BLAS have none, and need none."""
    for library in (Path(torch.__file__).parent / "lib").glob("*torch_cpu.*"):
        try:
            return ctypes.CDLL(str(library)).MKL_Set_Num_Threads_Local
        except (OSError, AttributeError):
            continue
    return None


@contextmanager
def _own_modes() -> Iterator[None]:
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield


class Workers:
    """Threads that each work on one piece at a time, while the caller waits for them.

    Parameters
    ----------
    n_threads : int
        Pieces to work on at once.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
        """Yield what `work` returns for each piece, in their order.

        Pieces are asked for as threads become free, and results wait for nothing but their turn,
        so that of a long row of pieces only as many are in memory as there are threads.
        """
        if self.n_threads == 1 or (isinstance(pieces, list) and len(pieces) == 1):
            yield from map(work, pieces)
            return
        under_way: deque[Future[Result]] = deque()
        for piece in pieces:
            if len(under_way) == self.n_threads:
                yield under_way.popleft().result()
            under_way.append(self._submit(work, piece))
        while under_way:
            yield under_way.popleft().result()

    def _submit(self, work: Callable[[Piece], Result], piece: Piece) -> Future[Result]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.n_threads, initializer=_compute_alone)
        return self._pool.submit(work, piece)
