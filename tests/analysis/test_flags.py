"""Flags: each rule, and that records, notes and rankings follow the one list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lstmbench.analysis import flags
from lstmbench.records.record import Epochs, Evaluation, Flag, SystemLoad

Make = Callable[..., Any]
QUIET = SystemLoad(others=0.0, stolen=0.0)


def epochs(seconds: list[float]) -> Epochs:
    return Epochs(seconds=seconds, nats=[1.0] * len(seconds), tokens=[100] * len(seconds))


@pytest.mark.parametrize("count", [40, 700, 20_000])
def test_a_clear_trend_is_flagged_and_noise_is_not(count: int) -> None:
    """Of long series too, without the slopes of all of their pairs."""
    noise = np.exp(0.02 * np.random.default_rng(count).normal(size=count))
    assert not flags.drifting(epochs(list(0.1 * noise)))
    assert flags.drifting(epochs(list(np.linspace(0.13, 0.1, count) * noise)))
    # clear, but too small to matter
    assert not flags.drifting(epochs(list(np.linspace(0.103, 0.1, count))))


@pytest.mark.parametrize(
    ("load", "raised"),
    [
        (None, False),
        (QUIET, False),
        (SystemLoad(others=0.09, stolen=0.009), False),
        (SystemLoad(others=0.1, stolen=0.0), True),
        (SystemLoad(others=0.0, stolen=0.01), True),
    ],
)
def test_interference_is_a_tenth_of_a_processor_or_a_hundredth_of_the_time(
    load: SystemLoad | None, raised: bool
) -> None:
    assert flags.interference(load) is raised


def test_flags_are_raised_in_the_order_of_the_list() -> None:
    drifting = Epochs(
        seconds=[0.1 + 0.01 * i for i in range(40)], nats=[-1.0] * 40, tokens=[100] * 40
    )
    load = SystemLoad(others=1.0, stolen=0.0)
    assert flags.raised(drifting, [], load) == [flag.name for flag in flags.RULES]
    fine = Evaluation(split="test", epoch=5, nats=10.0, tokens=10)
    assert flags.raised(epochs([0.1] * 40), [fine], QUIET) == []


def test_only_a_result_that_is_too_good_keeps_a_row_from_being_the_best(make_record: Make) -> None:
    from lstmbench.publish.tables import best, make

    def the_best(*raised: Flag) -> list[Any]:
        return best(make([make_record(flags=list(raised))]))

    assert the_best(Flag.DRIFTING, Flag.INTERFERENCE)
    assert not the_best(Flag.SUSPECT)


def test_names_are_distinct() -> None:
    assert len(flags.BY_NAME) == len(flags.RULES)
