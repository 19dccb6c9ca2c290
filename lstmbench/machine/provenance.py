"""Which code makes a record: its commit where there is one, and whether it was changed since."""

from __future__ import annotations

import base64
import filecmp
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from lstmbench.machine.git import COMPILED, GitRefused, checkout

HOST = "lstmbench"
#: Changed files that a line names.
MAX_NAMED = 3


@dataclass(frozen=True)
class Origin:
    """Where the code of an installed distribution comes from.

    ``packages`` are the folders, or files, that are loaded; ``installed`` is all code that pip
    lists of it, by name, such as a compiled module beside the package. ``changes`` since
    ``commit``, or since it was installed; ``elsewhere``: where it is loaded from, if that is not
    where it is installed; ``unknown``: why there is no commit; ``uncommitted``: the folder that it
    was installed from, if no commit holds that.
    """

    distribution: str
    version: str
    packages: tuple[Path, ...]
    commit: str | None = None
    changes: tuple[str, ...] = ()
    elsewhere: Path | None = None
    unknown: str = ""
    installed: tuple[tuple[str, Path], ...] = ()
    uncommitted: Path | None = None

    @property
    def dirty(self) -> bool:
        """Whether what ran is anything else than what is named."""
        return bool(self.changes or self.elsewhere)

    @property
    def files(self) -> dict[str, Path]:
        """All files that are loaded from, or were installed, by the name under which they are."""
        found = dict(self.installed)
        for place in self.packages:
            files = [place] if place.is_file() else _sources(place)
            found |= {file.relative_to(place.parent).as_posix(): file for file in files}
        return found

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 over names and contents of all files that are loaded from, or were installed.

        ``None`` if there are none, or if one of them cannot be read.
        """
        found = self.files
        total = hashlib.sha256()
        try:
            for name, file in sorted(found.items()):
                own = hashlib.sha256(file.read_bytes()).hexdigest()
                total.update(f"{own} {name}\n".encode(errors="surrogateescape"))
        except OSError:
            return None
        return total.hexdigest() if found else None


def _sources(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_file() and COMPILED not in p.parts)


def commit() -> tuple[str | None, bool | None]:
    """The host's commit, and whether host or plugins are anything else than what they seem.

    ``(None, None)`` if there is no commit.
    """
    if host().commit is None:
        return None, None
    return host().commit, any(origin.dirty for origin in (host(), *plugins()))


def warnings() -> list[str]:
    """What keeps records that are made now from publication, or readers from the code: lines."""
    origins = (host(), *plugins())
    lines = [
        f"{origin.distribution} is loaded from {origin.elsewhere}, not from where it is installed: "
        "the records will not be for publication"
        for origin in origins
        if origin.elsewhere
    ]
    if host().unknown and not host().elsewhere:
        lines.append(
            f"the commit of lstmbench is not known, so that the records will not be for "
            f"publication: {host().unknown}"
        )
    changed = list(dict.fromkeys(path for origin in origins for path in origin.changes))
    if changed:
        more = f" and {len(changed) - MAX_NAMED} more" if len(changed) > MAX_NAMED else ""
        lines.append(
            f"changed since the commit: {', '.join(changed[:MAX_NAMED])}{more}; commit, or "
            "install again, or the records will not be for publication"
        )
    lines += [
        f"{plugin.distribution} is in no commit ({plugin.unknown}): records will hold no more of "
        f"its code than a digest; commit {plugin.uncommitted} before you publish"
        for plugin in plugins()
        if plugin.uncommitted and not plugin.elsewhere and host().commit
    ]
    return lines


@cache
def host() -> Origin:
    """Of lstmbench itself."""
    try:
        return _origin(importlib.metadata.distribution(HOST), [HOST])
    except importlib.metadata.PackageNotFoundError:
        return Origin(HOST, "", _places([HOST]), unknown=f"{HOST} is not installed")


@cache
def plugins() -> tuple[Origin, ...]:
    """Of each distribution that registers plugins, in order of name."""
    modules: dict[str, list[str]] = {}
    found: dict[str, importlib.metadata.Distribution] = {}
    for entry in importlib.metadata.entry_points(group=HOST):
        if entry.dist is not None and entry.dist.name:
            found.setdefault(entry.dist.name, entry.dist)
            modules.setdefault(entry.dist.name, []).append(entry.module)
    return tuple(_origin(found[name], modules[name]) for name in sorted(found))


def _origin(distribution: importlib.metadata.Distribution, modules: Iterable[str]) -> Origin:
    places = _places(modules)
    origin = Origin(
        distribution.name, distribution.version, places, installed=_installed(distribution)
    )
    source, pip_s_commit = _installed_from(distribution)
    homes = [Path(str(distribution.locate_file(""))), *([source] if source else [])]
    for place in places:
        if not any(place.resolve().is_relative_to(home.resolve()) for home in homes):
            return _with(origin, elsewhere=place.parent, unknown="not loaded from its installation")
    damaged = [f"{distribution.name} as installed"] if _was_changed(distribution) else []
    if source is None:
        unknown = "" if pip_s_commit else f"{distribution.name} was not installed from a checkout"
        return _with(origin, commit=pip_s_commit, changes=tuple(damaged), unknown=unknown)
    if not _same_files(source, distribution):
        damaged = [f"{distribution.name} as installed"]
    try:
        tree = checkout(source)
        # beside the plugins of a checkout there are folders that nothing is loaded from
        roots = [source / name.partition(".")[0] for name in modules]
        new = tree.new_files(roots if source.resolve() == tree.root.resolve() else [source])
    except GitRefused as refused:
        return _with(origin, changes=tuple(damaged), unknown=str(refused), uncommitted=source)
    return _with(origin, commit=tree.head, changes=(*tree.changed, *new, *damaged))


def _with(origin: Origin, **changes: Any) -> Origin:
    return Origin(**{**vars(origin), **changes})


def _places(modules: Iterable[str]) -> tuple[Path, ...]:
    """The folders of the packages that modules are in, and single modules; loaded or not yet."""
    return tuple(dict.fromkeys(place for name in modules if (place := _place(name))))


def _place(module: str) -> Path | None:
    for name in dict.fromkeys((module.partition(".")[0], module)):  # the first may be a namespace
        loaded = sys.modules.get(name)
        file = getattr(loaded, "__file__", None)
        if loaded is None:
            try:
                found = importlib.util.find_spec(name)
            except Exception:  # such a plugin is named as one that cannot be loaded
                return None
            file = found.origin if found and found.has_location else None
        if file:
            path = Path(file)
            return path.parent if path.stem == "__init__" else path
    return None


def _installed_from(
    distribution: importlib.metadata.Distribution,
) -> tuple[Path | None, str | None]:
    """The folder that pip installed, if it is there, or the commit that it fetched (PEP 610)."""
    try:
        noted = json.loads(distribution.read_text("direct_url.json") or "{}")
        url = urlparse(noted.get("url", ""))
        fetched = noted.get("vcs_info", {}).get("commit_id")
    except (ValueError, AttributeError):
        return None, None
    folder = Path(unquote(url.path))
    if url.scheme == "file" and not fetched and folder.is_dir():
        return folder, None
    return None, str(fetched) if fetched else None


def _installed(
    distribution: importlib.metadata.Distribution,
) -> tuple[tuple[str, Path], ...]:
    """The files of a distribution that code is loaded from; of an editable one there are none."""
    found = []
    for file in distribution.files or ():
        own = file.parts[0].endswith((".dist-info", ".egg-info")) or file.suffix == ".pth"
        if not own and ".." not in file.parts and COMPILED not in file.parts:
            found.append((file.as_posix(), Path(str(distribution.locate_file(file)))))
    return tuple(found)


def _was_changed(distribution: importlib.metadata.Distribution) -> bool:
    """Whether a file is not what was installed, by pip's own list."""
    for file in distribution.files or ():
        if file.hash is None or file.hash.mode not in hashlib.algorithms_available:
            continue
        try:
            content = Path(str(distribution.locate_file(file))).read_bytes()
        except OSError:
            return True
        digest = hashlib.new(file.hash.mode, content).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            return True
    return False


def _same_files(folder: Path, distribution: importlib.metadata.Distribution) -> bool:
    """Whether what is installed is what ``folder`` holds (always so for editable installs)."""
    for file in distribution.files or ():
        source = folder / file
        if file.suffix == ".py" and source.exists():
            installed = Path(str(distribution.locate_file(file)))
            if not filecmp.cmp(source, installed, shallow=False):
                return False
    return True
