"""What is done to a text before it is split into tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lstmbench.errors import UserError

if TYPE_CHECKING:
    from lstmbench.corpora.spec import CorpusSpec

LETTERS, NONE, EXACT = "letters", "none", "exact"
#: What is not a corpus's own.
HOST = (LETTERS, NONE, EXACT)
#: Line ends by section 5.8 of the Unicode standard; a form feed ends no line of source code.
_LINE_END = re.compile("\r\n?|\x85|\u2028|\u2029")


def _letter_lines(text: str) -> list[str]:
    return [re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in text.splitlines()]


def letters(text: str) -> str:
    """Letters and single blanks only, as "Dive into Deep Learning" prepares The Time Machine.

    Each line: runs of anything but ``A-Za-z`` become one blank, ends are stripped, letters
    lower-cased; lines are joined with nothing between them.
    """
    return "".join(_letter_lines(text))


def letters_by_line(text: str) -> str:
    """As :func:`letters`, but lines stay lines, so that words stay words."""
    return "\n".join(_letter_lines(text))


def unchanged(text: str) -> str:
    """All of the text: in normalisation form C, with ``\\n`` at the end of each line."""
    return unicodedata.normalize("NFC", _LINE_END.sub("\n", text))


def exact(text: str) -> str:
    """The text to the character, so that figures that others published can be compared."""
    return text


def normaliser(
    name: str, tokens: str, specs: Mapping[str, CorpusSpec]
) -> Callable[[str], str] | None:
    """The function of that name: the host's own, or that of a corpus; ``None`` if unknown."""
    if name == LETTERS:
        return letters_by_line if tokens == "word" else letters
    if name in (NONE, EXACT):
        return unchanged if name == NONE else exact
    spec = specs.get(name)
    if spec is None or isinstance(spec.normalise, str):
        return None
    return _guarded(name, spec.normalise)


def names(specs: Mapping[str, CorpusSpec]) -> list[str]:
    """What ``--normalise`` may be."""
    return [*HOST, *(n for n, spec in specs.items() if not isinstance(spec.normalise, str))]


def _guarded(name: str, function: Callable[[str], str]) -> Callable[[str], str]:
    """A plugin's function, whose mistakes are those of its corpus."""

    def checked(text: str) -> str:
        try:
            result = function(text)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise UserError(f"--normalise {name}: its function failed: {what}") from error
        if not isinstance(result, str):
            kind = type(result).__name__
            raise UserError(f"--normalise {name}: its function returned {kind}, not a text")
        return result

    return checked
