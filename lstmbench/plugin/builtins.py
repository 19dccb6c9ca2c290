"""What the host itself registers, through the same hooks as any plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.analysis.tables import Table
    from lstmbench.corpora.corpus import CorpusSpec
    from lstmbench.plugin.extensions import Format
    from lstmbench.protocol import Protocol


@hookimpl
def lstmbench_protocols() -> list[Protocol]:
    from lstmbench.protocol import PRESETS

    return list(PRESETS)


@hookimpl
def lstmbench_corpora() -> list[CorpusSpec]:
    from lstmbench.corpora.corpus import BUNDLED, MARKOV, TIME_MACHINE

    return [TIME_MACHINE, BUNDLED, MARKOV]


#: Names and suffixes of what :func:`lstmbench.report.text.render` writes.
FORMATS = {
    "github": ".md",
    "plain": ".txt",
    "latex": ".tex",
    "html": ".html",
    "csv": ".csv",
    "json": ".json",
}


@hookimpl
def lstmbench_formats() -> list[Format]:
    from lstmbench.plugin.extensions import Format

    def renderer(form: str) -> Callable[[Sequence[Table]], str]:
        def render(tables: Sequence[Table]) -> str:
            from lstmbench.report import text

            return text.render(tables, form)

        return render

    return [Format(name, suffix, renderer(name)) for name, suffix in FORMATS.items()]
