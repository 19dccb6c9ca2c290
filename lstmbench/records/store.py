"""Records on disk: in a run's folder, in a store of runs, in a published store, in a bundle."""

from __future__ import annotations

import errno
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lstmbench.errors import UserError
from lstmbench.records import canonical, files
from lstmbench.records.parse import Stored, read_record, read_stored
from lstmbench.records.record import Record

PLAN = "plan.json"
#: In a run: how long each of its groups took.
SECONDS = "seconds.json"
#: What a run keeps of groups that were run again, a folder for each time that it went on.
REPLACED = "replaced"
#: Folders of a run; no run has such a name.
PARTS = ("records", "logs", REPLACED)
#: Tells a published store from a run; see :mod:`lstmbench.publish.manifest`.
MANIFEST = "store.json"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write so that a reader sees the old file, the new one, or none: never half of one.

    The new file has the permissions of the old one.
    """
    if not path.name:  # as of an empty path, or of "."
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _unwritable(store: Path, error: Exception) -> UserError:
    why = getattr(error, "strerror", None) or error
    return UserError(f"store {store} cannot be written: {why}; name another with --store")


class Run:
    """One run's folder: ``plan.json``, ``records/``, ``logs/`` and what is made from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, store: Path, protocol: str) -> Run:
        """A new folder in ``store``, named by the time, the protocol and chance."""
        try:
            run = cls.named(store, protocol)
            (run.folder / "records").mkdir(parents=True)
            (run.folder / "logs").mkdir()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise _unwritable(store, error) from error
        return run

    @classmethod
    def named(cls, store: Path, protocol: str) -> Run:
        """A name that is free in ``store``; nothing is made. Raises ``OSError``, ``ValueError``."""
        if (store / MANIFEST).is_file():
            raise UserError(f"store {store} is a published one: name another with --store")
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        run = cls(store / f"{stamp}-{protocol}-{secrets.token_hex(2)}")
        while run.folder.exists():  # of another run of the same second
            run = cls(store / f"{stamp}-{protocol}-{secrets.token_hex(2)}")
        return run

    @staticmethod
    def write_plan_only(store: Path, protocol: str, plan: dict[str, Any]) -> Path:
        """A plan in ``store`` without a run; returns the file, named as runs are."""
        try:
            run = Run.named(store, protocol)
            path = run.folder.with_name(f"{run.name}.{PLAN}")
            store.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(plan, indent=1) + "\n")
        except (OSError, ValueError) as error:
            raise _unwritable(store, error) from error
        return path

    @property
    def name(self) -> str:
        return self.folder.name

    def log(self, trial_name: str) -> Path:
        return self.folder / "logs" / f"{trial_name}.log"

    def write_plan(self, plan: dict[str, Any]) -> None:
        try:
            write_atomically(self.folder / PLAN, json.dumps(plan, indent=1) + "\n")
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written: {error.strerror or error}; "
                "name another store with --store"
            ) from error

    def write_record(self, record: Record) -> None:
        """Keep one record under its trial's name."""
        path = self.folder / "records" / f"{record.trial.name}.json"
        write_atomically(path, record.model_dump_json(indent=1) + "\n")

    def write_seconds(self, seconds: Mapping[str, float]) -> None:
        """What each group took, by the name of one of its trials."""
        write_atomically(self.folder / SECONDS, json.dumps(seconds, indent=1) + "\n")

    def seconds(self) -> dict[str, float]:
        """What :meth:`write_seconds` has left; nothing where it cannot be read."""
        try:
            read = json.loads(files.read_regular(self.folder / SECONDS))
            return {str(name): float(value) for name, value in read.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def replaced(self) -> Path:
        """A folder that is not there yet, for what is about to be run again."""
        numbers = itertools.count(1)
        return next(f for n in numbers if not (f := self.folder / REPLACED / str(n)).exists())

    def has_left(self, name: str) -> bool:
        """Whether there is a record or a log of a trial."""
        return any(path.exists() for path in self._left_by(name))

    def set_aside(self, name: str, folder: Path) -> None:
        """Move a trial's record and log to ``folder``: it is about to be run again."""
        for path in self._left_by(name):
            if path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                path.replace(folder / path.name)

    def _left_by(self, name: str) -> tuple[Path, Path]:
        return self.folder / "records" / f"{name}.json", self.log(name)

    def records(self) -> list[Record]:
        """All records, in order of file name. Raises :class:`UserError` for one it cannot read."""
        return [read_record(path) for path in self.files()]

    def files(self) -> list[Path]:
        """The record files, in order of name. Raises :class:`UserError` if none can be seen."""
        return [
            path for path in files.list_folder(self.folder / "records") if path.suffix == ".json"
        ]

    @property
    def published(self) -> bool:
        """Whether this is a published store: its records come from any number of runs."""
        return files.is_file(self.folder / MANIFEST)


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
        if files.is_file(path):
            yield from _bundled(path)
            continue
        for run in open_runs([path]):
            for file in _files(run, damaged):
                try:
                    stored = read_stored(file)
                    if run.published and not canonical.is_named_by(file.name, stored.content):
                        raise UserError(f"{file} is not a record: its content was changed")
                    yield stored
                except UserError as error:
                    damaged.append(str(error))


def _bundled(path: Path) -> Iterator[Stored]:
    """The records of a bundle. Raises :class:`UserError` for two records of one trial, too."""
    from lstmbench.records.bundle import read_bundle  # which needs what is above

    places: dict[tuple[str, str], str] = {}
    for stored in read_bundle(path):
        run = stored.record.source.run
        other = places.setdefault((run, canonical.trial_name(stored.raw)), stored.place)
        if other != stored.place:
            raise UserError(
                f"bundle {path} is refused: {other} and {stored.place} contradict each other: "
                f"two records of the same trial in run {run}"
            )
        yield stored


def _files(run: Run, damaged: list[str]) -> list[Path]:
    """A run's record files; if its folder may not be read, that is one line more."""
    try:
        return run.files()
    except UserError as error:
        damaged.append(str(error))
        return []


def check_readable(paths: Iterable[Path]) -> None:
    """Raise :class:`UserError` for a path that records cannot be read from at all."""
    from lstmbench.records.bundle import check_bundle_file

    for path in paths:
        if files.is_file(path):
            check_bundle_file(path)
        else:
            open_runs([path])


def plans(folder: Path) -> list[Path]:
    """The plans of the run that a folder is, or of the runs that it holds.

    Raises :class:`UserError` for a folder in it that may not be read, for it may be a run.
    """
    held = [entry for entry in files.list_folder(folder) if entry.name not in PARTS]
    found = [folder / PLAN, *(entry / PLAN for entry in held)]
    return [plan for plan in found if files.exists(plan)]


def open_runs(paths: Iterable[Path]) -> list[Run]:
    """Runs and published stores named by their folder, or all runs of a store named by its.

    Raises :class:`UserError` for a path that is missing or none of these, and for a published
    store with runs in it, for reading either would leave the other out.
    """
    runs = []
    for path in paths:
        if not files.exists(path):
            raise UserError(f"{path} is missing: name a run, a store or a bundle")
        published, planned = files.is_file(path / MANIFEST), plans(path)
        if published and planned:
            raise UserError(
                f"{path} is a published store, yet holds the run {planned[0].parent}: "
                "keep runs in another folder"
            )
        if published or files.is_file(path / PLAN):
            runs.append(Run(path))
        elif planned:
            runs += [Run(plan.parent) for plan in planned]
        else:
            raise UserError(f"{path} is no run and no store: it holds no {PLAN} or {MANIFEST}")
    return runs
