"""From text to ids and back, token by token."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from lstmbench.preparation import Tokens

UNKNOWN, END_OF_LINE = "<unk>", "<eos>"
_WORD = re.compile(r"\n|\S+")


def split(text: str, tokens: Tokens = "char") -> Iterator[str]:
    """The tokens of a text: characters; words, and ``<eos>`` for each line end; or bytes of UTF-8.

    A byte is the character of its number, ``\\x00`` to ``\\xff``.
    """
    if tokens == "word":
        for found in _WORD.finditer(text):
            yield END_OF_LINE if found[0] == "\n" else found[0]
    elif tokens == "byte":
        yield from text.encode().decode("latin-1")
    else:
        yield from text


class Vocabulary:
    """Symbols by falling frequency, ties by first appearance; id 0 is ``<unk>``.

    A text's own ``<unk>``, which many word corpora have, is that symbol. ``size`` limits the
    symbols, ``<unk>`` included; those that occur less than ``min_count`` times get no id.
    """

    def __init__(
        self, text: str, tokens: Tokens = "char", size: int | None = None, min_count: int = 1
    ) -> None:
        self.tokens = tokens
        counted = Counter(split(text, tokens))
        counted.pop(UNKNOWN, None)
        common = counted.most_common()  # stable: ties stay in order of first appearance
        kept = [symbol for symbol, count in common if count >= min_count]
        self.symbols = [UNKNOWN, *kept[: None if size is None else size - 1]]

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols)}

    def encode(self, text: str) -> np.ndarray:
        """Ids as a 1-D int32 array; symbols that have no id become 0."""
        ids = self._ids
        found = (ids.get(symbol, 0) for symbol in split(text, self.tokens))
        return np.fromiter(found, dtype=np.int32)

    def unknown(self, text: str) -> list[str]:
        """The symbols of ``text`` that have no id, once each."""
        missing = dict.fromkeys(s for s in split(text, self.tokens) if s not in self._ids)
        return list(missing)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``: words with blanks between them, ``<eos>`` as it is."""
        symbols = [self.symbols[index] for index in ids]
        if self.tokens == "word":
            return " ".join(symbols)
        if self.tokens == "byte":
            return _from_bytes(symbols)
        return "".join(symbols)

    def continuation(self, ids: Sequence[int]) -> str:
        """The text of ``ids`` that follow others: joined to these without anything between."""
        return f"{' ' if self.tokens == 'word' and len(ids) else ''}{self.decode(ids)}"


def _from_bytes(symbols: Sequence[str]) -> str:
    """What is no UTF-8 becomes U+FFFD."""
    raw = b"".join(s.encode() if s == UNKNOWN else s.encode("latin-1") for s in symbols)
    return raw.decode(errors="replace")
