"""What makes figures noisy, and what is advised against it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lstmbench import machine, neighbours

QUIET = {"threads": 1, "busy": {}, "stolen": 0.0, "governed": (), "battery": False}


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "physical_cores", lambda: 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"busy": {"compiler": 1.5}}, "compiler uses 150%"),
        ({"stolen": 0.08}, "hypervisor gave 8.0%"),
        ({"governed": {"powersave"}}, "governed by powersave"),
        ({"battery": True}, "plug the power supply in"),
        ({"threads": 4}, "--threads 3 leaves"),
        ({"threads": 6}, "6 threads on 4 physical cores"),
    ],
)
def test_each_trouble_has_its_line(change: dict, words: str) -> None:
    (line,) = neighbours.advice(**{**QUIET, **change})
    assert words in line


def test_a_quiet_machine_needs_no_advice() -> None:
    assert neighbours.advice(**QUIET) == []
    assert neighbours.advice(**{**QUIET, "governed": {"performance"}}) == []


def test_a_busy_neighbour_is_named_and_a_sleeping_one_is_not() -> None:
    loops = [
        subprocess.Popen([sys.executable, "-c", code])
        for code in ("while True: pass", "import time; time.sleep(60)")
    ]
    try:
        busy = neighbours.busy_processes(0.5)
    finally:
        for process in loops:
            process.kill()
            process.wait()
    assert any(name.startswith("python") for name in busy)


def test_governors_are_read_where_the_system_says(tmp_path: Path) -> None:
    for index, name in enumerate(["powersave", "powersave", "performance"]):
        folder = tmp_path / f"cpu{index}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(name + "\n")
    assert neighbours.governors(tmp_path) == {"powersave", "performance"}
    assert neighbours.governors(tmp_path / "nowhere") == set()


def test_stolen_time_is_a_share_of_all() -> None:
    before, after = neighbours.Ticks(100.0, 1.0), neighbours.Ticks(110.0, 3.0)
    assert after.stolen_since(before) == pytest.approx(0.2)
    assert before.stolen_since(before) == 0.0
