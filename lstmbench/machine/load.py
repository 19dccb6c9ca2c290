"""What else this machine is doing, and how it is set up: why figures on it are noisy."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from lstmbench.machine import limits

GOVERNORS = Path("/sys/devices/system/cpu")
#: Share of one processor above which a process is worth naming.
BUSY_SHARE = 0.05
#: Seconds for which processes are looked at.
LOOK_SECONDS = 0.3


@dataclass(frozen=True)
class Load:
    """What others took of the machine for a while.

    ``others``: processors that were busy, on average, with anything but this process and its
    children; ``stolen``: the share of all processor time that the hypervisor gave to other guests;
    ``throttled``: the share of the periods in which a container's limit stopped this process or
    others of the container, ``None`` where there is no limit.
    """

    others: float
    stolen: float
    throttled: float | None = None


@dataclass(frozen=True)
class Spent:
    """Processor seconds so far, of all processors together.

    ``busy``: computed by anybody; ``stolen``: given to other guests; ``own``: computed by this
    process and its children.
    """

    total: float
    busy: float
    stolen: float
    own: float

    @classmethod
    def now(cls) -> Spent | None:
        """``None`` where the system does not tell, or not to everybody."""
        try:
            return cls._read()
        except (psutil.Error, OSError):
            return None

    @classmethod
    def _read(cls) -> Spent:
        times = psutil.cpu_times()
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        kinds = ("user", "nice", "system", "irq", "softirq")
        busy = sum(getattr(times, kind, 0.0) for kind in kinds)
        return cls(total, busy, getattr(times, "steal", 0.0), _own())


def _own() -> float:
    """This process, the children that it has waited for, and those that are alive."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    spent = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            # with the children that it has waited for (macOS does not count those)
            spent += sum(process.cpu_times()[:4])
    return spent


class CpuTimeDelta:
    """What others take of the machine from now on.

    For as long as no child is killed: what its own children had computed would be taken for
    that of other processes.
    """

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), Spent.now()
        self._throttling = limits.throttling()

    def so_far(self, least: float = 1.0) -> Load | None:
        """``None`` in the first second, or ``least`` (the system counts in hundredths), or where
        unknown."""
        seconds, now, before = time.monotonic() - self._began, Spent.now(), self._before
        if seconds < least or now is None or before is None:
            return None
        others = (now.busy - before.busy) - (now.own - before.own)
        total = now.total - before.total
        share = (now.stolen - before.stolen) / total if total > 0 else 0.0
        # counters may go back a little
        return Load(
            others=max(0.0, others / seconds),
            stolen=min(1.0, max(0.0, share)),
            throttled=self._throttled(),
        )

    def _throttled(self) -> float | None:
        before, now = self._throttling, limits.throttling()
        if before is None or now is None or now.periods <= before.periods:
            return None
        share = (now.throttled - before.throttled) / (now.periods - before.periods)
        return min(1.0, max(0.0, share))


class LoadSampler:
    """How busy the processes of others are from :meth:`start` on."""

    def __init__(self) -> None:
        self._watched: list[psutil.Process] = []
        self._began = 0.0

    def start(self) -> None:
        """List the processes and begin to count."""
        with contextlib.suppress(psutil.Error, OSError):
            # the system's own threads cannot be ended (Linux: children of kthreadd, number 2)
            self._watched = [
                process
                for process in psutil.process_iter(["ppid"])
                if process.pid != os.getpid() and process.info["ppid"] != 2
            ]
        for process in self._watched:
            with contextlib.suppress(psutil.Error):
                process.cpu_percent()
        self._began = time.monotonic()

    def busy(self, seconds: float = LOOK_SECONDS) -> dict[str, float]:
        """Name to share of one processor, of busy processes; waits until so long was looked."""
        time.sleep(max(0.0, self._began + seconds - time.monotonic()))
        found: dict[str, float] = {}
        for process in self._watched:
            with contextlib.suppress(psutil.Error):
                share = process.cpu_percent() / 100
                if share >= BUSY_SHARE:
                    found[process.name()] = found.get(process.name(), 0.0) + share
        return found


def governors(root: Path = GOVERNORS) -> set[str]:
    """How the processors' frequency is governed, where the system says (Linux)."""
    found = set()
    for path in root.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        with contextlib.suppress(OSError):
            found.add(path.read_text().strip())
    return found


def on_battery() -> bool:
    """Whether a laptop runs without its power supply."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return battery is not None and not battery.power_plugged
