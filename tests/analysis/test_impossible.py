"""Each rule names what cannot be, and leaves alone what noise can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lstmbench.analysis import impossible, roofline
from lstmbench.records.record import (
    Challenge,
    Epochs,
    Matmul,
    Memory,
    Parity,
    Peak,
    Phases,
    SystemLoad,
)

QUIET = SystemLoad(others=0.0, stolen=0.0)
BUSY = SystemLoad(others=1.5, stolen=0.0)


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
            {"phases": phases(build=1.0, prepare=1.0, rebuild=7.5), "system_load": QUIET},
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


def worked(seconds: float, processor_seconds: float, host_seconds: float | None = None) -> Epochs:
    """Six epochs of about that."""
    times = [seconds * (1 + index / 1000) for index in range(6)]
    return Epochs(
        seconds=times,
        nats=[9.0] * 6,
        tokens=[100] * 6,
        host_seconds=[(host_seconds or seconds) * (1 + index / 1000) for index in range(6)],
        processor_seconds=[processor_seconds] * 6,
    )


@pytest.mark.parametrize(
    ("spent", "named"), [(0.1, False), (0.2, False), (0.05, False), (0.4, True)]
)
def test_no_more_processors_than_threads_compute(
    make_record: Callable[..., Any], spent: float, named: bool
) -> None:
    found = impossible.reasons(make_record(threads=2, epochs=worked(0.1, spent)))
    assert bool(found) == named
    assert all("--threads 2" in reason for reason in found)


@pytest.mark.parametrize(
    ("load", "seen", "named"),
    [(QUIET, 0.0035, False), (QUIET, 0.009, True), (BUSY, 0.02, False), (BUSY, 0.1, True)],
)
def test_an_answer_waits_longer_on_a_busy_machine(
    make_record: Callable[..., Any], load: SystemLoad, seen: float, named: bool
) -> None:
    epochs = worked(0.001, 0.0, host_seconds=seen)
    found = impossible.reasons(make_record(epochs=epochs, system_load=load))
    assert any("where the host saw" in reason for reason in found) is named


@pytest.mark.parametrize(
    ("seconds", "spent", "load", "named", "doubtful"),
    [
        (0.11, 0.11, QUIET, "", False),
        (0.2, 0.11, QUIET, "", True),
        (0.29, 0.29, QUIET, "", True),
        (0.31, 0.11, QUIET, "never seen", True),
        (0.31, 0.11, BUSY, "", True),
        (0.31, 0.11, None, "", True),
        (0.1, 0.3, QUIET, "computed for", True),
        (0.3, 0.34, QUIET, "computed less", True),
        (0.3, 0.3, BUSY, "", True),
        (0.6, 0.6, BUSY, "computed less", True),
        (0.13, 0.1301, QUIET, "", False),
    ],
)
def test_the_challenge_shows_what_the_work_takes(
    make_record: Callable[..., Any],
    seconds: float,
    spent: float,
    load: SystemLoad | None,
    named: str,
    doubtful: bool,
) -> None:
    """By the clock if the machine is not busy, by what was computed always."""
    challenge = Challenge(seconds=[seconds], processor_seconds=[spent], load=load)
    record = make_record(threads=1, epochs=worked(0.1, 0.1), challenge=challenge)
    found = impossible.reasons(record)
    assert bool(found) == bool(named)
    assert named in "; ".join(found)
    slower = impossible.slower_than_timed(record)
    assert slower is not None
    assert slower.is_doubtful is doubtful


def test_what_a_device_computes_no_processor_spends(make_record: Callable[..., Any]) -> None:
    challenge = Challenge(seconds=[0.1], processor_seconds=[0.1], load=QUIET)
    record = make_record(device="cuda:0", epochs=worked(0.1, 0.01), challenge=challenge)
    assert not impossible.reasons(record)
