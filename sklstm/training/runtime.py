"""What training and prediction run on: device, arithmetic, threads, random numbers, Ctrl-C."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")

# Type of the weights. With "bfloat16" they are float32, and only the layers round in training.
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}


# Device and arithmetic ----------------------------------------------------------------------


def resolve_device(device: str | torch.device) -> str:
    """Return the name of a device that can be used; "auto" is CUDA where there is one.

    The CPU is always "cpu": torch pickles a tensor on "cpu:0", but cannot read it again.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        tried = torch.zeros(1, dtype=torch.float64, device=device)
        tried.item()
    # A backend may raise anything, for example an ImportError where it is a package of its own.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f"device={device!r} cannot be used here: {reason}") from error
    return "cpu" if tried.is_cpu else str(device)


def resolve_autocast(precision: str, device: str) -> torch.dtype | None:
    """Return the type to which the layers round in training, or `None` if they do not round."""
    if precision != "bfloat16":
        return None
    kind = torch.device(device).type
    if kind == "cuda":
        can_round = torch.cuda.is_bf16_supported()
    else:
        # Without AVX-512, torch computes bfloat16 in software, slower than float32.
        can_round = kind == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    if not can_round:
        raise ValueError(
            f"precision='bfloat16' cannot be used on device={device!r}: it needs a processor with "
            "AVX-512 or a GPU with bfloat16. Use precision='float32'."
        )
    return torch.bfloat16


# Threads ------------------------------------------------------------------------------------
# Where torch splits one operation over threads, it adds numbers up in an order that depends on the
# number of threads. Here the work is cut into pieces in a way that does not depend on the machine,
# each piece runs on one thread, and the results are taken in the order of the pieces: so the bits
# of a fit depend neither on the machine's cores nor on torch.set_num_threads.

_this_thread = threading.local()


@contextmanager
def own_torch() -> Iterator[int]:
    """Use one thread for each operation of torch, and no mode that the caller has entered.

    Operations that torch splits over threads also hang in a forked process whose parent had such
    threads. Modes around the call (autocast, inference mode, another default device) would change
    what is computed inside. Blocks may be nested.

    Yields
    ------
    int
        Threads that torch would have used: so many pieces of work may run at once.
    """
    outer = getattr(_this_thread, "n_threads", None)
    if outer is not None:
        yield outer
        return
    n_threads = torch.get_num_threads()
    n_mkl_threads = _use_one_thread()
    _this_thread.n_threads = n_threads
    try:
        with ExitStack() as modes:
            modes.enter_context(torch.inference_mode(False))
            modes.enter_context(torch.enable_grad())
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    modes.enter_context(torch.autocast(kind, enabled=False))
            if torch.get_default_device().type != "cpu":
                modes.enter_context(torch.device("cpu"))
            yield n_threads
    finally:
        _this_thread.n_threads = None
        torch.set_num_threads(n_threads)
        _set_mkl_threads(n_mkl_threads)


def _use_one_thread() -> int:
    """Give torch and MKL one thread in this thread; return MKL's number from before."""
    # A new thread that has not asked for its number takes that of the process at its first
    # operation, whatever was set.
    torch.get_num_threads()
    torch.set_num_threads(1)
    return _set_mkl_threads(1)


def _set_mkl_threads(n_threads: int) -> int:
    """Set MKL's number of threads for this thread alone, and return the one from before; 0 is none.

    torch.set_num_threads sets MKL's number for the whole process: the end of a prediction in one
    thread would change the middle of a fit in another. The number of a thread takes precedence.
    """
    mkl = _mkl()
    return 0 if mkl is None else mkl(n_threads)


@cache
def _mkl() -> Any:
    """Find MKL's function in torch's library; builds with another BLAS neither have nor need it."""
    for library in (Path(torch.__file__).parent / "lib").glob("*torch_cpu.*"):
        try:
            return ctypes.CDLL(str(library)).MKL_Set_Num_Threads_Local
        except (OSError, AttributeError):
            continue
    return None


class Workers:
    """Threads that each work on one piece at a time, while the caller waits for them."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
        """Yield what `work` returns for each piece, in the order of the pieces.

        A piece is only asked for when a thread is free, so that of a long iterator no more pieces
        are in memory than there are threads.
        """
        if self.n_threads == 1 or (isinstance(pieces, list) and len(pieces) == 1):
            yield from map(work, pieces)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.n_threads, initializer=_use_one_thread)
        running: deque[Future[Result]] = deque()
        for piece in pieces:
            if len(running) == self.n_threads:
                yield running.popleft().result()
            running.append(self._pool.submit(work, piece))
        while running:
            yield running.popleft().result()


# Random numbers -----------------------------------------------------------------------------


class FitGenerators:
    """The random numbers of one fit; torch's global generators are neither read nor changed.

    The generators are seeded anew in each epoch from the seed of the fit and the number of the
    epoch. So a fit that is resumed draws what an uninterrupted one would have drawn, and fits in
    several threads do not disturb each other.
    """

    def __init__(self, seed: int, device: str) -> None:
        self.seed = seed
        self.device = device
        self.epoch = 0
        # On the CPU: initial weights and the order of the samples.
        self.shuffle = torch.Generator()
        # One for each chunk of a mini-batch, on the device of the weights.
        self._dropout = [self.shuffle] if torch.device(device).type == "cpu" else []

    def begin_epoch(self, epoch: int) -> FitGenerators:
        """Seed all generators for an epoch; epoch 0 is the initialization."""
        self.epoch = epoch
        self.shuffle.manual_seed(self._chunk_seed(0))
        for chunk, generator in enumerate(self._dropout):
            generator.manual_seed(self._chunk_seed(chunk))
        return self

    def dropout(self, chunk: int) -> torch.Generator:
        """Return the generator from which dropout draws in one chunk of each mini-batch."""
        while len(self._dropout) <= chunk:
            generator = torch.Generator(self.device)
            self._dropout.append(generator.manual_seed(self._chunk_seed(len(self._dropout))))
        return self._dropout[chunk]

    def _chunk_seed(self, chunk: int) -> int:
        entropy = (self.seed, self.epoch, chunk) if chunk else (self.seed, self.epoch)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


# Ctrl-C -------------------------------------------------------------------------------------


@cache
def import_what_nets_need() -> None:
    """Let torch import, once for a process, what it needs for its first net and optimizer.

    That takes half a second. An interrupt in between would leave sympy half imported, and each
    later fit in the process would raise an AttributeError.
    """
    with interrupts_deferred():
        torch.empty(1, device="meta").uniform_()
        torch.optim.SGD([torch.zeros(1, requires_grad=True)])


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let Ctrl-C act at the end of the block, not inside; it only ever acts in the main thread."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    # A handler that was not set by Python is None, and could not be put back.
    if not in_main_thread or handler is None:
        yield
        return
    received: list[Any] = []
    signal.signal(signal.SIGINT, lambda *signals: received.append(signals))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if received:
            signal.raise_signal(signal.SIGINT)
