"""Processor seconds of real processes, and what was done to them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lstmbench.machine import processes
from lstmbench.machine.processes import Family, ProcessTree

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SPIN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}])
print("started", flush=True)
if {wait}: child.wait()
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run() -> Iterator[Callable[[str], Any]]:
    started = []

    def start(code: str) -> Any:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_waiting_for_a_processor_is_seen() -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("the system does not tell")
    (processor, *_) = os.sched_getaffinity(0)
    spin = f"import os; os.sched_setaffinity(0, [{processor}])\nwhile True: pass"
    both = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(2)]
    try:
        time.sleep(1)
        assert max(processes.queued_seconds(one.pid) for one in both) > 0.1
    finally:
        for one in both:
            one.kill()
            one.wait()
    assert processes.queued_seconds(2**22 - 1) == 0


def test_what_a_process_computes_is_counted(run: Any) -> None:
    process = run(SPIN.format(0.3) + "print('done', flush=True)\ninput()")
    tree = ProcessTree(process.pid, Family())
    process.stdout.readline()
    spent = tree.seconds()
    assert 0.3 <= spent < 5
    assert tree.seconds() - spent < 0.1  # it waits


@pytest.mark.parametrize("wait", [True, False])
def test_what_its_children_compute_is_counted(run: Any, wait: bool) -> None:
    code = SPIN.format(0.5) + ("" if wait else "time.sleep(60)")
    process = run(PARENT.format(child=code, wait=wait))
    tree = ProcessTree(process.pid, Family())
    process.stdout.readline()
    tree.seconds(at_once=True)
    assert len(tree.descendants) == 1
    process.stdout.readline()
    assert eventually(lambda: tree.seconds() >= 0.5)
    assert tree.seconds() < 5
    # that nothing is counted twice shows while nothing computes
    before = tree.seconds()
    assert tree.seconds(at_once=True) == pytest.approx(before, abs=0.1)


def test_what_was_counted_is_not_lost_with_the_process(run: Any) -> None:
    process = run(SPIN.format(0.2) + "print('done', flush=True)\ninput()")
    tree = ProcessTree(process.pid, Family())
    process.stdout.readline()
    before = tree.seconds()
    process.kill()
    process.wait()
    assert tree.seconds() == pytest.approx(before, abs=0.1)


@linux
@pytest.mark.parametrize("alone", [False, True])
def test_what_outlives_its_parent_still_belongs_to_the_worker(run: Any, alone: bool) -> None:
    """By its session; in a session of its own by a variable that it inherited."""
    grandchild = f"subprocess.Popen([sys.executable, '-c', {SPIN.format(60)!r}], "
    grandchild += f"start_new_session={alone})"
    code = f"import subprocess, sys\n{grandchild}"
    process = run(
        f"import os, subprocess, sys\nos.environ['MARK'] = 'of-this-test'\n"
        f"subprocess.run([sys.executable, '-c', {code!r}])\nprint('up', flush=True)\ninput()"
    )
    process.stdout.readline()
    tree = ProcessTree(process.pid, Family(), "MARK=of-this-test")
    assert eventually(lambda: tree.seconds(at_once=True) > 0.2)
    (pid,) = tree.descendants
    tree.end()
    assert eventually(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"
    )


@linux
def test_processes_are_searched_only_when_some_were_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searches: list[int] = []
    newest = iter(["1", "1", "1", "2", "2"])

    def search() -> dict[int, Any]:
        searches.append(1)
        return {}

    monkeypatch.setattr(processes, "_newest_process", lambda: next(newest))
    monkeypatch.setattr(processes, "relations", search)
    monkeypatch.setattr(processes, "SEARCH_SHARE", 1e9)
    family = Family()
    counts = []
    for _ in range(5):
        family.search()
        counts.append(len(searches))
    assert counts == [1, 1, 1, 2, 2]


@linux
def test_searching_takes_its_share_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[int] = []

    def slow_search() -> dict[int, Any]:
        searches.append(1)
        time.sleep(0.01)
        return {}

    monkeypatch.setattr(processes, "_newest_process", lambda: str(time.monotonic()))
    monkeypatch.setattr(processes, "relations", slow_search)
    family = Family()
    begin = time.monotonic()
    while time.monotonic() < begin + 1:
        family.search()
    assert len(searches) == 1


@linux
def test_reading_costs_little(run: Any) -> None:
    """Work per reading, counted by the clock of this process."""
    process = run("print('up', flush=True)\ninput()")
    process.stdout.readline()
    tree = ProcessTree(process.pid, Family())
    tree.seconds()
    begin = time.process_time()
    for _ in range(1000):
        tree.seconds()
    assert time.process_time() - begin < 1
