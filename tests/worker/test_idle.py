"""Threads that go on after their work are waited for, but not for ever."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable

import pytest

from lstmbench.worker import idle


@pytest.fixture
def busy_for(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A process on a clock of its own, of which one thread computes for so many seconds."""
    clock, busy = [0.0], [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "process_time", lambda: min(clock[0], busy[0]))
    monkeypatch.setattr(idle, "others_run", lambda: False)
    return busy


@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.1])
def test_a_thread_that_spins_is_waited_for(
    busy_for: list[float], seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    busy_for[0] = seconds
    assert idle.wait_until_idle()
    pause = idle.PAUSE_SECONDS
    assert seconds + pause <= time.monotonic() + 1e-9 < seconds + 2 * pause + 1e-6
    assert capsys.readouterr().err == ""


def test_one_that_never_ends_is_told_and_not_waited_for(
    busy_for: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    busy_for[0] = 60.0
    assert not idle.wait_until_idle()
    assert idle.TIMEOUT_SECONDS < time.monotonic() < idle.TIMEOUT_SECONDS + 2 * idle.PAUSE_SECONDS
    assert "still computing" in capsys.readouterr().err


def test_a_thread_that_waits_for_a_processor_is_not_idle(
    busy_for: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may leave it none for a whole pause: it has computed nothing, and will."""
    monkeypatch.setattr(idle, "others_run", lambda: time.monotonic() < 0.1)
    assert idle.wait_until_idle()
    assert time.monotonic() >= 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the state of threads")
def test_the_system_tells_which_threads_compute() -> None:
    asleep, ended = threading.Event(), threading.Event()
    waiting = threading.Thread(target=asleep.wait)
    waiting.start()
    try:
        wait_for(lambda: not idle.others_run())

        def compute() -> None:
            while not ended.is_set():
                hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000)  # without the interpreter's lock

        computing = threading.Thread(target=compute)
        computing.start()
        wait_for(idle.others_run)
        ended.set()
        computing.join()
        wait_for(lambda: not idle.others_run())
    finally:
        asleep.set()
        ended.set()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
