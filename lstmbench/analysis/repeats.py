"""What the repeats of one row say together that no single record can.

A process begins with nothing: no file of an earlier one, no compiled code. So the repeats of a row
do the same work, and a first one that did much more than all later ones has left something to them.
What may be a slow moment of the machine in one of them is none in all.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from lstmbench.analysis import impossible
from lstmbench.analysis.series import faster_half_mean, warm_up
from lstmbench.records.record import Record, Status

#: Later repeats that must agree before the first one is called different.
MIN_LATER = 2
#: How much more the first repeat must have done than any later one, and they differ among
#: themselves at most: processor seconds, and seconds, of an epoch.
WORK_FACTOR, TIME_FACTOR, ALIKE = 1.7, 2.0, 1.3
#: On a busy machine threads that wait for each other compute meanwhile.
WORK_FACTOR_BUSY = 5.0
#: The same of the seconds of building and preparing, and seconds: files that were not yet in memory
#: take a while to read.
PREPARE_FACTOR, PREPARE_SECONDS = 4.0, 5.0


def reasons(records: Sequence[Record]) -> list[str]:
    """What cannot be in the records of a row, a sentence each."""
    by_repeat = sorted(records, key=lambda record: record.trial.repeat)
    ok = [record for record in by_repeat if record.status == Status.OK]
    several = {(record.source.run, record.trial.seed) for record in ok}
    # by run and seed: between runs a machine changes, and another seed is another work
    rows = [[r for r in ok if (r.source.run, r.trial.seed) == key] for key in sorted(several)]
    return [reason for row in rows if len(row) > 1 for reason in _of_one_run(row)]


def _of_one_run(records: Sequence[Record]) -> Iterator[str]:
    if all(map(_challenged_slowly, records)):
        yield "all of its repeats were slower in epochs that they had never seen"
    if len(records) > MIN_LATER:
        yield from _of_the_first(records)


def _of_the_first(records: Sequence[Record]) -> Iterator[str]:
    busy = any(impossible.is_busy(record.system_load) for record in records)
    if _stands_out(records, _processor_seconds, WORK_FACTOR_BUSY if busy else WORK_FACTOR, 0.0):
        yield "its first repeat computed much more for an epoch than all later ones"
    elif not impossible.is_busy(records[0].system_load) and _stands_out(
        records, _seconds, TIME_FACTOR, 0.0
    ):
        yield "its first repeat took much longer for an epoch than all later ones"
    elif not busy and _stands_out(records, _rate, TIME_FACTOR, 0.0):
        yield "its first repeat took much less time for an epoch than all later ones"
    if not impossible.is_busy(records[0].system_load) and _stands_out(
        records, _prepared, PREPARE_FACTOR, PREPARE_SECONDS
    ):
        yield "its first repeat took much longer to get ready than all later ones"


def _challenged_slowly(record: Record) -> bool:
    """Slow moments of a machine make one repeat doubtful, hardly ever each of them."""
    slower = impossible.slower_than_timed(record)
    load = record.challenge.load if record.challenge else None
    return slower is not None and slower.is_doubtful and not impossible.is_busy(load)


def _stands_out(
    records: Sequence[Record],
    value: Callable[[Record], float | None],
    factor: float,
    least: float,
) -> bool:
    """Whether the first value is far above all later ones, which are alike."""
    values = [value(record) for record in records]
    known = [number for number in values if number is not None]
    if len(known) < len(values):
        return False
    first, *later = known
    alike = max(later) <= ALIKE * min(later)
    return alike and first > factor * max(later) and first - max(later) > least


def _processor_seconds(record: Record) -> float | None:
    """Of the median steady epoch; ``None`` where the system did not tell."""
    spent = record.epochs.processor_seconds
    steady = spent[warm_up(len(spent)) :]
    return statistics.median(steady) if steady and all(steady) else None


def _seconds(record: Record) -> float | None:
    seconds = record.epochs.seconds
    return faster_half_mean(seconds[warm_up(len(seconds)) :])


def _rate(record: Record) -> float | None:
    seconds = _seconds(record)
    return 1 / seconds if seconds else None


def _prepared(record: Record) -> float | None:
    phases = record.phases
    if phases.build is None or phases.prepare is None:
        return None
    return phases.build + phases.prepare
