"""``lstmbench compare``: is A better than B, and how sure is that?"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lstmbench.errors import UserError
from lstmbench.messages import tell
from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.analysis.compare import Comparison
    from lstmbench.records.record import Record

FORMATS = ("plain", "github")
COLUMNS = (
    ("figure", "figure"),
    ("ratio", "A / B (95 % interval)"),
    ("verdict", "A is"),
    ("measured", "measured"),
    ("observations", "observations"),
)


def read_side(text: str, conditions: dict[str, str], damaged: list[str]) -> list[Record]:
    """Records of ``PATH`` or ``PATH@BACKEND:MODE``: a record, a run, a store or a bundle."""
    from lstmbench.plugin import manager
    from lstmbench.records.files import exists, is_file
    from lstmbench.records.filters import only
    from lstmbench.records.parse import read_record
    from lstmbench.records.store import load
    from lstmbench.runner.journal import recover

    path, at, label = text.rpartition("@")
    if not at or exists(Path(text)):
        path, label = text, ""
    if Path(path).suffix == ".json" and is_file(Path(path)):
        records = [read_record(Path(path))]
    else:
        tell(recover([Path(path)]))
        loaded = load([Path(path)])
        tell(loaded.damaged)
        damaged += loaded.damaged
        records = loaded.records
    if label and records:
        names = {name for r in records for name in (r.trial.label, r.trial.backend)}
        records = [r for r in records if label in (r.trial.label, r.trial.backend)]
        if not records:
            raise UserError(f"{path}: {manager.unknown('backend', label, names)}")
    if not records:
        raise UserError(f"{text}: no record")
    records = only(records, conditions)
    if not records:
        raise UserError(f"{text}: no record meets every --only")
    # several seeds of one row are compared together
    if len({replace(r.trial, seed=0).row_key() for r in records}) > 1:
        raise UserError(f"{text} holds more than one row: {_which(records)}")
    return records


def _which(records: list[Record]) -> str:
    """What rows differ in, and how to say which is meant."""
    from lstmbench.analysis.compare import differences
    from lstmbench.protocol import identity

    labels = sorted({record.trial.label for record in records})
    if len(labels) > 1:
        return f"name one of {', '.join(labels)} as PATH@NAME"
    differing = sorted({n for r in records for n in differences(records[:1], [r])} - {"seed"})
    if "protocol" in differing and len({r.trial.protocol.name for r in records}) == 1:
        place = differing.index("protocol")
        protocols = [identity(record.trial.protocol) for record in records]
        every = {name for protocol in protocols for name in protocol}
        first = protocols[0]
        names = {n for n in every if any(p.get(n) != first.get(n) for p in protocols)}
        differing[place : place + 1] = sorted(names)
    return f"they differ in {', '.join(differing)}; --only FIELD=VALUE says which is meant"


@click.command(
    help="Compare A with B, each a record, a run or a store, PATH or PATH@BACKEND:MODE.\n\n"
    "Every ratio is A's value over B's, with its 95 % interval and a verdict for A: "
    "better, worse or undecided."
)
@click.argument("a")
@click.argument("b")
@click.option(
    "--only",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Of both, the trials with this protocol, init, seed, hidden_size, ...",
)
@click.option("--anyway", is_flag=True, help="Compare what differs in more than backend and mode.")
@click.option(
    "--fail-below",
    type=click.FloatRange(0, min_open=True),
    metavar="RATIO",
    help="Exit with 1 if A is worse in tokens/s and its ratio to B is below this.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="plain", show_default=True)
def compare(
    a: str, b: str, only: tuple[str, ...], anyway: bool, fail_below: float | None, form: str
) -> None:
    from lstmbench.analysis import compare as analysis
    from lstmbench.records import filters
    from lstmbench.report.layout import Section, TextTable
    from lstmbench.report.numbers import ratio_text
    from lstmbench.report.styles import STYLES

    if fail_below is not None and not math.isfinite(fail_below):
        raise UserError(f"--fail-below {fail_below}: a ratio such as 0.97")
    damaged: list[str] = []
    wanted = filters.parse(only)
    sides = tuple(read_side(text, wanted, damaged) for text in (a, b))
    first = [side[0].trial for side in sides]
    different = analysis.differences(*sides)
    if different and not anyway:
        name, (ours, theirs) = next(iter(different.items()))
        raise UserError(
            f"A and B differ in {', '.join(different)} ({name}: {ours} against {theirs}): "
            "their ratio says nothing of the backends; --anyway compares them all the same"
        )
    found = analysis.compare(*sides)
    if not found:
        raise UserError("A and B have no figure in common")
    rows = [
        (c.metric.label, ratio_text(c.ratio), c.verdict, _measured(c), str(c.ratio.processes))
        for c in found
    ]
    title = f"A: {first[0].label} on {first[0].device}, B: {first[1].label} on {first[1].device}"
    unlike = (f"Not the same {n}: {o} against {t}." for n, (o, t) in different.items())
    table = TextTable.from_rows("comparison", COLUMNS, rows)
    section = Section(title, (table, *unlike, *_conditions(*sides), *_missing(found, *sides)))
    click.echo(STYLES[form].write([section]))
    if fail_below is None:
        sys.exit(1 if damaged else 0)
    sys.exit(1 if _fails(found, sides, fail_below) or damaged else 0)


def _fails(found: list[Comparison], sides: tuple[list[Record], ...], least: float) -> bool:
    """Whether a gate holds A back: it failed somewhere, cannot be true, or is significantly slower.

    Raises :class:`UserError` if there is nothing to judge by.
    """
    from lstmbench.analysis import flags, repeats
    from lstmbench.analysis.metrics import TOKENS_PER_SECOND
    from lstmbench.records.record import Status

    if any(record.status == Status.FAILED or flags.suspect(record) for record in sides[0]):
        return True
    if repeats.reasons(sides[0]):
        return True
    speed = next((c for c in found if c.metric is TOKENS_PER_SECOND), None)
    if speed is None:
        raise UserError("--fail-below: A and B have no tokens/s in common")
    if speed.ratio.low is None:
        missing = " ".join(_missing([speed], *sides))
        raise UserError(f"--fail-below: no interval to judge by. {missing}")
    return speed.fails(least)


def _measured(comparison: Comparison) -> str:
    if comparison.metric.by_seed:
        return "seed by seed" if comparison.paired else "different seeds"
    return "interleaved" if comparison.paired else "not interleaved"


def _conditions(*sides: list[Record]) -> Iterator[str]:
    """What is not well with a side, beneath a table that shows ok processes only."""
    from lstmbench.analysis import flags, impossible, repeats
    from lstmbench.records.record import Status

    for letter, records in zip("AB", sides, strict=True):
        bad = Counter(
            f"{r.status.value}{f' ({r.reason})' if r.reason else ''}"
            for r in records
            if r.status != Status.OK
        )
        raised = Counter(flag for record in records for flag in flags.effective(record))
        for what, count in [*sorted(bad.items()), *sorted(raised.items())]:
            yield f"{letter}: {count} of {len(records)} processes {what}."
        own = [reason for record in records for reason in impossible.reasons(record)]
        for reason in dict.fromkeys([*own, *repeats.reasons(records)]):
            yield f"{letter}: {reason}. That cannot be true."


def _missing(found: list[Comparison], *sides: list[Record]) -> Iterator[str]:
    """Why there are ratios without an interval, and what would give one."""
    without = [c for c in found if c.ratio.low is None]
    runs = [{record.source.run for record in side} for side in sides]
    if any(c.metric.by_seed for c in without):
        yield (
            "One seed gives no interval of perplexity or of the time to one: run once more with "
            "another --seed."
        )
    if runs[0] != runs[1] and any(c.metric.drifts for c in without):
        yield (
            "A and B were measured in different runs, between which the machine drifts: measure "
            "both in one run, or each in several."
        )
    elif any(c.ratio.processes == 1 and not c.metric.by_seed for c in without):
        yield "One process gives no interval: run with --repeats."


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [compare]
