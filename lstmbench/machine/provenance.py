"""Which commit made a record, and what must not be in one: names of users, hosts and paths."""

from __future__ import annotations

import filecmp
import importlib.metadata
import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlparse

#: Changed files that a line names.
MAX_NAMED = 3


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _sources() -> list[tuple[Path, importlib.metadata.Distribution]]:
    """Folders that the host and its plugins were installed from, where pip noted one."""
    names = {"lstmbench"}
    for entry in importlib.metadata.entry_points(group="lstmbench"):
        if entry.dist is not None:
            names.add(entry.dist.name)
    found = []
    for name in sorted(names):
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        url = urlparse(origin.get("url", ""))
        if url.scheme == "file" and Path(unquote(url.path)).is_dir():
            found.append((Path(unquote(url.path)), distribution))
    return found


def _same_files(folder: Path, distribution: importlib.metadata.Distribution) -> bool:
    """Whether what is installed is what ``folder`` holds (always so for editable installs)."""
    for file in distribution.files or ():
        source = folder / file
        if file.suffix == ".py" and source.exists():
            installed = Path(str(distribution.locate_file(file)))
            if not filecmp.cmp(source, installed, shallow=False):
                return False
    return True


def commit() -> tuple[str | None, bool | None]:
    """The commit of the checkout that host and plugins come from, and whether it was changed.

    ``(None, None)`` if they come from no checkout.
    """
    head, changed = _checkout()
    return head, None if head is None else bool(changed)


def dirty_warnings() -> list[str]:
    """What was changed, and so keeps what is measured now from publication."""
    _, changed = _checkout()
    if not changed:
        return []
    more = f" and {len(changed) - MAX_NAMED} more" if len(changed) > MAX_NAMED else ""
    return [
        f"changed since the commit: {', '.join(changed[:MAX_NAMED])}{more}; commit, or install "
        "again, or the records will not be for publication"
    ]


@cache
def _checkout() -> tuple[str | None, Sequence[str]]:
    """The commit, and what was changed since.

    New files count where host and plugins live, changed ones everywhere but under ``results/``.
    """
    sources = _sources()
    root = next((r for f, d in sources if d.name == "lstmbench" for r in [_top(f)] if r), None)
    if root is None:
        return None, ()
    head = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "-uno", "--", ".", ":(exclude)results")
    inside = [(f, d) for f, d in sources if f.is_relative_to(root)]
    homes = {root / "lstmbench", *(f for f, _ in inside)} - {root}
    new = _git(root, "ls-files", "--others", "--exclude-standard", "--", *map(str, sorted(homes)))
    files = [line.split(maxsplit=1)[-1] for line in (changed or "").splitlines()]
    files += (new or "").splitlines()
    files += [f"{d.name} as installed" for f, d in inside if not _same_files(f, d)]
    return head, files


def _top(folder: Path) -> Path | None:
    top = _git(folder, "rev-parse", "--show-toplevel")
    return Path(top) if top else None
