"""Formats by name, the host's and plugins', and tables written in them."""

from __future__ import annotations

from collections.abc import Sequence

from lstmbench.analysis.tables import Table
from lstmbench.errors import UserError
from lstmbench.plugin import builtins, manager
from lstmbench.plugin.extensions import Format


def find(name: str) -> Format:
    """The format of that name. Raises :class:`UserError` naming those that there are."""
    formats = manager.load().formats()
    if name not in formats:
        raise manager.unknown("format", name, formats)
    return formats[name]


def of_plugins() -> list[Format]:
    """Formats that are not the host's own, by name."""
    formats = manager.load().formats()
    return [formats[name] for name in sorted(formats) if name not in builtins.FORMATS]


def render(form: Format, tables: Sequence[Table]) -> str:
    """The tables in a format. What a plugin's does wrong becomes a :class:`UserError`."""
    if form.name in builtins.FORMATS:
        return form.render(tables)
    try:
        text = form.render(tables)
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"format {form.name!r} of a plugin failed: {what}") from error
    if not isinstance(text, str):
        raise UserError(f"format {form.name!r} of a plugin returned {type(text).__name__}, no text")
    return text
