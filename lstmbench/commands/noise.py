"""``lstmbench noise``: what can this machine tell apart?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lstmbench.commands.run import override_options
from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lstmbench.analysis.noise import Repeatability
    from lstmbench.records.record import Record

#: Whose noise is looked at if nobody is named: the first that is installed.
PREFERRED = ("torch", "jax", "tf-scratch", "keras", "numpy")
#: More pairs than any patience.
MAX_PAIRS = 250


@click.command(
    help="Run one trial against itself and print the smallest difference that shows here."
)
@click.option("--backend", metavar="NAME[:MODE]", help="[default: torch, if it is installed]")
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--threads", type=int, help="[default: the physical cores, within a container's limit]"
)
@click.option(
    "--minutes",
    type=float,
    default=5.0,
    show_default=True,
    help="How long to measure, four sets of processes at the least.",
)
@override_options
@click.option("--repeats", type=click.IntRange(2, 1000), help="Say what so many repeats can show.")
@click.option("--corpus", help="A text by name [default: time-machine, else bundled].")
@click.option("--corpus-file", type=click.Path(path_type=Path), help="Where the corpus's file is.")
@click.option(
    "--from",
    "earlier",
    type=click.Path(path_type=Path),
    help="Measure nothing; read this run of an earlier 'noise'.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("lstmbench-runs"),
    show_default=True,
    help="The folder in which the run gets a folder.",
)
def noise(
    backend: str | None,
    device: str,
    threads: int | None,
    minutes: float,
    repeats: int | None,
    corpus: str | None,
    corpus_file: Path | None,
    earlier: Path | None,
    store: Path,
    **overrides: list[float] | None,
) -> None:
    if earlier is not None:
        from lstmbench.commands.report import load_and_tell

        loaded = load_and_tell([earlier])
        sys.exit(0 if tell(loaded.records, repeats) and not loaded.damaged else 1)
    from lstmbench.errors import UserError
    from lstmbench.machine import load
    from lstmbench.plugin import manager
    from lstmbench.protocol import SPEED
    from lstmbench.runner import advice
    from lstmbench.runner import selection as select
    from lstmbench.runner.aa_test import UntilTime, plan_pairs
    from lstmbench.runner.conductor import Limits
    from lstmbench.runner.plan import Selection, make_plan
    from lstmbench.runner.run import Work, carry_out

    seconds = 60 * select.positive_seconds(minutes, "--minutes")
    host = manager.load()
    name = backend or next((n for n in PREFERRED if n in host.backends()), "torch")
    ((spec, mode), *more) = select.choose_backends(host, name)
    if more:
        raise UserError(f"--backend {name}: name one")
    (device, *_), (count, *_) = (
        select.choose_devices(device),
        select.choose_threads(None if threads is None else [threads]),
    )
    protocols = select.choose_protocols(host, SPEED.name, overrides)
    if len(protocols) > 1:
        raise UserError("noise is that of one trial: give each size once")
    text = select.choose_corpus(host, corpus, corpus_file)
    chosen = Selection(
        backends=[(spec, mode)],
        devices=[device],
        modes=["default"],
        dtype="float32",
        protocols=protocols,
        init="shared",
        corpus=text.name,
        corpus_digest=text.digest,
        seed=0,
        threads=[count],
        environment={},
    )
    select.check_fits(protocols[0][0], text)
    plan = make_plan(chosen)
    for _, reason in plan.unavailable:
        raise UserError(reason)
    busy, watch = load.LoadSampler().busy(1.0), load.CpuTimeDelta()
    pairs, warning = plan_pairs(plan.trials[0], MAX_PAIRS), advice.warning(busy)
    work = Work(
        pairs, host.backends(), text, Limits(), {}, select.words(host), [warning] if warning else []
    )
    done = carry_out(work, store, UntilTime(seconds), products=False)
    around = watch.so_far()
    told = tell(done.records, repeats)
    lines = advice.advice(count, busy, around, load.governors(), load.on_battery())
    click.echo("\nWhat would make it steadier:" if lines else "\nNothing in the way was found.")
    for line in lines:
        click.echo(f"- {line}")
    click.echo(f"\nRecords: {done.run.folder}")
    sys.exit(130 if not done.finished else 0 if told else 1)


def tell(records: Sequence[Record], repeats: int | None) -> bool:
    """Print what the pairs say; False if there are too few."""
    from lstmbench.analysis.noise import check_one_trial, repeatability
    from lstmbench.report.grid import grid

    check_one_trial(records)
    ways = [found for turns in (True, False) if (found := repeatability(records, turns))]
    if not ways:
        click.echo("Fewer than two sound pairs: nothing follows. Measure longer, or see the logs.")
        return False
    rows = [summary(way) for way in ways]
    header = ("pairs", "number", "deviation of the ratio", "A / A (95 % interval)", "so there is")
    click.echo(grid(header, rows))
    click.echo(
        "\nThe smallest difference that is found in four cases of five (and minutes for two trials "
        "without measuring the machine's peak):\n"
    )
    click.echo(grid(("repeats", *(f"{way.way}" for way in ways)), outlook(ways, repeats)))
    return True


def summary(way: Repeatability) -> tuple[str, ...]:
    from lstmbench.report.numbers import ratio_text

    low, high = way.ratio.low or 0.0, way.ratio.high or 0.0
    verdict = (
        "no difference, as it should be"
        if low <= 1 <= high
        else "a difference: one A/A test in twenty finds one"
    )
    return (
        way.way,
        str(way.ratio.processes),
        "{:.1%} ({:.1%} to {:.1%})".format(way.deviation, *way.bounds),
        ratio_text(way.ratio),
        verdict,
    )


def outlook(ways: Sequence[Repeatability], repeats: int | None) -> list[tuple[str, ...]]:
    """What so many repeats of two trials would show, and how long they take."""
    from lstmbench.analysis.noise import REPEATS

    numbers = sorted({*REPEATS, *([repeats] if repeats else [])})
    return [
        (
            str(number),
            *(f"{_size(way.detectable(number))} ({number * way.seconds / 60:.1f})" for way in ways),
        )
        for number in numbers
    ]


def _size(ratio: float) -> str:
    return f"{ratio - 1:.1%}" if ratio < 2 else "more than double"


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [noise]
