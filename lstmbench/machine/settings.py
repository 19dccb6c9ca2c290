"""What decides how much of the machine a process gets, read and restored from outside it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass

_LINUX = sys.platform == "linux"
#: Scheduling policies that come before all others: SCHED_FIFO, SCHED_RR, SCHED_DEADLINE.
_REAL_TIME = (1, 2, 6)
#: Limits by which one process can end another: ``resource.RLIMIT_...``.
_LIMITS = ("CPU", "AS", "DATA", "NOFILE")


@dataclass(frozen=True)
class Settings:
    """Of one thread: its ``nice`` value, its scheduling ``policy`` and its processors.

    Only Linux tells the last two.
    """

    nice: int
    policy: int | None
    cpus: frozenset[int] | None

    @classmethod
    def of(cls, thread: int) -> Settings | None:
        """Of a thread, or of a process's main one (0: this process); ``None`` once it is gone."""
        try:
            nice = os.getpriority(os.PRIO_PROCESS, thread)
            if not _LINUX:
                return cls(nice, None, None)
            return cls(nice, os.sched_getscheduler(thread), frozenset(os.sched_getaffinity(thread)))
        except OSError:
            return None

    def is_within(self, given: Settings) -> bool:
        """Whether that is no more than what was ``given``."""
        if self.nice < given.nice:
            return False
        if self.policy in _REAL_TIME and self.policy != given.policy:
            return False
        return self.cpus is None or given.cpus is None or self.cpus <= given.cpus

    def restore(self, thread: int) -> bool:
        """Give a thread what is said here; whether the system let us.

        A priority that was lowered may need a privilege to be raised again.
        """
        with contextlib.suppress(OSError):
            if self.cpus is not None:
                os.sched_setaffinity(thread, self.cpus)
            if self.policy is not None and self.policy != os.sched_getscheduler(thread):
                os.sched_setscheduler(thread, self.policy, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, thread, self.nice)
        return Settings.of(thread) == self


def threads(pid: int) -> list[int]:
    """The threads of a process; the process alone where the system does not tell."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208
    except OSError:
        return [pid]


def settings_of(processes: Iterable[int]) -> dict[int, Settings]:
    """Of every thread of some processes."""
    found = {thread: Settings.of(thread) for pid in processes for thread in threads(pid)}
    return {thread: settings for thread, settings in found.items() if settings is not None}


def resource_limits(pid: int) -> tuple[tuple[int, int], ...]:
    """The soft and hard limits by which a process can be ended; empty where that is not told."""
    if not _LINUX:
        return ()
    import resource

    numbers = [getattr(resource, f"RLIMIT_{name}") for name in _LIMITS]
    try:
        return tuple(resource.prlimit(pid, number) for number in numbers)
    except OSError:
        return ()


def restore_limits(pid: int, limits: tuple[tuple[int, int], ...]) -> None:
    """Give a process its limits back, as far as the system lets us."""
    import resource

    for name, values in zip(_LIMITS, limits, strict=False):
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, getattr(resource, f"RLIMIT_{name}"), values)


def was_stopped(pid: int) -> bool:
    """Whether a child of this process is, or since the last question was, stopped by a signal."""
    if not hasattr(os, "waitid"):
        return False
    with contextlib.suppress(ChildProcessError):
        found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
        return found is not None
    return False


def resume(pid: int) -> None:
    """Let a process go on that may still be stopped."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGCONT)
