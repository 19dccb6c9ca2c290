"""Two rows that are compared, and all such pairs of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lstmbench.analysis import conditions
from lstmbench.analysis.compare import Comparison, compare
from lstmbench.analysis.metrics import TOKENS_PER_SECOND
from lstmbench.analysis.tables import Row
from lstmbench.records.record import Record


@dataclass(frozen=True)
class Pair:
    """Two rows, each with all of its seeds and runs; ``a`` is judged by ``b``."""

    a: Row
    b: Row

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every figure that both have. A row that a flag disqualifies is no measured side."""
        if self.a.disqualified or self.b.disqualified:
            return []
        return compare(self.a.records, self.b.records)

    @property
    def speed(self) -> Comparison | None:
        """Tokens/s, where both have them."""
        return next((c for c in self.comparisons if c.metric is TOKENS_PER_SECOND), None)

    @cached_property
    def differences(self) -> dict[str, tuple[str, str]]:
        """As :func:`lstmbench.analysis.conditions.differences`."""
        return conditions.differences(self.a.records, self.b.records)


@dataclass(frozen=True)
class Pairing:
    """Rows in pairs, and the rows that are ``alone``, each with the side that it is of.

    ``sides`` are the records of the pairs by the name of their side: A and B, or the values that a
    run's rows are compared ``by``. ``base`` is the side by which others are judged, where all pairs
    have the same one. ``free`` are the conditions that are compared; ``differences`` are others, of
    any pair, that make its ratio say nothing of backends.
    """

    pairs: Sequence[Pair]
    alone: Sequence[tuple[str, Row]]
    sides: Mapping[str, Sequence[Record]]
    base: str | None
    differences: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    free: frozenset[str] = frozenset()
    by: str | None = None

    @cached_property
    def differing(self) -> list[str]:
        """Conditions that are not the same on all sides, those of the origin first.

        In one run only those of the origin: not every side has every row.
        """
        known = [conditions.of(records) for records in self.sides.values()]
        own = conditions.settings(self.pairs[0].a.first)
        names = dict.fromkeys(name for side in known for name in side)
        return [
            name
            for name in sorted(names, key=lambda name: name in own)
            if name not in self.free
            and not (self.by and name in own)
            and any(side.get(name) != known[0].get(name) for side in known)
        ]

    @cached_property
    def _naming(self) -> list[str]:
        """Settings in which a pair differs, and as few others as distinguish all rows."""
        pairs = [[conditions.settings(r.first) for r in (pair.a, pair.b)] for pair in self.pairs]
        alone = [conditions.settings(row.first) for _, row in self.alone]
        rows = [*(own for pair in pairs for own in pair), *alone]
        names = [name for name in conditions.IN_NAMES if name in rows[0]]
        found = [name for name in names if any(a[name] != b[name] for a, b in pairs)]

        def kinds(by: Sequence[str]) -> int:
            return len({tuple(own[name] for name in (*conditions.LABEL, *by)) for own in rows})

        for name in names:
            if name not in found and kinds([*found, name]) > kinds(found):
                found.append(name)
        return sorted(found, key=names.index)

    def name(self, *rows: Row) -> str:
        """One row, or two, by what tells it from all others; ``A / B`` where those two differ.

        Such as ``torch:eager, hidden_size 128`` or ``jax:jit / torch:eager``.
        """
        known = [conditions.settings(row.first) for row in rows]
        words = [_both(row.label for row in rows)]
        words += [f"{name} {_both(own[name] for own in known)}" for name in self._naming]
        return ", ".join(words)


def _both(values: Iterable[str]) -> str:
    """Equal values once."""
    known = list(dict.fromkeys(values))
    return " / ".join(conditions.in_words([value], known) for value in known)
