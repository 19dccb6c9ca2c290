"""What a plugin may add to publishing: formats of tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lstmbench.errors import UserError
from lstmbench.plugin.guard import PluginFailed, guarded

if TYPE_CHECKING:
    from lstmbench.analysis.tables import Table

#: Keeps a format's file where it belongs.
SUFFIX = re.compile(r"(\.[a-z0-9]+)+", re.ASCII)


@dataclass(frozen=True)
class Format:
    """A way to write tables. ``suffix`` begins with a dot: small letters, digits, dots.

    ``render`` gets a list of :class:`lstmbench.Table` that is its own, and returns text.
    """

    name: str
    suffix: str
    render: Callable[[Sequence[Table]], str]

    def text(self, tables: Sequence[Table]) -> str:
        """What ``render`` returns. Raises :class:`UserError` for whatever else it does."""
        try:
            with guarded():
                text = self.render(tables)
        except PluginFailed as failed:
            raise UserError(f"format {self.name!r} of a plugin failed: {failed}") from failed
        if not isinstance(text, str):
            what = f"{type(text).__name__}, no text"
            raise UserError(f"format {self.name!r} of a plugin returned {what}")
        if re.search("[\ud800-\udfff]", text):
            what = "half a character (a surrogate), which no file can hold"
            raise UserError(f"format {self.name!r} of a plugin returned {what}")
        return text
