"""The corpus of words with a known answer."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from lstmbench.corpora import corpus, named, zipf
from lstmbench.corpora.corpus import Corpus
from lstmbench.corpora.vocabulary import split
from lstmbench.preparation import Preparation

PINNED = "c36736684b7c6468b3961ae827fb1c6e9ac7c2789a1222c79632ffcb59d8d2e9"
FIRST = "tuba haba bebe viko cabi lava jaji bala boba paba toba coba huri"


@pytest.fixture(scope="module")
def resolved() -> Corpus:
    return corpus.resolve(named.ZIPF)


@pytest.fixture(scope="module")
def source() -> zipf.Source:
    return zipf.Source()


def test_the_text_begins_as_it_always_did(source: zipf.Source) -> None:
    beginning = source.text(500)
    assert beginning.startswith(FIRST)
    assert beginning.endswith("\n")


@pytest.mark.slow
def test_the_text_never_changes(resolved: Corpus) -> None:
    assert resolved.digest == PINNED


@pytest.mark.slow
def test_it_has_the_shapes_of_the_penn_treebank(resolved: Corpus) -> None:
    assert len(resolved.vocabulary) == 10_000
    assert len(resolved.ids) == zipf.LENGTH
    assert 0 not in resolved.ids
    assert {"<unk>", "<eos>"} < set(resolved.vocabulary.symbols)
    # all of it is known after the part that a protocol trains on
    assert len(np.unique(resolved.ids[: int(0.9 * zipf.LENGTH)])) == 9_999


@pytest.mark.slow
def test_words_fall_as_zipf_says(resolved: Corpus) -> None:
    counts = sorted(Counter(resolved.ids.tolist()).values(), reverse=True)
    ranks = np.array([10, 100, 1000, 9000])
    slope = np.polyfit(np.log(ranks), np.log([counts[rank - 1] for rank in ranks]), 1)[0]
    assert -1.1 < slope < -0.8


def test_the_probabilities_of_what_may_follow_are_one(source: zipf.Source) -> None:
    for kind in (0, 255):
        total = sum(source.probability(chosen, kind) for chosen in range(zipf.TYPES))
        assert total == pytest.approx(1)


def test_surprisal_is_what_the_source_spends(source: zipf.Source) -> None:
    text = source.text(300)
    expected = [
        -math.log(source.probability(chosen, kind))
        for chosen, kind in islice(source._types(), len(list(split(text, "word"))))
    ]
    assert source.surprisal(text) == expected


@pytest.mark.slow
def test_surprisal_is_the_entropy_of_the_source(source: zipf.Source, resolved: Corpus) -> None:
    """Mean surprisal over the text against the entropy of each context, by how often it occurs."""
    assert resolved.surprisal is not None
    assert resolved.surprisal.shape == resolved.ids.shape
    kinds = Counter(kind for (_, kind), _ in zip(source._types(), range(50_000), strict=False))
    entropy = 0.0
    for kind, count in kinds.items():
        row = [source.probability(chosen, kind) for chosen in range(zipf.TYPES)]
        entropy -= count / 50_000 * sum(p * math.log(p) for p in row)
    assert resolved.surprisal.mean() == pytest.approx(entropy, rel=0.01)


def test_another_text_is_refused(source: zipf.Source) -> None:
    with pytest.raises(ValueError, match="not a text of this source"):
        source.surprisal("the cat\n")


@pytest.mark.slow
def test_prepared_otherwise_its_source_says_nothing() -> None:
    limited = corpus.resolve(named.ZIPF, Preparation("word", "none", vocabulary_size=100))
    assert limited.surprisal is None
    assert len(limited.vocabulary) == 100
