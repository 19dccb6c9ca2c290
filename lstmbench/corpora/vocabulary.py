"""From text to ids and back, character by character."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

UNKNOWN = "<unk>"


def normalise(text: str) -> str:
    """Letters and single blanks only, as "Dive into Deep Learning" prepares The Time Machine.

    Each line: runs of anything but ``A-Za-z`` become one blank, ends are stripped, letters
    lower-cased; lines are joined with nothing between them.
    """
    return "".join(re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in text.splitlines())


class Vocabulary:
    """Symbols by falling frequency, ties by first appearance; id 0 is ``<unk>``."""

    def __init__(self, text: Iterable[str]) -> None:
        counted = Counter(text).most_common()  # stable: ties stay in order of first appearance
        self.symbols = [UNKNOWN, *(symbol for symbol, _ in counted)]

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols)}

    def encode(self, text: Iterable[str]) -> np.ndarray:
        """Ids as a 1-D int32 array; symbols never counted become 0."""
        return np.array([self._ids.get(symbol, 0) for symbol in text], dtype=np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``."""
        return "".join(self.symbols[index] for index in ids)
