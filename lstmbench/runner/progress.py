"""What the user sees while trials run: bars on a terminal, plain lines elsewhere, on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lstmbench.messages import one_line, tell
from lstmbench.records.record import Record
from lstmbench.records.trial import Trial, differences
from lstmbench.runner.context import Observer
from lstmbench.runner.plan import Plan

#: Seconds between two redraws: drawing takes processor time from what is measured.
REDRAW = 0.25


def ending(record: Record) -> str:
    """One line on how a trial ended."""
    reason = f" ({record.reason})" if record.reason else ""
    message = f": {record.message}" if record.message else ""
    return one_line(f"{record.status.value}{reason}{message}")


class Names:
    """What trials of a plan are called; members of a sweep by the sizes that it runs over."""

    def __init__(self, plan: Plan | None = None) -> None:
        trials = [*plan.trials, *(trial for trial, _ in plan.unavailable)] if plan else []
        own = zip(trials, differences(trials), strict=True)
        self._own = {trial.name: f", {words}" if words else "" for trial, words in own}

    def __call__(self, trial: Trial) -> str:
        repeat = f" #{trial.repeat + 1}" if trial.repeat else ""
        return f"{trial.label} {trial.device}{self._own.get(trial.name, '')}{repeat}"


class Bars:
    """A progress bar per row, redrawn between epochs, at most four times a second.

    The repeats of a row use its bar one after the other.
    """

    def __init__(self, plan: Plan, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>4.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
            auto_refresh=False,
        )
        self._drawn = 0.0
        self._name = Names(plan)
        self._bars: dict[str, TaskID] = {}
        rows: dict[str, TaskID] = {}
        for trial in plan.trials:
            key = trial.row_key()
            if key not in rows:
                rows[key] = self.progress.add_task(
                    self._name(trial), total=trial.protocol.epochs, state="waiting"
                )
            self._bars[trial.name] = rows[key]

    def _show(self, trial: Trial, state: str, done: int | None = None, now: bool = False) -> None:
        if trial.name in self._bars:
            bar = self._bars[trial.name]
            self.progress.update(bar, completed=done, state=state, description=self._name(trial))
        if now or time.monotonic() - self._drawn >= REDRAW:
            self.progress.refresh()
            self._drawn = time.monotonic()

    def phase(self, trial: Trial, name: str) -> None:
        self._show(trial, name, now=True)

    def epoch(self, trial: Trial, done: int, perplexity: float | None, rate: float) -> None:
        quality = "" if perplexity is None else f"perplexity {perplexity:8.3f}  "
        self._show(trial, f"{quality}{rate:9,.0f} tokens/s", done)

    def recorded(self, record: Record) -> None:
        self._show(record.trial, ending(record), now=True)


class Lines:
    """One line per phase, for the first epoch, and per tenth of the epochs."""

    def __init__(self, plan: Plan | None = None) -> None:
        self._tenths: dict[str, int] = {}
        self._name = Names(plan)

    def phase(self, trial: Trial, name: str) -> None:
        self._print(trial, name)

    def epoch(self, trial: Trial, done: int, perplexity: float | None, rate: float) -> None:
        total = trial.protocol.epochs
        tenth = done * 10 // total
        if done == 1 or tenth > self._tenths.get(trial.name, 0):
            self._tenths[trial.name] = tenth
            quality = "" if perplexity is None else f"perplexity {perplexity:.3f}, "
            unit = "round" if trial.protocol.is_layer else "epoch"
            self._print(trial, f"{unit} {done}/{total}, {quality}{rate:,.0f} tokens/s")

    def recorded(self, record: Record) -> None:
        self._print(record.trial, ending(record))

    def _print(self, trial: Trial, what: str) -> None:
        tell([f"{self._name(trial)}: {what}"], prefix="")


class Quiet:
    """Shows nothing."""

    def phase(self, trial: Trial, name: str) -> None:
        pass

    def epoch(self, trial: Trial, done: int, perplexity: float | None, rate: float) -> None:
        pass

    def recorded(self, record: Record) -> None:
        pass


@contextmanager
def observe(plan: Plan, shown: bool = True) -> Iterator[Observer]:
    """The observer that fits where standard error goes; one that is quiet unless ``shown``."""
    if not shown:
        yield Quiet()
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(plan)
        return
    bars = Bars(plan, console)
    with suppress(OSError):
        bars.progress.start()
    try:
        yield bars
    finally:
        with suppress(OSError):  # the terminal may be gone
            bars.progress.stop()
