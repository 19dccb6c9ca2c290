"""Words for a trial, a machine and a commit, made in one place each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lstmbench.records.record import Machine

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("overrides", "title"),
    [
        ({}, "d2l"),
        ({"epochs": 10}, "d2l with epochs 10"),
        ({"epochs": 10, "hidden_size": 128}, "d2l with epochs 10 and hidden-size 128"),
        (
            {"epochs": 10, "hidden_size": 128, "steps": 5},
            "d2l with epochs 10, hidden-size 128 and steps 5",
        ),
    ],
)
def test_a_protocol_with_its_overrides(
    make_record: Make, overrides: dict[str, int], title: str
) -> None:
    trial = make_record(overrides=overrides).trial
    assert trial.protocol_title() == title
    assert trial.protocol_title(without=overrides) == "d2l"


def test_a_machine_and_a_commit(make_record: Make) -> None:
    facts = {"processor": "AMD EPYC", "physical_cores": 2, "gpus": ["Some GPU"]}
    assert Machine(digest="m", facts=facts, versions={}).label == "AMD EPYC (2 cores)"
    source = make_record().source
    assert source.model_copy(update={"commit": "0123456789abcdef"}).short_commit == "01234567"
    assert source.model_copy(update={"commit": None}).short_commit == "unknown"
