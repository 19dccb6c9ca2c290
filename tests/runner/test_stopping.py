"""When sampling stops, what intervals cover, and what an A/A pair and a slow one are called."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.analysis import compare, intervals, metrics
from lstmbench.records.record import Epochs, Status, StoppingRule
from lstmbench.runner.stopping import MAX_PROCESSES, MIN_PROCESSES, UntilPrecise

Make = Callable[..., Any]
#: Deviations of logarithms: of one process from another, and of one epoch from another.
BETWEEN, WITHIN = 0.015, 0.05


def speeds(rng: np.random.Generator, processes: int, slower: float = 0.0) -> list[float]:
    """Speeds of processes whose epochs a neighbour sometimes slows: noise is one-sided."""
    found = []
    for _ in range(processes):
        level = 0.1 * (1 + slower) * math.exp(rng.normal(0, BETWEEN / math.sqrt(2)))
        seconds = level * np.exp(np.abs(rng.normal(0, WITHIN, 60)))
        epochs = Epochs(seconds=seconds.tolist(), nats=[1.0] * 60, tokens=[8960] * 60)
        speed = metrics.speed(epochs)
        assert speed
        found.append(speed)
    return found


def paired(rng: np.random.Generator, repeats: int, slower: float = 0.0) -> intervals.Interval:
    ours, theirs = speeds(rng, repeats, slower), speeds(rng, repeats)
    found = intervals.interval([a / b for a, b in zip(ours, theirs, strict=True)])
    assert found
    return found


@pytest.mark.parametrize("repeats", [2, 5, 10])
def test_95_per_cent_intervals_cover_the_truth_as_often_as_they_claim(repeats: int) -> None:
    rng = np.random.default_rng(repeats)
    found = [paired(rng, repeats) for _ in range(400)]
    covered = sum(i.low <= 1 <= i.high for i in found if i.low and i.high) / len(found)
    assert 0.92 <= covered <= 0.98


def test_intervals_of_epochs_instead_of_processes_would_not_cover() -> None:
    """Why processes are what is counted."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        a, b = (
            0.1 * math.exp(rng.normal(0, BETWEEN / math.sqrt(2))) * np.exp(rng.normal(0, 0.02, 60))
            for _ in range(2)
        )
        found = intervals.interval((a / b).tolist())
        assert found
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1 <= found.high
    assert covered / 200 < 0.6


def stopped_early(rng: np.random.Generator, least: int) -> float:
    """Coverage of intervals that ended sampling at the first look that was satisfied."""
    covered, runs = 0, 1500
    for _ in range(runs):
        logs = rng.normal(0, 0.02, MAX_PROCESSES)
        for number in range(least, MAX_PROCESSES + 1):
            found = intervals.interval(np.exp(logs[:number]).tolist())
            assert found
            assert found.half_width is not None
            if found.half_width <= 0.02:
                break
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1 <= found.high
    return covered / runs


def test_early_looks_cost_coverage_and_the_least_number_of_processes_keeps_it() -> None:
    rng = np.random.default_rng(0)
    assert stopped_early(rng, 2) < 0.92
    assert stopped_early(rng, MIN_PROCESSES) > 0.925


class Adaptive:
    """A run of two rows whose repeats are drawn as they are asked for."""

    def __init__(self, make_record: Make, seed: int, slower: float, rule: StoppingRule) -> None:
        rng = np.random.default_rng(seed)
        self.now, self.records = 0.0, []
        self.stopped = ""
        sampler = UntilPrecise(rule, clock=lambda: self.now)
        sampler.start()
        for repeat in range(MAX_PROCESSES):
            self.stopped = sampler.should_stop(self.records, repeat) or ""
            if self.stopped:
                break
            self.now += 15.0
            for backend, slow in (("a", slower), ("b", 0.0)):
                (rate,) = speeds(rng, 1, slow)
                epochs = Epochs(seconds=[1 / rate] * 4, nats=[1.0] * 4, tokens=[1] * 4)
                self.records.append(make_record(backend=backend, repeat=repeat, epochs=epochs))

    def comparison(self) -> compare.Comparison:
        sides = [[r for r in self.records if r.trial.backend == name] for name in "ab"]
        return next(c for c in compare.compare(*sides) if c.quantity.name == "tokens/s")

    @property
    def repeats(self) -> int:
        return len(self.records) // 2


def test_one_trial_against_itself_is_rarely_called_better_or_worse(make_record: Make) -> None:
    rule = StoppingRule(precision=0.02, seconds=600)
    runs = [Adaptive(make_record, seed, 0.0, rule) for seed in range(150)]
    decided = sum(run.comparison().verdict != "undecided" for run in runs)
    assert decided <= 15  # one in twenty is expected, stopping early adds a little


def test_five_per_cent_slower_is_worse_within_five_minutes(make_record: Make) -> None:
    rule = StoppingRule(precision=0.02, seconds=300)
    runs = [Adaptive(make_record, seed, 0.05, rule) for seed in range(40)]
    assert all(run.now <= 300 for run in runs)
    assert sum(run.comparison().verdict == "worse" for run in runs) >= 38


def test_it_stops_as_soon_as_every_ratio_is_known_and_says_so(make_record: Make) -> None:
    run = Adaptive(make_record, 1, 0.0, StoppingRule(precision=0.2, seconds=1e9))
    assert run.repeats == MIN_PROCESSES
    assert "every ratio is known within" in run.stopped
    assert "(asked for: 20.0%)" in run.stopped


def test_it_stops_when_the_time_is_over_and_does_not_guess(make_record: Make) -> None:
    run = Adaptive(make_record, 1, 0.0, StoppingRule(precision=0.002, seconds=100))
    assert run.now <= 100
    assert "would not fit into 100 s" in run.stopped
    assert "stays undecided" in run.stopped


def test_it_never_begins_a_repeat_that_does_not_fit(make_record: Make) -> None:
    run = Adaptive(make_record, 1, 0.0, StoppingRule(precision=0.002, seconds=44))
    assert run.repeats == 2


def until(precision: float) -> UntilPrecise:
    """A sampler that never runs out of time."""
    sampler = UntilPrecise(StoppingRule(precision=precision, seconds=1e9), clock=lambda: 0.0)
    sampler.start()
    return sampler


def test_asking_changes_nothing(make_record: Make) -> None:
    sampler = until(0.2)
    records = row(make_record, "a", MIN_PROCESSES) + row(make_record, "b", MIN_PROCESSES)
    first = sampler.should_stop(records, MIN_PROCESSES)
    assert first
    assert sampler.should_stop(records[:2], 1) is None
    assert sampler.should_stop(records, MIN_PROCESSES) == first


def test_time_counts_from_the_start(make_record: Make) -> None:
    now = 0.0
    sampler = UntilPrecise(StoppingRule(precision=0.002, seconds=100), clock=lambda: now)
    now = 1000.0
    sampler.start()
    assert sampler.should_stop(row(make_record, "a", 2), 2) is None
    now = 1100.0
    assert "would not fit" in str(sampler.should_stop(row(make_record, "a", 2), 2))


def row(make_record: Make, backend: str, repeats: int, **changes: Any) -> list[Any]:
    """Sound processes that differ a little."""
    return [
        make_record(
            backend=backend,
            repeat=n,
            epochs=Epochs(
                seconds=[1 + (n * ord(backend) % 7) / 1000] * 4, nats=[1.0] * 4, tokens=[1] * 4
            ),
            **changes,
        )
        for n in range(repeats)
    ]


def test_one_flake_does_not_end_it(make_record: Make) -> None:
    flake = make_record(backend="b", status="failed", reason="timeout", epochs=Epochs())
    records = [*row(make_record, "a", 2), flake, *row(make_record, "b", 2)[1:]]
    assert until(0.5).should_stop([], 0) is None
    assert until(0.5).should_stop(records, 2) is None


def test_a_table_whose_ratios_are_unknown_is_waited_for(make_record: Make) -> None:
    known = row(make_record, "a", MIN_PROCESSES) + row(make_record, "b", MIN_PROCESSES)
    sampler = until(0.5)
    assert not sampler.should_stop([*known, *row(make_record, "a", 1, threads=1)], MIN_PROCESSES)
    assert sampler.should_stop(known, MIN_PROCESSES)


def test_a_backend_alone_on_each_device_stands_for_itself(make_record: Make) -> None:
    both = [row(make_record, "a", MIN_PROCESSES, device=device) for device in ("cpu", "cuda:0")]
    records = [*both[0], *both[1]]
    sampler = until(0.5)
    assert not sampler.should_stop(records[:2], 2)
    assert "every ratio is known" in str(sampler.should_stop(records, MIN_PROCESSES))


def test_the_last_repeat_is_looked_at_too(make_record: Make) -> None:
    sampler = until(0.002)
    rng = np.random.default_rng(0)
    noisy = [
        record.model_copy(
            update={
                "epochs": Epochs(seconds=[rng.uniform(1, 2)] * 4, nats=[1.0] * 4, tokens=[1] * 4)
            }
        )
        for record in row(make_record, "a", MAX_PROCESSES)
    ]
    stopped = str(sampler.should_stop(noisy, MAX_PROCESSES))
    assert f"after {MAX_PROCESSES} repeats, the most there are" in stopped


def test_it_ends_where_nothing_is_left_to_compare(make_record: Make) -> None:
    sampler = until(0.02)
    broken = [
        make_record(status="failed", reason="nan", repeat=n, epochs=Epochs()) for n in range(2)
    ]
    assert not sampler.should_stop([], 0)
    assert not sampler.should_stop(broken[:1], 1)
    assert sampler.should_stop(broken, 2) == "nothing is left to compare"


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40), st.floats(1e-3, 1e3))
def test_the_estimator_scales_with_the_clock_and_lies_between_the_fastest_and_the_mean(
    seconds: list[float], factor: float
) -> None:
    found = metrics.faster_half_mean(seconds)
    assert found is not None
    assert min(seconds) * (1 - 1e-12) <= found <= sum(seconds) / len(seconds) * (1 + 1e-12)
    scaled = metrics.faster_half_mean([factor * s for s in seconds])
    assert scaled == pytest.approx(factor * found)


def test_a_row_that_was_given_up_is_not_waited_for(make_record: Make) -> None:
    sampler = until(0.2)
    good = row(make_record, "a", MIN_PROCESSES) + row(make_record, "b", MIN_PROCESSES)
    lost = row(make_record, "c", 3)
    lost[1:] = [r.model_copy(update={"status": Status.FAILED}) for r in lost[1:]]
    assert "every ratio is known" in str(sampler.should_stop(good + lost, MIN_PROCESSES))
