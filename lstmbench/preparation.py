"""How a text becomes tokens: what is cut out of it, and which of its symbols get an id."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

Tokens = Literal["char", "word", "byte"]
TOKENS: tuple[Tokens, ...] = get_args(Tokens)
#: Symbols that a vocabulary may be limited to, and the least counts that make sense.
MIN_SYMBOLS, MAX_SYMBOLS = 2, 2**31 - 1


@dataclass(frozen=True)
class Preparation:
    """How a text becomes tokens.

    ``tokens``: ``char``, ``word`` (split at blanks, ``<eos>`` at the end of each line) or ``byte``
    (of UTF-8). ``normalise`` names what is done to the text before: ``letters``, as "Dive into Deep
    Learning" does it; ``none``, line ends and accents are written alike; ``exact``, nothing at all;
    or the corpus whose plugin brings its own. At most ``vocabulary_size`` symbols, with ``<unk>``,
    get an id, and only those that occur ``min_count`` times. The default is how the course prepares
    The Time Machine.
    """

    tokens: Tokens = "char"
    normalise: str = "letters"
    vocabulary_size: int | None = field(
        default=None, metadata={"ge": MIN_SYMBOLS, "le": MAX_SYMBOLS}
    )
    min_count: int = field(default=1, metadata={"ge": 1, "le": MAX_SYMBOLS})

    @property
    def options(self) -> list[tuple[str, str]]:
        """What differs from the default, as options of the command line and their values."""
        values = {
            "--tokens": (self.tokens, "char"),
            "--normalise": (self.normalise, "letters"),
            "--vocabulary-size": (self.vocabulary_size, None),
            "--min-count": (self.min_count, 1),
        }
        return [(name, str(value)) for name, (value, usual) in values.items() if value != usual]

    @property
    def columns(self) -> dict[str, str | int | None]:
        """All choices by name."""
        return asdict(self)

    @property
    def words(self) -> list[str]:
        """What differs from the default, such as ``tokens word``."""
        return [f"{name.removeprefix('--')} {value}" for name, value in self.options]
