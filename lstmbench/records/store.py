"""Records on disk: in a run's folder, in a store of runs, in a published store, in a bundle."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lstmbench.errors import UserError
from lstmbench.records import canonical
from lstmbench.records.parse import Stored, read_record, read_stored
from lstmbench.records.record import Record

PLAN = "plan.json"
#: Tells a published store from a run; see :mod:`lstmbench.publish.manifest`.
MANIFEST = "store.json"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write so that a reader sees the old file, the new one, or none: never half of one.

    Whoever might read and write the old file may do so with the new one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Run:
    """One run's folder: ``plan.json``, ``records/``, ``logs/`` and what is made from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, store: Path, protocol: str) -> Run:
        """A new folder in ``store``, named by the time, the protocol and chance."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        run = cls(store / f"{stamp}-{protocol}-{secrets.token_hex(2)}")
        try:
            if (store / MANIFEST).is_file():
                raise UserError(f"store {store} is a published one: name another with --store")
            (run.folder / "records").mkdir(parents=True)
            (run.folder / "logs").mkdir()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            why = getattr(error, "strerror", None) or error
            raise UserError(
                f"store {store} cannot be written: {why}; name another with --store"
            ) from error
        return run

    @property
    def name(self) -> str:
        return self.folder.name

    def log(self, trial_name: str) -> Path:
        return self.folder / "logs" / f"{trial_name}.log"

    def write_plan(self, plan: dict[str, Any]) -> None:
        write_atomically(self.folder / PLAN, json.dumps(plan, indent=1) + "\n")

    def write_record(self, record: Record) -> None:
        """Keep one record under its trial's name."""
        path = self.folder / "records" / f"{record.trial.name}.json"
        write_atomically(path, record.model_dump_json(indent=1) + "\n")

    def records(self) -> list[Record]:
        """All records, in order of file name. Raises :class:`UserError` for one it cannot read."""
        return [read_record(path) for path in self.files()]

    def files(self) -> list[Path]:
        """The record files, in order of name."""
        return sorted((self.folder / "records").glob("*.json"))

    @property
    def published(self) -> bool:
        """Whether this is a published store: its records come from any number of runs."""
        return (self.folder / MANIFEST).is_file()


@dataclass
class Loaded:
    """What could be read, and a line for each file that could not."""

    records: list[Record] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def load(paths: Iterable[Path]) -> Loaded:
    """Every record in runs, stores, published stores and bundles; damaged files are set aside.

    Raises :class:`UserError` for a path that is none of these, and for a bundle with any fault.
    """
    found = Loaded()
    found.records = [stored.record for stored in read_all(paths, found.damaged)]
    return found


def read_all(paths: Iterable[Path], damaged: list[str]) -> Iterator[Stored]:
    """As :func:`load`, one at a time, with each file's JSON; lines are added to ``damaged``."""
    for path in paths:
        if path.is_file():
            from lstmbench.records.bundle import read_bundle  # which needs what is above

            yield from read_bundle(path)
            continue
        for run in open_runs([path]):
            for file in run.files():
                try:
                    stored = read_stored(file)
                    if run.published and not canonical.is_named_by(file.name, stored.content):
                        raise UserError(f"{file} is not a record: its content was changed")
                    yield stored
                except UserError as error:
                    damaged.append(str(error))


def check_readable(paths: Iterable[Path]) -> None:
    """Raise :class:`UserError` for a path that records cannot be read from at all."""
    from lstmbench.records.bundle import check_bundle_file

    for path in paths:
        if path.is_file():
            check_bundle_file(path)
        else:
            open_runs([path])


def plans(folder: Path) -> list[Path]:
    """The plans of the run that a folder is, or of the runs that it holds."""
    return [*folder.glob(PLAN), *sorted(folder.glob(f"*/{PLAN}"))]


def open_runs(paths: Iterable[Path]) -> list[Run]:
    """Runs and published stores named by their folder, or all runs of a store named by its.

    Raises :class:`UserError` for a path that is missing or none of these, and for a published
    store with runs in it, for reading either would leave the other out.
    """
    runs = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} is missing: name a run, a store or a bundle")
        published, planned = (path / MANIFEST).is_file(), plans(path)
        if published and planned:
            raise UserError(
                f"{path} is a published store, yet holds the run {planned[0].parent}: "
                "keep runs in another folder"
            )
        if published or (path / PLAN).is_file():
            runs.append(Run(path))
        elif planned:
            runs += [Run(plan.parent) for plan in planned]
        else:
            raise UserError(f"{path} is no run and no store: it holds no {PLAN} or {MANIFEST}")
    return runs
