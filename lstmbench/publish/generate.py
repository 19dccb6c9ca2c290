"""Everything that a published store holds besides its records, generated from them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lstmbench.analysis.tables import Table
from lstmbench.errors import UserError
from lstmbench.publish import plots, readme
from lstmbench.publish import tables as published_tables
from lstmbench.publish.gather import Entries
from lstmbench.records.schema import schema_text
from lstmbench.report import formats, images, site
from lstmbench.report.layout import TextTable, section
from lstmbench.report.styles import STYLES
from lstmbench.report.sweeps import sweep_section, sweeps
from lstmbench.report.text import render

#: What a document needs for the LaTeX tables.
PREAMBLE = r"% lstmbench publish; needs \usepackage{booktabs} and \usepackage[T1]{fontenc}"


@dataclass
class GeneratedFiles:
    """``files`` by path relative to the store; ``problems`` with formats and plots, a line each.

    ``plots`` are there whether or not they were drawn, but not if they could not be;
    ``by_plugins`` lists the files that only some installations generate.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    by_plugins: list[str] = field(default_factory=list)
    plots: list[plots.Plot] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def generate(entries: Entries, draw: bool = True, plugins: bool = True) -> GeneratedFiles:
    """All generated files. Without ``draw`` no plots: their bytes depend on the drawing library.

    Without ``plugins`` no tables in the formats of plugins, which need not be loaded then.
    """
    generated = GeneratedFiles()
    tables = published_tables.make(entry.record for entry in entries.values())
    generated.plots = plots.plots(tables)
    drawn: dict[str, str] = {}
    if draw:
        wanted = {plot.path: plot.draw for plot in generated.plots}
        drawn = images.draw(wanted, generated.problems)
        generated.plots = [plot for plot in generated.plots if plot.path in drawn]
    texts = _foreign_tables(tables, generated.problems) if plugins else {}
    generated.by_plugins = list(texts)
    texts["schema.json"] = schema_text()
    texts["README.md"] = readme.readme(entries, tables, generated.plots)
    texts |= _tables(tables)
    pages = site.build({n.removesuffix(".json"): e.record for n, e in entries.items()})
    everything = texts | drawn | {f"site/{path}": page for path, page in pages.items()}
    generated.files = {p: d.encode() if isinstance(d, str) else d for p, d in everything.items()}
    return generated


def _tables(tables: Sequence[Table]) -> dict[str, str]:
    found = {f"tables/all.{form}": render(tables, form) + "\n" for form in ("csv", "json")}
    for table in tables:
        path = f"tables/{published_tables.name(table)}"
        for part in section(table).tables:
            suffix = "" if part.key == "results" else f"-{part.key}"
            found[f"{path}{suffix}.tex"] = latex(part)
        if published_tables.long(tables):
            found[f"{path}.md"] = render([table], "github") + "\n"
    for sweep in sweeps(tables):
        (part,) = sweep_section(sweep).tables
        found[f"tables/{plots.sweep_name(sweep)}.tex"] = latex(part)
    return found


def latex(table: TextTable) -> str:
    """A ``tabular``, ready for ``\\input``."""
    return f"{PREAMBLE}\n{STYLES['latex'].table(table)}\n"


def _foreign_tables(tables: Sequence[Table], problems: list[str]) -> dict[str, str]:
    """Tables in the formats of plugins; what goes wrong is added to ``problems``."""
    found: dict[str, str] = {}
    for form in formats.of_plugins():
        path = f"tables/all{form.suffix}"
        if form.suffix in formats.RESERVED:
            problems.append(f"format {form.name!r} of a plugin: {path} is a name of the host's own")
            continue
        if path in found:
            problems.append(f"format {form.name!r} of a plugin: {path} is there already")
            continue
        try:
            found[path] = formats.render(form, tables)
        except UserError as error:
            problems.append(str(error))
    return found
