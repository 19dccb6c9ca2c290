"""Tables where people read them: between the markers of a Markdown file, or on a job's page."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lstmbench.analysis.tables import Table, tables_from
from lstmbench.errors import UserError
from lstmbench.publish import tables as tabling
from lstmbench.publish.lock import exclusive
from lstmbench.publish.plots import plots as plots_of
from lstmbench.publish.readme import text
from lstmbench.records.filters import only
from lstmbench.records.store import Run, load, open_runs, write_atomically
from lstmbench.report.text import render

#: Pages of jobs take a mebibyte; the best rows alone are shown where all would be more.
MAX_SUMMARY = 2**20 - 2**14


def markers(block: str) -> tuple[str, str]:
    """The lines between which a block of tables stands."""
    name = f" {block}" if block else ""
    return f"<!-- lstmbench:begin{name} -->", f"<!-- lstmbench:end{name} -->"


class Page:
    """A Markdown file with a block between markers, each on a line of its own.

    Raises :class:`UserError`, when it is opened, if there are none.
    """

    def __init__(self, file: Path, block: str) -> None:
        self.file = file
        self._markers = markers(block)
        self._read()

    def _read(self) -> tuple[str, re.Match[str]]:
        """The whole page, and where the block stands in it."""
        opening, closing = self._markers
        if not self.file.exists():
            raise UserError(f"{self.file} is missing: make it, with lines {opening} and {closing}")
        try:
            text = self.file.read_bytes().decode()  # line ends stay what they are
        except (OSError, UnicodeDecodeError) as error:
            raise self._trouble(error) from error
        found = re.search(
            rf"^{_line(opening)}(?P<end>\r?\n)(?P<old>.*?)^{_line(closing)}\r?$",
            text,
            re.MULTILINE | re.DOTALL,
        )
        if not found:
            raise UserError(f"{self.file} has no lines {opening} and {closing} to write between")
        return text, found

    def write(self, content: str) -> None:
        """Replace what stands between the markers; the rest is read anew, for it may have changed.

        Waits while another process publishes to the same page.
        """
        place = self.file.resolve()  # of a link, what it leads to
        with exclusive(place.parent, f".{place.name}.lock"):
            before, found = self._read()
            block = f"{content}\n".replace("\n", found["end"])
            after = f"{before[: found.start('old')]}{block}{before[found.end('old') :]}"
            if after != before:
                try:
                    write_atomically(place, after)
                except OSError as error:
                    raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> UserError:
        return UserError(f"{self.file}: {getattr(error, 'strerror', None) or error}")


def _line(marker: str) -> str:
    return rf"[ \t]*{re.escape(marker)}[ \t]*"


@dataclass(frozen=True)
class TableView:
    """What of some records is shown: trials that meet all conditions, all rows or the best."""

    conditions: Mapping[str, str]
    best: bool
    relative_to: str | None

    def write(
        self, paths: Sequence[Path], page: Page | None, plots: Sequence[str], summary: Path | None
    ) -> tuple[int, list[str]]:
        """Write tables into ``page`` and append them to ``summary``.

        Returns how many there are, and a line for each damaged record. Raises
        :class:`UserError` if nothing meets the conditions.
        """
        loaded = load(paths)
        records = only(loaded.records, self.conditions)
        if self.conditions and not records:
            asked = " ".join(f"--only {k}={v}" for k, v in self.conditions.items())
            raise UserError(f"{asked}: no record is like that")
        tables = tables_from(records, self.relative_to)
        if any(run.published for run in _runs(paths)):
            tables = tabling.ordered(tables)
        if page:
            content = _markdown(tables, self.best)
            if plots:
                content = f"{_plot_links(tables, paths, page.file, plots)}\n\n{content}"
            page.write(content)
        if summary:
            _append(summary, tables, self.best)
        return len(tables), loaded.damaged


def _markdown(tables: Sequence[Table], best: bool) -> str:
    return tabling.best_markdown(tables) if best else render(tables, "github")


def _runs(paths: Sequence[Path]) -> list[Run]:
    return open_runs([path for path in paths if path.is_dir()])


def _plot_links(
    tables: Sequence[Table], paths: Sequence[Path], into: Path, kinds: Sequence[str]
) -> str:
    """The plots of the tables as images, linked relative to ``into``.

    Those that a published store or a run's folder holds. Raises :class:`UserError` if none does.
    """
    found: list[tuple[Path, str]] = []
    for run in _runs(paths):
        if run.published:
            own_plots = [plot for plot in plots_of(tables) if plot.kind in kinds]
            found += [(run.folder / plot.path, plot.title) for plot in own_plots]
        else:
            own = [svg for kind in kinds for svg in sorted(run.folder.glob(f"{kind}*.svg"))]
            found += [(svg, f"{svg.stem} of {run.name}") for svg in own]
    # as named: links of a checkout are not followed
    start = os.path.abspath(into.parent)  # noqa: PTH100
    links = [
        f"![{text(title)}]({quote(_relative(plot, start))})"
        for plot, title in found
        if plot.is_file()
    ]
    if not links:
        raise UserError("--plot: there is no plot of these tables; publish to a store first (--to)")
    return "\n\n".join(links)


def _relative(path: Path, start: str) -> str:
    return Path(os.path.relpath(path, start)).as_posix()


def _append(file: Path, tables: Sequence[Table], best: bool) -> None:
    """Add the tables to a page in GitHub-flavoured Markdown."""
    shown = _markdown(tables, best)
    if len(shown.encode()) > MAX_SUMMARY:
        shown = _markdown(tables, best=True)
    if len(shown.encode()) > MAX_SUMMARY:
        shown = f"{len(tables)} tables: too long for this page."
    try:
        with file.open("a", encoding="utf-8") as page:
            page.write(f"## lstmbench\n\n{shown}\n")
    except OSError as error:
        raise UserError(f"--summary {file}: {error.strerror or error}") from error
