"""Runs that each do a part of one plan: which groups of it are there, which are there twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import combinations

from lstmbench.records.record import Record, Shard

#: Digits of a plan's digest, and groups, that a line names.
SHOWN_DIGITS, SHOWN_GROUPS = 8, 10


class Shards:
    """The parts that records are of."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._plans: dict[str, dict[str, Shard]] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        if shard := record.source.shard:
            self._plans.setdefault(shard.plan, {})[record.source.run] = shard

    def overlaps(self) -> Iterator[str]:
        """What two runs have both done, a sentence each."""
        for plan, shards in self._plans.items():
            for (one, a), (other, b) in combinations(sorted(shards.items()), 2):
                if both := sorted({*a.groups} & {*b.groups}):
                    yield f"runs {one} and {other} both did {_named(both)} of {_short(plan)}"

    @property
    def plans(self) -> set[str]:
        """The digests of the plans."""
        return set(self._plans)

    def missing(self, plans: Collection[str] | None = None) -> Iterator[str]:
        """What no run has done, a sentence for each plan, or each of some."""
        for plan, shards in self._plans.items():
            if plans is not None and plan not in plans:
                continue
            there = {group for shard in shards.values() for group in shard.groups}
            asked = range(1, max(shard.of for shard in shards.values()) + 1)
            if left := [group for group in asked if group not in there]:
                yield f"{_named(left)} of {_short(plan)} left no record here"


def _short(plan: str) -> str:
    return f"plan {plan[:SHOWN_DIGITS]}"


def _named(groups: list[int]) -> str:
    shown = ", ".join(map(str, groups[:SHOWN_GROUPS]))
    more = f" and {len(groups) - SHOWN_GROUPS} more" if len(groups) > SHOWN_GROUPS else ""
    return f"group{'s' * (len(groups) > 1)} {shown}{more}"
