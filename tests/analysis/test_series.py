"""What the raw series of one process say, and intervals over processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lstmbench.analysis import intervals, series
from lstmbench.records.record import Epochs

SECONDS = st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=60)


def epochs(seconds: list[float]) -> Epochs:
    return Epochs(seconds=seconds, nats=[1.0] * len(seconds), tokens=[100] * len(seconds))


def test_perplexity_is_the_exponential_of_nats_per_token() -> None:
    trained = Epochs(seconds=[1, 1], nats=[200.0, 0.0], tokens=[100, 100])
    assert series.perplexities(trained) == [math.exp(2), 1.0]


def test_a_perplexity_beyond_a_float_is_infinite() -> None:
    assert series.perplexity(1e6, 1) == math.inf


@given(SECONDS)
def test_the_first_epochs_are_not_steady(seconds: list[float]) -> None:
    first = series.warm_up(len(seconds))
    assert 1 <= first <= 5
    assert series.rates(epochs(seconds)) == [100 / s for s in seconds[first:]]
    slow = epochs([1e9] * first + seconds[first:])
    assert series.speed(slow) == series.speed(epochs(seconds))


@given(SECONDS)
def test_speed_is_the_tokens_of_the_faster_half_over_its_seconds(seconds: list[float]) -> None:
    steady = sorted(seconds[series.warm_up(len(seconds)) :])
    faster = steady[: math.ceil(len(steady) / 2)]
    assert series.speed(epochs(seconds)) == pytest.approx(100 * len(faster) / sum(faster))


@given(SECONDS)
def test_interference_that_slows_the_slower_half_does_not_matter(seconds: list[float]) -> None:
    first = series.warm_up(len(seconds))
    steady = sorted(seconds[first:])
    half = math.ceil(len(steady) / 2)
    slowed = [*seconds[:first], *steady[:half], *(2 * s for s in steady[half:])]
    assert series.speed(epochs(slowed)) == pytest.approx(series.speed(epochs(seconds)))


@pytest.mark.parametrize("seconds", [[], [1.0]])
def test_without_a_steady_epoch_there_is_no_speed(seconds: list[float]) -> None:
    assert series.speed(epochs(seconds)) is None


def test_one_process_gives_no_interval() -> None:
    assert intervals.interval([]) is None
    single = intervals.interval([5.0])
    assert single is not None
    assert (single.value, single.low, single.high, single.processes) == (5.0, None, None, 1)
    assert single.half_width is None


def test_values_without_spread_are_one_observation_however_many() -> None:
    found = intervals.interval([5.0, 5.0, 5.0])
    assert found is not None
    assert (found.value, found.low, found.high) == (5.0, None, None)


def test_the_interval_is_student_s_on_logarithms() -> None:
    found = intervals.interval([1.0, math.e, math.e**2])
    assert found is not None
    # mean 1, standard error 1 / sqrt(3), t(0.975, 2) = 4.302653
    assert found.value == pytest.approx(math.e)
    assert found.low == pytest.approx(math.exp(1 - 4.302653 / math.sqrt(3)), rel=1e-5)
    assert found.high == pytest.approx(math.exp(1 + 4.302653 / math.sqrt(3)), rel=1e-5)
    assert found.processes == 3


@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=9), st.floats(0.1, 10))
def test_the_interval_holds_the_estimate_and_scales_with_it(
    values: list[float], factor: float
) -> None:
    found = intervals.interval(values)
    scaled = intervals.interval([factor * v for v in values])
    assert found is not None
    assert scaled is not None
    assume(found.low is not None)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value * (1 + 1e-9)
    assert found.high >= found.value * (1 - 1e-9)
    assert scaled.value == pytest.approx(factor * found.value)
    assert min(values) * (1 - 1e-9) <= found.value <= max(values) * (1 + 1e-9)


@given(st.lists(st.floats(1, 100), min_size=1, max_size=40))
def test_the_last_ten(values: list[float]) -> None:
    assert series.last_median(values) == pytest.approx(np.median(values[-10:]))


def test_no_value_has_no_median() -> None:
    assert series.last_median([]) is None
