"""What a run shows when it has ended: its table, and its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lstmbench import streams
from lstmbench.analysis.tables import tables_from
from lstmbench.messages import storable
from lstmbench.records.record import Record, Status
from lstmbench.records.store import write_atomically
from lstmbench.report import images, text


def show(records: Sequence[Record], folder: Path, stopped: str | None = None) -> list[str]:
    """Print the table; then keep it and the plots in the run's folder.

    Returns a line for each of these that failed.
    """
    tables = tables_from(records)
    place = f"Records, logs, table and plots: {storable(str(folder))}"
    ended = f"Sampling ended: {stopped}.\n" if stopped else ""
    trouble = streams.show(f"{text.render(tables, 'plain')}\n\n{place}\n{ended}")
    problems = [trouble] if trouble else []
    files = {"table.md": text.render(tables, "github") + "\n"}
    files |= images.draw(images.images(tables), problems)
    for name, content in files.items():
        try:
            write_atomically(folder / name, content)
        except OSError as error:
            problems.append(f"{folder / name}: {error.strerror or error}")
    return problems


def exit_code(
    records: Sequence[Record],
    *,
    named_backends: bool,
    named_devices: bool,
    named_stacks: bool = False,
) -> int:
    """1 if a trial failed, or if what the user named is available nowhere it was asked for."""
    if any(record.status == Status.FAILED for record in records):
        return 1
    had = [record.trial for record in records if record.status != Status.UNAVAILABLE]
    for record in records:
        if record.status != Status.UNAVAILABLE:
            continue
        missing_backend = record.trial.backend not in {trial.backend for trial in had}
        missing_device = record.trial.device not in {trial.device for trial in had}
        if named_backends and (named_devices or missing_backend):
            return 1
        if named_devices and missing_device:
            return 1
        if named_stacks and record.trial.stack not in {trial.stack for trial in had}:
            return 1
    return 0
