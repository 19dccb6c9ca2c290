"""Signals while records are at stake: what was measured is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

#: Requests to end, beside Ctrl-C: by a system, a terminal that goes away, a keyboard.
ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def interruptible() -> Iterator[None]:
    """Every request to end arrives like Ctrl-C, so that it too leaves records behind.

    One that was ignored before stays so, as ``nohup`` wants it.
    """

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    with _handled(ENDINGS, interrupt):
        yield


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """A record is written and counted, or neither: signals wait until the end of the block.

    Noted rather than blocked: a signal that this thread blocks is delivered to another thread, of
    BLAS for example, and interrupts this one all the same.
    """
    pending: list[int] = []
    try:
        with _handled((signal.SIGINT, *ENDINGS), lambda number, _frame: pending.append(number)):
            yield
    finally:
        for number in pending[:1]:
            signal.raise_signal(number)


@contextmanager
def uninterruptible() -> Iterator[None]:
    """While records are written, a second request to end has no effect."""
    with _handled((signal.SIGINT, *ENDINGS), signal.SIG_IGN):
        yield


@contextmanager
def _handled(numbers: Iterable[signal.Signals], handler: Any) -> Iterator[None]:
    """Signals handled in another way; as they are where Python cannot change that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
