"""Processor seconds of a worker and of all that it started, read from outside the worker.

Linux keeps a clock for every process that any process of the same user may read in about a
microsecond (``clock_getcpuclockid(3)``), with the seconds of threads that have ended. Descendants
have to be searched for among all processes of the machine, which takes milliseconds: that is done
only when a process or thread was started somewhere since the last search, and in at most a
thousandth of the time. Elsewhere psutil tells what it can.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field

import psutil

#: The share of the time that may be spent on searching for descendants.
SEARCH_SHARE = 1e-3
_LINUX = sys.platform == "linux"


@dataclass(frozen=True)
class Status:
    """What the system says of one process: ``reaped`` are the processor seconds of the children
    that it has waited for; ``started`` tells processes apart that had the same number."""

    parent: int
    session: int
    reaped: float
    nice: int
    threads: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Status | None:
        """``None`` once the process is gone, or where ``/proc`` does not tell."""
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - read between epochs
                line = file.read()
        except OSError:
            return None
        # the command's name, in brackets, may hold blanks and brackets
        values = line[line.rindex(b")") + 2 :].split()
        reaped = (int(values[13]) + int(values[14])) / os.sysconf("SC_CLK_TCK")
        parent, session, nice, threads, started = (int(values[i]) for i in (1, 3, 16, 17, 19))
        return cls(parent, session, reaped, nice, threads, started)


def processor_seconds(pid: int) -> float | None:
    """What all threads of a process have computed so far; ``None`` once it is gone."""
    try:
        if _LINUX:
            # the number of a process's clock: <linux/posix-timers.h>, CPUCLOCK_SCHED is 2
            return time.clock_gettime((~pid << 3) | 2)
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    except (OSError, psutil.Error):
        return None


def queued_seconds(pid: int | None = None) -> float:
    """How long a process's main thread has waited for a processor that others used, so far.

    Of the thread that asks where ``pid`` is ``None``. 0 where the system does not tell
    (``/proc/PID/schedstat``, see sched-stats in Linux's documentation).
    """
    try:
        with open(f"/proc/{pid or 'thread-self'}/schedstat", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


@dataclass(frozen=True)
class Relation:
    """How a process may belong to another: by its parent, or by the session it was born into."""

    parent: int
    session: int
    started: int


def relations() -> dict[int, Relation]:
    """Of every process that can be seen."""
    if not _LINUX:
        found = psutil.process_iter(["ppid"])
        return {process.pid: Relation(process.info["ppid"] or 0, 0, 0) for process in found}
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
    known = ((pid, Status.of(pid)) for pid in pids)
    return {pid: Relation(s.parent, s.session, s.started) for pid, s in known if s is not None}


class Family:
    """All processes and how they are related, searched for anew when there may be new ones.

    One serves all the workers of a group.
    """

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._variables: dict[tuple[int, int], frozenset[bytes]] = {}
        self._found: dict[tuple[int, str], set[int]] = {}
        self._newest = ""
        self._not_before = 0.0

    def search(self, *, at_once: bool = False) -> None:
        """Look for new processes: ``at_once``, or if some were started and a search is due."""
        begin = time.monotonic()
        newest = _newest_process()
        if not at_once and (begin < self._not_before or (newest and newest == self._newest)):
            return
        self._relations, self._newest = relations(), newest
        self._variables = {
            key: self._variables.get(key) or _environment(key[0])
            for key in ((pid, r.started) for pid, r in self._relations.items())
        }
        self._found.clear()
        seconds = time.monotonic() - begin
        self._not_before = begin + seconds / SEARCH_SHARE

    def descendants(self, pid: int, marker: str = "") -> set[int]:
        """What ``pid`` has started, and what that has, as of the last search.

        A process whose parents have ended belongs to it by its session, or by ``marker``, a
        variable that only the environment of ``pid`` holds and everything it starts inherits.
        """
        if (pid, marker) not in self._found:
            self._found[pid, marker] = self._descendants(pid, marker.encode())
        return self._found[pid, marker]

    def started(self, pid: int) -> int | None:
        """What tells a process apart from others of its number; ``None`` if it was not seen."""
        relation = self._relations.get(pid)
        return relation.started if relation else None

    def _descendants(self, pid: int, marker: bytes) -> set[int]:
        found = {
            other
            for other, relation in self._relations.items()
            if relation.session == pid or marker in self._variables[other, relation.started]
        }
        while True:
            children = {p for p, r in self._relations.items() if r.parent in found | {pid}}
            if children <= found:
                return found - {pid}
            found |= children


def _environment(pid: int) -> frozenset[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - read between epochs
            return frozenset(file.read().split(b"\0")) - {b""}
    except OSError:
        return frozenset()


def _newest_process() -> str:
    """Changes whenever a process or a thread is started; empty where nothing says so."""
    try:
        with open("/proc/loadavg") as file:  # noqa: PTH123 - read between epochs
            return file.read().split()[-1]
    except OSError:
        return ""


@dataclass
class ProcessTree:
    """One worker with its descendants.

    ``marker`` is ``NAME=value`` of a variable that only this worker was given. ``descendants`` are
    the processes that it ever was seen to have, and their processor seconds when last seen.
    """

    pid: int
    family: Family
    marker: str = ""
    descendants: dict[int, float] = field(default_factory=dict)
    _started: dict[int, int] = field(default_factory=dict)
    _last: float = 0.0

    def seconds(self, *, at_once: bool = False) -> float:
        """Processor seconds of them all so far; never less than before.

        Of a descendant that ended, what it had when it was last seen, or what the worker was told
        when it waited for it, if that is more.
        """
        self.family.search(at_once=at_once)
        gone = 0.0
        for pid in {*self.descendants, *self.family.descendants(self.pid, self.marker)}:
            now = processor_seconds(pid) if self._is_there(pid) else None
            if now is None:
                gone += self.descendants.get(pid, 0.0)
            else:
                self.descendants[pid] = max(now, self.descendants.get(pid, 0.0))
        alive = sum(self.descendants.values()) - gone
        own, status = processor_seconds(self.pid), Status.of(self.pid)
        reaped = status.reaped if status else 0.0
        self._last = max(self._last, (own or 0.0) + alive + max(gone, reaped))
        return self._last

    def alive(self) -> set[int]:
        """Descendants that are there, as of the last search.

        What was a descendant once still is one, under any parent.
        """
        found = {*self.descendants, *self.family.descendants(self.pid, self.marker)}
        return {p for p in found if self._is_there(p) and processor_seconds(p) is not None}

    def _is_there(self, pid: int) -> bool:
        """Whether the last search saw the process, and no later one of the same number."""
        started = self.family.started(pid)
        return started is not None and started == self._started.setdefault(pid, started)

    def end(self) -> None:
        """Kill every descendant that is still there."""
        self.family.search(at_once=True)
        for pid in self.alive():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to the worker and to every descendant."""
        self.family.search(at_once=True)
        for pid in {self.pid, *self.alive()}:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
