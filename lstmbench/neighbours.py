"""What else this machine is doing, and how it is set up: why figures on it are noisy."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from lstmbench import machine
from lstmbench.record import Surroundings
from lstmbench.report.columns import one_line

GOVERNORS = Path("/sys/devices/system/cpu")
#: Share of one processor above which a process is worth naming.
BUSY = 0.05
#: Processors that others use, and share of time that is stolen, from which on a record is flagged:
#: part of the record format.
DISTURBING, STOLEN = 0.1, 0.01
#: Seconds for which processes are looked at.
LOOK = 0.3
#: Processes that a warning names.
MOST_NAMED = 3


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


def disturbed(around: Surroundings | None) -> bool:
    """Whether others took so much of the machine that speeds may be too low."""
    return around is not None and (around.others >= DISTURBING or around.stolen >= STOLEN)


class Watch:
    """What others take of the machine from now on.

    For as long as no child is killed: what its own children had computed would be taken for
    somebody else's.
    """

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), Spent.now()

    def so_far(self) -> Surroundings | None:
        """``None`` for the first second, for the system counts in hundredths, or if it is mute."""
        seconds, now, before = time.monotonic() - self._began, Spent.now(), self._before
        if seconds < 1.0 or now is None or before is None:
            return None
        others = (now.busy - before.busy) - (now.own - before.own)
        total = now.total - before.total
        share = (now.stolen - before.stolen) / total if total > 0 else 0.0
        # counters may go back a little
        return Surroundings(others=max(0.0, others / seconds), stolen=min(1.0, max(0.0, share)))


class Lookout:
    """The processes of others, and how busy they are from now on."""

    def __init__(self) -> None:
        self._watched: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error, OSError):
            # nobody can end the system's own threads (Linux: children of kthreadd, number 2)
            self._watched = [
                process
                for process in psutil.process_iter(["ppid"])
                if process.pid != os.getpid() and process.info["ppid"] != 2
            ]
        for process in self._watched:
            with contextlib.suppress(psutil.Error):
                process.cpu_percent()
        self._began = time.monotonic()

    def busy(self, seconds: float = LOOK) -> dict[str, float]:
        """Name to share of one processor, of busy processes; waits until so long was looked."""
        time.sleep(max(0.0, self._began + seconds - time.monotonic()))
        found: dict[str, float] = {}
        for process in self._watched:
            with contextlib.suppress(psutil.Error):
                share = process.cpu_percent() / 100
                if share >= BUSY:
                    found[process.name()] = found.get(process.name(), 0.0) + share
        return found


def warning(busy: dict[str, float]) -> str | None:
    """What to know before anything is measured beside busy processes."""
    if sum(busy.values()) < DISTURBING:
        return None
    named = sorted(busy.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {share:.0%}" for name, share in named[:MOST_NAMED])
    more = f", and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return (
        f"other processes are busy (in shares of a processor: {one_line(shares)}{more}): speeds "
        "may come out too low; end them, or run again when they are done"
    )


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


def advice(
    threads: int,
    busy: dict[str, float],
    around: Surroundings | None,
    governed: Iterable[str],
    battery: bool,
) -> list[str]:
    """What to change for steadier figures, a line each; empty if nothing is found.

    ``busy`` is from before measuring, ``around`` from meanwhile.
    """
    lines = []
    others, stolen = (around.others, around.stolen) if around else (0.0, 0.0)
    if others >= DISTURBING and not busy:
        lines.append(
            f"other processes used {others:.0%} of a processor meanwhile: see which, with 'top', "
            "and end them"
        )
    for name, share in sorted(busy.items(), key=lambda item: -item[1]):
        lines.append(f"{one_line(name)} uses {share:.0%} of a processor: end it, or wait for it")
    if stolen >= STOLEN:
        lines.append(
            f"the hypervisor gave {stolen:.1%} of the processor time to other guests: "
            "a machine of its own, or another hour, is steadier"
        )
    if any(name not in ("performance",) for name in governed):
        names = ", ".join(sorted(governed))
        lines.append(
            f"the frequency is governed by {names}: 'cpupower frequency-set -g performance' "
            "keeps it steady"
        )
    if battery:
        lines.append("running on battery: plug the power supply in")
    cores = machine.physical_cores()
    if threads > cores:
        lines.append(f"{threads} threads on {cores} physical cores: --threads {cores} or fewer")
    elif threads == cores and cores > 1:
        lines.append(
            f"{threads} threads take every core: whatever else runs slows them all down; "
            f"--threads {cores - 1} leaves it a core"
        )
    return lines
