"""The corpus ``zipf``: words from a known source, in the shapes of the Penn Treebank.

9,999 types, one of them the end of a line, so that with ``<unk>`` the vocabulary has 10,000
symbols. A word is drawn, with probability 1/4, by Zipf's law over all types; otherwise from the 64
types that may follow the last two words, again by Zipf's law over their places. Each of the two
words counts by its class (its place in the list of types modulo 16), so that 256 kinds of context
decide what follows. In every list of 64 the first places go to types drawn by Zipf's law, the last
ones to all types, one after the other: so the whole text follows the law, and every type occurs.
Everything is derived from a seed by the integer generator of :mod:`lstmbench.corpora.markov`, so
that no library version changes the text.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate, islice

from lstmbench.corpora.markov import splitmix

TYPES = 9_999
#: The type that ends a line: of the words of English text, about each twentieth ends a sentence.
LINE_END = 1
LENGTH = 1_085_781
SEED = 1949
CLASSES = 16
FOLLOWERS = 64
#: Places of a list of followers that are drawn; the others go round all types.
DRAWN = 24
#: Of so many words, one is drawn from all types.
ONE_IN = 4
_SCALE = 1 << 40


def zipf_weights(count: int) -> list[int]:
    """Weights that fall as 1, 1/2, 1/3, ..., as integers."""
    return [_SCALE // rank for rank in range(1, count + 1)]


def _spellings() -> list[str]:
    syllables = [c + v for c in "bcdfghjklmnpqrstvwxz" for v in "aeiou"]
    words = (first + second for second in syllables for first in syllables)
    return list(islice(words, TYPES))


class Source:
    """The source of one seed."""

    def __init__(self, seed: int = SEED) -> None:
        self._seed = seed
        self.words = _spellings()
        self.words[LINE_END] = "\n"
        self._all = list(accumulate(zipf_weights(TYPES)))
        self._places = list(accumulate(zipf_weights(FOLLOWERS)))
        draws = splitmix(seed)
        rest = self._shuffled(draws)
        self._followers = [self._draw_followers(draws, rest) for _ in range(CLASSES**2)]

    @staticmethod
    def _shuffled(draws: Iterator[int]) -> Iterator[int]:
        """All types, over and over, in a random order (Fisher and Yates)."""
        order = list(range(TYPES))
        for last in range(TYPES - 1, 0, -1):
            other = next(draws) % (last + 1)
            order[last], order[other] = order[other], order[last]
        while True:
            yield from order

    def _draw_followers(self, draws: Iterator[int], rest: Iterator[int]) -> list[int]:
        chosen: dict[int, None] = {}
        while len(chosen) < DRAWN:
            chosen[_draw(self._all, next(draws))] = None
        while len(chosen) < FOLLOWERS:
            chosen[next(rest)] = None
        return list(chosen)

    def _types(self) -> Iterator[tuple[int, int]]:
        """Endless types, each with the kind of its context; the first follows two line ends."""
        draws = splitmix(self._seed + 1)
        before = last = LINE_END % CLASSES
        while True:
            kind = CLASSES * before + last
            if next(draws) % ONE_IN == 0:
                chosen = _draw(self._all, next(draws))
            else:
                chosen = self._followers[kind][_draw(self._places, next(draws))]
            yield chosen, kind
            before, last = last, chosen % CLASSES

    def text(self, length: int = LENGTH) -> str:
        """The whole lines among the first ``length`` words and line ends."""
        chosen = " ".join(self.words[found] for found, _ in islice(self._types(), length))
        return re.sub(" ?\n ?", "\n", chosen[: chosen.rfind("\n") + 1])

    @cached_property
    def _ranks(self) -> list[dict[int, int]]:
        """For each kind, the place of each type that may follow."""
        return [{kind: at for at, kind in enumerate(row)} for row in self._followers]

    def probability(self, chosen: int, kind: int) -> float:
        """Of one type after a kind of context."""
        everywhere = (_SCALE // (chosen + 1)) / self._all[-1]
        place = self._ranks[kind].get(chosen)
        here = 0.0 if place is None else (_SCALE // (place + 1)) / self._places[-1]
        return everywhere / ONE_IN + here * (ONE_IN - 1) / ONE_IN

    def surprisal(self, text: str) -> list[float]:
        """The nats that the source itself spends on each word and line end of its ``text``.

        Raises ``ValueError`` if the text is not the source's.
        """
        from lstmbench.corpora.vocabulary import END_OF_LINE, split

        spent = []
        for token, (chosen, kind) in zip(split(text, "word"), self._types(), strict=False):
            if token != (END_OF_LINE if chosen == LINE_END else self.words[chosen]):
                raise ValueError("not a text of this source")
            spent.append(-math.log(self.probability(chosen, kind)))
        return spent


def _draw(cumulated: list[int], number: int) -> int:
    """The place that a random 64-bit number falls into."""
    return bisect_right(cumulated, number % cumulated[-1])
