"""Whether a gate lets A through, and how often it errs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.analysis import compare, pairs
from lstmbench.analysis.gate import Gate, Outcome, below, worst
from lstmbench.analysis.intervals import Interval
from lstmbench.analysis.matching import between, within
from lstmbench.analysis.metrics import TOKENS_PER_SECOND
from lstmbench.analysis.pairs import Pairing
from lstmbench.analysis.tables import Row
from lstmbench.records.record import Record, Status

Make = Callable[..., Any]
PASSED, UNDECIDED, WORSE = Outcome.PASSED, Outcome.UNDECIDED, Outcome.WORSE


@pytest.fixture
def judge(make_record: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome | None]:
    """What a gate says of a pair with this ratio of speeds."""

    def judge(gate: Gate, value: float, low: float | None, high: float | None) -> Outcome | None:
        found = compare.Comparison(TOKENS_PER_SECOND, Interval(value, low, high, 5), True)
        monkeypatch.setattr(pairs, "compare", lambda a, b: [found])
        rows = (Row((make_record(backend=name),)) for name in "ab")
        return gate.judge(pairs.Pair(*rows))

    return judge


@pytest.mark.parametrize(
    ("value", "low", "high", "below", "slower"),
    [
        (0.90, 0.89, 0.91, WORSE, WORSE),
        (0.96, 0.95, 0.969, WORSE, WORSE),
        # the interval reaches beyond the limit: slower, but perhaps by less
        (0.96, 0.95, 0.98, WORSE, UNDECIDED),
        (0.98, 0.975, 0.99, PASSED, PASSED),
        (1.00, 0.99, 1.01, PASSED, PASSED),
        (1.00, 0.80, 1.25, PASSED, UNDECIDED),
        (0.90, 0.75, 1.10, UNDECIDED, UNDECIDED),
        (1.20, 1.10, 1.30, PASSED, PASSED),
        (0.50, None, None, UNDECIDED, UNDECIDED),
    ],
)
def test_what_a_ratio_says(
    judge: Callable[..., Outcome | None],
    value: float,
    low: float | None,
    high: float | None,
    below: Outcome,
    slower: Outcome,
) -> None:
    assert judge(Gate(fail_below=0.97), value, low, high) is below
    assert judge(Gate(fail_if_slower=0.03), value, low, high) is slower
    assert judge(Gate(0.97, 0.03), value, low, high) is worst([below, slower])


def test_a_gate_above_one_asks_for_more(judge: Callable[..., Outcome | None]) -> None:
    assert judge(Gate(fail_below=2), 1.5, 1.4, 1.6) is PASSED
    assert judge(Gate(fail_below=2), 0.5, 0.4, 0.6) is WORSE


LOGS = st.floats(-1, 1)


@given(st.tuples(LOGS, LOGS, LOGS).map(sorted), st.floats(0, 0.5), st.floats(0, 0.4))
def test_a_laxer_gate_is_never_stricter(bounds: list[float], share: float, more: float) -> None:
    low, _, high = np.exp(bounds)
    strict, lax = (below(low, high, 1 - limit) for limit in (share, share + more))
    assert worst([strict, lax]) is strict


def rows_of(make_row: Make, **seconds: float) -> list[Record]:
    """Three processes each, interleaved, that differ by about a thousandth."""

    def noise(name: str) -> Any:
        return np.exp(0.001 * np.random.default_rng([*name.encode()]).normal(size=3))

    return [r for name, s in seconds.items() for r in make_row(s * noise(name), name)]


def outcome(pairing: Pairing, limit: float = 0.03) -> Outcome:
    return Gate(fail_if_slower=limit).outcome(pairing)


def test_one_row_holds_all_back(make_row: Make) -> None:
    good = rows_of(make_row, base=0.1, a=0.1, b=0.09)
    assert outcome(within(good, "backend", "base")) is PASSED
    bad = within([*good, *rows_of(make_row, c=0.12)], "backend", "base")
    assert outcome(bad) is WORSE
    assert outcome(bad, 0.5) is PASSED


def sides(make_row: Make, **a: Any) -> Pairing:
    """Three processes against three interleaved ones; ``a`` changes the first of A."""
    ours, theirs = rows_of(make_row, a=0.1), rows_of(make_row, b=0.1)
    ours[0] = ours[0].model_copy(update=a)
    return between(ours, theirs)


def test_what_failed_holds_back(make_row: Make) -> None:
    assert outcome(sides(make_row)) is PASSED
    assert outcome(sides(make_row, status=Status.FAILED)) is WORSE


def test_a_base_that_cannot_be_true_decides_nothing(make_row: Make) -> None:
    wrong = make_row([1e-8, 1.1e-8, 1.2e-8], "b")
    assert outcome(between(make_row([0.1, 0.11, 0.12], "a"), wrong)) is UNDECIDED
    assert outcome(between(wrong, make_row([0.1, 0.11, 0.12], "a"))) is WORSE


def test_a_row_that_only_b_has_is_undecided(make_row: Make, make_record: Make) -> None:
    def run(name: str, rows: int) -> list[Record]:
        every = [
            make_row([0.1 + n / 1000], backend, run=f"{name}{n}")
            for n in range(3)
            for backend in ("x", "y", "z")[:rows]
        ]
        return [record for row in every for record in row]

    assert outcome(between(run("new", 3), run("old", 2)), 0.1) is PASSED
    lost = between(run("new", 2), run("old", 3))
    assert outcome(lost, 0.1) is UNDECIDED
    gone = [make_record(backend="w", run="old", status="unavailable")]
    assert outcome(between(run("new", 2), [*run("old", 2), *gone]), 0.1) is PASSED


def test_what_was_unavailable_before_is_not_asked_for(make_row: Make, make_record: Make) -> None:
    rest = rows_of(make_row, base=0.1, a=0.1)
    missing: dict[str, Any] = {"status": "unavailable", "phases": {}, "parity": None}
    a = [*rows_of(make_row, x=0.1), *[r for r in rest if r.trial.backend == "a"]]
    b = [make_record(backend="x", run="old", **missing), *make_row([0.1] * 3, "a", run="old")]
    found = between(a, b)
    judged = {
        pair.a.first.trial.backend: Gate(fail_if_slower=0.03).judge(pair) for pair in found.pairs
    }
    assert judged == {"x": None, "a": UNDECIDED}
    only = between(rows_of(make_row, x=0.1), b[:1])
    assert outcome(only) is UNDECIDED  # nothing at all was judged


@pytest.mark.parametrize("interleaved", [True, False])
def test_equal_sides_are_undecided_in_nineteen_of_twenty_tries(
    make_record: Make, interleaved: bool
) -> None:
    """And a gate of any size holds back at most one in forty of them.

    Interleaved: pairs of one run. Not interleaved: several runs on each side, each of its own hour.
    """
    rng = np.random.default_rng(16)
    tries, repeats = 300, 6
    templates = {
        side: [
            make_record(backend=side, repeat=n, run="one" if interleaved else f"{side}{n}")
            for n in range(repeats)
        ]
        for side in "ab"
    }

    def timed(record: Record, seconds: float) -> Record:
        """With noise within the process, too, which only slows down."""
        own = (seconds * (1 + rng.exponential(0.03, 5))).tolist()
        return record.model_copy(
            update={"epochs": record.epochs.model_copy(update={"seconds": own})}
        )

    verdicts, gates = [], []
    for _ in range(tries):
        hours = 0.1 * np.exp(0.1 * rng.normal(size=repeats)) if interleaved else [0.1] * repeats
        a, b = (
            [
                timed(record, hour * np.exp(0.02 * rng.normal()))
                for record, hour in zip(templates[side], hours, strict=True)
            ]
            for side in "ab"
        )
        pair = pairs.Pair(Row(tuple(a)), Row(tuple(b)))
        assert pair.speed
        assert pair.speed.paired is interleaved
        verdicts.append(pair.speed.verdict)
        gates.append(Gate(fail_if_slower=0.0).judge(pair))
    # three standard deviations of a binomial around 95 %, and around 2.5 %
    assert 0.912 <= verdicts.count("undecided") / tries <= 0.988
    assert gates.count(WORSE) / tries <= 0.052
