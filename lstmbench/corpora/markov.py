"""The corpus ``markov``: text from a known source, so that the best possible loss is known too.

A Markov source of order four over the alphabet of The Time Machine. Each of the last four symbols
counts by its class (a blank, or a letter's place modulo three), so that 256 kinds of context
decide which four symbols may follow, with fixed weights: enough memory to need an LSTM, few enough
kinds for one to learn. Everything is derived from a seed by an integer generator written out here,
so that no library version changes the text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
ORDER = 4
LENGTH = 170_580
SEED = 1895
#: Of the symbols that may follow, the likeliest first.
WEIGHTS = (36, 16, 8, 4)
_MASK = (1 << 64) - 1


def splitmix(state: int) -> Iterator[int]:
    """64-bit integers without end: SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        yield z ^ (z >> 31)


def _class(symbol: str) -> int:
    index = ALPHABET.index(symbol)
    return 0 if index == 0 else 1 + index % 3


class Source:
    """The source of one seed."""

    def __init__(self, seed: int = SEED) -> None:
        self._seed = seed
        draws = splitmix(seed)
        self._rows = [self._draw_row(kind, draws) for kind in range(4**ORDER)]

    @staticmethod
    def _draw_row(kind: int, draws: Iterator[int]) -> str:
        # no blank after a blank: normalising would join them
        pool = list(ALPHABET[1:] if kind % 4 == 0 else ALPHABET)
        return "".join(pool.pop(next(draws) % len(pool)) for _ in WEIGHTS)

    def _walk(self) -> Iterator[tuple[str, int]]:
        """Endless symbols with the weight that each had; contexts start as blanks."""
        draws, kind, total = splitmix(self._seed + 1), 0, sum(WEIGHTS)
        while True:
            ticket, place = next(draws) % total, 0
            while ticket >= WEIGHTS[place]:
                ticket -= WEIGHTS[place]
                place += 1
            symbol = self._rows[kind][place]
            yield symbol, WEIGHTS[place]
            kind = (4 * kind + _class(symbol)) % 4**ORDER

    def text(self, length: int = LENGTH) -> str:
        """The first ``length`` symbols."""
        return "".join(symbol for (symbol, _), _ in zip(self._walk(), range(length), strict=False))

    def surprisal(self, text: str) -> list[float]:
        """The nats that the source itself spends on each symbol of its ``text``.

        Raises ``ValueError`` if the text is not the source's.
        """
        spent, total = [], sum(WEIGHTS)
        for (symbol, weight), given in zip(self._walk(), text, strict=False):
            if symbol != given:
                raise ValueError("not a text of this source")
            spent.append(-math.log(weight / total))
        return spent
