"""Tables as text in every format of the host."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Sequence

from lstmbench.analysis.intervals import Interval
from lstmbench.analysis.tables import Table
from lstmbench.preparation import Preparation
from lstmbench.report.layout import section
from lstmbench.report.notes import notes
from lstmbench.report.numbers import rounded, rounded_tree
from lstmbench.report.published import published_section
from lstmbench.report.styles import STYLES
from lstmbench.report.sweeps import sweep_section, sweeps

FORMATS = (*STYLES, "csv", "json")


def render(tables: Sequence[Table], form: str, published: bool = False) -> str:
    """All tables in one of :data:`FORMATS`.

    With ``published``, figures that others published for the same protocol follow in the formats
    that people read; raises :class:`lstmbench.errors.UserError` if there are none.
    """
    if form == "json":
        return json.dumps([_to_json(table) for table in tables], indent=1, allow_nan=False)
    if form == "csv":
        return _to_csv(tables)
    sections = [*map(section, tables), *map(sweep_section, sweeps(tables))]
    if published:
        sections.append(published_section(tables))
    return STYLES[form].write(sections)


def _to_json(table: Table) -> dict[str, object]:
    return {
        "title": table.title,
        "facts": table.facts,
        "rows": [
            rounded_tree({**row.to_json(), "rank": rank, **_relative(table.relative(row))})
            for row, rank in zip(table.rows, table.ranks, strict=True)
        ],
        "notes": notes(table),
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
    line ends: quotation marks do not help there, because a row does not begin with this cell's.
    """
    if not isinstance(value, str):
        return rounded(value)
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    # a terminal would execute control characters
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
    return re.sub(r"""(^|[;\t\n])(?="*[=+@\t-])""", r"\1'", text)


def _to_csv(tables: Sequence[Table]) -> str:
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    usual = Preparation()
    any_stack = any(row.first.trial.stack for table in tables for row in table.rows)
    any_prepared = any(table.first.trial.preparation != usual for table in tables)
    for table in tables:
        trial = table.first.trial
        facts = {
            "protocol": trial.protocol.name,
            "overrides": json.dumps(dict(trial.overrides)),
            "init": trial.init,
            "corpus": trial.corpus,
            "corpus_digest": trial.corpus_digest,
            **(trial.preparation.columns if any_prepared else {}),
            "dtype": trial.dtype,
            "seed": " ".join(map(str, seeds)) if len(seeds := table.seeds) > 1 else trial.seed,
            "threads": trial.threads,
            "machine": table.facts["machine"],
            **({"stack": ""} if any_stack else {}),
        }
        for row in table.rows:
            line = facts | row.to_json()
            if writer is None:
                writer = csv.DictWriter(
                    out, list(line), lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
                )
                writer.writeheader()
            writer.writerow({key: _csv_cell(value) for key, value in line.items()})
    return out.getvalue().rstrip("\n")
