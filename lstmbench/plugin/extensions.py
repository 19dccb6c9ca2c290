"""What a plugin may add to publishing: formats of tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

    @property
    def fault(self) -> str | None:
        """What is wrong with it, or ``None``."""
        if not (isinstance(self.suffix, str) and SUFFIX.fullmatch(self.suffix)):
            return f"offers {self.name!r} with the unusable suffix {self.suffix!r}"
        return None if callable(self.render) else f"offers {self.name!r} without a render"
