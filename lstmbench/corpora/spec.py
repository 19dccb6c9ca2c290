"""What the host knows of a text before it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lstmbench.preparation import Preparation, Tokens

#: The splits that a text may bring itself, in the order in which they follow one another.
SPLITS = ("train", "validation", "test")
#: What a folder calls the files of its splits.
FOLDER = {"train": "train.txt", "validation": "valid.txt", "test": "test.txt"}


@dataclass(frozen=True)
class SplitFile:
    """The file of one split: ``train``, ``validation`` or ``test``.

    ``digest`` is ``sha256:`` or ``md5:`` and hexadecimal digits, or ``git:`` and the name that git
    gives to the content. Without ``urls`` the file is the user's own.
    """

    split: str
    filename: str
    digest: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class CorpusSpec:
    """A text by name.

    One of: a file that is found or downloaded, ``filename``, ``urls`` and ``sha256`` of its bytes
    (an address that ends in ``.zip`` is of an archive that the file is in);
    one file for each split, ``splits``, in a folder of the corpus's name; or what ``make`` returns,
    a text, or one for each of ``train``, ``validation`` and ``test``. ``source`` says where a file
    without ``urls`` comes from.

    The rest is how it is prepared if the user does not say: ``tokens`` (``char``, ``word`` or
    ``byte``), ``normalise`` (``letters``, ``none``, ``exact``, or a function from text to text),
    the most symbols and the least count of a symbol. ``surprisal``, where the source of the text is
    known, gives the nats it spends on each token of the text so prepared.
    """

    name: str
    summary: str
    filename: str = ""
    urls: tuple[str, ...] = ()
    sha256: str = ""
    make: Callable[[], str | Mapping[str, str]] | None = None
    surprisal: Callable[[str], Sequence[float]] | None = None
    splits: tuple[SplitFile, ...] = ()
    source: str = ""
    tokens: Tokens = "char"
    normalise: str | Callable[[str], str] = "letters"
    vocabulary_size: int | None = None
    min_count: int = 1

    @property
    def preparation(self) -> Preparation:
        """How the text is prepared if the user does not say."""
        named = self.normalise if isinstance(self.normalise, str) else self.name
        return Preparation(self.tokens, named, self.vocabulary_size, self.min_count)
