"""``lstmbench noise``: which differences can this machine show?"""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lstmbench.commands.options import corpus_options, override_options, store_option
from lstmbench.plugin.hookspecs import hookimpl
from lstmbench.runner.text_options import TextOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lstmbench.analysis.noise import Repeatability
    from lstmbench.records.record import Record


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
    help="How long to measure, at least four sets of processes.",
)
@override_options
@click.option("--repeats", type=click.IntRange(2, 1000), help="Say what so many repeats can show.")
@corpus_options
@click.option(
    "--from",
    "earlier",
    type=click.Path(path_type=Path),
    help="Measure nothing; read this run of an earlier 'noise'.",
)
@store_option
def noise(
    backend: str | None,
    device: str,
    threads: int | None,
    minutes: float,
    repeats: int | None,
    earlier: Path | None,
    store: Path,
    **more: Any,
) -> None:
    if earlier is not None:
        _show_earlier(earlier, repeats)
    from lstmbench.machine import load
    from lstmbench.messages import storable
    from lstmbench.runner import aa_test, advice, selection
    from lstmbench.runner.run import conduct

    seconds = 60 * selection.positive_seconds(minutes, "--minutes")
    text = TextOptions(**{option.name: more.pop(option.name) for option in fields(TextOptions)})
    work = aa_test.check(
        backend=backend,
        device=device,
        threads=threads,
        overrides=more,
        text=text,
        command=["lstmbench", *sys.argv[1:]],
    )
    before = load.LoadSampler()
    before.start()
    busy = before.busy(1.0)
    warning = advice.warning(busy)
    work = replace(work, warnings=[*work.warnings, *([warning] if warning else [])])
    during = load.CpuTimeDelta()
    done = conduct(work, store, sampler=aa_test.UntilTime(seconds), measure_peak=False)
    system_load = during.so_far()
    shown = show(done.records, repeats)
    count = work.plan.trials[0].threads
    lines = advice.advice(count, busy, system_load, load.governors(), load.on_battery())
    click.echo("\nWhat would make it steadier:" if lines else "\nNothing in the way was found.")
    for line in lines:
        click.echo(f"- {line}")
    click.echo(f"\nRecords: {storable(str(done.run.folder))}")
    sys.exit(130 if not done.finished else 0 if shown else 1)


def _show_earlier(path: Path, repeats: int | None) -> None:
    """Show what an earlier run says, and exit."""
    from lstmbench.messages import tell
    from lstmbench.records.store import load
    from lstmbench.runner.journal import recover

    tell(recover([path]))
    loaded = load([path])
    tell(loaded.damaged)
    sys.exit(0 if show(loaded.records, repeats) and not loaded.damaged else 1)


def show(records: Sequence[Record], repeats: int | None) -> bool:
    """Print what the pairs say; False if there are too few."""
    from lstmbench.analysis.noise import check_one_trial, repeatability
    from lstmbench.report.grid import grid

    check_one_trial(records)
    ways = [
        found for interleaved in (True, False) if (found := repeatability(records, interleaved))
    ]
    if not ways:
        click.echo("Fewer than two valid pairs: nothing follows. Measure longer, or see the logs.")
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
