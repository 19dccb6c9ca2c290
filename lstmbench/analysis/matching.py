"""Which rows are compared with which: those that two sides have in common, or those of one run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from lstmbench.analysis import conditions
from lstmbench.analysis.conditions import BACKEND, LABEL, in_order
from lstmbench.analysis.pairs import Pair, Pairing
from lstmbench.analysis.tables import Row, fastest_first
from lstmbench.errors import UserError
from lstmbench.records.record import Record

#: The conditions that rows have in common.
Key = tuple[str, ...]
#: What a trial of the host's own environment is called among stacks.
NO_STACK = "no stack"
#: Names that are listed in an error.
MAX_NAMED = 8


class Unlike(UserError):
    """Sides that differ in what they should share, and are compared only if asked for."""


@dataclass(frozen=True)
class Axis:
    """What rows of one run are compared by.

    ``free`` are the conditions in which the rows of a pair may differ, ``value`` is the side of a
    record, and ``names`` are what a user may call it.
    """

    free: frozenset[str]
    value: Callable[[Record], str]
    names: Callable[[Record], Collection[str]]


#: By the value of ``--by``.
AXES = {
    "backend": Axis(
        BACKEND - {"stack"},
        lambda r: r.trial.program,
        lambda r: (r.trial.program, r.trial.backend),
    ),
    "mode": Axis(BACKEND - {"backend", "stack"}, lambda r: r.trial.mode, lambda r: (r.trial.mode,)),
    "stack": Axis(
        frozenset({"stack", "versions"}),
        lambda r: r.trial.stack or NO_STACK,
        lambda r: (r.trial.stack or NO_STACK,),
    ),
    "threads": Axis(
        frozenset({"threads"}), lambda r: str(r.trial.threads), lambda r: (str(r.trial.threads),)
    ),
}


def between(a: Sequence[Record], b: Sequence[Record], anyway: bool = False) -> Pairing:
    """Each row of A with the row of B that has the same settings.

    Where both sides are of one backend, mode and stack each, those may differ. ``anyway`` pairs the
    rows of a backend, mode and stack that are left, too, if there is one on each side, whatever
    else they differ in, but never two models. Raises :class:`UserError` for a record on both sides
    and where no two rows belong together, and :class:`Unlike` for differences (see
    :class:`Pairing`).
    """
    _check_distinct(a, b)
    labels = [{record.trial.label for record in side} for side in (a, b)]
    free = BACKEND if len(labels[0]) == len(labels[1]) == 1 else frozenset()
    ours, theirs = _rows(a, free), _rows(b, free)
    pairs = [Pair(ours.pop(key), theirs.pop(key)) for key in list(ours) if key in theirs]
    if anyway:
        mine, others = _only_ones(ours, free), _only_ones(theirs, free)
        pairs += [Pair(ours.pop(mine[n]), theirs.pop(others[n])) for n in mine if n in others]
    if not pairs:
        raise _nothing_in_common(a, b, labels, anyway)
    different = {name: both for pair in pairs for name, both in pair.differences.items()}
    if different and not anyway:
        raise _unlike(different)
    pairs.sort(key=_as_tables_are)
    return Pairing(
        pairs,
        [*(("A", row) for row in ours.values()), *(("B", row) for row in theirs.values())],
        {
            "A": [record for pair in pairs for record in pair.a.records],
            "B": [record for pair in pairs for record in pair.b.records],
        },
        "B",
        different,
        free if labels[0] != labels[1] else frozenset(),
    )


def within(records: Sequence[Record], by: str, relative_to: str | None = None) -> Pairing:
    """Rows that differ in one of :data:`AXES` only, each with the one that has a certain value.

    It is ``relative_to``, or else the first value: the least number, or the first in the alphabet.
    Raises :class:`UserError` where there is no such row, or none beside it.
    """
    axis = AXES[by]
    names = {axis.value(record): set(axis.names(record)) for record in records}
    if relative_to is not None and not any(relative_to in own for own in names.values()):
        raise UserError(f"--relative-to {relative_to}: no row is that; there are {_list(names)}")
    groups: dict[Key, dict[str, list[Record]]] = {}
    for record in records:
        group = groups.setdefault(_key(record, axis.free, ("machine", "commit", "versions")), {})
        group.setdefault(axis.value(record), []).append(record)
    pairs: list[Pair] = []
    alone: list[tuple[str, Row]] = []
    sides: dict[str, list[Record]] = {}
    for group in groups.values():
        values = sorted(group, key=in_order)
        bases = [v for v in values if relative_to is None or relative_to in names[v]]
        if relative_to is not None and len(bases) > 1:
            raise UserError(f"--relative-to {relative_to}: that may be {_list(bases)}")
        rows = {value: Row(tuple(group[value])) for value in values}
        if len(rows) == 1 or not bases:
            alone += rows.items()
            continue
        pairs += [Pair(row, rows[bases[0]]) for value, row in rows.items() if value != bases[0]]
        for value in (bases[0], *values):
            sides.setdefault(value, [])
        for value in values:
            sides[value] += group[value]
    if not pairs:
        raise UserError(f"no two rows differ in {by} only: there is {_list(names)}")
    pairs.sort(key=_as_tables_are)
    judges = {axis.value(pair.b.first) for pair in pairs}
    base = judges.pop() if len(judges) == 1 else None
    different = {n: both for p in pairs for n, both in p.differences.items() if n not in axis.free}
    return Pairing(pairs, alone, sides, base, different, axis.free, by)


def _key(record: Record, free: Collection[str], more: Collection[str] = ()) -> Key:
    """The record's settings that are not ``free``, and ``more`` conditions."""
    known = conditions.settings(record)
    if more:
        known |= conditions.origin(record)
        known["versions"] = repr(sorted(conditions.versions(record).items()))
    names = [*conditions.settings(record), *more]
    return tuple(known[name] for name in names if name not in free)


def _rows(records: Iterable[Record], free: Collection[str]) -> dict[Key, Row]:
    """Records by their settings, of every seed and repeat together."""
    found: dict[Key, list[Record]] = {}
    for record in records:
        found.setdefault(_key(record, free), []).append(record)
    return {key: Row(tuple(own)) for key, own in found.items()}


def _only_ones(rows: dict[Key, Row], free: Collection[str]) -> dict[Key, Key]:
    """The keys of rows by model, backend, mode and stack, of which there is no second row."""
    found: dict[Key, list[Key]] = {}
    for key, row in rows.items():
        known = conditions.settings(row.first)
        names = [name for name in ("model", *sorted(LABEL)) if name not in free]
        found.setdefault(tuple(known[name] for name in names), []).append(key)
    return {name: keys[0] for name, keys in found.items() if len(keys) == 1}


def _as_tables_are(pair: Pair) -> tuple[object, ...]:
    """The key to sort by: settings first, then speed as in tables."""
    known = conditions.settings(pair.a.first)
    own = [in_order(value) for name, value in known.items() if name not in LABEL]
    return (own, fastest_first(pair.a))


def _check_distinct(a: Sequence[Record], b: Sequence[Record]) -> None:
    ours = {(record.source.run, record.trial.name) for record in a}
    both = sorted(ours & {(record.source.run, record.trial.name) for record in b})
    if both:
        run, name = both[0]
        more = f", and {len(both) - 1} more" if len(both) > 1 else ""
        what = f"{conditions.clipped(name)} of run {conditions.clipped(run)}{more}"
        raise UserError(f"A and B both hold the record {what}: it would be compared with itself")


def _nothing_in_common(
    a: Sequence[Record], b: Sequence[Record], labels: Sequence[set[str]], anyway: bool
) -> UserError:
    ours, theirs = conditions.of(a), conditions.of(b)
    different = {
        name: both
        for name, both in conditions.differences(a, b).items()
        if ours[name] != theirs[name]
    }
    comparable = labels[0] & labels[1] or max(map(len, labels)) == 1
    if "model" in different or (different and comparable and not anyway):
        return _unlike(different)
    if comparable:
        return UserError(
            "A and B have no row in common, and several that --anyway could mean: --only "
            "FIELD=VALUE says which is meant"
        )
    return UserError(
        f"A and B have no row in common: A has {_list(labels[0])}, B has {_list(labels[1])}; name "
        "one of each as PATH@NAME"
    )


def _unlike(different: dict[str, tuple[str, str]]) -> UserError:
    if "model" in different:
        ours, theirs = different["model"]
        return UserError(
            f"A and B train different models, {ours} and {theirs}: no ratio compares them"
        )
    name, (ours, theirs) = next(iter(different.items()))
    return Unlike(
        f"A and B differ in {', '.join(different)} ({name}: {ours} against {theirs}): their ratio "
        "says nothing of the backends"
    )


def _list(names: Iterable[str]) -> str:
    known = [conditions.clipped(name) for name in sorted(names, key=in_order)]
    more = [f"{len(known) - MAX_NAMED} more"] if len(known) > MAX_NAMED else []
    return ", ".join([*known[:MAX_NAMED], *more])
