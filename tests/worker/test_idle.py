"""Threads that go on after their work are waited for, but not for ever."""

from __future__ import annotations

import time

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
