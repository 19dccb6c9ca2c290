"""A published store: records merged into a folder, and everything else made from them again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lstmbench.errors import UserError
from lstmbench.publish import canonical
from lstmbench.publish.derive import derive
from lstmbench.publish.gather import Entries, gather, refuse_unclean
from lstmbench.publish.manifest import Manifest, installed
from lstmbench.store import MANIFEST, Run, plans, write_atomically


@dataclass
class Outcome:
    """What publishing did. ``damaged`` and ``problems`` are lines for the user."""

    entries: Entries
    written: int = 0
    removed: int = 0
    damaged: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def publish(paths: Sequence[Path], to: Path, allow_dirty: bool = False) -> Outcome:
    """Merge the records in ``paths`` into the store ``to`` and make its other files anew.

    What is there already and as it should be is not written again. Raises :class:`UserError`, with
    nothing written, for records that contradict each other or are not for publication, for a store
    with a damaged record, for a folder that holds runs, and for files in the way that were not made
    by publishing.
    """
    before = read_manifest(to)
    if before is None and (planned := plans(to)):
        raise UserError(
            f"{to} holds the run {planned[0].parent}: choose another folder to publish to (--to)"
        )
    damaged: list[str] = []
    there = gather([to], damaged) if before else {}
    if damaged:
        raise UserError(f"{damaged[0]}; restore or remove it, then publish again")
    entries = gather([*([to] if before else []), *paths], damaged)
    refuse_unclean(entries, entries if allow_dirty else there)
    made = derive(entries)
    records = {name: entry.content for name, entry in entries.items()}
    manifest = Manifest(
        {name: canonical.digest(data) for name, data in records.items()},
        {path: canonical.digest(data) for path, data in made.files.items()},
        installed(),
    )
    listed = before.made if before else {}
    files = {f"records/{name}": data for name, data in records.items()} | made.files
    _refuse_others(to, files, listed)
    if before is None:
        _refuse_records(to, records)
    files |= {MANIFEST: manifest.to_bytes()}
    outcome = Outcome(entries, damaged=damaged, problems=made.problems)
    try:
        outcome.written = sum(_write(to, path, data) for path, data in files.items())
        outcome.removed = sum(_remove(to, path) for path in listed.keys() - files.keys())
    except OSError as error:
        raise UserError(f"store {to} cannot be written: {error.strerror or error}") from error
    return outcome


def read_manifest(store: Path) -> Manifest | None:
    """The manifest of a published store; ``None`` if the folder is none."""
    path = store / MANIFEST
    if not path.is_file():
        return None
    return Manifest.parse(str(path), path.read_bytes())


def _refuse_others(to: Path, files: Mapping[str, bytes], listed: Mapping[str, str]) -> None:
    """Nothing is replaced that publishing did not make, nor anything outside the folder."""
    for path, data in files.items():
        place = to / path
        if path not in listed and place.exists() and not _holds(place, data):
            raise UserError(f"{place} is in the way: it was not made by publishing")
    for path in (*files, *listed, "records/x"):
        if not (to / path).parent.resolve().is_relative_to(to.resolve()):
            raise UserError(f"{(to / path).parent} leads out of the store")


def _refuse_records(to: Path, records: Collection[str]) -> None:
    """A folder that is no store yet holds no records that the store would not list."""
    for path in Run(to).files():
        if path.name not in records:
            raise UserError(f"{path} is in the way: choose another folder to publish to (--to)")


def _holds(place: Path, data: bytes) -> bool:
    return place.is_file() and not place.is_symlink() and place.read_bytes() == data


def _write(to: Path, path: str, data: bytes) -> bool:
    """Whether the file had to be written."""
    place = to / path
    if _holds(place, data):
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, data)
    return True


def _remove(to: Path, path: str) -> bool:
    """Remove a made file of before, and folders that it leaves empty."""
    place = to / path
    if not place.is_file() and not place.is_symlink():
        return False
    place.unlink()
    folder = place.parent
    while folder != to and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
    return True
