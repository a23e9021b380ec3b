"""Work that Ctrl-C must not cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch


@cache
def import_what_nets_need() -> None:
    """Have torch import now, once a process, what it imports for its first net and optimizer.

    That takes half a second and more. An interrupt in between would leave sympy half imported,
    and each later fit of the process would raise an AttributeError.
    """
    with interrupts_deferred():
        torch.empty(1, device="meta").uniform_()
        torch.optim.SGD([torch.zeros(1, requires_grad=True)])


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Have Ctrl-C act at the end rather than within; in the main thread, where alone it acts."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    if not in_main_thread or handler is None:  # None: not set by Python, so not to be put back
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
