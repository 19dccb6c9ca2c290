"""What a model is asked to continue: two places of its own text, or what the user gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lstmbench.corpora.corpus import Corpus
from lstmbench.corpora.normalise import NONE, unchanged
from lstmbench.corpora.vocabulary import END_OF_LINE, UNKNOWN
from lstmbench.errors import UserError

if TYPE_CHECKING:
    import numpy as np

#: The longest prompt that is taken from a text, in characters and in words.
MAX_CHARACTERS, MAX_WORDS = 16, 4
#: Tokens that are looked through for a prompt.
SEARCHED = 4000
#: What no prompt goes across.
_ENDS = re.compile(f"\n|\ufffd|{UNKNOWN}|{END_OF_LINE}")
_LINE_END = re.compile(f"\n|{END_OF_LINE}")


def from_text(corpus: Corpus, train: slice) -> tuple[str, ...]:
    """The beginning of the training text, and of the first line in its second half."""
    ids = corpus.ids[train]
    middle = len(ids) // 2
    first = _prompt(corpus, ids[:SEARCHED], whole=True)
    second = _prompt(corpus, ids[middle : middle + SEARCHED], whole=False)
    return tuple(dict.fromkeys(prompt for prompt in (first, second) if prompt))


def _prompt(corpus: Corpus, ids: np.ndarray, whole: bool) -> str:
    """The beginning of a line; unless ``whole``, the first line is the rest of one."""
    text = corpus.vocabulary.decode(ids.tolist())
    if not whole:
        end = _LINE_END.search(text) or re.search(" ", text)  # some texts have no lines
        text = text[end.end() :] if end else text
    line = next((line.strip() for line in _ENDS.split(text) if line.strip()), "")
    if corpus.preparation.tokens == "word":
        return " ".join(line.split()[:MAX_WORDS])
    if len(line) <= MAX_CHARACTERS:
        return line
    short = line[: MAX_CHARACTERS + 1].rpartition(" ")[0] or line[:MAX_CHARACTERS]
    return short.strip()


def given(corpus: Corpus, prompts: Sequence[str]) -> tuple[str, ...]:
    """What the user wants continued; :class:`UserError` for symbols that the text does not have."""
    if corpus.preparation.normalise == NONE:
        prompts = [unchanged(prompt) for prompt in prompts]
    for prompt in prompts:
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise UserError(f"--prompt {prompt!r:.80}: is no text")
        if not prompt or (corpus.preparation.tokens == "word" and not prompt.split()):
            raise UserError(f"--prompt {prompt!r}: is empty")
        unknown = corpus.vocabulary.unknown(prompt)
        if unknown:
            byte = corpus.preparation.tokens == "byte"
            named = ", ".join(f"0x{ord(s):02x}" if byte else repr(s) for s in unknown[:5])
            raise UserError(
                f"--prompt {prompt!r:.80}: corpus {corpus.name!r} has no {named} as the model sees "
                "it: take a prompt of symbols that it knows"
            )
    return tuple(prompts)
