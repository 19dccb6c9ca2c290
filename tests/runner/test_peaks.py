"""Which offers of a matmul cannot be true."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from lstmbench.analysis.roofline import MAX_ROUNDS
from lstmbench.runner.peaks import MIN_ROUNDS, SHARE, Peaks
from lstmbench.testing import make_record

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="has units that NumPy has not")


@pytest.mark.parametrize(
    ("seconds", "spent", "numpy", "words"),
    [
        ([0.05, 0.05], 0.19, 0.2, ""),
        ([0.5, 0.5], 0.19, 0.2, ""),  # it waited
        ([0.01, 0.01], 0.1, 0.2, "computed for 0.1"),
        ([0.05, 0.05], 0.001, 0.2, "NumPy's takes 0.2"),
        ([0.05, 0.05], 0.05, 0.2, ""),
        ([1e-6, 1e-6], 0.001, 0.2, "NumPy's takes 0.2"),
        ([0.05, 0.05], 0.001, 0.0, ""),  # NumPy's tells nothing
        ([1e-6, 1e-6], 0.0, 0.2, ""),  # the system tells nothing
    ],
)
def test_a_matmul_takes_its_processor_seconds(
    seconds: list[float], spent: float, numpy: float, words: str
) -> None:
    peaks = Peaks(make_record(threads=2).trial, numpy_spent=numpy)
    doubt = peaks.beyond_belief(seconds, spent)
    assert bool(doubt) == bool(words)
    assert words in (doubt or "")


def test_a_device_multiplies_without_processors() -> None:
    peaks = Peaks(make_record(device="cuda:0").trial, numpy_spent=0.2)
    assert peaks.beyond_belief([1e-4], 0.001) is None


@pytest.mark.parametrize(
    ("epochs", "trained", "rounds"),
    [
        (1, 0.001, 1),
        (10, 0.001, MIN_ROUNDS),
        (60, 0.001, MIN_ROUNDS),
        (60, 1.0, 10),
        (500, 1.0, MAX_ROUNDS - 1),
        (40, 0.5 / 4 / SHARE / 2, 6),  # half of what a round takes: every second is affordable
    ],
)
def test_rounds_take_little_of_the_time_and_are_never_too_few(
    epochs: int, trained: float, rounds: int
) -> None:
    """``trained``: seconds of an epoch. A round takes half a second."""
    trial = make_record().trial
    peaks = Peaks(replace(trial, protocol=replace(trial.protocol, epochs=epochs)))
    for done in range(1, epochs + 1):
        if peaks.due(done, done * trained):
            peaks.end_round(0.5)
    assert peaks.rounds == rounds
