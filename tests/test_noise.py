"""``lstmbench noise``: pairs of one trial, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from lstmbench import noise
from lstmbench.record import Epochs

if TYPE_CHECKING:
    from tests.conftest import Cli

Make = Callable[..., Any]


def record(make_record: Make, repeat: int, speed: float, companions: list[str]) -> Any:
    epochs = Epochs(seconds=[1 / speed] * 4, nats=[1.0] * 4, tokens=[1] * 4)
    return make_record(repeat=repeat, epochs=epochs, companions=companions)


@pytest.fixture
def records(make_record: Make) -> list[Any]:
    """Four pairs in turns that differ by 1 %, four one after the other that differ by 10 %."""
    rng = np.random.default_rng(0)
    found = []
    for pair in range(4):
        for index in range(4):
            sigma = 0.01 if index < 2 else 0.1
            speed = math.exp(rng.normal(0, sigma))
            found.append(record(make_record, 4 * pair + index, speed, ["x"] * (index < 2)))
    return found


def test_each_pair_takes_turns_and_then_runs_one_after_the_other(make_record: Make) -> None:
    plan = noise.plan_pairs(make_record().trial, 2)
    assert [[t.repeat for t in group] for group in plan.groups] == [
        [0, 1],
        [2],
        [3],
        [4, 5],
        [6],
        [7],
    ]
    assert len({trial.name for trial in plan.trials}) == 8
    assert [repeat for repeat, _ in plan.by_repeat()] == [0, 2, 3, 4, 6, 7]


def test_the_deviation_is_that_of_the_pairs_ratios(records: list[Any]) -> None:
    turns, serial = (noise.repeatability(records, way) for way in (True, False))
    assert turns
    assert serial
    logs = [
        math.log(a.epochs.seconds[0] / b.epochs.seconds[0])
        for a, b in zip(records[0::4], records[1::4], strict=True)
    ]
    assert turns.deviation == pytest.approx(np.std(logs, ddof=1))
    assert turns.ratio.processes == serial.ratio.processes == 4
    assert turns.deviation < 0.03 < serial.deviation


def test_what_is_detectable_shrinks_with_repeats_and_is_found_in_four_of_five_cases(
    records: list[Any],
) -> None:
    way = noise.repeatability(records, turns=True)
    assert way
    sizes = [way.detectable(n) for n in (2, 3, 5, 10, 20)]
    assert sizes == sorted(sizes, reverse=True)
    repeats, rng = 8, np.random.default_rng(0)
    draws = rng.normal(math.log(way.detectable(repeats)), way.deviation, (4000, repeats))
    assert np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05) == pytest.approx(
        noise.POWER, abs=0.03
    )


def test_lost_pairs_do_not_count(records: list[Any], make_record: Make) -> None:
    lost = records[1].model_copy(update={"status": "failed"})
    way = noise.repeatability([records[0], lost, *records[2:]], turns=True)
    assert way
    assert way.ratio.processes == 3
    assert noise.repeatability(records[:4], turns=True) is None


def test_whole_pairs_are_sampled_until_the_time_is_over() -> None:
    now = 0.0
    until = noise.UntilTime(100.0, clock=lambda: now)
    begun = []
    for repeat in (r for pair in range(9) for r in (4 * pair, 4 * pair + 2, 4 * pair + 3)):
        if until.content([], repeat):
            break
        begun.append(repeat)
        now += 10.0
    assert begun == [0, 2, 3, 4, 6, 7, 8, 10, 11]  # a fourth pair would end after 120 s
    assert until.repeat == 13


def test_two_pairs_are_measured_however_long_they_take() -> None:
    now = 0.0
    until = noise.UntilTime(1.0, clock=lambda: now)
    begun = 0
    for repeat in (0, 2, 3, 4, 6, 7, 8):
        if until.content([], repeat):
            break
        begun, now = begun + 1, now + 50.0
    assert begun == 6


def test_repeats_that_fit_into_a_time(records: list[Any]) -> None:
    way = noise.repeatability(records, turns=True)
    assert way
    assert replace(way, seconds=20.0).repeats_within(minutes=1.5) == 4


NOISE = (
    *("noise", "--backend", "numpy", "--threads", "1", "--corpus", "bundled"),
    *("--minutes", "0.001", "--epochs", "4"),
)


def test_the_verb_measures_and_tells_and_tells_again(cli: Cli) -> None:
    tiny = ("--hidden-size", "8", "--batch-size", "4", "--steps", "5", "--repeats", "7")
    done = cli(*NOISE, *tiny, "--store", cli.store)
    assert done.returncode == 0, done.stderr
    (folder,) = cli.runs()
    assert len(list((folder / "records").iterdir())) == 8
    for words in ("in turns", "one after the other", "no difference", "four cases of five", "\n7 "):
        assert words in done.stdout
    again = cli("noise", "--from", folder)
    assert again.returncode == 0
    table = done.stdout[: done.stdout.index("\n\n")]
    assert table.splitlines()[0] in again.stdout
    assert table.splitlines()[2] in again.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--minutes", "0"), ("--minutes", "positive")),
        (("--minutes", "nan"), ("--minutes", "positive")),
        (("--repeats", "1"), ("--repeats",)),
        (("--backend", "numpy,numpy"), ("--backend", "name one")),
        (("--backend", "nmpy"), ("unknown backend 'nmpy'",)),
        (("--device", "cuda:0"), ("numpy does not run on cuda",)),
        (("--hidden-size", "8,16"), ("noise is that of one trial",)),
        (("--from", "nowhere"), ("nowhere", "no run and no store")),
    ],
)
def test_bad_input_is_one_line(
    call: Callable[..., Any],
    one_line: Callable[..., None],
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    one_line(call(*NOISE, "--store", tmp_path / "runs", *arguments), *words)
    assert not (tmp_path / "runs").exists()
