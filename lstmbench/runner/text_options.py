"""The options that say which text is trained on and how it is prepared."""

from __future__ import annotations

from dataclasses import dataclass

from lstmbench.errors import UserError
from lstmbench.plugin.names import unknown
from lstmbench.preparation import MAX_SYMBOLS, MIN_SYMBOLS, TOKENS, Preparation


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Which text, and how it is prepared: what is ``None`` the text decides."""

    corpus: str | None = None
    tokens: str | None = None
    normalise: str | None = None
    vocabulary_size: int | None = None
    min_count: int | None = None

    def over(self, preparation: Preparation) -> Preparation:
        """``preparation`` with what the user chose."""
        tokens = preparation.tokens
        if self.tokens is not None:
            known = [name for name in TOKENS if name == self.tokens]
            if not known:
                raise unknown("--tokens", self.tokens, TOKENS)
            tokens = known[0]
        numbers = {"--vocabulary-size": (self.vocabulary_size, MIN_SYMBOLS)}
        numbers["--min-count"] = (self.min_count, 1)
        for option, (number, least) in numbers.items():
            if number is not None and not least <= number <= MAX_SYMBOLS:
                raise UserError(f"{option} {number}: must be {least} to {MAX_SYMBOLS}")
        size, count = self.vocabulary_size, self.min_count
        return Preparation(
            tokens,
            preparation.normalise if self.normalise is None else self.normalise,
            preparation.vocabulary_size if size is None else size,
            preparation.min_count if count is None else count,
        )
