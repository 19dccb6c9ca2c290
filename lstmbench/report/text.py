"""Settings as text in every format that tables are published in."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lstmbench.analysis.intervals import Interval
from lstmbench.analysis.tables import PUBLISHED_ELSEWHERE, Row, Table
from lstmbench.messages import one_line
from lstmbench.report.columns import ALWAYS, COLUMNS, DETAILS, Column
from lstmbench.report.grid import grid
from lstmbench.report.notes import notes
from lstmbench.report.numbers import ratio_text, rounded, rounded_tree
from lstmbench.report.sweeps import sweeps


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


def escape_markdown_line(text: str) -> str:
    """The same for a whole line, which begins no list and underlines no heading."""
    return re.sub(r"^(?=[-+=])|^([0-9]+)(?=\.( |$))", r"\1\\", escape_markdown(text))


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
        lambda t: f"{escape_markdown_line(t)}\n",
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


def render(tables: Sequence[Table], form: str) -> str:
    """All settings in one of :data:`FORMATS`."""
    if form == "json":
        found = [_to_json(setting) for setting in tables]
        return json.dumps(found, indent=1, allow_nan=False)
    if form == "csv":
        return _to_csv(tables)
    style = STYLES[form]
    parts = [part for setting in tables for part in _sections(setting, style)]
    for sweep in sweeps(tables):
        parts.append(style.heading(one_line(sweep.title)))
        parts.append(_table(*sweep.table(), style))
        parts.append(style.line(sweep.note))
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


def _columns(rows: Sequence[Row], columns: Sequence[Column], style: Style) -> str:
    """A table of the columns in which some row has something to show."""
    filled = [(column, [column.cell(row) for row in rows]) for column in columns]
    shown = [(c, texts) for c, texts in filled if any(texts) or c.heading in ALWAYS]
    cells = list(zip(*(texts for _, texts in shown), strict=True))
    return _table([c.heading for c, _ in shown], cells, style, [c.align for c, _ in shown])


def _sections(setting: Table, style: Style) -> list[str]:
    parts = [style.heading(one_line(setting.title))]
    columns = list(COLUMNS)
    if setting.repeated:
        ranks = dict(zip(map(id, setting.rows), setting.ranks, strict=True))
        columns.insert(0, Column("rank", lambda row: str(ranks[id(row)] or "")))
    if setting.relative_to:
        ratio = Column(f"x {setting.relative_to}", lambda row: ratio_text(setting.relative(row)))
        columns.insert(next(i for i, c in enumerate(columns) if c.heading == "% of peak"), ratio)
    parts.append(_columns(setting.rows, columns, style))
    details = [row for row in setting.rows if row.ok_records]
    if details:
        parts.append(_columns(details, DETAILS, style))
    parts += [style.line(one_line(note)) for note in notes(setting)]
    written = [
        (row.label, row.first.trial.device, c.prefix, c.text if c.text.strip() else "(blanks)")
        for row in setting.rows
        for c in row.first.continuations
    ]
    if written:
        parts.append(_table(("backend", "device", "after", "the model writes"), written, style))
    return parts


def _to_json(setting: Table) -> dict[str, object]:
    return {
        "title": setting.title,
        "setting": setting.facts,
        "rows": [
            rounded_tree({**row.to_json(), "rank": rank, **_relative(setting.relative(row))})
            for row, rank in zip(setting.rows, setting.ranks, strict=True)
        ],
        "notes": notes(setting),
    }


def _relative(ratio: Interval | None) -> dict[str, float | None]:
    low, high = (ratio.low, ratio.high) if ratio else (None, None)
    return {
        "relative_speed": ratio.value if ratio else None,
        "relative_speed_low": low,
        "relative_speed_high": high,
    }


def _csv_cell(value: object) -> object:
    """Line ends become line feeds; what a spreadsheet would take for a formula gets an apostrophe.

    (OWASP, "CSV injection".) So does what would be one where cells are split at ``;``, tabs and
    line ends: quotation marks do not help there, for a row does not begin with this cell's.
    """
    if not isinstance(value, str):
        return rounded(value)
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"""(^|[;\t\n])(?="*[=+@\t-])""", r"\1'", text)


def _to_csv(tables: Sequence[Table]) -> str:
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
                writer = csv.DictWriter(
                    out, list(line), lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
                )
                writer.writeheader()
            writer.writerow({key: _csv_cell(value) for key, value in line.items()})
    return out.getvalue().rstrip("\n")
