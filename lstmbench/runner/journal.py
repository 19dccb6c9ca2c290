"""What a run would lose if it were killed, on disk: each epoch is there when the next one begins.

In the folder ``journal`` of a run stands a file for each trial that is on its way. A line is JSON:
the record as it is without epochs (the last one counts), an epoch, or an evaluation. A file goes
when the trial's record is written, the folder when the run ends. Of a run that was killed,
:func:`recover` makes records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lstmbench.analysis import flags
from lstmbench.errors import UserError
from lstmbench.records.files import MAX_FILE_BYTES, read_regular
from lstmbench.records.parse import unreadable
from lstmbench.records.record import Evaluation, Record
from lstmbench.records.store import Run, open_runs
from lstmbench.runner.interrupts import deferred_interrupts
from lstmbench.runner.scratch import is_empty, locked
from lstmbench.runner.trial_state import EpochResult, epochs_from, log_tail

FOLDER, LOCK, SUFFIX = "journal", "lock", ".jsonl"
KILLED = "the run was killed"
#: How often a journal is begun: another start may take one without a lock for left over.
TRIES = 3


class Journal:
    """Of a run that is on its way. A journal that cannot be written costs the run nothing else.

    It is ``owned`` unless another process has it, or the file system knows no locks.
    """

    def __init__(self, run: Run) -> None:
        self._folder = run.folder / FOLDER
        self._files: dict[str, IO[str]] = {}
        for _ in range(TRIES):
            with suppress(OSError):
                self._folder.mkdir(exist_ok=True)
            self._lock = locked(self._folder / LOCK, create=True)
            self.owned = self._lock.__enter__() and (self._folder / LOCK).exists()
            if self.owned:
                break
            self._lock.__exit__(None, None, None)

    def known(self, record: Record) -> None:
        """A trial has begun, or more is known of it; epochs are noted by themselves."""
        self._append(record.trial.name, {"record": record.model_dump(mode="json")})

    def epoch(self, name: str, epoch: EpochResult) -> None:
        self._append(name, {"epoch": list(epoch)})

    def evaluation(self, name: str, evaluation: Evaluation) -> None:
        self._append(name, {"evaluation": evaluation.model_dump(mode="json")})

    def recorded(self, name: str) -> None:
        """The trial's record is written."""
        with suppress(OSError):
            if name in self._files:
                self._files.pop(name).close()
        with suppress(OSError):
            (self._folder / f"{name}{SUFFIX}").unlink(missing_ok=True)

    def close(self) -> None:
        """The run is over. What has no record, for want of room, can still be recovered."""
        for file in self._files.values():
            with suppress(OSError):
                file.close()
        with suppress(OSError):
            another_s = not self.owned and (self._folder / LOCK).exists()
            if not another_s and not any(self._folder.glob(f"*{SUFFIX}")):
                (self._folder / LOCK).unlink(missing_ok=True)
                self._folder.rmdir()
        self._lock.__exit__(None, None, None)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        with suppress(OSError):
            if name not in self._files:
                path = self._folder / f"{name}{SUFFIX}"
                self._files[name] = path.open("a", encoding="utf-8")
            self._files[name].write(json.dumps(line) + "\n")
            self._files[name].flush()


def recover(paths: Iterable[Path]) -> list[str]:
    """Make records of what runs left that were killed; a line for each of these runs.

    ``paths`` are runs or folders of runs; anything else is left to the command that reads it. A run
    that is still on its way, or cannot be written, stays as it is.
    """
    lines = []
    for path in paths:
        runs: list[Run] = []
        with suppress(UserError, OSError):
            runs = open_runs([path]) if path.is_dir() else []
            runs = [run for run in runs if (run.folder / FOLDER).is_dir()]
        for run in runs:
            if count := _recover(run):
                trials = "trial is" if count == 1 else "trials are"
                lines.append(f"run {run.name} was killed: {count} {trials} recorded as interrupted")
    return lines


def is_on_its_way(run: Run) -> bool:
    """Whether another process leads the run."""
    with locked(run.folder / FOLDER / LOCK) as free:
        return not free and (run.folder / FOLDER / LOCK).exists()


def _recover(run: Run) -> int:
    """How many records were made."""
    folder, count = run.folder / FOLDER, 0
    # an empty one was left by an owner that was killed while it made or removed it
    with locked(folder / LOCK, create=is_empty(folder)) as abandoned, suppress(OSError):
        if not abandoned:
            return 0
        for file in sorted(folder.glob(f"*{SUFFIX}")):
            record = _read(file, run)
            with deferred_interrupts():
                if record is not None and not _has_record(run, record):
                    run.write_record(record)
                    count += 1
                file.unlink()
        (folder / LOCK).unlink()
        folder.rmdir()
    return count


def _has_record(run: Run, record: Record) -> bool:
    return (run.folder / "records" / f"{record.trial.name}.json").exists()


def _read(file: Path, run: Run) -> Record | None:
    """The record of a trial that was cut short; ``None`` if it had hardly begun."""
    record: Record | None = None
    series: list[EpochResult] = []
    evaluations: list[Evaluation] = []
    for line in read_regular(file, MAX_FILE_BYTES).splitlines():
        try:
            entry = json.loads(line)
            if "record" in entry:
                record = Record.model_validate(entry["record"])
            elif "epoch" in entry:
                epoch = EpochResult(*entry["epoch"])
                epochs_from([epoch])  # raises ValueError for what is none
                series.append(epoch)
            else:
                evaluations.append(Evaluation.model_validate(entry["evaluation"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            break  # the line at which the run was killed
    if record is None:
        return None
    changes = {
        "epochs": epochs_from(series),
        "evaluations": evaluations,
        "log_tail": log_tail(run.log(record.trial.name)),
    }
    found = record.model_copy(update=changes)
    found = found.model_copy(update={"flags": flags.raised(found)})
    return None if unreadable(found) else found
