"""What stands in a table's columns, with as many digits as a noisy machine leaves meaningful."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from lstmbench.analysis.intervals import Interval
from lstmbench.analysis.metrics import BY_KEY, METRICS, Metric, Place, Shown
from lstmbench.analysis.tables import Row
from lstmbench.report.numbers import interval_digits, scientific, significant


@dataclass(frozen=True)
class TextColumn:
    """A column with its texts; ``align`` is ``left`` or ``right``.

    It is left out where all texts are empty, unless ``always``; the site shows it on request if it
    is ``minor``. Code knows it by ``key``; ``heading`` is for readers only.
    """

    key: str
    heading: str
    texts: tuple[str, ...]
    align: str = "right"
    always: bool = False
    minor: bool = False


@dataclass(frozen=True)
class Column:
    """A column of which ``cell`` gives the text for a row; the rest as for :class:`TextColumn`."""

    key: str
    heading: str
    cell: Callable[[Row], str]
    align: str = "right"
    always: bool = False
    minor: bool = False

    def of(self, rows: Sequence[Row]) -> TextColumn:
        """The column for these rows."""
        texts = tuple(self.cell(row) for row in rows)
        return TextColumn(self.key, self.heading, texts, self.align, self.always, self.minor)


def figure_text(metric: Metric, row: Row) -> str:
    """A figure with its digits, and the one that stands beside it."""
    shown, figure = metric.shown, row.figure(metric)
    if shown is None or figure is None:
        return ""
    text = _number(shown, figure, figure.value)
    if not shown.beside:
        return text
    other = row.figure(BY_KEY[shown.beside])
    return shown.form.format(text, _number(shown, other, other.value)) if other else text


def _number(shown: Shown, figure: Interval, value: float) -> str:
    known = shown.digits is not None and not (shown.bounds and figure.half_width)
    digits = shown.digits if shown.digits and known else interval_digits(figure)
    write = scientific if shown.scientific else significant
    return write(value * shown.factor, digits)


def _bounds_text(metric: Metric, row: Row) -> str:
    shown, figure = metric.shown, row.figure(metric)
    if shown is None or figure is None or figure.low is None or figure.high is None:
        return ""
    return f"{_number(shown, figure, figure.low)} to {_number(shown, figure, figure.high)}"


def _figures(place: Place) -> list[Column]:
    """The columns of all figures that are shown at a place."""
    found = []
    for metric in METRICS:
        shown = metric.shown
        if shown is None or shown.place is not place:
            continue
        minor = shown.minor or place is Place.DETAILS
        cell = partial(figure_text, metric)
        found.append(Column(metric.key, shown.heading, cell, always=shown.always, minor=minor))
        if shown.bounds:
            cell = partial(_bounds_text, metric)
            found.append(Column(f"{metric.key}_bounds", shown.bounds, cell, minor=minor))
    return found


def _fact(key: str, cell: Callable[[Row], str], heading: str = "", align: str = "left") -> Column:
    return Column(key, heading or key, cell, align, always=True)


DEVICE = _fact("device", lambda row: row.first.trial.device)
#: Figures of the main table, and of the one below: where the time and the memory went.
FIGURES, DETAIL_FIGURES = _figures(Place.MAIN), _figures(Place.DETAILS)
#: The main table.
RESULTS = (
    _fact("backend", lambda row: row.first.trial.backend),
    _fact("mode", lambda row: row.first.trial.mode),
    Column("stack", "stack", lambda row: row.first.trial.stack, "left"),
    DEVICE,
    _fact("status", lambda row: row.status),
    *FIGURES,
)
DETAILS = (_fact("label", lambda row: row.label, "backend"), DEVICE, *DETAIL_FIGURES)
#: In what rows of several tables may differ.
TRIAL_FACTS = (
    _fact("init", lambda row: row.first.trial.init),
    _fact("dtype", lambda row: row.first.trial.dtype),
    _fact("seed", lambda row: ", ".join(map(str, row.seeds)), align="right"),
    _fact("threads", lambda row: str(row.first.trial.threads), align="right"),
    _fact("commit", lambda row: row.first.source.short_commit),
)
