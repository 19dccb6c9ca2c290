"""Code of plugins, called so that it cannot end the host, hang it or write into its output.

This is against accidents. A plugin is trusted code: what means to, can do all of that.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import NoReturn

from lstmbench.messages import describe

#: What a plugin may take to be imported, or to answer a hook.
MAX_SECONDS = 10.0
#: Seconds after which a call that went on regardless is interrupted again.
AGAIN_SECONDS = 1.0


class PluginFailed(Exception):
    """What a plugin's code did instead of returning, in one line."""


class TookTooLong(PluginFailed):
    """It was still running when its time was up."""


class _Interruption(BaseException):
    """Raised inside a plugin's code when its time is up; no ``except Exception`` stops it."""


@contextmanager
def guarded(seconds: float | None = None) -> Iterator[None]:
    """Raise :class:`PluginFailed` for whatever the block raises, but for Ctrl-C.

    What the block prints goes to standard error. ``sys.exit`` and ``os._exit`` end the block, not
    the process. A block that takes longer than ``seconds`` raises :class:`TookTooLong`: at once
    where there are alarms (Unix, in the main thread), else when it ends.
    """
    started = time.monotonic()
    try:
        with _output_on_stderr(), exits_raise(), _alarm(seconds):
            yield
    except KeyboardInterrupt:
        raise
    except _Interruption:
        raise TookTooLong(f"takes longer than {seconds:g} s") from None
    except BaseException as error:
        raise PluginFailed(describe(error)) from error
    if seconds is not None and (took := time.monotonic() - started) > seconds:
        raise TookTooLong(f"took {took:.0f} s, longer than {seconds:g} s")


@contextmanager
def exits_raise() -> Iterator[None]:
    """``os._exit`` raises :class:`SystemExit` while this lasts, which ``sys.exit`` does anyway."""
    really, process = os._exit, os.getpid()

    def leave(status: int) -> NoReturn:
        if os.getpid() != process:
            really(status)  # a child that was forked meanwhile has to end
        raise SystemExit(f"os._exit({status})")

    os._exit = leave
    try:
        yield
    finally:
        os._exit = really


@contextmanager
def _output_on_stderr() -> Iterator[None]:
    """Of this process, and of processes that the block starts."""
    _flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of them is closed
        kept = None
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush()
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__):
        with suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Interrupt the block after ``seconds``, and again as long as it goes on regardless.

    An alarm that is set already (a test's time limit, say) is left alone.
    """
    free = (
        seconds is not None
        and hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    )
    if seconds is None or not free:
        yield
        return

    def ring(*_: object) -> NoReturn:
        raise _Interruption

    signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
        yield
    finally:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
        finally:  # it may have rung just before
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
