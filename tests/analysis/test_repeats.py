"""What the repeats of a row say together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.analysis import repeats
from lstmbench.analysis.tables import tables_from
from lstmbench.records.record import Challenge, Epochs, Flag, Phases, Record, SystemLoad
from lstmbench.report.notes import notes
from lstmbench.testing.records import make_record

QUIET = SystemLoad(others=0.0, stolen=0.0)
BUSY = SystemLoad(others=1.0, stolen=0.0)


def repeat(
    number: int,
    *,
    seconds: float = 0.2,
    processor_seconds: float | None = 0.2,
    prepare: float = 2.5,
    **more: Any,
) -> Record:
    spent = [] if processor_seconds is None else [processor_seconds] * 5
    epochs = Epochs(
        seconds=[seconds * (1 + n / 1e6) for n in range(5)],
        nats=[9.0] * 5,
        tokens=[100] * 5,
        processor_seconds=spent,
    )
    fields = {"import": 1.0, "build": 0.1, "prepare": prepare}
    phases = Phases.model_validate(fields)
    return make_record(
        repeat=number, epochs=epochs, phases=phases, **{"system_load": QUIET, **more}
    )


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "work": ({"processor_seconds": 1.2}, "computed much more"),
    "time": ({"seconds": 0.5}, "took much longer for an epoch"),
    "preparing": ({"prepare": 60.0}, "to get ready"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_first_repeat_unlike_all_later_ones_is_named(what: str) -> None:
    change, words = CHANGES[what]
    later = [repeat(number) for number in (1, 2, 3)]
    (reason,) = repeats.reasons([*later, repeat(0, **change)])
    assert words in reason
    # any other one is noise
    assert not repeats.reasons([repeat(0), repeat(1, **change), repeat(2), repeat(3)])
    # and one later repeat proves nothing
    assert not repeats.reasons([repeat(0, **change), repeat(1)])


def test_a_first_repeat_that_is_much_faster_is_named_unless_the_machine_is_busy() -> None:
    later = [repeat(number) for number in (1, 2, 3)]
    (reason,) = repeats.reasons([repeat(0, seconds=0.08), *later])
    assert "much less time" in reason
    busy = [repeat(number, system_load=BUSY) for number in (1, 2, 3)]
    assert not repeats.reasons([repeat(0, seconds=0.08), *busy])


@pytest.mark.parametrize("load", [BUSY, None])
def test_a_busy_first_repeat_may_be_slow_but_computes_no_more(load: SystemLoad | None) -> None:
    later = [repeat(number) for number in (1, 2, 3)]
    for what, (change, _) in CHANGES.items():
        found = repeats.reasons([repeat(0, system_load=load, **change), *later])
        assert bool(found) == (what == "work")


def test_twice_the_work_counts_unless_the_machine_is_busy() -> None:
    for load, named in ((QUIET, True), (BUSY, False), (None, False)):
        later = [repeat(number, system_load=load) for number in (1, 2, 3)]
        first = repeat(0, system_load=load, processor_seconds=0.4)
        assert bool(repeats.reasons([first, *later])) is named


@pytest.mark.parametrize(
    ("seconds", "load", "named"), [(0.2, QUIET, False), (0.4, QUIET, True), (0.4, BUSY, False)]
)
def test_one_slow_challenge_may_be_the_machine_s_and_not_all(
    seconds: float, load: SystemLoad, named: bool
) -> None:
    slow = Challenge(seconds=[0.4], processor_seconds=[0.2], load=load)
    last = Challenge(seconds=[seconds], processor_seconds=[0.2], load=load)
    row = [repeat(n, challenge=last if n == 2 else slow) for n in range(3)]
    assert not any(Flag.SUSPECT in record.flags for record in row)
    found = repeats.reasons(row)
    assert any("never seen" in reason for reason in found) is named
    assert bool(repeats.reasons(row[1:])) is named
    assert not repeats.reasons(row[:1])


def test_later_ones_that_differ_among_themselves_are_noise() -> None:
    later = [repeat(1, processor_seconds=0.2), repeat(2, processor_seconds=0.3)]
    assert not repeats.reasons([repeat(0, processor_seconds=0.9), *later])


def test_runs_and_seeds_are_compared_with_themselves_only() -> None:
    for other in ({"run": "another"}, {"seed": 1}):
        later = [repeat(number, **other) for number in (0, 1, 2, 3)]
        assert not repeats.reasons([repeat(0, processor_seconds=0.9), *later])


def test_what_is_not_ok_or_unknown_does_not_count() -> None:
    later = [repeat(number) for number in (1, 2, 3)]
    failed = repeat(0, processor_seconds=0.9, status="failed", reason="nan")
    assert not repeats.reasons([failed, *later])
    unknown = [repeat(number, processor_seconds=None) for number in (1, 2, 3)]
    assert not repeats.reasons([repeat(0, processor_seconds=None), *unknown])


@given(st.lists(st.floats(0.19, 0.24), min_size=1, max_size=8))
def test_noise_is_no_suspicion(seconds: list[float]) -> None:
    row = [
        repeat(number, seconds=value, processor_seconds=value, prepare=10 * value)
        for number, value in enumerate(seconds)
    ]
    assert not repeats.reasons(row)


def test_a_suspect_row_stands_last_without_a_rank_and_a_note_says_why(
    make_record: Callable[..., Any],
) -> None:
    fast: dict[str, Any] = {"seconds": 0.05, "backend": "fast"}
    rows = [
        *(repeat(number, seconds=0.2 + number / 1000) for number in range(4)),
        repeat(0, processor_seconds=0.9, **fast),
        *(repeat(number, processor_seconds=0.05, **fast) for number in (1, 2, 3)),
    ]
    (table,) = tables_from(rows)
    assert [row.label for row in table.rows] == ["numpy:eager", "fast:eager"]
    assert table.ranks == [1, None]
    assert table.rows[1].flags == [Flag.SUSPECT]
    assert "suspect" in table.rows[1].status
    (note,) = [line for line in notes(table) if "suspect" in line]
    assert "its first repeat computed much more for an epoch than all later ones" in note
