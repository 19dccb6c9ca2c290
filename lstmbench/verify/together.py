"""Records against each other: those of one run, and of one group, have much in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lstmbench.analysis import repeats
from lstmbench.records import canonical
from lstmbench.records.parse import Stored
from lstmbench.records.record import Record, Stack, Status
from lstmbench.records.shards import Shards
from lstmbench.verify.findings import Report

#: In which records of a run may differ that were made when it was resumed or extended.
_OF_AN_ATTEMPT = ("resumed", "command", "stopping_rule")


class Together:
    """The records that were looked at so far, by run."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._records: dict[tuple[str, str], tuple[str, Record]] = {}
        self._runs: dict[str, tuple[str, dict[str, Any]]] = {}
        self._attempts: dict[tuple[str, str | None], tuple[str, dict[str, Any]]] = {}
        self._shards = Shards()
        self._stacks: dict[tuple[str, str], tuple[str, Stack]] = {}

    def add(self, file: str, stored: Stored) -> None:
        """A trial leaves one record in a run; all of a run name the same origin and stacks.

        But for what may differ each time that a run goes on.
        """
        record = stored.record
        run, name = record.source.run, canonical.trial_name(stored.raw)
        other, _ = self._records.setdefault((run, name), (file, record))
        if other != file:
            self.report.wrong(file, f"contradicts {other}: the same trial of the same run")
        origin = {
            "source": record.source.model_dump(mode="json"),
            "machine": record.machine.model_dump(mode="json"),
        }
        attempt = run, record.source.resumed
        first, expected = self._attempts.setdefault(attempt, (file, origin))
        if first == file:
            own = {k: v for k, v in origin["source"].items() if k not in _OF_AN_ATTEMPT}
            origin = {**origin, "source": own}
            first, expected = self._runs.setdefault(run, (file, origin))
        for field in _unlike(origin, expected):
            self.report.wrong(file, f"{field}: not that of {first}, which is of the same run")
        if record.stack:
            first, stack = self._stacks.setdefault((run, record.stack.label), (file, record.stack))
            if record.stack != stack:
                self.report.wrong(file, f"stack: not that of {first}, of the same run and label")
        self._shards.add(record)

    def finish(self) -> None:
        """Trials that were interleaved name each other; those that left no record are told."""
        named = {
            (run, other)
            for (run, _), (_, record) in self._records.items()
            for other in record.interleaved_with
        }
        missing = named - self._records.keys()
        for row in self._rows():
            for reason in repeats.reasons(row):
                self.report.note(f"suspect: {row[0].trial.label} of {row[0].source.run}: {reason}")
        for file, names in self._unnamed():
            self.report.wrong(file, f"interleaved_with: does not name {names}, of the same group")
        for file in self._mixed():
            self.report.wrong(file, "source.resumed: not that of others of the same group")
        for overlap in self._shards.overlaps():
            self.report.wrong("records", overlap)
        for left in self._shards.missing():
            self.report.unvouch(left)
        if missing:
            self.report.unvouch(
                f"{len(missing)} trials that were interleaved with these left no record here"
            )

    def _rows(self) -> list[list[Record]]:
        """The records of each row in each run."""
        rows: dict[tuple[str, str], list[Record]] = {}
        for (run, _), (_, record) in self._records.items():
            rows.setdefault((run, record.trial.row_key()), []).append(record)
        return list(rows.values())

    def _mixed(self) -> Iterator[str]:
        """Files of trials that claim to be interleaved with those of another time."""
        for group in self._interleaved():
            _, _, first = group[0]
            yield from (f for _, f, r in group if r.source.resumed != first.source.resumed)

    def _interleaved(self) -> list[list[tuple[str, str, Record]]]:
        """Name, file and record of the trials of each interleaved group that are ok."""
        groups: dict[tuple[str, str, str], list[tuple[str, str, Record]]] = {}
        for (run, name), (file, record) in self._records.items():
            if record.source.interleaved and record.status == Status.OK:
                own = record.own_model.reference if record.own_model else ""
                key = (run, record.trial.group_key(), own)
                groups.setdefault(key, []).append((name, file, record))
        return list(groups.values())

    def _unnamed(self) -> Iterator[tuple[str, str]]:
        """Files of trials with the first of their group that they do not name."""
        for group in self._interleaved():
            for name, file, record in group:
                names = set(record.interleaved_with)
                left = [other for other, _, _ in group if other != name and other not in names]
                if left:
                    yield file, left[0]


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """The fields, one level down, in which two origins differ."""
    for part, fields in one.items():
        for name, value in fields.items():
            if value != other[part][name]:
                yield f"{part}.{name}"
