"""What was done to real processes, and who is blamed for it."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

import pytest

from lstmbench.machine.processes import Family
from lstmbench.machine.settings import Settings, settings_of
from lstmbench.runner import account
from lstmbench.runner.account import Account, look_around, open_account

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CODE = "print('up', flush=True)\nimport sys\nsys.stdin.read()"


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Account]]:
    """Workers that wait, looked at as often as is asked for."""
    monkeypatch.setattr(account, "LOOK_SHARE", 1e9)
    started = []
    with contextlib.ExitStack() as stack:
        for name in ("a", "b", "c"):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", CODE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            cpus = sorted(os.sched_getaffinity(0))
            started.append(open_account(process.pid, "", Family(), name, cpus))
        for each in started:
            each.ready()
        yield started


def train(active: Account, accounts: list[Account]) -> None:
    """One epoch of ``active``."""
    active.begin()
    active.rest()
    look_around(active, accounts)


def test_who_leaves_others_alone_is_not_blamed(three: list[Account]) -> None:
    for active in three * 3:
        train(active, three)
    for each in three:
        assert each.activity().remarks == []
        assert each.activity().hindered == 0


@pytest.mark.parametrize("what", ["priority", "policy", "limit"])
def test_the_one_that_computed_is_blamed_and_the_change_undone(
    three: list[Account], what: str
) -> None:
    active, victim, other = three
    for each in three:
        train(each, three)
    pid = victim.tree.pid
    before = Settings.of(pid), resource.prlimit(pid, resource.RLIMIT_CPU)
    if what == "priority":
        os.setpriority(os.PRIO_PROCESS, pid, min(19, os.nice(0) + 3))
    elif what == "policy":
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
    else:
        resource.prlimit(pid, resource.RLIMIT_CPU, (10**6, before[1][1]))
    train(active, three)
    (remark,) = active.activity().remarks
    assert remark.endswith("of b")
    assert victim.activity().hindered == 1
    assert victim.activity().remarks == other.activity().remarks == []
    if what != "priority" or os.geteuid() == 0:  # raising one needs a privilege
        assert (Settings.of(pid), resource.prlimit(pid, resource.RLIMIT_CPU)) == before
    train(other, three)
    assert victim.activity().hindered == 1
    assert other.activity().remarks == []


def test_what_others_do_is_found_though_the_own_epoch_was_not_looked_at(
    three: list[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    active, victim, other = three
    monkeypatch.setattr(account, "LOOK_SHARE", 1e-9)
    for each in (active, other, victim) * 2:
        train(each, three)
    pid = victim.tree.pid
    before = Settings.of(pid)
    os.setpriority(os.PRIO_PROCESS, pid, min(19, os.nice(0) + 3))
    train(active, three)
    assert Settings.of(pid) == before
    assert len(active.activity().remarks) == 1
    train(victim, three)
    assert victim.activity().remarks == other.activity().remarks == []


def test_a_user_who_changes_the_priority_of_the_run_changes_it(three: list[Account]) -> None:
    for each in three:
        train(each, three)
    lower = min(19, os.nice(0) + 3)
    for each in three:
        os.setpriority(os.PRIO_PROCESS, each.tree.pid, lower)
    for active in three * 2:
        train(active, three)
    for each in three:
        assert each.activity().remarks == []
        now = Settings.of(each.tree.pid)
        assert now is not None
        assert now.nice == lower


def test_who_takes_more_than_it_was_given_is_blamed_itself(three: list[Account]) -> None:
    greedy = three[0]
    greedy.given = Settings(greedy.given.nice + 1, greedy.given.policy, greedy.given.cpus)
    for active in three:
        train(active, three)
    assert greedy.activity().remarks
    assert not any(each.activity().remarks for each in three[1:])


def test_looking_takes_its_share_of_the_time(
    three: list[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def slow(pids: Iterable[int]) -> dict[int, Settings]:
        looks.append(1)
        time.sleep(0.01)
        return settings_of(pids)

    monkeypatch.setattr(account, "LOOK_SHARE", 1e-3)
    monkeypatch.setattr(account, "settings_of", slow)
    begin = time.monotonic()
    while time.monotonic() < begin + 0.5:
        train(three[0], three[:1])
    assert len(looks) <= 2  # one look, at the worker and at what it started
