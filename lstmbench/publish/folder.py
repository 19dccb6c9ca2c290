"""The folder of a published store: what may be replaced in it, and in which order it is written."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from lstmbench.errors import UserError
from lstmbench.publish.manifest import FILES, FOLDERS, Manifest
from lstmbench.records.files import MAX_FILE_BYTES, is_file, read_regular
from lstmbench.records.store import MANIFEST, Run, plans, write_atomically

#: What :func:`lstmbench.records.store.write_atomically` leaves when it is killed.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9]+")
#: Generated files whose names hold a digest: no other file has such a name.
_DIGESTED = re.compile(
    r"(tables|plots)/[A-Za-z0-9._-]+-[0-9a-f]{8}(-[a-z0-9]+)?\.(tex|md|svg)"
    r"|site/trials/[A-Za-z0-9._-]+-[0-9a-f]{12}\.(html|js)"
    r"|site/machines/[0-9a-f]{64}\.html"
)


def read_manifest(store: Path) -> Manifest | None:
    """The manifest of a published store; ``None`` if the folder is none.

    Where a merge left a conflict in it, generated files that neither side lists count as listed.
    """
    path = store / MANIFEST
    if not is_file(path):
        return None
    try:
        content = read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    if not Manifest.conflicting(content):
        return Manifest.parse(str(path), content)
    both = Manifest.of_both_sides(str(path), content)
    strays = (
        p.relative_to(store).as_posix() for name in FOLDERS for p in (store / name).rglob("*")
    )
    generated = {path: "" for path in strays if _DIGESTED.fullmatch(path)}
    return Manifest(both.records, generated | dict(both.generated), both.libraries)


def check_no_runs(to: Path) -> None:
    """Raise :class:`UserError` for a run or a store of runs, which would no longer be found."""
    if planned := plans(to):
        raise UserError(
            f"{to} holds the run {planned[0].parent}: choose another folder to publish to (--to)"
        )


def check_not_inside(to: Path) -> None:
    """Raise :class:`UserError` for a folder that is part of a published store."""
    place = to.resolve()
    for store in place.parents:
        part = place.relative_to(store).parts[0]
        if part in ("records", *FOLDERS) and _is_store(store):
            raise UserError(f"{to} is part of the published store {store}: choose another folder")


def _is_store(folder: Path) -> bool:
    """Whether it has a manifest that can be read; others have files of that name, too."""
    try:
        return read_manifest(folder) is not None
    except UserError:
        return False


def check_same_store(to: Path, files: Mapping[str, bytes], before: Manifest | None) -> None:
    """Raise :class:`UserError` for what publishing did not write, or leads out of the folder."""
    listed: Collection[str] = before.generated if before else ()
    for path, data in files.items():
        place = to / path
        if path not in listed and place.exists() and not _holds(place, data):
            raise UserError(f"{place} is in the way: publishing did not write it")
    for record in Run(to).files() if before is None else ():
        if f"records/{record.name}" not in files:
            raise UserError(f"{record} is in the way: choose another folder to publish to (--to)")
    for path in (*files, *listed, "records/x"):
        if not (to / path).parent.resolve().is_relative_to(to.resolve()):
            raise UserError(f"{(to / path).parent} leads out of the store")


def put(
    to: Path, files: Mapping[str, bytes], manifest: Manifest, before: Manifest | None
) -> tuple[int, int]:
    """Write what is missing or differs, remove what is no longer generated; how many of each.

    A manifest of both what was and what will be there comes first, so that publishing again knows
    every file of one that was interrupted; the manifest itself comes last.
    """
    was = before or manifest
    changed = [path for path, data in files.items() if not _holds(to / path, data)]
    stale = [path for path in was.generated.keys() - files.keys() if _is_there(to / path)]
    final = manifest.to_bytes()
    relisted = not _holds(to / MANIFEST, final)
    if changed or stale:
        both = Manifest(
            {**was.records, **manifest.records},
            {**was.generated, **manifest.generated},
            manifest.libraries,
        )
        _write(to / MANIFEST, both.to_bytes())
    for path in changed:
        _write(to / path, files[path])
    for path in stale:
        _remove(to, path)
    for place in _temporaries(to):
        place.unlink()
    if not _holds(to / MANIFEST, final):  # which it may since the first of the two
        _write(to / MANIFEST, final)
    return len(changed) + relisted, len(stale)


def _holds(place: Path, data: bytes) -> bool:
    return place.is_file() and not place.is_symlink() and place.read_bytes() == data


def _is_there(place: Path) -> bool:
    return place.is_file() or place.is_symlink()


def _write(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, data)


def _remove(to: Path, path: str) -> None:
    """Remove a file that was generated before, and folders that it leaves empty."""
    place = to / path
    place.unlink()
    folder = place.parent
    while folder != to and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _temporaries(to: Path) -> Iterator[Path]:
    """Halves of files, left by a publishing that was killed."""
    for place in to.glob(".*"):
        found = _TEMPORARY.fullmatch(place.name)
        if found and found["name"] in (*FILES, MANIFEST):
            yield place
    for folder in ("records", *FOLDERS):
        yield from (p for p in (to / folder).rglob(".*") if _TEMPORARY.fullmatch(p.name))
