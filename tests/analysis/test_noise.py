"""``lstmbench noise``: pairs of one trial, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from lstmbench.analysis import noise
from lstmbench.analysis.intervals import Interval
from lstmbench.errors import UserError
from lstmbench.records.record import Epochs
from lstmbench.runner import aa_test

if TYPE_CHECKING:
    from tests.conftest import Cli

Make = Callable[..., Any]


def record(make_record: Make, repeat: int, speed: float, interleaved_with: list[str]) -> Any:
    epochs = Epochs(seconds=[1 / speed] * 4, nats=[1.0] * 4, tokens=[1] * 4)
    return make_record(repeat=repeat, epochs=epochs, interleaved_with=interleaved_with)


@pytest.fixture
def records(make_record: Make) -> list[Any]:
    """Eight sets: interleaved speeds differ by 1 %, alone by 10 %."""
    rng = np.random.default_rng(0)
    trials = [
        trial for group in aa_test.plan_pairs(make_record().trial, 8).groups for trial in group
    ]
    names = {trial.repeat: trial.name for trial in trials}
    found = []
    for repeat, name in names.items():
        interleaved = repeat % 3 < 2
        speed = math.exp(rng.normal(0, 0.01 if interleaved else 0.1))
        partner = names[repeat + 1 - 2 * (repeat % 3)] if interleaved else None
        found.append(record(make_record, repeat, speed, [partner] if partner else []))
        assert found[-1].trial.name == name
    return found


def test_each_pair_is_interleaved_and_another_process_runs_alone(make_record: Make) -> None:
    plan = aa_test.plan_pairs(make_record().trial, 2)
    assert [[t.repeat for t in group] for group in plan.groups] == [[0, 1], [2], [3, 4], [5]]
    assert len({trial.name for trial in plan.trials}) == 6
    assert [repeat for repeat, _ in plan.by_repeat()] == [0, 2, 3, 5]


def test_the_deviation_is_that_of_the_pairs_ratios(records: list[Any]) -> None:
    interleaved, alone = (noise.repeatability(records, way) for way in (True, False))
    assert interleaved
    assert alone

    def deviation(ours: list[Any], theirs: list[Any]) -> float:
        pairs = zip(ours, theirs, strict=True)
        logs = [math.log(a.epochs.seconds[0] / b.epochs.seconds[0]) for a, b in pairs]
        return float(np.std(logs, ddof=1))

    assert interleaved.deviation == pytest.approx(deviation(records[0::3], records[1::3]))
    assert alone.deviation == pytest.approx(deviation(records[2::6], records[5::6]))
    assert (interleaved.ratio.processes, alone.ratio.processes) == (8, 4)
    assert interleaved.deviation < 0.03 < alone.deviation


def test_what_is_detectable_shrinks_with_repeats_and_is_found_in_four_of_five_cases(
    records: list[Any],
) -> None:
    way = noise.repeatability(records, interleaved=True)
    assert way
    sizes = [way.detectable(n) for n in (2, 3, 5, 10, 20)]
    assert sizes == sorted(sizes, reverse=True)
    repeats, rng = 8, np.random.default_rng(0)
    draws = rng.normal(math.log(way.detectable(repeats)), way.deviation, (4000, repeats))
    assert np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05) == pytest.approx(
        noise.POWER, abs=0.03
    )


def test_lost_pairs_do_not_count(records: list[Any]) -> None:
    lost = records[1].model_copy(update={"status": "failed"})
    way = noise.repeatability([records[0], lost, *records[2:]], interleaved=True)
    assert way
    assert way.ratio.processes == 7
    assert noise.repeatability(records[:3], interleaved=True) is None


def begun(seconds: float, each: float) -> list[int]:
    """What is begun if every group takes so long."""
    now = 50.0
    until = aa_test.UntilTime(seconds, clock=lambda: now)
    now = 100.0
    until.start()
    found = []
    for repeat in (r for pair in range(20) for r in (3 * pair, 3 * pair + 2)):
        if until.should_stop([], repeat):
            break
        found.append(repeat)
        now += each
    return found


def test_whole_sets_are_sampled_until_the_time_is_over() -> None:
    # a sixth set would end after 120 s
    assert begun(110.0, 10.0) == [0, 2, 3, 5, 6, 8, 9, 11, 12, 14]


def test_four_sets_are_measured_however_long_they_take() -> None:
    assert len(begun(1.0, 50.0)) == 8


def test_the_deviation_s_own_interval_covers(make_record: Make) -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        logs = rng.normal(0, 0.01, 6)
        way = noise.Repeatability("", Interval(1.0, 0.9, 1.1, 6), float(np.std(logs, ddof=1)), 1.0)
        low, high = way.bounds
        covered += low <= 0.01 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_records_of_several_trials_are_no_noise(records: list[Any], make_record: Make) -> None:
    noise.check_one_trial(records)
    with pytest.raises(UserError, match="several trials or machines"):
        noise.check_one_trial([*records, make_record(backend="other")])


NOISE = (
    *("noise", "--backend", "numpy", "--threads", "1", "--corpus", "bundled"),
    *("--minutes", "0.001", "--epochs", "4"),
)


@pytest.mark.slow
def test_the_command_measures_and_tells_and_tells_again(cli: Cli) -> None:
    tiny = ("--hidden-size", "8", "--batch-size", "4", "--steps", "5", "--repeats", "7")
    done = cli(*NOISE, *tiny, "--store", cli.store)
    assert done.returncode == 0, done.stderr
    (folder,) = cli.runs()
    assert len(list((folder / "records").iterdir())) == 12
    for words in ("interleaved", "sequential", "no difference", "four cases of five", "\n7 "):
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
        (("--from", "nowhere"), ("nowhere is missing",)),
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
