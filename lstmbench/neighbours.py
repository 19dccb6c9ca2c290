"""What else this machine is doing, and how it is set up: why figures on it are noisy."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from lstmbench import machine

GOVERNORS = Path("/sys/devices/system/cpu")
#: Share of one processor above which a process is worth naming.
BUSY = 0.05


@dataclass(frozen=True)
class Ticks:
    """Processor seconds so far, of all processors together."""

    total: float
    stolen: float

    @classmethod
    def now(cls) -> Ticks:
        times = psutil.cpu_times()
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return cls(total, getattr(times, "steal", 0.0))

    def stolen_since(self, before: Ticks) -> float:
        """Share of processor time that the hypervisor gave to other guests."""
        passed = self.total - before.total
        return (self.stolen - before.stolen) / passed if passed > 0 else 0.0


def busy_processes(seconds: float = 1.0) -> dict[str, float]:
    """Name to share of one processor, of processes that are busy while this one sleeps."""
    own = {os.getpid()}
    # nobody can end the system's own threads (Linux: children of kthreadd, number 2)
    watched = [p for p in psutil.process_iter(["ppid"]) if p.pid not in own and p.info["ppid"] != 2]
    for process in watched:
        with contextlib.suppress(psutil.Error):
            process.cpu_percent()
    time.sleep(seconds)
    found: dict[str, float] = {}
    for process in watched:
        with contextlib.suppress(psutil.Error):
            share = process.cpu_percent() / 100
            if share >= BUSY:
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


def advice(
    threads: int, busy: dict[str, float], stolen: float, governed: Iterable[str], battery: bool
) -> list[str]:
    """What to change for steadier figures, a line each; empty if nothing is found."""
    lines = []
    for name, share in sorted(busy.items(), key=lambda item: -item[1]):
        lines.append(f"{name} uses {share:.0%} of a processor: end it, or wait for it")
    if stolen > 0.01:
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
