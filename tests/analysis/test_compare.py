"""Comparisons: how often an interval covers, and what may be compared at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstmbench.analysis import compare, conditions, intervals, metrics, series
from lstmbench.analysis.tables import tables_from
from lstmbench.records.record import Epochs, Memory, Record

Make = Callable[..., Any]
EPOCHS = 40


def speed_of(a: list[Record], b: list[Record]) -> compare.Comparison:
    return next(c for c in compare.compare(a, b) if c.metric is metrics.TOKENS_PER_SECOND)


def test_intervals_cover_as_often_as_they_claim() -> None:
    """Series with one-sided noise within processes and a spread between them."""
    rng = np.random.default_rng(0)
    covered, runs, repeats = 0, 400, 6
    for _ in range(runs):
        ratios = []
        for _ in range(repeats):
            sides = []
            for _ in range(2):
                level = 0.1 * np.exp(0.01 * rng.normal())
                seconds = level * (1 + rng.exponential(0.05, EPOCHS))
                epochs = Epochs(seconds=seconds.tolist(), nats=[1.0] * EPOCHS, tokens=[1] * EPOCHS)
                sides.append(series.speed(epochs))
            ours, theirs = sides
            assert ours
            assert theirs
            ratios.append(ours / theirs)
        found = intervals.interval(ratios)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1 <= found.high
    # three standard deviations of a binomial around 95 %
    assert 0.917 <= covered / runs <= 0.983


def test_a_slowdown_of_a_twentieth_is_worse(make_row: Make) -> None:
    rng = np.random.default_rng(1)
    drift = 0.1 * np.exp(0.2 * rng.normal(size=6))  # the machine's, seen by both
    honest = make_row(list(drift * np.exp(0.01 * rng.normal(size=6))), "a")
    slowed = make_row(list(1.05 * drift * np.exp(0.01 * rng.normal(size=6))), "b")
    speed = speed_of(slowed, honest)
    assert (speed.verdict, speed.paired) == ("worse", True)
    assert speed_of(honest, slowed).verdict == "better"
    # not interleaved, the drift hides it
    apart = make_row(list(1.05 * drift[::-1]), "b", run="another")
    assert speed_of(apart, honest).verdict == "undecided"


def test_the_hour_of_a_run_is_one_observation(make_row: Make) -> None:
    """Five processes that agree say nothing about the next run; several runs do."""
    quiet = make_row([0.1, 0.1001, 0.0999, 0.1, 0.1], run="quiet")
    busy = make_row([0.12, 0.1201, 0.1199, 0.12, 0.12], run="busy")
    speed = speed_of(busy, quiet)
    assert (speed.verdict, speed.ratio.processes) == ("undecided", 1)
    assert speed.ratio.value == pytest.approx(1 / 1.2, rel=1e-3)
    side = {
        backend: [
            record
            for run in range(4)
            for record in make_row([s * (1 + run / 100)] * 3, run=f"{backend}{run}")
        ]
        for backend, s in (("slow", 0.12), ("fast", 0.1))
    }
    speed = speed_of(side["slow"], side["fast"])
    assert (speed.verdict, speed.ratio.processes) == ("worse", 4)


def test_rows_of_different_runs_share_a_rank(make_row: Make) -> None:
    records = make_row([0.1, 0.1001, 0.0999], "a", run="quiet")
    records += make_row([0.12, 0.1201, 0.1199], "b", run="busy")
    (setting,) = tables_from(records)
    assert setting.ranks == [1, 1]


def test_one_process_decides_nothing(make_row: Make) -> None:
    a, b = (make_row([s], n) for s, n in ((0.1, "a"), (0.2, "b")))
    assert speed_of(a, b).verdict == "undecided"


def test_rows_that_are_not_distinguishable_share_a_rank(make_row: Make) -> None:
    rng = np.random.default_rng(2)
    records = []
    for backend, level in (("a", 0.1), ("b", 0.1005), ("c", 0.13), ("d", 0.131)):
        records += make_row(list(level * np.exp(0.02 * rng.normal(size=5))), backend)
    (setting,) = tables_from(records)
    assert len(setting.rows) == 4
    assert setting.ranks == [1, 1, 3, 3]


def test_seconds_to_a_perplexity(make_record: Make) -> None:
    record = make_record(
        epochs=Epochs(seconds=[1.0, 2.0, 4.0], nats=[30.0, 6.0, 1.0], tokens=[10] * 3),
        phases={"import": 1.0, "build": 0.5, "prepare": 0.25, "parity": 9.0},
    )
    assert metrics.seconds_to(record, 2.0) == 3.0
    assert metrics.seconds_to(record, 1.5) == 7.0
    assert metrics.seconds_to(record, 1.5, with_start_up=True) == 8.75
    assert metrics.seconds_to(record, 1.05) is None


def test_wording_and_sampling_of_a_protocol_make_no_difference(make_row: Make) -> None:
    mine = make_row([0.1, 0.11])
    trial = mine[0].trial
    words = replace(trial.protocol, note="other words", summary="others", budget=1.0, repeats=9)
    theirs = [r.model_copy(update={"trial": replace(r.trial, protocol=words)}) for r in mine]
    assert not conditions.differences(mine, theirs)
    assert speed_of(mine, theirs).paired
    assert len(tables_from([*mine, *theirs])) == 1
    sized = replace(trial.protocol, clip_norm=0.5)
    theirs = [r.model_copy(update={"trial": replace(r.trial, protocol=sized)}) for r in mine]
    assert set(conditions.differences(mine, theirs)) == {"clip_norm"}


def test_perplexity_is_the_seed_s_not_the_process_s(make_record: Make) -> None:
    """Ten processes of one seed say no more than one; several seeds give an interval."""

    def side(backend: str, nats: list[float], repeats: int) -> list[Record]:
        return [
            make_record(
                backend=backend,
                seed=seed,
                repeat=repeat,
                epochs=Epochs(seconds=[0.1] * 4, nats=[n] * 4, tokens=[1] * 4),
            )
            for seed, n in enumerate(nats)
            for repeat in range(repeats)
        ]

    def perplexity(a: list[Record], b: list[Record]) -> compare.Comparison:
        return next(c for c in compare.compare(a, b) if c.metric.label == "perplexity")

    one_seed = perplexity(side("a", [1.0], 10), side("b", [1.001], 10))
    assert one_seed.verdict == "undecided"
    assert one_seed.ratio.low is None
    ours, theirs = [1.0, 1.1, 1.2, 1.3], [1.5, 1.58, 1.72, 1.8]
    assert perplexity(side("a", ours, 2), side("b", theirs, 2)).verdict == "better"


def test_so_is_the_epoch_at_which_a_perplexity_is_reached(make_record: Make) -> None:
    a, b = (
        [
            make_record(
                backend=backend,
                repeat=repeat,
                epochs=Epochs(seconds=[s + repeat / 1000] * 2, nats=[9.0, 0.5], tokens=[1] * 2),
            )
            for repeat in range(5)
        ]
        for backend, s in (("a", 1.0), ("b", 2.0))
    )
    found = {c.metric.label: c for c in compare.compare(a, b)}
    assert found["tokens/s"].verdict == "better"
    assert found["seconds to perplexity 2"].verdict == "undecided"


def test_an_infinite_perplexity_is_compared_with_nothing(make_row: Make) -> None:
    a, b = (make_row([0.1, 0.11], name) for name in "ab")
    wild = a[0].epochs.model_copy(update={"nats": [1e9] * EPOCHS})
    names = {c.metric.label for c in compare.compare([a[0].model_copy(update={"epochs": wild})], b)}
    assert "tokens/s" in names
    assert "perplexity" not in names


def test_exact_amounts_are_decided_without_spread(make_row: Make) -> None:
    def side(name: str, size: int, count: int = 3) -> list[Record]:
        memory = Memory(device_peak=size)
        own = make_row([0.1] * count, name)
        return [record.model_copy(update={"memory": memory}) for record in own]

    def verdict(a: list[Record], b: list[Record]) -> str:
        return next(c for c in compare.compare(a, b) if c.metric.label == "device memory").verdict

    assert verdict(side("a", 100), side("b", 200)) == "better"
    assert verdict(side("a", 100), side("b", 100)) == "undecided"
    assert verdict(side("a", 100, 1), side("b", 200, 1)) == "undecided"


def test_survivors_are_not_compared(make_record: Make) -> None:
    def side(backend: str, last: list[float]) -> list[Record]:
        return [
            make_record(
                backend=backend,
                repeat=n,
                epochs=Epochs(seconds=[1.0 + n] * 2, nats=[9.0, nats], tokens=[1] * 2),
            )
            for n, nats in enumerate(last)
        ]

    names = {c.metric.label for c in compare.compare(side("a", [0.1, 0.1]), side("b", [0.1, 5.0]))}
    assert "tokens/s" in names
    assert "seconds to perplexity 2" not in names


def test_one_lost_process_leaves_the_others_paired(make_row: Make) -> None:
    drift = [0.1, 0.13, 0.2, 0.16, 0.11]
    slow = make_row([1.05 * s for s in drift], "b")
    lost = slow[2].model_copy(update={"status": "failed"})
    found = compare.compare([*slow[:2], lost, *slow[3:]], make_row(drift))
    speed = next(c for c in found if c.metric.label == "tokens/s")
    assert speed.paired
    assert speed.ratio.processes == 4
    assert speed.ratio.value == pytest.approx(1 / 1.05)


def test_records_of_another_machine_anywhere_in_a_side_are_told(make_row: Make) -> None:
    mine = make_row([0.1, 0.1])
    other = mine[1].machine.model_copy(update={"digest": "o" * 64})
    mixed = [mine[0], mine[1].model_copy(update={"machine": other})]
    assert set(conditions.differences(mixed, mine)) == {"machine"}
    assert not conditions.differences(mine, mine)
