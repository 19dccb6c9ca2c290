"""Everything that a published store holds besides its records, made from them and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lstmbench.analysis.tables import Table
from lstmbench.errors import UserError
from lstmbench.messages import one_line
from lstmbench.publish import plots, readme
from lstmbench.publish import tables as tabling
from lstmbench.publish.gather import Entries
from lstmbench.records.schema import schema_text
from lstmbench.report import formats, images, site
from lstmbench.report.grid import grid
from lstmbench.report.sweeps import sweeps
from lstmbench.report.text import render

#: What a document needs for the LaTeX tables.
PREAMBLE = r"% lstmbench publish; needs \usepackage{booktabs} and \usepackage[T1]{fontenc}"


@dataclass
class GeneratedFiles:
    """``files`` by path relative to the store; ``problems`` with formats and plots, a line each.

    ``plots`` are there whether or not they were drawn, but not if they could not be;
    ``by_plugins`` lists the files that only some installations make.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    by_plugins: list[str] = field(default_factory=list)
    plots: list[plots.Plot] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def derive(entries: Entries, draw: bool = True) -> GeneratedFiles:
    """All made files. Without ``draw`` no plots, whose bytes depend on the drawing library."""
    made = GeneratedFiles()
    tables = tabling.make(entry.record for entry in entries.values())
    made.plots = plots.plots(tables)
    drawn: dict[str, str] = {}
    if draw:
        drawn = images.draw({plot.path: plot.draw for plot in made.plots}, made.problems)
        made.plots = [plot for plot in made.plots if plot.path in drawn]
    texts = _foreign_tables(tables, made.problems)
    made.by_plugins = list(texts)
    texts["schema.json"] = schema_text()
    texts["README.md"] = readme.readme(entries, tables, made.plots)
    texts |= _tables(tables)
    pages = site.build({n.removesuffix(".json"): e.record for n, e in entries.items()})
    everything = texts | drawn | {f"site/{path}": page for path, page in pages.items()}
    made.files = {p: d.encode() if isinstance(d, str) else d for p, d in everything.items()}
    return made


def _tables(tables: Sequence[Table]) -> dict[str, str]:
    found = {f"tables/all.{form}": render(tables, form) + "\n" for form in ("csv", "json")}
    for table in tables:
        for part, tabular in latex(table).items():
            found[f"tables/{tabling.name(table)}{part}.tex"] = tabular
        if tabling.long(tables):
            found[f"tables/{tabling.name(table)}.md"] = render([table], "github") + "\n"
    for sweep in sweeps(tables):
        header, rows = sweep.table()
        cells = [[one_line(cell) for cell in row] for row in rows]
        found[f"tables/{plots.sweep_name(sweep)}.tex"] = (
            f"{PREAMBLE}\n{grid(header, cells, 'latex_booktabs')}\n"
        )
    return found


def _foreign_tables(tables: Sequence[Table], problems: list[str]) -> dict[str, str]:
    """Tables in the formats of plugins; what goes wrong is added to ``problems``."""
    found: dict[str, str] = {}
    for form in formats.of_plugins():
        path = f"tables/all{form.suffix}"
        if path in found or form.suffix in (".csv", ".json"):
            problems.append(f"format {form.name!r} of a plugin: {path} is there already")
            continue
        try:
            found[path] = formats.render(form, tables)
        except UserError as error:
            problems.append(str(error))
    return found


def latex(table: Table) -> dict[str, str]:
    """Each ``tabular`` of a table by what follows the file's name; ready for ``\\input``.

    The first holds the results, one with the models' own text ends in ``-text``, others count on.
    """
    # no cell can hold the words: a backslash is escaped
    text = render([table], "latex")
    tabulars = re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, flags=re.DOTALL)
    found: dict[str, str] = {}
    for tabular in tabulars[:-1]:  # the last one is published elsewhere
        written = "the model writes" in tabular.partition("\\midrule")[0]
        part = "-text" if written else f"-{len(found) + 1}" if found else ""
        found[part] = f"{PREAMBLE}\n{tabular}\n"
    return found
