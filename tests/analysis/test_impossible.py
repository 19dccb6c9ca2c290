"""Each rule names what cannot be, and leaves alone what noise can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lstmbench.analysis import impossible, roofline
from lstmbench.records.record import Epochs, Matmul, Memory, Parity, Peak, Phases, SystemLoad


def epochs(*seconds: float) -> Epochs:
    return Epochs(seconds=list(seconds), nats=[100.0] * len(seconds), tokens=[8960] * len(seconds))


def phases(**seconds: float) -> Phases:
    return Phases(**{"import": 1.0}, **seconds)


def proof(worst: float) -> Parity:
    errors = {"text: loss": worst}
    return Parity(worst=worst, tolerance=1e-4, errors=errors, shape=(8, 32, 35), cut=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory": Memory(imported=100, peak=80)}, "80%"),
        ({"epochs": epochs(0.1, 5e-7)}, "less than a call"),
        ({"epochs": epochs(*[0.1] * 6)}, "6 epochs took only 1"),
        (
            {"phases": phases(build=1.0, prepare=1.0, rebuild=7.5)},
            "trained ahead",
        ),
        ({"parity": proof(0.0)}, "nothing at all"),
        ({"parity": proof(0.0), "dtype": "bfloat16"}, "bfloat16"),
    ],
)
def test_the_impossible_is_named(
    make_record: Callable[..., Any], changes: dict[str, Any], words: str
) -> None:
    assert impossible.reasons(make_record()) == []
    (reason,) = impossible.reasons(make_record(**changes))
    assert words in reason


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": Memory(imported=100, peak=95)},
        {"memory": Memory(imported=100)},
        {"epochs": epochs(*[0.1] * 4)},
        {"epochs": epochs(0.1, 0.1, 0.11, 0.12, 0.13)},
        {"phases": phases(build=0.001, prepare=0.0, rebuild=0.9)},
        {"parity": proof(0.0), "dtype": "float64"},
        {"parity": None},
    ],
)
def test_what_can_be_true_is_left_alone(
    make_record: Callable[..., Any], changes: dict[str, Any]
) -> None:
    assert impossible.reasons(make_record(**changes)) == []


QUIET = SystemLoad(others=0.0, stolen=0.0)
BUSY = SystemLoad(others=1.5, stolen=0.0)


@pytest.mark.parametrize(
    ("share", "load", "named"),
    [
        (1.15, QUIET, False),
        (1.3, QUIET, True),
        (1.3, BUSY, False),
        (1.3, None, False),
        (5, BUSY, True),
    ],
)
def test_nothing_trains_faster_than_the_hardware_multiplies(
    make_record: Callable[..., Any], share: float, load: SystemLoad | None, named: bool
) -> None:
    """On a busy machine matmuls had to wait, too."""
    achieved = roofline.achieved(make_record())
    assert achieved is not None
    seconds = 2 * 1024**3 * share / achieved
    matmul = Matmul(library="a", side=1024, dtype="float32", seconds=[seconds] * 8)
    found = impossible.reasons(make_record(peak=Peak(matmul=matmul), system_load=load))
    assert bool(found) == named
    assert all(f"{share:.0%}" in reason for reason in found)
