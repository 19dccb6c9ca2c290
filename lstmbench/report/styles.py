"""Sections drawn in the formats that people read."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lstmbench.messages import one_line
from lstmbench.report.escape import escape_latex, escape_markdown, escape_markdown_line
from lstmbench.report.grid import grid
from lstmbench.report.layout import Section, TextTable


@dataclass(frozen=True)
class Style:
    """How one format writes headings, lines and tables.

    ``grid`` is the format of the drawing library; it escapes cells of LaTeX and HTML itself,
    ``cell`` those of others.
    """

    grid: str
    heading: Callable[[str], str]
    line: Callable[[str], str]
    cell: Callable[[str], str] = str

    def table(self, table: TextTable) -> str:
        """One table."""
        header = [self.cell(one_line(column.heading)) for column in table.columns]
        cells = [[self.cell(one_line(cell)) for cell in row] for row in table.rows]
        return grid(header, cells, self.grid, [column.align for column in table.columns])

    def write(self, sections: Iterable[Section]) -> str:
        """Sections with their headings."""
        written = []
        for section in sections:
            written.append(self.heading(one_line(section.title)))
            for part in section.parts:
                drawn = self.line(one_line(part)) if isinstance(part, str) else self.table(part)
                written.append(drawn)
        return "\n\n".join(written)


STYLES = {
    "github": Style(
        "github", lambda t: f"### {escape_markdown(t)}", escape_markdown_line, escape_markdown
    ),
    "plain": Style("simple", lambda t: f"{t}\n{'=' * min(len(t), 80)}", str),
    "latex": Style("latex_booktabs", lambda t: rf"\subsection*{{{escape_latex(t)}}}", escape_latex),
    "html": Style(
        "html", lambda t: f"<h3>{html.escape(t)}</h3>", lambda t: f"<p>{html.escape(t)}</p>"
    ),
}
