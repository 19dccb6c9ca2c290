"""Texts to train on: found, verified and turned into ids, once per run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from lstmbench.corpora import files, normalise
from lstmbench.corpora.decode import decode
from lstmbench.corpora.files import CorpusMissing as CorpusMissing
from lstmbench.corpora.named import BUNDLED as BUNDLED
from lstmbench.corpora.named import DEFAULT as DEFAULT
from lstmbench.corpora.named import FALLBACK as FALLBACK
from lstmbench.corpora.named import MARKOV as MARKOV
from lstmbench.corpora.named import TIME_MACHINE as TIME_MACHINE
from lstmbench.corpora.spec import FOLDER, SPLITS
from lstmbench.corpora.spec import CorpusSpec as CorpusSpec
from lstmbench.errors import UserError
from lstmbench.preparation import Preparation
from lstmbench.protocol import Protocol

if TYPE_CHECKING:
    import numpy as np

    from lstmbench.corpora.vocabulary import Vocabulary

NO_SPECS: Mapping[str, CorpusSpec] = MappingProxyType({})
#: Characters that are shown of a text's beginning, and bytes that one of them may be.
MAX_SHOWN, BYTES_OF_A_CHARACTER = 60, 4


@dataclass(frozen=True)
class Corpus:
    """A resolved text.

    ``digest`` is the SHA-256 of the raw bytes; ``ids`` is 1-D int32; ``surprisal`` the nats of the
    text's own source for each token, float64, where that is known. ``parts`` are the splits that
    the text brings itself. ``kept`` is the share of its characters, blanks apart, that normalising
    left. ``own`` is said of a user's text, which no installation knows by its name. ``place`` is
    where a named text was found, for the user's eyes only.
    """

    name: str
    digest: str
    vocabulary: Vocabulary
    ids: np.ndarray
    surprisal: np.ndarray | None = None
    preparation: Preparation = field(default_factory=Preparation)
    parts: Mapping[str, slice] = field(default_factory=dict)
    kept: float = 1.0
    own: bool = False
    place: str = ""

    def splits(self, protocol: Protocol) -> dict[str, slice]:
        """``train`` and, where the protocol has them, ``validation`` and ``test``.

        Those that the text brings itself, or else the protocol's shares of the whole. Raises
        :class:`UserError` where the text has splits, but not one that the protocol needs.
        """
        return splits(protocol, len(self.ids), self.parts)

    @property
    def train_tokens(self) -> int:
        """Tokens that a protocol may train on."""
        return self.parts["train"].stop if self.parts else len(self.ids)

    @property
    def description(self) -> str:
        """What the text became, in one line: its beginning is quoted as the model sees it."""
        unit = {"char": "characters", "word": "words", "byte": "bytes"}[self.preparation.tokens]
        unknown = float((self.ids == 0).mean())
        parts = [
            f"{len(self.ids):,} tokens ({unit}), {len(self.vocabulary):,} symbols",
            f"{unknown:.2%} <unk>" if unknown else "no <unk>",
        ]
        if self.parts:
            sizes = (f"{name} {part.stop - part.start:,}" for name, part in self.parts.items())
            parts.append(" + ".join(sizes))
        if self.kept < 1:
            parts.append(f"'{self.preparation.normalise}' left {self.kept:.0%} of its characters")
        enough = self.ids[: MAX_SHOWN * BYTES_OF_A_CHARACTER].tolist()
        begin = self.vocabulary.decode(enough)[:MAX_SHOWN]
        where = f" in {self.place}" if self.place else ""
        return f"text {self.name}{where}: {', '.join(parts)}; it begins {begin!r}"


def splits(protocol: Protocol, tokens: int, parts: Mapping[str, slice]) -> dict[str, slice]:
    """The splits of so many tokens, of which ``parts`` are the text's own, if it has any."""
    shares = protocol.splits(tokens)
    if not parts:
        return shares
    train = parts["train"]
    if protocol.train_tokens is not None:
        return {"train": slice(train.start, min(train.stop, protocol.train_tokens))}
    for name in shares:
        if name not in parts:
            raise UserError(
                f"protocol {protocol.name!r} needs {name} text, and the corpus has none: add "
                f"{FOLDER[name]} to its folder, or take another --protocol"
            )
    return {name: parts[name] for name in shares}


def source_nats(surprisal: np.ndarray, split: slice, batch_size: int, steps: int) -> float:
    """The nats that a text's own source spends on the predictions of one pass over a split.

    No model that was fixed before can be expected to spend less: the source entropy bound.
    """
    import numpy as np

    from lstmbench.batches import partition

    predicted = partition(np.arange(split.start, split.stop), batch_size, steps).targets
    return float(surprisal[predicted].sum())


def resolve(
    spec: CorpusSpec,
    preparation: Preparation | None = None,
    specs: Mapping[str, CorpusSpec] = NO_SPECS,
    path: Path | None = None,
) -> Corpus:
    """Find, verify and encode a text, prepared as its spec says if ``preparation`` does not.

    ``specs`` are all that there are, for their normalisations; ``path`` is where the text's file
    is, if the user says so. Raises :class:`CorpusMissing` if the text is not here and cannot be
    downloaded, :class:`UserError` if it is not the right one.
    """
    own, place = spec.preparation, ""
    chosen = own if preparation is None else preparation
    if spec.make is None:
        places = files.find(spec, path)
        place = str(next(iter(places.values())).parent if spec.splits else places[""])
        contents = files.read_all(spec, places)
        texts = {split: decode(raw, f"corpus {spec.name!r}") for split, raw in contents.items()}
    else:
        texts = _made(spec)
        contents = {split: text.encode() for split, text in texts.items()}
    prepared = _prepare(texts, chosen, {**specs, spec.name: spec})
    found = _encode(spec.name, files.digest(contents), texts, prepared, chosen)
    found = replace(found, place=place)
    if spec.surprisal is None or chosen != own:
        return found
    import numpy as np

    surprisal = np.array(spec.surprisal("".join(prepared.values())))
    if surprisal.shape != found.ids.shape:
        raise UserError(
            f"corpus {spec.name!r}: surprisal gives {len(surprisal)} values for {len(found.ids)} "
            "tokens"
        )
    return replace(found, surprisal=surprisal)


def own_text(
    path: Path, name: str, preparation: Preparation, specs: Mapping[str, CorpusSpec] = NO_SPECS
) -> Corpus:
    """A user's file, or folder with ``train.txt``, under a name without the path.

    Raises :class:`UserError` for what is no text.
    """
    contents = files.read_own(path)
    texts = {
        split: decode(raw, str(path / FOLDER[split] if split else path))
        for split, raw in contents.items()
    }
    prepared = _prepare(texts, preparation, specs)
    found = _encode(name, files.digest(contents), texts, prepared, preparation)
    return replace(found, own=True)


def _prepare(
    texts: Mapping[str, str], preparation: Preparation, specs: Mapping[str, CorpusSpec]
) -> dict[str, str]:
    """The texts as they are split into tokens."""
    function = normalise.normaliser(preparation.normalise, preparation.tokens, specs)
    if function is None:
        known = ", ".join(normalise.names(specs))
        raise UserError(f"unknown normalisation {preparation.normalise!r}: there are: {known}")
    prepared = {split: function(text) for split, text in texts.items()}
    if preparation.tokens != "word":
        return prepared
    return {  # the last line ends too
        split: text if text.endswith("\n") else f"{text}\n"
        for split, text in prepared.items()
        if text.strip()
    }


def _made(spec: CorpusSpec) -> dict[str, str]:
    """What a spec's ``make`` returns, by split."""
    assert spec.make is not None
    try:
        made = spec.make()
        texts = {"": made} if isinstance(made, str) else {s: made[s] for s in SPLITS if s in made}
        if not isinstance(made, str) and ("train" not in made or set(made) - set(SPLITS)):
            raise ValueError(f"splits {', '.join(map(str, made))}: expected {', '.join(SPLITS)}")
        for text in texts.values():
            text.encode()
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"corpus {spec.name!r} cannot be made: {what}") from error
    return texts


def _encode(
    name: str,
    digest: str,
    texts: Mapping[str, str],
    prepared: Mapping[str, str],
    preparation: Preparation,
) -> Corpus:
    """The corpus of texts by split; its vocabulary counts the whole text, or the training split."""
    import numpy as np

    from lstmbench.corpora.vocabulary import Vocabulary  # listing corpora needs no NumPy

    counted = prepared.get("train", prepared.get("", ""))
    if not counted.strip():
        raise UserError(_nothing(name, texts, preparation))
    limits = (preparation.tokens, preparation.vocabulary_size, preparation.min_count)
    vocabulary = Vocabulary(counted, *limits)
    encoded = [vocabulary.encode(text) for text in prepared.values()]
    ids = np.concatenate(encoded)
    if (ids == ids[0]).all():
        raise UserError(
            f"corpus {name!r} has one symbol only, {vocabulary.decode(ids[:1].tolist())!r}: "
            "there is nothing to learn"
        )
    bounds = pairwise([0, *accumulate(map(len, encoded))])
    return Corpus(
        name,
        digest,
        vocabulary,
        ids,
        preparation=preparation,
        parts={s: slice(*ends) for s, ends in zip(prepared, bounds, strict=True) if s},
        kept=_kept(texts, prepared) if preparation.normalise != normalise.NONE else 1.0,
    )


def _nothing(name: str, texts: Mapping[str, str], preparation: Preparation) -> str:
    if any(text.strip() for split, text in texts.items() if split in ("", "train")):
        return (
            f"corpus {name!r}: normalising by {preparation.normalise!r} leaves nothing of it: take "
            "--normalise none"
        )
    return f"corpus {name!r} is empty"


def _kept(texts: Mapping[str, str], prepared: Mapping[str, str]) -> float:
    before, after = (
        sum(len("".join(text.split())) for text in some.values()) for some in (texts, prepared)
    )
    return after / before if before else 1.0
