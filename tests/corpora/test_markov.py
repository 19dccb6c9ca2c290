"""The corpus with a known answer, and what is too good to be true on it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lstmbench.analysis import flags
from lstmbench.corpora import corpus, markov
from lstmbench.records.record import Epochs, Evaluation

PINNED = "cc2ac2834d7cade671a51c554d8bf56c48ae0a92f437a0ea751b894f3d396ccf"
FIRST = "lhoymfmgarzpyzbzbfjqudhfmoluzxwexbdxbyy "


def test_the_text_never_changes() -> None:
    text = markov.Source().text()
    assert len(text) == 170_580
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED
    assert text[:40] == FIRST


def test_normalising_changes_nothing_and_all_symbols_occur() -> None:
    resolved = corpus.resolve(corpus.MARKOV)
    assert len(resolved.ids) == markov.LENGTH
    assert len(resolved.vocabulary) == 28
    assert resolved.surprisal is not None
    assert resolved.surprisal.shape == resolved.ids.shape


def test_surprisal_is_the_entropy_of_the_weights() -> None:
    source = markov.Source()
    total = sum(markov.WEIGHTS)
    entropy = -sum(w / total * math.log(w / total) for w in markov.WEIGHTS)
    assert np.mean(source.surprisal(source.text())) == pytest.approx(entropy, rel=0.01)


def test_another_text_is_refused() -> None:
    with pytest.raises(ValueError, match="not a text of this source"):
        markov.Source().surprisal("zzzzzzzz")


def evaluation(nats: float, bound: float | None) -> Evaluation:
    return Evaluation(split="test", epoch=1, nats=nats, tokens=1000, source_nats=bound)


@pytest.mark.parametrize(
    ("nats", "bound", "suspect"),
    [(1100.0, 1100.0, False), (1090.0, 1100.0, False), (1080.0, 1100.0, True), (1.0, None, False)],
)
def test_clearly_below_the_bound_is_suspect(
    make_record: Callable[..., Any], nats: float, bound: float | None, suspect: bool
) -> None:
    assert flags.suspect(make_record(evaluations=[evaluation(nats, bound)])) is suspect


def test_a_negative_loss_is_suspect(make_record: Callable[..., Any]) -> None:
    epochs = Epochs(seconds=[0.1, 0.2], nats=[5.0, -0.1], tokens=[10, 10])
    assert flags.suspect(make_record(epochs=epochs))
