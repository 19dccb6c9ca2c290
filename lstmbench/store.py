"""Runs on disk: a store is a folder of runs, a run a folder with a plan and its records."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lstmbench.errors import UserError
from lstmbench.record import Record

PLAN = "plan.json"


def write_atomically(path: Path, text: str) -> None:
    """Write so that a reader sees the old file, the new one, or none: never half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


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
            (run.folder / "records").mkdir(parents=True)
            (run.folder / "logs").mkdir()
        except OSError as error:
            raise UserError(
                f"store {store} cannot be written: {error.strerror or error}; "
                f"name another with --store"
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
        return [read_record(path) for path in sorted((self.folder / "records").glob("*.json"))]


def read_record(path: Path) -> Record:
    """One record file. Raises :class:`UserError` naming the first field that is wrong."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} is not a record: {error.strerror or error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise UserError(f"{path} is not a record: {where or 'JSON'}: {fault['msg']}") from error


def open_runs(paths: Iterable[Path]) -> list[Run]:
    """Runs named by their folder, or all runs of a store named by its folder."""
    runs = []
    for path in paths:
        if (path / PLAN).is_file():
            runs.append(Run(path))
            continue
        inside = sorted(p.parent for p in path.glob(f"*/{PLAN}")) if path.is_dir() else []
        if not inside:
            raise UserError(f"{path} is no run and no store: it holds no {PLAN}")
        runs += [Run(folder) for folder in inside]
    return runs
