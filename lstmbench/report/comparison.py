"""A comparison of rows for readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from lstmbench.analysis import conditions, flags
from lstmbench.analysis.compare import COMPARED
from lstmbench.analysis.gate import Gate, Outcome
from lstmbench.analysis.metrics import TOKENS_PER_SECOND, Metric
from lstmbench.analysis.pairs import Pairing
from lstmbench.analysis.tables import Row
from lstmbench.backend import LSTM_MODEL
from lstmbench.protocol import OVERRIDES, later_defaults
from lstmbench.records.record import Status
from lstmbench.report.layout import Section, TextTable
from lstmbench.report.numbers import interval_digits, ratio_text, significant

#: Conditions that are told where all records share them.
COMMON = (
    *("run", "date", "commit", "machine", "model", "device", "corpus", "protocol", *OVERRIDES),
    *("init", "dtype", "threads", "environment", "seed"),
)
#: Conditions in which sides differ that are listed: a stranger's records may have any number.
MAX_LISTED = 40
COLUMNS = (
    ("figure", "figure"),
    ("row", "row"),
    ("a", "A"),
    ("b", "B"),
    ("ratio", "A / B (95 % interval)"),
    ("verdict", "A is"),
    ("measured", "measured"),
    ("observations", "observations"),
)
#: Of the first table; all others stand in the second.
FIRST = COMPARED[:2]


def section(title: str, places: Mapping[str, str], pairing: Pairing, gate: Gate) -> Section:
    """What the sides are, what they differ in, every ratio, and what must be known to read them.

    ``places`` says of each side where its records are from.
    """
    tables = (
        TextTable.from_rows("comparison", COLUMNS, list(_lines(pairing, FIRST))),
        TextTable.from_rows("comparison_more", COLUMNS, list(_lines(pairing, COMPARED[2:]))),
    )
    return Section(
        title,
        (
            *_sides(places, pairing),
            *(f"Not the same {n}: {a} against {b}." for n, (a, b) in pairing.differences.items()),
            *_tally(pairing),
            *(table for table in tables if table.rows),
            *dict.fromkeys(_doubts(pairing)),
            *dict.fromkeys(_missing(pairing)),
            *_alone(pairing),
            *_gate(pairing, gate),
        ),
    )


def _sides(places: Mapping[str, str], pairing: Pairing) -> Iterator[TextTable | str]:
    """A table of what the sides differ in, and a line of what they share."""
    known = {side: conditions.of(records) for side, records in pairing.sides.items()}
    differing = pairing.differing
    rows = [("from", *(places[side] for side in known))] if len({*places.values()}) > 1 else []
    for name in differing[:MAX_LISTED]:
        values = [own.get(name, set()) for own in known.values()]
        every = {value for own in values for value in own}
        rows.append((name, *(_words(name, own, every) for own in values)))
    if rows:
        columns = [("what", ""), *((side, side) for side in known)]
        yield TextTable.from_rows("sides", columns, rows)
    if len(differing) > MAX_LISTED:
        yield f"They differ in {len(differing) - MAX_LISTED} more conditions."
    first = next(iter(known.values()))
    hidden = {*differing, *pairing.free, *(["model"] if first["model"] == {LSTM_MODEL} else [])}
    usual = {name: {str(default)} for name, default in later_defaults().items()}
    shared = [
        f"{name} {_words(name, first[name])}"
        for name in COMMON
        if name in first
        and name not in hidden
        and any(first[name])
        and first[name] != usual.get(name)
    ]
    yield f"In common: {', '.join(shared)}."


def _words(name: str, values: Collection[str], everything: Collection[str] = ()) -> str:
    if name == "date" and len(values) > 1:
        return f"{conditions.clipped(min(values))} to {conditions.clipped(max(values))}"
    return conditions.in_words(values, everything)


def _tally(pairing: Pairing) -> Iterator[str]:
    """How often A is what, where there are several pairs."""
    if len(pairing.pairs) == 1:
        return
    found = Counter(pair.speed.verdict if pair.speed else "" for pair in pairing.pairs)
    counts = ", ".join(f"{word} in {found[word]}" for word in ("worse", "better", "undecided"))
    lost = f", not measured in {found['']}" if found[""] else ""
    yield f"{TOKENS_PER_SECOND.label} in {len(pairing.pairs)} pairs of rows: A is {counts}{lost}."


def _lines(pairing: Pairing, metrics: Sequence[Metric]) -> Iterator[tuple[str, ...]]:
    """Figure by figure a line for each pair; of speed for those, too, that have none."""
    for metric in metrics:
        for pair in pairing.pairs:
            found = next((c for c in pair.comparisons if c.metric is metric), None)
            name = pairing.name(pair.a, pair.b)
            if found is not None:
                yield (
                    *(_label(metric), name, _value(metric, pair.a), _value(metric, pair.b)),
                    *(ratio_text(found.ratio), found.verdict, found.measured),
                    str(found.ratio.processes),
                )
            elif metric is TOKENS_PER_SECOND:
                cells = (pair.a.status, pair.b.status, "", "not measured", "", "")
                yield (_label(metric), name, *cells)


def _label(metric: Metric) -> str:
    """With the unit in which tables show it."""
    shown = metric.shown
    return shown.heading if shown and shown.factor != 1 else metric.label


def _value(metric: Metric, row: Row) -> str:
    figure, shown = row.figure(metric), metric.shown
    if figure is None:
        return ""
    digits = shown.digits if shown else 3
    factor = shown.factor if shown else 1.0
    return significant(figure.value * factor, digits or interval_digits(figure))


def _rows(pairing: Pairing) -> Iterator[tuple[str, Row]]:
    """Each row of a pair, with what it is called in a line."""
    single = len(pairing.pairs) == 1
    for pair in pairing.pairs:
        for side, row in zip("AB", (pair.a, pair.b), strict=True):
            name = pairing.name(row)
            yield (name if pairing.by else side if single else f"{side}, {name}"), row


def _doubts(pairing: Pairing) -> Iterator[str]:
    """What is not well with a row, beneath a table that shows ok processes only."""
    for name, row in _rows(pairing):
        records = row.records
        bad = Counter(
            f"{r.status.value}{f' ({r.reason})' if r.reason else ''}"
            for r in records
            if r.status != Status.OK
        )
        raised = Counter(flag for record in records for flag in flags.effective(record))
        for what, count in [*sorted(bad.items()), *sorted(raised.items())]:
            yield f"{name}: {count} of {len(records)} processes {what}."
        for reason in row.suspicions:
            yield f"{name}: {reason}. That cannot be true, so it is not compared."


def _missing(pairing: Pairing) -> Iterator[str]:
    """Why there are ratios without an interval, and what would give one."""
    for pair in pairing.pairs:
        without = [c for c in pair.comparisons if c.ratio.low is None]
        runs = [{record.source.run for record in row.records} for row in (pair.a, pair.b)]
        if any(c.metric.by_seed for c in without):
            yield (
                "One seed gives no interval of perplexity or of the time to one: run with several, "
                "such as --seed 0,1,2."
            )
        if runs[0] != runs[1] and any(c.metric.drifts for c in without):
            yield (
                "A and B were measured in different runs, between which the machine drifts: "
                "measure both in one run, or each in several."
            )
        elif any(c.ratio.processes == 1 and not c.metric.by_seed for c in without):
            yield "One process gives no interval: run with --repeats."


def _alone(pairing: Pairing) -> Iterator[str]:
    """Rows that have no other."""
    names: dict[str, list[str]] = {}
    for side, row in pairing.alone:
        of = "" if row.status == "ok" else f" ({row.status})"
        names.setdefault("" if pairing.by else side, []).append(f"{pairing.name(row)}{of}")
    for side, rows in names.items():
        yield f"{f'Only in {side}' if side else 'Nothing to compare with'}: {'; '.join(rows)}."


def _gate(pairing: Pairing, gate: Gate) -> Iterator[str]:
    """What the gate says, and of which rows."""
    if not gate.asked:
        return
    outcome = gate.outcome(pairing)
    rows = [pairing.name(p.a, p.b) for p in pairing.pairs if gate.judge(p) is outcome]
    of = f" ({'; '.join(rows)})" if rows and outcome is not Outcome.PASSED else ""
    yield f"Gate: {outcome.value}{of}."
