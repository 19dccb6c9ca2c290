"""Formats by name, the host's and plugins', and tables written in them.

Imported whenever lstmbench starts, to register the host's own formats: imports nothing heavy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lstmbench.plugin import manager
from lstmbench.plugin.extensions import Format
from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.analysis.tables import Table

#: Names and suffixes of what :func:`lstmbench.report.text.render` writes.
FORMATS = {
    "github": ".md",
    "plain": ".txt",
    "latex": ".tex",
    "html": ".html",
    "csv": ".csv",
    "json": ".json",
}
#: Suffixes of published tables that no plugin's format may have.
RESERVED = frozenset(FORMATS.values())


@hookimpl
def lstmbench_formats() -> list[Format]:
    def renderer(form: str) -> Callable[[Sequence[Table]], str]:
        def render(tables: Sequence[Table]) -> str:
            from lstmbench.report import text

            return text.render(tables, form)

        return render

    return [Format(name, suffix, renderer(name)) for name, suffix in FORMATS.items()]


def find(name: str) -> Format:
    """The format of that name. Raises :class:`UserError` naming those that there are."""
    formats = manager.OnDemand(manager.Host.formats)
    if name not in formats:
        raise manager.load().unknown("format", name, formats)
    return formats[name]


def of_plugins() -> list[Format]:
    """Formats that are not the host's own, by name."""
    formats = manager.load().formats()
    return [formats[name] for name in sorted(formats) if name not in FORMATS]


def render(form: Format, tables: Sequence[Table]) -> str:
    """The tables in a format. What a plugin's does wrong becomes a :class:`UserError`.

    A plugin gets a copy, so that nothing that it does changes what other files are made from.
    """
    if form.name in FORMATS:
        return form.render(tables)
    return form.text(copy.deepcopy(tables))
