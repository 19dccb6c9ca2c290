"""Whether a comparison lets A through: the answer that continuous integration asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from lstmbench.analysis.pairs import Pair, Pairing
from lstmbench.analysis.tables import Row
from lstmbench.records.record import Status


class Outcome(StrEnum):
    """What a gate says, from the best to the worst."""

    PASSED = "passed"
    UNDECIDED = "undecided"
    WORSE = "worse"


@dataclass(frozen=True)
class Gate:
    """Limits on A's tokens/s relative to B's.

    ``fail_below``: A is worse if it is significantly slower and the ratio is below this.
    ``fail_if_slower``: A is worse if it is significantly slower by more than this share, which is
    if the whole interval of the ratio is below ``1 - fail_if_slower``.
    """

    fail_below: float | None = None
    fail_if_slower: float | None = None

    @property
    def asked(self) -> bool:
        """Whether there is a limit at all."""
        return self.fail_below is not None or self.fail_if_slower is not None

    def judge(self, pair: Pair) -> Outcome | None:
        """One pair; ``None`` where B was unavailable, and A has nothing to keep up with."""
        if _failed(pair.a) or pair.a.disqualified:
            return Outcome.WORSE
        if all(record.status == Status.UNAVAILABLE for record in pair.b.records):
            return None
        if pair.speed is None:
            return Outcome.UNDECIDED
        ratio = pair.speed.ratio
        if ratio.low is None or ratio.high is None:
            return Outcome.UNDECIDED
        found = [Outcome.PASSED]
        if self.fail_below is not None and ratio.value < self.fail_below:
            found.append(below(ratio.low, ratio.high, 1))
        if self.fail_if_slower is not None:
            found.append(below(ratio.low, ratio.high, 1 - self.fail_if_slower))
        return worst(found)

    def outcome(self, pairing: Pairing) -> Outcome:
        """All pairs together: the worst; undecided, too, for a row that only B has."""
        found = [outcome for pair in pairing.pairs if (outcome := self.judge(pair))]
        lost = not pairing.by and any(side == "B" and _measured(row) for side, row in pairing.alone)
        return worst([*found, *([Outcome.UNDECIDED] if lost or not found else [])])


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The last one in the order of :class:`Outcome`."""
    return max(outcomes, key=list(Outcome).index)


def below(low: float, high: float, limit: float) -> Outcome:
    """Whether an interval is below a limit, above it, or neither."""
    if high < limit:
        return Outcome.WORSE
    return Outcome.PASSED if low >= limit else Outcome.UNDECIDED


def _failed(row: Row) -> bool:
    return any(record.status == Status.FAILED for record in row.records)


def _measured(row: Row) -> bool:
    return any(record.status == Status.OK for record in row.records)
