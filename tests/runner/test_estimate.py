"""A sweep that explodes is said so before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lstmbench.backend import BackendSpec
from lstmbench.errors import UserError
from lstmbench.protocol import D2L, Protocol
from lstmbench.records.record import StoppingRule
from lstmbench.runner import estimate
from lstmbench.runner.plan import Selection

Make = Callable[..., Any]
Protocols = list[tuple[Protocol, dict[str, Any]]]


def test_work_takes_longer_the_more_there_is(make_record: Make) -> None:
    trial = make_record().trial
    seconds = estimate.seconds(trial, 10_000, 28)
    wide = replace(trial, protocol=replace(D2L, hidden_size=1024))
    assert estimate.seconds(wide, 10_000, 28) > 10 * seconds > 10 * estimate.START_UP_SECONDS
    assert estimate.seconds(replace(trial, device="cuda:0"), 10_000, 28) < seconds


def selection(**changes: Any) -> Selection:
    chosen: dict[str, Any] = {
        "backends": [(BackendSpec("a", "", "a:X", {"cpu": ("eager",)}), None)],
        "devices": ["cpu"],
        "modes": ["default"],
        "dtype": "float32",
        "protocols": [(D2L, {})],
        "init": "shared",
        "corpus": "bundled",
        "corpus_digest": "0" * 64,
        "seeds": [0],
        "threads": [2],
        "environment": {},
    }
    return Selection(**{**chosen, **changes})


def test_many_trials_and_long_ones_are_refused_with_their_number_and_time() -> None:
    estimate.check_size(selection(), 10_000, 28)
    with pytest.raises(UserError, match=r"this makes 1,000 trials and takes \d.* hours.*--yes"):
        estimate.check_size(selection(repeats=1000), 10_000, 28)
    huge: Protocols = [(replace(D2L, hidden_size=8192), {})]
    with pytest.raises(UserError, match="1 trials"):
        estimate.check_size(selection(protocols=huge), 10_000, 28)


def test_sampling_counts_its_least_repeats_and_ends_with_its_time() -> None:
    half_an_hour: Protocols = [(replace(D2L, epochs=5000), {})]
    chosen = selection(protocols=half_an_hour, repeats=50)
    rule = StoppingRule(precision=0.02, seconds=600)
    estimate.check_size(replace(chosen, stopping_rule=rule), 10_000, 28)
    with pytest.raises(UserError, match="50 trials"):
        estimate.check_size(chosen, 10_000, 28)


def test_what_would_take_long_to_list_is_refused_at_once() -> None:
    sizes: Protocols = [(replace(D2L, hidden_size=n), {}) for n in range(1, 30_000)]
    with pytest.raises(UserError, match="over 20,000 trials"):
        estimate.check_size(selection(protocols=sizes), 10_000, 28)
