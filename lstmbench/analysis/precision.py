"""How precisely the ratios of a table are known, and how many processes that takes.

Sampling stops by it, and notes beneath tables report it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

from lstmbench.analysis.intervals import Interval
from lstmbench.analysis.tables import Row, Table
from lstmbench.records.record import Record, Status

#: Processes of a row before sampling looks for the first time whether they are enough.
MIN_PROCESSES = 5
#: Failures of a row after which sampling goes on without it.
MAX_FAILURES = 2


def given_up(records: Sequence[Record]) -> bool:
    """Whether a row with these records has failed too often to be sampled on."""
    return sum(record.status != Status.OK for record in records) >= MAX_FAILURES


def widest(table: Table) -> float | None:
    """Half the width of the widest interval of a ratio between rows of one device.

    A row alone on its device stands for itself; one that was given up does not count. Infinite as
    long as one ratio has no interval; ``None`` without a row that has a speed.
    """
    devices: dict[str, list[Row]] = {}
    for row in table.rows:
        if row.speed is not None and not given_up(row.records):
            devices.setdefault(row.first.trial.device, []).append(row)
    known: list[Interval | None] = []
    for rows in devices.values():
        if len(rows) == 1:
            known.append(rows[0].speed)
        known += [row.ratio(other) for row, other in combinations(rows, 2)]
    widths = [i.half_width if i else None for i in known]
    return max((math.inf if w is None else w for w in widths), default=None)


def widest_of(tables: Iterable[Table]) -> float | None:
    """The widest of all tables."""
    return max((w for w in map(widest, tables) if w is not None), default=None)
