"""Joules from the counters that a machine offers: RAPL for processors, NVML for NVIDIA GPUs.

Both count what the whole package or card draws, idle part included. Only one worker computes at
any time, so what is drawn during an epoch is that epoch's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lstmbench.machine import facts

#: Linux's "powercap" interface to the running average power limit counters (Intel, AMD).
POWERCAP = Path("/sys/class/powercap")

#: Total joules since some moment in the past; ``None`` once they cannot be read.
Counter = Callable[[], float | None]


class Rapl:
    """Sum of the packages' counters, with their wrapping around undone.

    Raises ``OSError`` where there is none, or none that may be read.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = [
            zone
            for zone in sorted(root.glob("intel-rapl:*"))
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package")
        ]
        if not self._zones:
            raise FileNotFoundError(f"no energy counter of a package in {root}")
        self._ranges = [int((z / "max_energy_range_uj").read_text()) + 1 for z in self._zones]
        self._last = [self._read(zone) for zone in self._zones]
        self._total = 0

    @staticmethod
    def _read(zone: Path) -> int:
        return int((zone / "energy_uj").read_text())

    def __call__(self) -> float:
        for index, zone in enumerate(self._zones):
            now = self._read(zone)
            self._total += (now - self._last[index]) % self._ranges[index]
            self._last[index] = now
        return self._total / 1e6


def nvml(index: int) -> Callable[[], float]:
    """The card's own counter, in millijoules (Volta and later), through ``nvidia-ml-py``."""
    import pynvml  # optional: pip install 'lstmbench[nvml]'

    pynvml.nvmlInit()
    handle: Any = pynvml.nvmlDeviceGetHandleByIndex(index)

    def read() -> float:
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3

    read()
    return read


def counter(device: str, root: Path = POWERCAP) -> Counter | None:
    """The counter of ``cpu`` or ``cuda:N``, or ``None`` where it cannot be had."""
    kind, _, index = device.partition(":")
    # a missing library, driver or permission means no figure, not a failure
    try:
        if kind == "cpu":
            return _forgiving(Rapl(root))
        if kind == "cuda":
            return _forgiving(nvml(facts.physical_gpu(int(index or 0))))
    except Exception:
        return None
    return None


def _forgiving(read: Callable[[], float]) -> Counter:
    def total() -> float | None:
        try:
            return read()
        except Exception:
            return None

    return total
