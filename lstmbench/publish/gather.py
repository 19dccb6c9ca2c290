"""Records from anywhere, under the names that they are published by."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lstmbench.errors import UserError
from lstmbench.records import canonical
from lstmbench.records.parse import Stored, parse
from lstmbench.records.record import Record, Status
from lstmbench.records.shards import Shards
from lstmbench.records.store import read_all
from lstmbench.worker.parity import TOLERANCE, beyond


@dataclass(frozen=True)
class Entry:
    """A record, its published bytes, and the file that it was read from."""

    content: bytes
    record: Record
    place: str


#: By file name, in order of it.
Entries = Mapping[str, Entry]


def gather(paths: Iterable[Path], damaged: list[str]) -> Entries:
    """All records in runs, stores, published stores and bundles; equal ones are one.

    A line for each file that cannot be read is added to ``damaged``. Raises :class:`UserError` for
    two records of the same trial in the same run that differ, naming both files.
    """
    found: dict[str, Entry] = {}
    trials: dict[tuple[str, str], str] = {}
    for stored in read_all(paths, damaged):
        try:
            name, entry = _entry(stored)
        except ValueError as error:  # an integer too long to be written
            damaged.append(f"{stored.place} is not a record: JSON: {error}")
            continue
        trial = (entry.record.source.run, canonical.trial_name(stored.raw))
        other = trials.setdefault(trial, name)
        if other != name:
            raise UserError(
                f"{found[other].place} and {entry.place} contradict each other: two records of "
                f"the same trial in run {trial[0]}; find out which one was changed"
            )
        found.setdefault(name, entry)
    return dict(sorted(found.items()))


def _entry(stored: Stored) -> tuple[str, Entry]:
    content = canonical.content(stored.raw)
    if content != stored.content:  # so that no figure depends on the order of keys in a file
        stored = parse(stored.place, content)
    return canonical.file_name(stored.raw, content), Entry(content, stored.record, stored.place)


def unclean(record: Record) -> str | None:
    """Why a record is not for publication, or ``None``."""
    if why := record.unclean:
        return why
    if record.status == Status.OK and not _proven(record):
        return "ok without having shown parity"
    return None


def _proven(record: Record) -> bool:
    proof = record.parity
    if proof is None or not proof.errors or proof.tolerance != TOLERANCE[record.trial.dtype]:
        return False
    program = proof.program
    if program and beyond(program.errors, program.allowed, TOLERANCE["float32"]):
        return False
    return not beyond(proof.errors, proof.allowed, proof.tolerance)


def check_clean(entries: Entries, known: Collection[str]) -> None:
    """Raise :class:`UserError` for records that are not for publication, save ``known`` ones."""
    found = [
        (entry.place, why)
        for name, entry in entries.items()
        if name not in known and (why := unclean(entry.record))
    ]
    if found:
        place, why = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UserError(f"{place}{more}: {why}; run again, or publish with --allow-dirty")


def check_shards(entries: Entries, known: Collection[str], allow_missing: bool = False) -> None:
    """Raise :class:`UserError` for runs that did the same groups of a plan, and for groups of it
    that none did, unless those may be missing.

    Of plans of which all records are ``known`` it was allowed before.
    """
    shards = Shards(entry.record for entry in entries.values())
    for overlap in shards.overlaps():
        raise UserError(f"{overlap}: name one of them")
    new = Shards(entry.record for name, entry in entries.items() if name not in known)
    for left in () if allow_missing else shards.missing(new.plans):
        raise UserError(
            f"{left}: run them, name their runs too, or publish the rest with --allow-missing"
        )
