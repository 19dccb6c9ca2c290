"""Threads that go on after their work are waited for, but not for ever."""

from __future__ import annotations

import threading
import time

import pytest

from lstmbench import silence


def spin(until: threading.Event, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until.is_set():
        pass


@pytest.mark.parametrize(("seconds", "silent"), [(0.1, True), (60.0, False)])
def test_a_spinning_thread_is_waited_for(
    seconds: float, silent: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    enough = threading.Event()
    spinning = threading.Thread(target=spin, args=(enough, seconds))
    spinning.start()
    try:
        assert silence.settle() is silent
        assert spinning.is_alive() is not silent
    finally:
        enough.set()
        spinning.join()
    assert ("still computing" in capsys.readouterr().err) is not silent


def test_a_silent_process_waits_for_one_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert silence.settle()
    assert pauses == [silence.PAUSE]
