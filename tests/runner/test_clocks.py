"""Whether two clocks agree, on a machine that may be busy."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.runner import clocks
from lstmbench.runner.trial_state import EpochResult


def epoch(
    seconds: float, waits: float = 0.0005, computed: float | None = None, queued: float = 0.0
) -> EpochResult:
    """An honest one, whose request waited for so long."""
    spent = seconds if computed is None else computed
    return EpochResult(seconds, 9.0, 100, None, seconds + waits, spent, 0.0005, queued)


@given(
    st.lists(st.tuples(st.floats(0.001, 1), st.floats(0, 0.5)), min_size=3, max_size=40),
    st.integers(0, 2**32),
)
def test_waits_of_three_quarters_of_the_epochs_prove_nothing(
    pairs: list[tuple[float, float]], seed: int
) -> None:
    series = [epoch(seconds, waits) for seconds, waits in pairs]
    series += [epoch(0.1) for _ in range(len(series) // 3 + 1)]
    random.Random(seed).shuffle(series)
    assert clocks.fault(series, 1) is None


@pytest.mark.parametrize("pace", [0.1, 0.5, 0.8, 0.9])
def test_a_slow_clock_is_seen(pace: float) -> None:
    series = [
        epoch(pace * seconds, waits=(1 - pace) * seconds + 0.0005, computed=0.0)
        for seconds in (0.1, 0.11, 0.12, 0.2) * 3
    ]
    fault = clocks.fault(series, 1)
    assert fault is not None
    assert "host saw" in fault


@pytest.mark.parametrize("pace", [0.1, 0.5, 0.8, 0.9])
def test_a_slow_clock_in_half_of_the_epochs_is_seen_by_what_was_computed(pace: float) -> None:
    slow = [epoch(pace * 0.1, waits=(1 - pace) * 0.1, computed=0.1) for _ in range(6)]
    fault = clocks.fault([*slow, *(epoch(0.1) for _ in range(6))], 1)
    assert fault is not None
    assert "compute" in fault


def test_waiting_for_other_programs_is_not_training() -> None:
    series = [epoch(0.25, waits=0.02, computed=0.25, queued=0.019) for _ in range(8)]
    assert clocks.fault(series, 1) is None
    unexplained = [one._replace(queued_seconds=0.0) for one in series]
    assert clocks.fault(unexplained, 1) is not None


@pytest.mark.parametrize("threads", [1, 2])
def test_a_clock_that_counts_no_waiting_is_seen(threads: int) -> None:
    """As one of processor time would, on a machine that others use as much."""
    series = [epoch(0.05, waits=0.05, computed=0.05, queued=0.05) for _ in range(8)]
    assert clocks.fault(series, threads) is not None


def test_a_worker_that_keeps_itself_waiting_has_computed_more_than_it_claims() -> None:
    series = [epoch(0.05, waits=0.05, computed=0.1, queued=0.05) for _ in range(8)]
    assert clocks.fault(series, 1) is not None


def test_several_threads_compute_more_than_a_second_in_a_second() -> None:
    series = [epoch(0.1, computed=0.19) for _ in range(6)]
    assert clocks.fault(series, 2) is None
    assert clocks.fault(series, 1) is not None


def test_of_nothing_nothing_is_said() -> None:
    assert clocks.fault([], 1) is None
    assert clocks.typical_seconds([]) is None
