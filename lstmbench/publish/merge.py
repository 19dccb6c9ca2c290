"""A published store: records merged into a folder, all else generated from them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lstmbench.errors import UserError
from lstmbench.publish.folder import (
    check_no_runs,
    check_not_inside,
    check_same_store,
    put,
    read_manifest,
)
from lstmbench.publish.gather import Entries, check_clean, check_shards, gather
from lstmbench.publish.generate import generate
from lstmbench.publish.lock import exclusive
from lstmbench.publish.manifest import Manifest, installed
from lstmbench.records import canonical


@dataclass
class Outcome:
    """What publishing did. ``damaged`` and ``problems`` are lines for the user."""

    entries: Entries
    written: int = 0
    removed: int = 0
    damaged: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def publish(
    paths: Sequence[Path], to: Path, allow_dirty: bool = False, allow_missing: bool = False
) -> Outcome:
    """Merge the records in ``paths`` into the store ``to`` and generate its other files anew.

    What is there already and as it should be is not written again. Raises :class:`UserError`, with
    nothing written, for records that contradict each other or are not for publication, for a store
    with a damaged record, for shards of a plan that overlap or are missing, for a folder that holds
    runs or is part of another store, and for files in the way that publishing did not write.
    Waits while another process publishes to ``to``.
    """
    with exclusive(to, ".lstmbench.lock"):
        return _publish(paths, to, allow_dirty, allow_missing)


def _publish(paths: Sequence[Path], to: Path, allow_dirty: bool, allow_missing: bool) -> Outcome:
    before = read_manifest(to)
    if before is None:
        check_not_inside(to)
        check_no_runs(to)
    damaged: list[str] = []
    if before:
        gather([to], damaged)
    if damaged:
        raise UserError(f"{damaged[0]}; restore or remove it, then publish again")
    entries = gather([*([to] if before else []), *paths], damaged)
    listed = before.records if before else {}
    check_clean(entries, entries if allow_dirty else listed)
    check_shards(entries, listed, allow_missing)
    generated = generate(entries)
    records = {name: entry.content for name, entry in entries.items()}
    manifest = Manifest(
        {name: canonical.digest(data) for name, data in records.items()},
        {path: canonical.digest(data) for path, data in generated.files.items()},
        installed(),
    )
    files = {f"records/{name}": data for name, data in records.items()} | generated.files
    check_same_store(to, files, before)
    outcome = Outcome(entries, damaged=damaged, problems=generated.problems)
    try:
        outcome.written, outcome.removed = put(to, files, manifest, before)
    except OSError as error:
        raise UserError(f"store {to} cannot be written: {error.strerror or error}") from error
    return outcome
