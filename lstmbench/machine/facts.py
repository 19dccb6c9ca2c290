"""Facts about this machine and this installation, found without importing a framework."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from lstmbench.machine import limits

#: Libraries whose versions decide results, where they are installed.
LIBRARIES = ("numpy", "tensorflow", "keras", "torch", "jax", "jaxlib")


def processor() -> str:
    """The processor's own name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    return platform.processor() or platform.machine()


def _output(*command: str) -> str:
    """What a small command prints; empty if it is not there, fails or takes long."""
    if not shutil.which(command[0]):
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _visible(models: list[str], selection: str) -> list[str]:
    """What frameworks number from 0: the driver stops at the first index that is not there."""
    chosen = []
    for index in selection.split(","):
        if not index.strip().isdigit() or int(index) >= len(models):
            break
        chosen.append(models[int(index)])
    return chosen


@cache
def gpus() -> dict[str, str]:
    """Device name to model: ``cuda:N`` for what ``nvidia-smi`` shows, ``mps`` on Apple silicon."""
    listing = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    models = [line.strip() for line in listing.splitlines() if line.strip()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        models = _visible(models, visible)
    found = {f"cuda:{index}": model for index, model in enumerate(models)}
    if sys.platform == "darwin" and platform.machine() == "arm64":
        found["mps"] = processor()
    return found


def physical_gpu(index: int) -> int:
    """The driver's own number of what frameworks call ``cuda:index``.

    Raises ``ValueError`` where ``CUDA_VISIBLE_DEVICES`` names no numbers, and where
    ``CUDA_DEVICE_ORDER`` makes CUDA count in an order of its own.
    """
    order = os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if order != "PCI_BUS_ID":
        raise ValueError(f"CUDA_DEVICE_ORDER is {order}")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return index if visible is None else int(visible.split(",")[index])


def devices() -> list[str]:
    """``cpu`` first, then every GPU of this machine."""
    return ["cpu", *gpus()]


def usable_cpus() -> list[int]:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _siblings(cpu: int) -> str:
    """Names the physical core of a logical processor (Linux)."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return path.read_text().strip()
    except OSError:
        return str(cpu)


def physical_cores() -> int:
    """Cores that this process may use, hardware threads of one core counted once."""
    if sys.platform == "linux":
        return len({_siblings(cpu) for cpu in usable_cpus()})
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


@cache
def cpu_limit() -> float | None:
    """How many processors' time a container may use, where that is less than it sees."""
    allowed = limits.limits().cpus
    return round(allowed, 3) if allowed and allowed < len(usable_cpus()) else None


def default_threads() -> int:
    """The physical cores, or as many of them as a container may keep busy."""
    allowed = cpu_limit()
    return min(physical_cores(), max(1, int(allowed))) if allowed else physical_cores()


def choose_cpus(threads: int) -> list[int] | None:
    """Processors for ``threads`` threads, one per physical core first; ``None`` off Linux."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    first: dict[str, int] = {}
    for cpu in usable_cpus():
        first.setdefault(_siblings(cpu), cpu)
    others = [cpu for cpu in usable_cpus() if cpu not in first.values()]
    return sorted([*first.values(), *others][:threads])


@cache
def facts() -> dict[str, Any]:
    """The hardware and system, without names of users, hosts or paths.

    A container's limits are facts of their own, only where there are some.
    """
    found = {
        "processor": processor(),
        "physical_cores": physical_cores(),
        "logical_cores": len(usable_cpus()),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpus": sorted(gpus().values()),
        "system": f"{platform.system()} {platform.machine()}",
    }
    memory = limits.limits().memory
    if cpu_limit():
        found["cpu_limit"] = cpu_limit()
    if memory and memory < psutil.virtual_memory().total:
        found["memory_limit_mib"] = memory // 2**20
    return found


def digest() -> str:
    """SHA-256 of :func:`facts`: equal for runs on equal machines."""
    return digest_of(facts())


def digest_of(found: Mapping[str, Any]) -> str:
    """SHA-256 of a machine's facts."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


@cache
def versions(imports: tuple[str, ...] = ()) -> dict[str, str]:
    """Python, the kernel, lstmbench, its plugins, and the libraries that are installed.

    Libraries are the ones known here and the distributions of ``imports``, top-level modules.
    """
    return host_versions() | _installed((*LIBRARIES, *_distributions(imports)))


def host_versions() -> dict[str, str]:
    """Python, the kernel, lstmbench and its plugins, but no library that trains."""
    plugins = {
        entry.dist.name
        for entry in importlib.metadata.entry_points(group="lstmbench")
        if entry.dist is not None
    }
    found = {"python": platform.python_version(), "kernel": platform.release()}
    return found | _installed(("lstmbench", *sorted(plugins)))


def _installed(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _distributions(modules: Iterable[str]) -> list[str]:
    """The names under which modules were installed, such as ``scikit-learn`` for ``sklearn``."""
    wanted = sorted({name.partition(".")[0] for name in modules} - set(LIBRARIES))
    providers = importlib.metadata.packages_distributions() if wanted else {}
    return sorted({dist for name in wanted for dist in providers.get(name, [name])})
