"""What decides how much a real process gets, and what was done to it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lstmbench.machine import resident
from lstmbench.machine.settings import (
    Settings,
    resource_limits,
    restore_limits,
    settings_of,
    was_stopped,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CODE = """
import sys, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
held = None
print("up", flush=True)
for line in sys.stdin:
    held = bytearray(b"x" * (int(line) << 20))
    print("done", flush=True)
"""


@pytest.fixture
def process() -> Iterator[Any]:
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started
        started.kill()


def test_a_process_that_was_stopped_is_seen_once(process: Any) -> None:
    assert not was_stopped(process.pid)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGCONT)
    deadline = time.monotonic() + 30
    while not was_stopped(process.pid):
        assert time.monotonic() < deadline
    assert not was_stopped(process.pid)
    process.kill()
    time.sleep(0.05)
    assert not was_stopped(process.pid)
    assert process.wait() == -signal.SIGKILL


def test_settings_of_a_process_that_is_gone_are_none(process: Any) -> None:
    assert Settings.of(process.pid) == Settings.of(0)
    process.kill()
    process.wait()
    assert Settings.of(process.pid) is None
    assert settings_of([process.pid]) == {}
    assert resource_limits(process.pid) == ()


def test_every_thread_is_read(process: Any) -> None:
    before = settings_of([process.pid])
    assert len(before) == 2
    (other,) = before.keys() - {process.pid}
    os.setpriority(os.PRIO_PROCESS, other, os.nice(0) + 5)
    now = settings_of([process.pid])
    assert now[process.pid] == before[process.pid]
    assert now[other].nice == before[other].nice + 5


def test_what_was_changed_is_given_back(process: Any) -> None:
    before = Settings.of(process.pid)
    assert before is not None
    assert before.cpus
    os.sched_setaffinity(process.pid, {min(before.cpus)})
    os.sched_setscheduler(process.pid, os.SCHED_BATCH, os.sched_param(0))
    assert Settings.of(process.pid) != before or len(before.cpus) == 1
    assert before.restore(process.pid)
    assert Settings.of(process.pid) == before


def test_limits_that_were_changed_are_given_back(process: Any) -> None:
    before = resource_limits(process.pid)
    hard = resource.prlimit(process.pid, resource.RLIMIT_CPU)[1]
    resource.prlimit(process.pid, resource.RLIMIT_CPU, (1000, hard))
    assert resource_limits(process.pid) != before
    restore_limits(process.pid, before)
    assert resource_limits(process.pid) == before


@pytest.mark.parametrize(
    ("now", "within"),
    [
        (Settings(0, 0, frozenset({1})), True),
        (Settings(0, 0, frozenset({0})), True),
        (Settings(5, 3, frozenset({0, 1})), True),
        (Settings(-1, 0, frozenset({0})), False),
        (Settings(0, 1, frozenset({0})), False),
        (Settings(0, 0, frozenset({0, 2})), False),
        (Settings(0, None, None), True),
    ],
)
def test_more_than_what_was_given_is_more(now: Settings, within: bool) -> None:
    assert now.is_within(Settings(0, 0, frozenset({0, 1}))) is within


def test_memory_is_read_from_outside(process: Any) -> None:
    def hold(mebibytes: int) -> None:
        process.stdin.write(f"{mebibytes}\n")
        process.stdin.flush()
        process.stdout.readline()

    hold(100)
    large = resident.resident(process.pid)
    assert large is not None
    hold(1)
    assert resident.peak(process.pid) or large - 2**20 <= 0
    assert (resident.peak(process.pid) or 0) >= large
    assert resident.restart_peak(process.pid)
    small = resident.peak(process.pid)
    assert small is not None
    assert small < large - 50 * 2**20
    assert 0 < resident.shared_out([process.pid]) <= small
    process.kill()
    process.wait()
    assert resident.peak(process.pid) is None
    assert resident.shared_out([process.pid]) == 0
    assert not resident.restart_peak(process.pid)
