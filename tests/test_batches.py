"""The sequential partition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.batches import draw_offsets, partition, window_count


@st.composite
def texts(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """(tokens, batch, steps, offset) of which at least one window can be cut."""
    batch, steps = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    least = steps + 1 + batch * steps
    tokens = draw(st.integers(least, least + 300))
    return tokens, batch, steps, draw(st.integers(0, steps))


@given(texts())
def test_targets_are_the_inputs_moved_on_by_one(text: tuple[int, int, int, int]) -> None:
    tokens, *shape = text
    batches = partition(np.arange(tokens), *shape)
    np.testing.assert_array_equal(batches.targets, batches.inputs + 1)
    assert batches.targets.max() < tokens


@given(texts())
def test_every_row_continues_in_the_next_window(text: tuple[int, int, int, int]) -> None:
    tokens, *shape = text
    batches = partition(np.arange(tokens), *shape)
    np.testing.assert_array_equal(batches.inputs[1:, :, 0], batches.inputs[:-1, :, -1] + 1)
    np.testing.assert_array_equal(np.diff(batches.inputs, axis=2), 1)


@given(texts())
def test_rows_start_at_the_offset_and_do_not_overlap(text: tuple[int, int, int, int]) -> None:
    tokens, batch, steps, offset = text
    inputs = partition(np.arange(tokens), batch, steps, offset).inputs
    row = (tokens - offset - 1) // batch
    np.testing.assert_array_equal(inputs[0, :, 0], offset + row * np.arange(batch))
    assert len(np.unique(inputs)) == inputs.size


@given(texts())
def test_shape_and_count_are_the_same_for_all_offsets(text: tuple[int, int, int, int]) -> None:
    tokens, batch, steps, _ = text
    expected = (((tokens - steps - 1) // batch) // steps, batch, steps)
    assert window_count(tokens, batch, steps) == expected[0]
    for offset in range(steps + 1):
        batches = partition(np.arange(tokens), batch, steps, offset)
        assert batches.inputs.shape == batches.targets.shape == expected
        assert batches.windows == expected[0]
        assert batches.tokens == batches.inputs.size


@given(texts())
def test_arrays_are_contiguous_int32(text: tuple[int, int, int, int]) -> None:
    tokens, *shape = text
    batches = partition(np.arange(tokens), *shape)
    for array in (batches.inputs, batches.targets):
        assert array.dtype == np.int32
        assert array.flags.c_contiguous


def test_the_course_has_eight_windows() -> None:
    assert window_count(10_000, 32, 35) == 8
    assert partition(np.arange(10_000), 32, 35, 35).tokens == 8 * 32 * 35


def test_iterating_gives_windows_in_order() -> None:
    batches = partition(np.arange(50), 2, 3)
    for window, (inputs, targets) in enumerate(batches):
        np.testing.assert_array_equal(inputs, batches.inputs[window])
        np.testing.assert_array_equal(targets, batches.targets[window])


@given(texts(), st.integers(1, 50))
def test_one_token_too_few_is_refused(text: tuple[int, int, int, int], missing: int) -> None:
    _, batch, steps, _ = text
    tokens = max(0, steps + 1 + batch * steps - missing)
    assert window_count(tokens, batch, steps) == 0
    with pytest.raises(ValueError, match="too few"):
        partition(np.arange(tokens), batch, steps)


@pytest.mark.parametrize("offset", [-1, 4])
def test_an_offset_beyond_the_steps_is_refused(offset: int) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.3"):
        partition(np.arange(99), 2, 3, offset)


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_offsets_are_within_bounds_and_repeat_with_the_seed(seed: int, steps: int) -> None:
    offsets = draw_offsets(seed, 50, steps)
    assert all(type(offset) is int and 0 <= offset <= steps for offset in offsets)
    assert offsets == draw_offsets(seed, 50, steps)


def test_both_ends_are_drawn() -> None:
    assert set(draw_offsets(0, 2000, 35)) == set(range(36))


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    assert draw_offsets(0, 500, 35)[:40] == draw_offsets(0, 40, 35)


def test_offsets_of_seed_zero_are_pinned() -> None:
    assert draw_offsets(0, 6, 35) == [18, 32, 35, 20, 10, 28]
