"""What stands in a table's columns, with as many digits as a noisy machine leaves meaningful."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lstmbench.analysis.compare import TARGETS
from lstmbench.analysis.tables import Row
from lstmbench.report.numbers import _digits, scaled, significant


@dataclass(frozen=True)
class Column:
    """A heading and what stands under it; shown only where some row has something to show."""

    heading: str
    cell: Callable[[Row], str]
    align: str = "right"


def rate(row: Row) -> str:
    """Tokens per second with the digits that its interval leaves."""
    return significant(row.speed.value, _digits(row.speed)) if row.speed else ""


def _interval(row: Row) -> str:
    speed = row.speed
    if speed is None or speed.low is None or speed.high is None:
        return ""
    digits = _digits(speed)
    return f"{significant(speed.low, digits)} to {significant(speed.high, digits)}"


def _quartiles(row: Row) -> str:
    if row.quartiles is None:
        return ""
    return " to ".join(significant(value, 3) for value in row.quartiles)


def _seconds_to(row: Row, target: float) -> str:
    """Without and, in brackets, with start-up."""
    training = row.seconds_to(target, start_up=False)
    if training is None:
        return ""
    return f"{significant(training, 3)} ({significant(row.seconds_to(target, True), 3)})"


#: The main table.
COLUMNS = (
    Column("backend", lambda row: row.first.trial.backend, "left"),
    Column("mode", lambda row: row.first.trial.mode, "left"),
    Column("device", lambda row: row.first.trial.device, "left"),
    Column("status", lambda row: row.status, "left"),
    Column("perplexity", lambda row: significant(row.perplexity, 5)),
    Column("last-10 median", lambda row: significant(row.last_median, 5)),
    Column("test", lambda row: significant(row.test, 5)),
    Column("floor", lambda row: significant(row.floor, 5)),
    Column("tokens/s", rate),
    Column("95 % interval", _interval),
    Column("% of peak", lambda row: scaled(row.peak_share, 100, 2)),
    Column("start-up s", lambda row: significant(row.startup, 2)),
    Column("training s", lambda row: significant(row.training, 3)),
    Column("parity", lambda row: "" if row.parity is None else f"{row.parity:.1e}"),
)
#: Below the main table: where the time and the memory went.
DETAILS = (
    Column("backend", lambda row: row.label, "left"),
    Column("device", lambda row: row.first.trial.device, "left"),
    Column("mean tokens/s", lambda row: significant(row.mean_speed, 3)),
    Column("quartiles", _quartiles),
    Column("GFLOP/s", lambda row: scaled(row.achieved, 1e-9, 3)),
    *(Column(f"s to perplexity {t:g}", partial(_seconds_to, target=t)) for t in TARGETS),
    Column("memory MiB", lambda row: scaled(row.memory, 2**-20, 3)),
    Column("device MiB", lambda row: scaled(row.device_memory, 2**-20, 3)),
    Column("J / M tokens", lambda row: significant(row.energy, 3)),
)
#: Shown even when empty.
ALWAYS = {"backend", "mode", "device", "status", "perplexity", "tokens/s", "J / M tokens"}
