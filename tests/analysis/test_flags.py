"""Flags: each rule, and that records, notes and rankings follow the one list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lstmbench.analysis import flags
from lstmbench.records.record import (
    Activity,
    Audit,
    AuditPart,
    Challenge,
    Epochs,
    Evaluation,
    Flag,
    SystemLoad,
)

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
        (SystemLoad(others=0.0, stolen=0.0, throttled=0.009), False),
        (SystemLoad(others=0.0, stolen=0.0, throttled=0.01), True),
    ],
)
def test_interference_is_a_tenth_of_a_processor_or_a_hundredth_of_the_time(
    make_record: Make, load: SystemLoad | None, raised: bool
) -> None:
    assert flags.interference(make_record(system_load=load)) is raised


@pytest.mark.parametrize(("hindered", "raised"), [(0, False), (1, True)])
def test_a_worker_that_was_hindered_may_be_slow(
    make_record: Make, hindered: int, raised: bool
) -> None:
    activity = Activity(seconds=1.0, processor_seconds=0.0, hindered=hindered)
    assert flags.interference(make_record(activity=activity)) is raised


def audit(*what: Any, allowed: tuple[str, ...] = ("parameters", "loss 1")) -> Audit:
    """One that judged ``allowed`` in each part."""
    limits = dict.fromkeys(allowed, 1e-4)
    parts = [AuditPart(what=name, last=5, errors={}, allowed=limits) for name in what]
    return Audit(nonce="00", parts=parts)


AUDITED = audit("segment", "challenge", "evaluation")


@pytest.mark.parametrize(
    ("changes", "raised"),
    [
        ({}, False),  # of a version that held no audit
        ({"audit": AUDITED}, False),
        ({"audit": audit("segment", "challenge", allowed=("progress",))}, False),
        ({"audit": audit()}, True),
        ({"audit": audit("segment")}, True),
        ({"audit": audit("challenge", "evaluation", "text")}, True),
        ({"audit": audit("segment", "challenge", allowed=("loss 1",))}, True),
        ({"audit": audit(), "status": "failed", "reason": "nan"}, False),
    ],
)
def test_what_nothing_vouches_for_is_flagged(
    make_record: Make, changes: dict[str, Any], raised: bool
) -> None:
    assert flags.unaudited(make_record(**changes)) is raised


@pytest.mark.parametrize(("seconds", "raised"), [(0.2, False), (0.5, True)])
def test_a_speed_that_the_challenge_did_not_show_is_not_vouched_for(
    make_record: Make, seconds: float, raised: bool
) -> None:
    """Others may have slowed it down: that makes it no suspect."""
    busy = SystemLoad(others=1.0, stolen=0.0)
    challenge = Challenge(seconds=[seconds], load=busy)
    assert flags.unaudited(make_record(audit=AUDITED, challenge=challenge)) is raised
    assert not flags.suspect(make_record(audit=AUDITED, challenge=challenge))
    quiet = challenge.model_copy(update={"load": QUIET})
    assert flags.suspect(make_record(audit=AUDITED, challenge=quiet)) is raised


def test_flags_are_raised_in_the_order_of_the_list(make_record: Make) -> None:
    drifting = Epochs(
        seconds=[0.1 + 0.01 * i for i in range(40)], nats=[-1.0] * 40, tokens=[100] * 40
    )
    load = SystemLoad(others=1.0, stolen=0.0)
    wrong = make_record(epochs=drifting, system_load=load, audit=audit())
    assert flags.raised(wrong) == [flag.name for flag in flags.RULES]
    steady = epochs([0.1 + 1e-6 * (i % 7) + 1e-8 * i for i in range(40)])
    evaluation = Evaluation(split="test", epoch=5, nats=10.0, tokens=10)
    fine = make_record(epochs=steady, evaluations=[evaluation], system_load=QUIET, audit=AUDITED)
    assert flags.raised(fine) == []


def test_only_a_result_that_is_too_good_keeps_a_row_from_being_the_best(make_record: Make) -> None:
    from lstmbench.publish.tables import best, make

    def the_best(*raised: Flag) -> list[Any]:
        return best(make([make_record(flags=list(raised))]))

    assert the_best(Flag.DRIFTING, Flag.INTERFERENCE)
    assert not the_best(Flag.SUSPECT)


def test_names_are_distinct() -> None:
    assert len(flags.BY_NAME) == len(flags.RULES)
