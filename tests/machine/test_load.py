"""What makes figures noisy, and what is advised against it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from lstmbench.machine import facts, limits, load
from lstmbench.runner import advice

QUIET: dict[str, Any] = {"threads": 1, "busy": {}, "around": None, "governed": (), "battery": False}


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "physical_cores", lambda: 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"busy": {"compiler": 1.5}}, "compiler uses 150%"),
        ({"around": load.Load(others=0.0, stolen=0.08)}, "hypervisor gave 8.0%"),
        ({"around": load.Load(others=0.8, stolen=0.0)}, "other processes used 80%"),
        (
            {"around": load.Load(0.0, 0.0, throttled=0.2)},
            "limit of processor time stopped it in 20%",
        ),
        ({"governed": {"powersave"}}, "governed by powersave"),
        ({"battery": True}, "plug the power supply in"),
        ({"threads": 4}, "--threads 3 leaves"),
        ({"threads": 6}, "6 threads on 4 physical cores"),
    ],
)
def test_each_trouble_has_its_line(change: dict[str, Any], words: str) -> None:
    (line,) = advice.advice(**{**QUIET, **change})
    assert words in line


def test_a_quiet_machine_needs_no_advice() -> None:
    assert advice.advice(**QUIET) == []
    assert advice.advice(**{**QUIET, "governed": {"performance"}}) == []


def test_a_busy_process_is_named_and_a_sleeping_one_is_not(tmp_path: Path) -> None:
    started = []
    for name, work in (("spinner", "while True: pass"), ("sleeper", "input()")):
        program = tmp_path / name  # a process is named after the file that it runs
        program.symlink_to(sys.executable)
        command: list[str | Path] = [program, "-S", "-c", f"print(flush=True)\n{work}"]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()  # starting takes processor time too
        sampler = load.LoadSampler()
        sampler.start()
        busy = sampler.busy()
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert "spinner" in busy
    assert "sleeper" not in busy


def test_governors_are_read_where_the_system_says(tmp_path: Path) -> None:
    for index, name in enumerate(["powersave", "powersave", "performance"]):
        folder = tmp_path / f"cpu{index}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(name + "\n")
    assert load.governors(tmp_path) == {"powersave", "performance"}
    assert load.governors(tmp_path / "nowhere") == set()


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds of two processors: 12 s busy, 7 of them this process's, 2 s stolen."""
    clock = iter([50.0, 60.0])
    spent = iter([load.Spent(100.0, 40.0, 1.0, 30.0), load.Spent(120.0, 52.0, 3.0, 37.0)])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(load.Spent, "now", classmethod(lambda cls: next(spent)))


@pytest.mark.usefixtures("readings")
def test_what_others_took_is_what_is_not_ours() -> None:
    around = load.CpuTimeDelta().so_far()
    assert around is not None
    assert around.others == pytest.approx(0.5)
    assert around.stolen == pytest.approx(0.1)


@pytest.mark.usefixtures("readings")
def test_periods_in_which_a_container_s_limit_stopped_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = iter([limits.Throttling(100, 40), limits.Throttling(200, 90)])
    monkeypatch.setattr(limits, "throttling", lambda: next(counters))
    around = load.CpuTimeDelta().so_far()
    assert around is not None
    assert around.throttled == 0.5


@pytest.mark.usefixtures("readings")
@pytest.mark.parametrize("later", [None, limits.Throttling(100, 40)])
def test_without_a_limit_or_a_period_nothing_is_throttled(
    monkeypatch: pytest.MonkeyPatch, later: limits.Throttling | None
) -> None:
    counters = iter([limits.Throttling(100, 40), later])
    monkeypatch.setattr(limits, "throttling", lambda: next(counters))
    around = load.CpuTimeDelta().so_far()
    assert around is not None
    assert around.throttled is None


def test_nothing_is_said_of_less_than_a_second() -> None:
    assert load.CpuTimeDelta().so_far() is None


def test_children_are_ours_alive_and_dead() -> None:
    """What a child computes is not taken for another program's."""
    before = load.Spent.now()
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        alive = load.Spent.now()
        child.kill()
    dead = load.Spent.now()
    assert before is not None
    assert alive is not None
    assert dead is not None
    assert alive.own - before.own > 0.45
    assert dead.own - before.own == pytest.approx(alive.own - before.own, abs=0.2)
    assert alive.busy - before.busy > 0.4


def test_a_warning_names_the_busiest() -> None:
    assert advice.warning({"editor": 0.06}) is None
    told = advice.warning({"a": 0.1, "compiler": 1.5, "b": 0.2, "c": 0.06})
    assert told is not None
    assert "(in shares of a processor: compiler 150%, b 20%, a 10%, and 1 more)" in told


def test_a_name_is_one_line() -> None:
    told = advice.warning({"x\n\x1b[31mred": 1.0})
    assert told is not None
    assert told.isprintable()


def test_a_system_that_does_not_tell_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "pids", denied)
    monkeypatch.setattr(psutil.Process, "children", denied)
    assert load.CpuTimeDelta().so_far() is None
    sampler = load.LoadSampler()
    sampler.start()
    assert sampler.busy(0.0) == {}


def test_counters_that_go_back_make_no_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0])
    spent = iter([load.Spent(10.0, 5.0, 1.0, 1.0), load.Spent(12.0, 5.0, 0.5, 3.0)])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(load.Spent, "now", classmethod(lambda cls: next(spent)))
    assert load.CpuTimeDelta().so_far() == load.Load(others=0.0, stolen=0.0)
