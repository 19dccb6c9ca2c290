"""A sweep that explodes is said so before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lstmbench import estimate
from lstmbench.errors import UserError
from lstmbench.protocol import D2L

Make = Callable[..., Any]


def test_work_takes_longer_the_more_there_is(make_record: Make) -> None:
    trial = make_record().trial
    seconds = estimate.seconds(trial, 10_000, 28)
    wide = replace(trial, protocol=replace(D2L, hidden_size=1024))
    assert estimate.seconds(wide, 10_000, 28) > 10 * seconds > 10 * estimate.START
    assert estimate.seconds(replace(trial, device="cuda:0"), 10_000, 28) < seconds


def test_many_trials_and_long_ones_are_refused_with_their_number_and_time(
    make_record: Make,
) -> None:
    trial = make_record().trial
    estimate.refuse_explosion([trial] * 8, 10_000, 28)
    with pytest.raises(UserError, match=r"this makes 1,000 trials and takes \d.* hours.*--yes"):
        estimate.refuse_explosion([trial] * 1000, 10_000, 28)
    huge = replace(trial, protocol=replace(D2L, hidden_size=8192))
    with pytest.raises(UserError, match="2 trials"):
        estimate.refuse_explosion([huge] * 2, 10_000, 28)
