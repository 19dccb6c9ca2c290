"""What the control groups of this process allow it to use: the limits of a container (Linux).

Read are both versions of the interface, `cgroup-v1` and `cgroup-v2` in the kernel's documentation.
Processors that a group may not use at all (its ``cpuset``) are not in the affinity either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")


@dataclass(frozen=True)
class Limits:
    """``cpus``: processors' worth of time per second; ``memory``: bytes; ``None``: no limit."""

    cpus: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Throttling:
    """Enforcement periods so far, and those in which the group had used up its processor time."""

    periods: int
    throttled: int


def limits(proc: Path = PROC) -> Limits:
    """The tightest limits of the groups that this process is in, their parents included."""
    cpus = [cpu for group in _groups("cpu", proc) if (cpu := _cpus(group))]
    memory = [size for group in _groups("memory", proc) if (size := _memory(group))]
    return Limits(min(cpus, default=None), min(memory, default=None))


def throttling(proc: Path = PROC) -> Throttling | None:
    """The counters of the group that is throttled most; ``None`` where no group has a limit."""
    found = [_throttling(group) for group in _groups("cpu", proc) if _cpus(group)]
    return max(filter(None, found), key=lambda group: group.throttled, default=None)


def _groups(controller: str, proc: Path) -> Iterator[Path]:
    """Folders of this process's group and its parents in the hierarchy of a controller."""
    mounts = [line.split() for line in _read(proc / "mountinfo").splitlines()]
    entries = [line.split(":", 2) for line in _read(proc / "cgroup").splitlines()]
    paths = {name: path for _, names, path in entries for name in names.split(",")}
    for mount in mounts:
        root, top, (kind, _, options) = mount[3], Path(_unescaped(mount[4])), mount[-3:]
        if kind == "cgroup" and controller in options.split(","):
            path = paths.get(controller)
        elif kind == "cgroup2":
            path = paths.get("")
        else:
            continue
        if path is not None:
            folder = _folder(top, root, path)
            yield from (p for p in (folder, *folder.parents) if p == top or top in p.parents)


def _folder(top: Path, root: str, path: str) -> Path:
    """Where ``path`` of a hierarchy is beneath ``top``, where ``root`` of it is mounted.

    A container may see the paths of its host, but only its own part of the hierarchy.
    """
    inside = PurePosixPath(path)
    folder = top / inside.relative_to(root) if inside.is_relative_to(root) else top
    return folder if ".." not in inside.parts and folder.is_dir() else top


def _unescaped(text: str) -> str:
    """A path as it is in ``mountinfo``, where blanks are octal numbers."""
    for number, char in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        text = text.replace(f"\\{number}", char)
    return text


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(text: str) -> int | None:
    """``None`` for ``max``, for -1 and for what is not there."""
    return int(text) if text.strip().isdigit() else None


def _cpus(group: Path) -> float | None:
    quota, period = (_read(group / "cpu.max").split() or ["", ""])[:2]
    if not quota:
        quota, period = (_read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    allowed, every = _number(quota), _number(period)
    return allowed / every if allowed and every else None


def _memory(group: Path) -> int | None:
    return _number(_read(group / "memory.max") or _read(group / "memory.limit_in_bytes"))


def _throttling(group: Path) -> Throttling | None:
    lines = (line.split() for line in _read(group / "cpu.stat").splitlines())
    counts = {words[0]: int(words[1]) for words in lines if len(words) == 2}
    if "nr_periods" not in counts:
        return None
    return Throttling(counts["nr_periods"], counts.get("nr_throttled", 0))
