"""Draws: every epoch may be audited, all can be drawn again, and nothing is foreseeable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.audit.draws import MAX_SEGMENT_EPOCHS, challenge, order, segments
from lstmbench.backend import ModelConfig
from lstmbench.cells import LSTM, tensor_shapes

nonces = st.binary(min_size=16, max_size=16).map(bytes.hex)


@given(nonce=nonces, epochs=st.integers(1, 200))
def test_segments_hold_every_epoch_once(nonce: str, epochs: int) -> None:
    drawn = segments(nonce, "a", epochs)
    assert drawn == segments(nonce, "a", epochs)
    assert [e for s in drawn for e in range(s.first, s.last + 1)] == [*range(1, epochs + 1)]
    assert all(1 <= s.length <= MAX_SEGMENT_EPOCHS for s in drawn)
    assert drawn[0] == segments(nonce, "b", epochs)[0]
    audited = list(order(nonce, "a", drawn))
    assert sorted(audited, key=lambda s: s.first) == [*drawn]
    assert audited[0] == drawn[0]
    assert audited[: 2 if len(drawn) > 1 else 1][-1] == drawn[-1]


def test_what_was_asked_tells_nothing_of_what_is_audited() -> None:
    """Whatever the last questions were, the epoch that is next is audited about as often."""
    asked_before = {True: [0, 0], False: [0, 0]}
    for number in range(4000):
        drawn = segments(f"{number:032x}", "a", 60)
        chosen = list(order(f"{number:032x}", "a", drawn))[2]
        ends = {segment.last for segment in drawn}
        for epoch in range(11, 50):
            counts = asked_before[epoch - 1 in ends]
            counts[0] += chosen.first <= epoch <= chosen.last
            counts[1] += 1
    after, else_ = (hits / total for hits, total in asked_before.values())
    assert after == pytest.approx(else_, rel=0.1)


@given(nonce=nonces)
def test_a_challenge_is_new_and_can_be_drawn_again(nonce: str) -> None:
    shapes = tensor_shapes(LSTM, ModelConfig(11, 8, 2))
    ids = np.arange(200, dtype=np.int32) % 11
    start, batches = challenge(nonce, "a", 0, ids, shapes, 4, 5)
    again, same = challenge(nonce, "a", 0, ids, shapes, 4, 5)
    assert start.digest() == again.digest()
    assert np.array_equal(batches.targets, same.targets)
    assert batches.inputs.shape == (9, 4, 5)
    assert batches.inputs.dtype == np.int32
    assert 0 <= batches.inputs.min() <= batches.inputs.max() < 11
    assert any(len(np.unique(window)) == 1 for window in batches.targets)
    for other in (
        challenge(nonce, "a", 1, ids, shapes, 4, 5),
        challenge(f"{nonce}0", "a", 0, ids, shapes, 4, 5),
        challenge(nonce, "b", 0, ids, shapes, 4, 5),
    ):
        assert other[0].digest() != start.digest()
