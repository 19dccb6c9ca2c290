"""What verification knows beforehand: protocols, texts, initial parameters, offsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from lstmbench import reference
from lstmbench.backend import ModelConfig
from lstmbench.batches import draw_offsets, offsets_digest, window_count
from lstmbench.corpora import corpus as corpora
from lstmbench.corpora.corpus import CorpusSpec
from lstmbench.errors import UserError
from lstmbench.protocol import Protocol

#: Scalars beyond which initial parameters are not drawn again.
MAX_PARAMETERS = 50_000_000


@dataclass(frozen=True)
class Text:
    """A known text: its digest and, where the text itself is known, tokens and symbols.

    ``surprisal`` is what its source spends on each token, where there is one.
    """

    digest: str
    tokens: int | None = None
    symbols: int | None = None
    surprisal: np.ndarray | None = None


#: Of texts that are not at hand everywhere: tokens and symbols by digest of the file.
COUNTED = {corpora.TIME_MACHINE.sha256: (170_580, 28)}


class ReferenceData:
    """Protocols and texts of this installation; what is computed from them is computed once."""

    def __init__(self, protocols: Mapping[str, Protocol], specs: Mapping[str, CorpusSpec]) -> None:
        self.protocols = protocols
        self.specs = specs
        self.source_nats = cache(self._source_nats)

    def text(self, name: str) -> Text | None:
        """The text of that name, or ``None`` for one that is not known here."""
        spec = self.specs.get(name)
        return None if spec is None else _text(spec)

    def tokens(self, protocol: Protocol, corpus: str, split: str) -> int | None:
        """Predictions of one pass over a split: windows x batch x steps; ``None`` if unknown."""
        text = self.text(corpus)
        if text is None or text.tokens is None:
            return None
        part = protocol.splits(text.tokens).get(split)
        if part is None:
            return None
        batch, steps = protocol.batch_size, protocol.steps
        return window_count(part.stop - part.start, batch, steps) * batch * steps

    def _source_nats(
        self, corpus: str, start: int, stop: int, batch: int, steps: int
    ) -> float | None:
        """What the text's own source spends on one pass; ``None`` if that is unknown."""
        text = self.text(corpus)
        if text is None or text.surprisal is None:
            return None
        return corpora.source_nats(text.surprisal, slice(start, stop), batch, steps)


@cache
def _text(spec: CorpusSpec) -> Text | None:
    if spec.make is None:
        return Text(spec.sha256, *COUNTED.get(spec.sha256, (None, None)))
    try:
        made = corpora.resolve(spec)
    except UserError:
        return None
    return Text(made.digest, len(made.ids), len(made.vocabulary), made.surprisal)


@cache
def drawn_offsets_digest(seed: int, epochs: int, steps: int) -> str:
    """Of the offsets of a trial's epochs."""
    return offsets_digest(draw_offsets(seed, epochs, steps))


@cache
def drawn_parameters_digest(model: ModelConfig, seed: int, dtype: str) -> str | None:
    """Of the ``shared`` initial parameters; ``None`` if they are too many, or NumPy lacks dtype."""
    if model.parameter_count > MAX_PARAMETERS:
        return None
    try:
        kind: Any = np.dtype(dtype)
    except TypeError:
        return None
    return reference.draw_parameters(model, seed).astype(kind).digest()
