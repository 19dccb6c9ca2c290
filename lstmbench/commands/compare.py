"""``lstmbench compare``: is A better than B, and how sure is that?"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lstmbench.commands.options import Share
from lstmbench.errors import UserError
from lstmbench.messages import tell
from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.analysis.gate import Gate
    from lstmbench.analysis.pairs import Pairing
    from lstmbench.records.record import Record

FORMATS = ("plain", "github", "json")
#: What ``--by`` may be: the keys of :data:`lstmbench.analysis.matching.AXES`, without importing it.
BY = ("backend", "mode", "stack", "threads")
#: Exit codes of a gate, besides 0: it holds A back; it cannot say.
WORSE, UNDECIDED = 4, 5


def read_side(text: str, conditions: dict[str, str], damaged: list[str]) -> list[Record]:
    """Records of ``PATH`` or ``PATH@BACKEND:MODE@STACK``: a record, a run, a store or a bundle."""
    from lstmbench.plugin.names import unknown
    from lstmbench.records.files import exists, is_file
    from lstmbench.records.filters import only
    from lstmbench.records.parse import read_record
    from lstmbench.records.store import load
    from lstmbench.runner.journal import recover

    parts = text.split("@")
    # a label may hold an @, and so may a path
    splits = (("@".join(parts[:n]), "@".join(parts[n:])) for n in range(len(parts), 0, -1))
    path, label = next((s for s in splits if exists(Path(s[0]))), (parts[0], ""))
    if Path(path).suffix == ".json" and is_file(Path(path)):
        records = [read_record(Path(path))]
    else:
        tell(recover([Path(path)]))
        loaded = load([Path(path)])
        tell(line for line in loaded.damaged if line not in damaged)
        damaged += (line for line in loaded.damaged if line not in damaged)
        records = loaded.records
    if label and records:
        names = {name for r in records for name in r.trial.names}
        records = [r for r in records if label in r.trial.names]
        if not records:
            raise UserError(f"{path}: {unknown('row', label, names)}")
    if not records:
        raise UserError(f"{text}: no record")
    records = only(records, conditions)
    if not records:
        raise UserError(f"{text}: no record meets every --only")
    return records


@click.command(
    help="Compare A with B: two records, runs, stores or bundles, PATH or PATH@BACKEND:MODE.\n\n"
    "Every row of A is compared with the row of B that has the same settings. If each side is of "
    "one backend and mode, these may differ. With --by, the rows of one PATH are compared with "
    "each other. Every ratio is A's value over B's, with its 95 % interval and a verdict for A: "
    "better, worse or undecided.\n\n"
    "--fail-below and --fail-if-slower make a gate of A's tokens/s. Exit codes: 4 if A is worse, 5 "
    "if that is undecided, 2 for a mistake, 1 for a damaged record or nothing to compare, else 0."
)
@click.argument("paths", metavar="A [B]", nargs=-1, required=True)
@click.option(
    "--by", type=click.Choice(BY), help="Compare within one run: rows that differ in this."
)
@click.option(
    "--relative-to",
    metavar="VALUE",
    help="With --by: what is B, such as torch:eager [default: the least, or first by letter].",
)
@click.option(
    "--only",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Of both, the trials with this protocol, init, seed, hidden_size, ...",
)
@click.option("--anyway", is_flag=True, help="Compare what differs in more than backend and mode.")
@click.option(
    "--fail-below",
    type=Share("97% or 0.97"),
    metavar="RATIO",
    help="A is worse if it is significantly slower and its ratio to B is below this.",
)
@click.option(
    "--fail-if-slower",
    type=Share("3% or 0.03"),
    metavar="SHARE",
    help="A is worse if it is significantly slower by more than this, such as 3%.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="plain", show_default=True)
def compare(
    paths: tuple[str, ...],
    by: str | None,
    relative_to: str | None,
    only: tuple[str, ...],
    anyway: bool,
    fail_below: float | None,
    fail_if_slower: float | None,
    form: str,
) -> None:
    from lstmbench.analysis.matching import Unlike, between, within
    from lstmbench.records import filters

    gate = _gate(fail_below, fail_if_slower)
    _check(paths, by, relative_to, anyway, gate)
    damaged: list[str] = []
    wanted = filters.parse(only)
    sides = [read_side(text, wanted, damaged) for text in paths]
    if by is None:
        try:
            pairing = between(sides[0], sides[1], anyway)
        except Unlike as error:
            raise UserError(f"{error}; --anyway compares them all the same") from error
        places = dict(zip("AB", paths, strict=True))
        title = f"A: {paths[0]}, B: {paths[1]}"
    else:
        pairing = within(sides[0], by, relative_to)
        places = dict.fromkeys(pairing.sides, paths[0])
        title = f"{paths[0]} by {by}" + (f", relative to {pairing.base}" if pairing.base else "")
    if form == "json":
        from lstmbench.report.comparison_json import to_json

        text = json.dumps(to_json(places, pairing, gate, damaged), indent=1, allow_nan=False)
        click.echo(text.replace("\x7f", "\\u007f"))  # the one control character that JSON allows
    else:
        from lstmbench.report.comparison import section
        from lstmbench.report.styles import STYLES

        click.echo(STYLES[form].write([section(title, places, pairing, gate)]))
    sys.exit(_code(gate, pairing, whole=not damaged))


def _gate(fail_below: float | None, fail_if_slower: float | None) -> Gate:
    """The limits, once they make sense."""
    from lstmbench.analysis.gate import Gate

    if fail_below is not None and not 0 < fail_below < math.inf:
        raise UserError(f"--fail-below {fail_below}: a positive ratio such as 97% or 0.97")
    if fail_if_slower is not None and not 0 <= fail_if_slower < 1:
        raise UserError(
            f"--fail-if-slower {fail_if_slower}: a share below 100%, such as 3% or 0.03"
        )
    return Gate(fail_below, fail_if_slower)


def _check(
    paths: tuple[str, ...], by: str | None, relative_to: str | None, anyway: bool, gate: Gate
) -> None:
    """Raise :class:`UserError` for what does not belong together."""
    if len(paths) != (2 if by is None else 1):
        raise UserError("compare A B takes two paths, compare A --by takes one")
    if by is None and relative_to is not None:
        raise UserError("--relative-to says what is B for --by: give both")
    if by is not None and anyway:
        raise UserError("--anyway is for two sides: the rows of --by differ in one thing only")
    if by is not None and gate.asked and relative_to is None:
        raise UserError(f"a gate with --by needs --relative-to: the {by} to keep up with")


def _code(gate: Gate, pairing: Pairing, whole: bool) -> int:
    """The exit code; ``whole`` says whether every record could be read."""
    from lstmbench.analysis.gate import Outcome

    outcome = gate.outcome(pairing) if gate.asked else Outcome.PASSED
    if outcome is Outcome.WORSE:
        return WORSE
    if not whole:
        return 1
    if outcome is Outcome.UNDECIDED:
        return UNDECIDED
    return 0 if any(pair.comparisons for pair in pairing.pairs) else 1


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [compare]
