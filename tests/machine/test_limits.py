"""Limits of containers, from the files of both versions of control groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lstmbench.machine import facts, limits
from lstmbench.machine.limits import Limits, Throttling
from lstmbench.runner import advice

Write = Callable[[str, str], None]


@pytest.fixture
def proc(tmp_path: Path, write: Write) -> Path:
    """A process in ``/pod/box`` of a unified hierarchy, all of which is mounted."""
    write("proc/cgroup", "0::/pod/box\n")
    write("proc/mountinfo", mount(tmp_path / "cg v2", "cgroup2", "rw,nsdelegate"))
    (tmp_path / "cg v2" / "pod" / "box").mkdir(parents=True)
    return tmp_path / "proc"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    return write


def mount(place: Path, kind: str, options: str, root: str = "/") -> str:
    escaped = str(place).replace(" ", "\\040")
    return f"30 23 0:26 {root} {escaped} rw,nosuid shared:9 - {kind} {kind} {options}\n"


def test_without_a_limit_there_is_none(proc: Path, write: Write) -> None:
    assert limits.limits(proc) == Limits()
    write("cg v2/pod/box/cpu.max", "max 100000\n")
    write("cg v2/pod/box/memory.max", "max\n")
    assert limits.limits(proc) == Limits()
    assert limits.throttling(proc) is None


def test_limits_of_a_group(proc: Path, write: Write) -> None:
    write("cg v2/pod/box/cpu.max", "150000 100000\n")
    write("cg v2/pod/box/memory.max", "471859200\n")
    write("cg v2/pod/box/cpu.stat", "usage_usec 5\nnr_periods 951\nnr_throttled 934\n")
    assert limits.limits(proc) == Limits(1.5, 450 * 2**20)
    assert limits.throttling(proc) == Throttling(951, 934)


def test_the_tightest_limit_of_all_parents_counts(proc: Path, write: Write) -> None:
    write("cg v2/pod/box/cpu.max", "400000 100000\n")
    write("cg v2/pod/cpu.max", "50000 100000\n")
    write("cg v2/memory.max", "1000\n")
    write("cg v2/pod/cpu.stat", "nr_periods 10\nnr_throttled 3\n")
    write("cg v2/pod/box/cpu.stat", "nr_periods 10\nnr_throttled 0\n")
    assert limits.limits(proc) == Limits(0.5, 1000)
    assert limits.throttling(proc) == Throttling(10, 3)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/pod/box", "/"),
        ("/", "/"),  # a namespace of its own
        ("/docker/4f2a", "/docker/4f2a"),  # the host's paths, its own part of the hierarchy
        ("/../other", "/"),
        ("/docker/elsewhere", "/"),
    ],
)
def test_separate_hierarchies(path: str, root: str, tmp_path: Path, write: Write) -> None:
    write("proc/cgroup", f"4:memory:{path}\n3:cpu,cpuacct:{path}\n1:name=systemd:/\n0::/\n")
    mounts = mount(tmp_path / "cpu", "cgroup", "rw,cpu,cpuacct", root)
    mounts += mount(tmp_path / "memory", "cgroup", "rw,memory", root)
    write("proc/mountinfo", mounts + mount(tmp_path / "unified", "cgroup2", "rw"))
    for folder in ("cpu/pod/box", "cpu"):
        write(f"{folder}/cpu.cfs_quota_us", "-1\n" if folder == "cpu/pod/box" else "250000\n")
        write(f"{folder}/cpu.cfs_period_us", "100000\n")
        write(f"{folder}/cpu.stat", "nr_periods 7\nnr_throttled 1\nthrottled_time 43\n")
    write("memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert limits.limits(tmp_path / "proc") == Limits(2.5, 9223372036854771712)
    assert limits.throttling(tmp_path / "proc") == Throttling(7, 1)


def test_a_system_without_groups_has_no_limits(tmp_path: Path) -> None:
    assert limits.limits(tmp_path) == Limits()
    assert limits.throttling(tmp_path) is None


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Callable[[Limits], None]:
    """This machine has four cores; its limits are set by the test."""
    monkeypatch.setattr(facts, "usable_cpus", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(facts, "physical_cores", lambda: 4)

    def set_limits(found: Limits) -> None:
        monkeypatch.setattr(limits, "limits", lambda: found)

    return set_limits


def _forget() -> None:
    facts.facts.cache_clear()
    facts.cpu_limit.cache_clear()


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    """Neither what other tests have found, nor what these have made up, which others would see."""
    _forget()
    yield
    _forget()


@pytest.mark.parametrize(
    ("cpus", "threads", "fact"),
    [(None, 4, None), (0.5, 1, 0.5), (1.0, 1, 1.0), (2.75, 2, 2.75), (4.0, 4, None), (8, 4, None)],
)
def test_default_threads_keep_to_the_limit(
    container: Callable[[Limits], None], cpus: float | None, threads: int, fact: float | None
) -> None:
    container(Limits(cpus))
    assert facts.default_threads() == threads
    assert facts.facts().get("cpu_limit") == fact


def test_limits_are_facts_and_only_they_change_the_digest(
    container: Callable[[Limits], None],
) -> None:
    digests = set()
    for found in (Limits(), Limits(64.0, 2**62), Limits(0.5), Limits(None, 450 * 2**20)):
        _forget()
        container(found)
        digests.add(facts.digest())
    assert len(digests) == 3
    assert facts.facts()["memory_limit_mib"] == 450
    assert "cpu_limit" not in facts.facts()


def test_threads_beyond_the_limit_are_told(container: Callable[[Limits], None]) -> None:
    container(Limits(2.5))
    assert advice.limit_warning([1, 2]) is None
    told = advice.limit_warning([2, 4])
    assert told is not None
    assert "a limit of 2.5 processors" in told
    assert "4 threads will be stopped" in told
    assert "--threads 2" in told
