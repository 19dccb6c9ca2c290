"""What verification knows beforehand: protocols, texts, initial parameters, offsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from lstmbench import reference
from lstmbench.backend import ModelConfig, parameter_dtype
from lstmbench.batches import draw_offsets, offsets_digest, window_count
from lstmbench.corpora import corpus as corpora
from lstmbench.corpora.named import NO_TEXT, TEXT8, TIME_MACHINE, TINY_SHAKESPEARE
from lstmbench.corpora.spec import CorpusSpec
from lstmbench.errors import UserError
from lstmbench.preparation import Preparation
from lstmbench.protocol import Protocol
from lstmbench.records.trial import Trial

#: Scalars beyond which initial parameters are not drawn again.
MAX_PARAMETERS = 50_000_000


@dataclass(frozen=True)
class Text:
    """A known text: its digest and, where the text itself is known, tokens and symbols.

    ``surprisal`` is what its source spends on each token, where there is one; ``parts`` are the
    splits that the text brings itself.
    """

    digest: str
    tokens: int | None = None
    symbols: int | None = None
    surprisal: np.ndarray | None = None
    parts: Mapping[str, slice] = field(default_factory=dict)

    def splits(self, protocol: Protocol) -> dict[str, slice]:
        """What a protocol makes of a text whose tokens are known; none if it needs others."""
        try:
            return corpora.splits(protocol, self.tokens or 0, self.parts)
        except UserError:
            return {}


#: Of texts that are not at hand everywhere: tokens and symbols by digest of the file.
COUNTED = {
    TIME_MACHINE.sha256: (170_580, 28),
    TINY_SHAKESPEARE.sha256: (1_115_394, 66),
    TEXT8.sha256: (100_000_000, 28),
}


class ReferenceData:
    """Protocols and texts of this installation; what is computed from them is computed once."""

    def __init__(self, protocols: Mapping[str, Protocol], specs: Mapping[str, CorpusSpec]) -> None:
        self.protocols = protocols
        self.specs = specs
        self.source_nats = cache(self._source_nats)

    @property
    def no_text(self) -> Text | None:
        """What stands for a text where none is read."""
        return _text(NO_TEXT, NO_TEXT.preparation)

    def text(self, trial: Trial) -> Text | None:
        """A trial's text as it was prepared, or ``None`` for one that is not known here."""
        return self._text(trial.corpus, trial.preparation)

    def _text(self, corpus: str, preparation: Preparation) -> Text | None:
        spec = self.specs.get(corpus)
        return None if spec is None else _text(spec, preparation)

    def tokens(self, trial: Trial, split: str) -> int | None:
        """Predictions of one pass over a split: windows x batch x steps; ``None`` if unknown."""
        text, protocol = self.text(trial), trial.protocol
        if text is None or text.tokens is None:
            return None
        part = text.splits(protocol).get(split)
        if part is None:
            return None
        batch, steps = protocol.batch_size, protocol.steps
        return window_count(part.stop - part.start, batch, steps) * batch * steps

    def _source_nats(
        self, corpus: str, preparation: Preparation, start: int, stop: int, batch: int, steps: int
    ) -> float | None:
        """What the text's own source spends on one pass; ``None`` if that is unknown."""
        text = self._text(corpus, preparation)
        if text is None or text.surprisal is None:
            return None
        return corpora.source_nats(text.surprisal, slice(start, stop), batch, steps)


@cache
def _text(spec: CorpusSpec, preparation: Preparation) -> Text | None:
    if spec.make is None and not spec.sha256:
        return None  # of several files, known by digests that no record holds
    if spec.make is None:
        counted = COUNTED.get(spec.sha256) if preparation == spec.preparation else None
        return Text(spec.sha256, *(counted or (None, None)))
    try:
        made = corpora.resolve(spec, preparation)
    except UserError:
        return None
    return Text(made.digest, len(made.ids), len(made.vocabulary), made.surprisal, made.parts)


@cache
def drawn_offsets_digest(seed: int, epochs: int, steps: int) -> str:
    """Of the offsets of a trial's epochs."""
    return offsets_digest(draw_offsets(seed, epochs, steps))


@cache
def drawn_parameters_digest(model: ModelConfig, seed: int, dtype: str) -> str | None:
    """Of the ``shared`` initial parameters; ``None`` if they are too many."""
    if model.parameter_count > MAX_PARAMETERS:
        return None
    return reference.draw_parameters(model, seed).astype(parameter_dtype(dtype)).digest()
