"""Settings as text in every format that tables are published in."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10
from typing import Any

from lstmbench.report.figures import PUBLISHED_ELSEWHERE, Row, Setting
from lstmbench.report.grid import grid
from lstmbench.statistics import Interval


@dataclass(frozen=True)
class Column:
    """A heading and what stands under it; shown only where some row has something to show."""

    heading: str
    cell: Callable[[Row], str]
    align: str = "right"


def significant(value: float | None, digits: int) -> str:
    """``value`` with so many significant digits, thousands separated; empty for ``None``."""
    if value is None:
        return ""
    if not isfinite(value):
        return "infinite"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    magnitude = floor(log10(abs(rounded)))
    return f"{rounded:,.{max(0, digits - 1 - magnitude)}f}"


def one_line(text: str) -> str:
    """``text`` on one line and without control characters, which terminals would obey."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _digits(speed: Interval) -> int:
    """Significant digits that the interval leaves meaningful; three without one."""
    if not speed.half_width:
        return 3
    return min(5, max(2, 1 - floor(log10(speed.half_width))))


def _rate(row: Row) -> str:
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


def ratio_text(ratio: Interval | None) -> str:
    """A ratio with its interval, such as ``1.31 (1.29 to 1.33)``."""
    if ratio is None:
        return ""
    digits = _digits(ratio)
    text = significant(ratio.value, digits)
    if ratio.low is None or ratio.high is None:
        return text
    return f"{text} ({significant(ratio.low, digits)} to {significant(ratio.high, digits)})"


#: Digits are trimmed to what a noisy machine leaves meaningful.
COLUMNS = (
    Column("backend", lambda row: row.first.trial.backend, "left"),
    Column("mode", lambda row: row.first.trial.mode, "left"),
    Column("device", lambda row: row.first.trial.device, "left"),
    Column("status", lambda row: row.status, "left"),
    Column("perplexity", lambda row: significant(row.perplexity, 5)),
    Column("last-10 median", lambda row: significant(row.last_median, 5)),
    Column("test", lambda row: significant(row.test, 5)),
    Column("floor", lambda row: significant(row.floor, 5)),
    Column("tokens/s", _rate),
    Column("95 % interval", _interval),
    Column("mean", lambda row: significant(row.mean_speed, 3)),
    Column("quartiles", _quartiles),
    Column("start-up s", lambda row: significant(row.startup, 2)),
    Column("training s", lambda row: significant(row.training, 3)),
    Column("parity", lambda row: "" if row.parity is None else f"{row.parity:.1e}"),
)
#: Shown even when empty.
ALWAYS = {"backend", "mode", "device", "status", "perplexity", "tokens/s"}


@dataclass(frozen=True)
class Style:
    """How one format writes headings, tables and lines of text."""

    table: str
    heading: Callable[[str], str]
    line: Callable[[str], str]
    cell: Callable[[str], str] = str


def escape_markdown(text: str) -> str:
    """``text`` so that GitHub shows it as it is."""
    escaped = html.escape(text, quote=False)
    return "".join("\\" + c if c in "\\`*_{}[]()#!|~" else c for c in escaped)


def escape_latex(text: str) -> str:
    """``text`` so that LaTeX shows it as it is."""
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{c: "\\" + c for c in "&%$#_{}"},
    }
    return "".join(special.get(c, c) for c in text)


STYLES = {
    "github": Style(
        "github",
        lambda t: f"### {escape_markdown(t)}",
        lambda t: f"{escape_markdown(t)}\n",
        escape_markdown,
    ),
    "plain": Style("simple", lambda t: f"{t}\n{'=' * min(len(t), 80)}", str),
    "latex": Style(
        "latex_booktabs",
        lambda t: rf"\subsection*{{{escape_latex(t)}}}",
        lambda t: f"{escape_latex(t)}\n",
    ),
    "html": Style(
        "html", lambda t: f"<h3>{html.escape(t)}</h3>", lambda t: f"<p>{html.escape(t)}</p>"
    ),
}
FORMATS = (*STYLES, "csv", "json")


def render(tables: Sequence[Setting], form: str) -> str:
    """All settings in one of :data:`FORMATS`."""
    if form == "json":
        found = [_finite(_to_json(setting)) for setting in tables]
        return json.dumps(found, indent=1, allow_nan=False)
    if form == "csv":
        return _to_csv(tables)
    style = STYLES[form]
    parts = [part for setting in tables for part in _sections(setting, style)]
    elsewhere = [
        (what, str(perplexity), str(rate), "published elsewhere")
        for what, perplexity, rate in PUBLISHED_ELSEWHERE
    ]
    parts.append(style.line("For comparison, the write-up that this benchmark grew out of:"))
    parts.append(_table(("implementation", "perplexity", "tokens/s", "status"), elsewhere, style))
    return "\n\n".join(part.rstrip("\n") for part in parts)


def _table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    style: Style,
    align: Sequence[str] | None = None,
) -> str:
    safe = [[style.cell(one_line(cell)) for cell in row] for row in rows]
    return grid(header, safe, style.table, align)


def _sections(setting: Setting, style: Style) -> list[str]:
    parts = [style.heading(one_line(setting.title))]
    columns = list(COLUMNS)
    if setting.repeated:
        ranks = dict(zip(map(id, setting.rows), setting.ranks, strict=True))
        columns.insert(0, Column("rank", lambda row: str(ranks[id(row)] or "")))
    if setting.relative_to:
        ratio = Column(f"x {setting.relative_to}", lambda row: ratio_text(setting.relative(row)))
        columns.insert(next(i for i, c in enumerate(columns) if c.heading == "mean"), ratio)
    filled = [(column, [column.cell(row) for row in setting.rows]) for column in columns]
    shown = [(c, texts) for c, texts in filled if any(texts) or c.heading in ALWAYS]
    rows = list(zip(*(texts for _, texts in shown), strict=True))
    headings, align = [c.heading for c, _ in shown], [c.align for c, _ in shown]
    parts.append(_table(headings, rows, style, align))
    parts += [style.line(one_line(note)) for note in notes(setting)]
    written = [
        (row.label, row.first.trial.device, c.prefix, c.text)
        for row in setting.rows
        for c in row.first.continuations
    ]
    if written:
        parts.append(_table(("backend", "device", "after", "the model writes"), written, style))
    return parts


def notes(setting: Setting) -> list[str]:
    """What must be said beneath a table."""
    protocol = setting.first.trial.protocol
    lines = []
    if setting.repeated:
        lines.append(
            "Rows of equal rank cannot be told apart: the 95 % interval of their ratio, over "
            "processes that took turns, includes 1."
        )
    else:
        lines.append(
            "One process per trial: the rows are sorted by tokens/s but not ranked, for one "
            "process gives no interval."
        )
    lines.append(
        "Tokens/s is the mean over the faster half of the steady epochs, for noise only slows "
        "down; mean and quartiles are over all of them."
    )
    if setting.relative_to:
        lines.append(f"x {setting.relative_to}: speed relative to it, from turns in the same run.")
    if protocol.note:
        lines.append(protocol.note)
    for row in setting.rows:
        for record in row.records:
            if record.message:
                reason = f" ({record.reason})" if record.reason else ""
                label = f"{row.label} on {record.trial.device}"
                lines.append(f"{label} {record.status.value}{reason}: {record.message}")
    if any(r.source.dirty or r.source.commit is None for row in setting.rows for r in row.records):
        lines.append("Made by code that is no clean commit: not for publication.")
    return lines


def _to_json(setting: Setting) -> dict[str, object]:
    return {
        "title": setting.title,
        "setting": setting.facts,
        "rows": [
            {**row.to_json(), "rank": rank, "relative_speed": _value(setting.relative(row))}
            for row, rank in zip(setting.rows, setting.ranks, strict=True)
        ],
        "notes": notes(setting),
    }


def _finite(value: Any) -> Any:
    """JSON knows no infinity: ``null``."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _value(ratio: Interval | None) -> float | None:
    return ratio.value if ratio else None


def _csv_cell(value: object) -> object:
    """Line ends become line feeds; what a spreadsheet would take for a formula gets an apostrophe.

    (OWASP, "CSV injection".)
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


def _to_csv(tables: Sequence[Setting]) -> str:
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for setting in tables:
        trial = setting.first.trial
        for row in setting.rows:
            figures = row.to_json()
            low, high = figures.pop("tokens_per_second_quartiles") or (None, None)
            figures["tokens_per_second_quartile_1"] = low
            figures["tokens_per_second_quartile_3"] = high
            line = {
                "protocol": trial.protocol.name,
                "overrides": json.dumps(dict(trial.overrides)),
                "init": trial.init,
                "corpus": trial.corpus,
                "corpus_digest": trial.corpus_digest,
                "dtype": trial.dtype,
                "seed": trial.seed,
                "threads": trial.threads,
                "machine": setting.facts["machine"],
                **figures,
            }
            if writer is None:
                writer = csv.DictWriter(out, list(line), lineterminator="\n")
                writer.writeheader()
            writer.writerow({key: _csv_cell(value) for key, value in line.items()})
    return out.getvalue().rstrip("\n")
