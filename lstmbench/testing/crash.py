"""An exception of a plugin, told by the plugin's own frames."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import lstmbench

HOST = Path(lstmbench.__file__).parent


@dataclass(frozen=True)
class Crash:
    """What was raised where: ``lines`` are the traceback from the call of the plugin on."""

    message: str
    lines: tuple[str, ...]


def crash(error: BaseException, package: str) -> Crash | None:
    """The crash inside a plugin of this top-level package, or ``None`` if the host raised it.

    Frames of the plugin are shown with their source, frames of others between them counted.
    """
    frames = list(traceback.extract_tb(error.__traceback__))
    while frames and _inside(frames[0], HOST):
        frames.pop(0)
    if not frames:
        return None
    home = _home(package)
    own = [frame for frame in frames if _inside(frame, home)]
    place = (own or frames)[-1]
    raised = f"{type(error).__name__}: {error}"
    where = f"{Path(place.filename).name}, line {place.lineno}"
    lines = ("Traceback (most recent call last):", *_lines(frames, home), raised)
    return Crash(f"{frames[0].name}() raised {raised} ({where})", lines)


def _lines(frames: list[traceback.FrameSummary], home: Path) -> Iterator[str]:
    last = frames[-1]
    for own, run in groupby(frames, lambda frame: _inside(frame, home) or frame is last):
        group = list(run)
        if not own:
            yield f"  ... {len(group)} frames outside the plugin"
            continue
        for frame in group:
            yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
            yield f"    {frame.line}"


def _inside(frame: traceback.FrameSummary, home: Path) -> bool:
    path = Path(frame.filename)
    return path == home or home in path.parents


def _home(package: str) -> Path:
    """The folder of a package, the file of a module."""
    file = Path(getattr(sys.modules.get(package), "__file__", None) or package)
    return file.parent if file.name == "__init__.py" else file
