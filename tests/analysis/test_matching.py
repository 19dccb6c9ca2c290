"""Which rows are compared with which, and what two sides differ in."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmbench.analysis import conditions
from lstmbench.analysis.matching import AXES, Unlike, between, within
from lstmbench.analysis.pairs import Pairing
from lstmbench.commands.compare import BY
from lstmbench.errors import UserError
from lstmbench.protocol import D2L
from lstmbench.records.record import Flag, PluginCode, Record

Make = Callable[..., Any]
#: Records do not change from example to example.
GIVEN = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def sized(size: int) -> Any:
    return replace(D2L, hidden_size=size)


def names(pairing: Pairing) -> list[str]:
    return [pairing.name(pair.a, pair.b) for pair in pairing.pairs]


def alone(pairing: Pairing) -> list[tuple[str, str]]:
    return [(side, pairing.name(row)) for side, row in pairing.alone]


def test_every_row_that_both_sides_have_is_paired(make_row: Make) -> None:
    a = [*make_row([0.2], "torch", run="a"), *make_row([0.1], "jax", run="a")]
    b = [*make_row([0.2], "jax", run="b"), *make_row([0.1], "torch", run="b")]
    b += make_row([0.1], "keras", run="b")
    found = between([*a, *make_row([0.1], "numpy", run="a")], b)
    assert names(found) == ["jax:eager", "torch:eager"]
    assert alone(found) == [("A", "numpy:eager"), ("B", "keras:eager")]


ROWS = st.sets(st.tuples(st.sampled_from(["numpy", "torch"]), st.sampled_from([8, 16, 32])))


@GIVEN
@given(ours=ROWS.filter(bool), theirs=ROWS.filter(bool), shuffle=st.randoms())
def test_no_row_is_lost_and_none_stands_twice(
    make_record: Make, ours: set[Any], theirs: set[Any], shuffle: random.Random
) -> None:
    def side(rows: set[Any], run: str) -> list[Record]:
        found = [
            make_record(backend=backend, protocol=sized(size), run=run, repeat=repeat)
            for backend, size in rows
            for repeat in range(2)
        ]
        shuffle.shuffle(found)
        return found

    a, b = side(ours, "a"), side(theirs, "b")
    one_each = len({backend for backend, _ in ours}) == len({backend for backend, _ in theirs}) == 1
    if one_each:  # then the backends are what is compared
        ours, theirs = ({size for _, size in rows} for rows in (ours, theirs))
    if not ours & theirs:
        with pytest.raises(UserError):
            between(a, b)
        return
    found = between(a, b)
    assert len(found.pairs) == len(ours & theirs)
    counts = {side: [name for name, _ in found.alone].count(side) for side in "AB"}
    assert counts == {"A": len(ours - theirs), "B": len(theirs - ours)}
    for pair in found.pairs:
        assert pair.a.first.trial.protocol == pair.b.first.trial.protocol
        assert (len(pair.a.records), len(pair.b.records)) == (2, 2)
    every = names(found) + [name for _, name in alone(found)]
    assert len(set(every)) == len(every)


def test_one_backend_on_each_side_may_be_another(make_record: Make) -> None:
    a, b = (
        [make_record(backend=name, protocol=sized(size)) for size in (128, 1024)]
        for name in ("torch", "jax")
    )
    assert names(between(a, b)) == [
        "torch:eager / jax:eager, hidden_size 128",
        "torch:eager / jax:eager, hidden_size 1024",
    ]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"dtype": "float64"}, "dtype"),
        ({"init": "native"}, "init"),
        ({"threads": 1}, "threads"),
        ({"seed": 1}, "seed"),
        ({"corpus": "mine"}, "corpus"),
        ({"corpus_digest": "0" * 64}, "corpus"),
        ({"protocol": replace(D2L, epochs=9)}, "epochs"),
        ({"environment": {"A": "b"}}, "environment"),
    ],
)
def test_what_makes_it_another_experiment_is_an_error_unless_asked_for(
    make_record: Make, change: dict[str, Any], name: str
) -> None:
    a, b = [make_record(run="a")], [make_record(run="b", **change)]
    with pytest.raises(Unlike, match=f"A and B differ in {name} "):
        between(a, b)
    found = between(a, b, anyway=True)
    assert set(found.differences) == {name}
    assert len(found.pairs) == 1
    if name != "seed":
        assert " / " in names(found)[0]


def test_another_machine_is_an_error_unless_asked_for(make_record: Make) -> None:
    a, b = make_record(run="a"), make_record(run="b")
    other = b.machine.model_copy(update={"digest": "o" * 64})
    b = b.model_copy(update={"machine": other})
    with pytest.raises(Unlike, match="machine"):
        between([a], [b])
    assert len(between([a], [b], anyway=True).pairs) == 1


def test_anyway_pairs_what_is_the_only_one_on_each_side(make_record: Make) -> None:
    a = [make_record(backend=n, protocol=sized(s), run="a") for n, s in (("x", 1), ("y", 1))]
    b = [make_record(backend=n, protocol=sized(s), run="b") for n, s in (("x", 2), ("y", 2))]
    b.append(make_record(backend="y", protocol=sized(3), run="b"))
    found = between(a, b, anyway=True)
    assert names(found) == ["x:eager, hidden_size 1 / 2"]
    assert [name for _, name in alone(found)] == [
        "y:eager, hidden_size 1",
        "y:eager, hidden_size 2",
        "y:eager, hidden_size 3",
    ]


def test_two_models_are_never_compared(make_record: Make) -> None:
    a, b = [make_record(run="a")], [make_record(run="b", model="gru", status="failed")]
    for anyway in (False, True):
        with pytest.raises(UserError, match="different models, lstm and gru"):
            between(a, b, anyway)


def test_rows_without_a_counterpart_are_named(make_record: Make) -> None:
    a = [make_record(backend=name, run="a") for name in ("numpy", "torch")]
    b = [make_record(backend=name, run="b") for name in ("jax", "keras")]
    with pytest.raises(UserError, match="A has numpy:eager, torch:eager, B has jax:eager, keras:"):
        between(a, b)


def test_a_record_on_both_sides_is_refused_by_name(make_row: Make) -> None:
    both = make_row([0.1, 0.2])
    with pytest.raises(UserError, match=f"{both[0].trial.name} of run {both[0].source.run}, and 1"):
        between(both, both)
    # a store that grew holds the run that it is compared with
    with pytest.raises(UserError, match=both[0].trial.name):
        between([*both, *make_row([0.1], run="another")], both)


def test_seeds_and_repeats_of_a_row_belong_together(make_record: Make) -> None:
    a, b = (
        [make_record(run=run, seed=s, repeat=r) for s in (0, 1) for r in (0, 1)] for run in "ab"
    )
    (pair,) = between(a, b).pairs
    assert len(pair.a.records) == 4


def test_a_suspect_row_is_no_measured_side(make_row: Make) -> None:
    fine, wrong = make_row([0.1, 0.11], "a"), make_row([1e-8, 1.1e-8], "b")
    for a, b in ((fine, wrong), (wrong, fine)):
        (pair,) = between(a, b).pairs
        assert pair.comparisons == []
    assert Flag.SUSPECT not in wrong[0].flags  # it does not say so itself
    unaudited = [r.model_copy(update={"flags": [Flag.UNAUDITED]}) for r in fine]
    (pair,) = between(unaudited, make_row([0.1, 0.12], "b")).pairs
    assert pair.speed


class TestWithin:
    """Rows of one run."""

    def test_axes_are_those_of_the_command(self) -> None:
        assert tuple(AXES) == BY

    def test_backends_of_a_group(self, make_row: Make) -> None:
        records = [r for name in ("torch", "jax", "numpy") for r in make_row([0.1, 0.11], name)]
        found = within(records, "backend")
        assert sorted(names(found)) == ["numpy:eager / jax:eager", "torch:eager / jax:eager"]
        assert all(pair.speed and pair.speed.paired for pair in found.pairs)
        assert list(found.sides) == ["jax:eager", "numpy:eager", "torch:eager"]
        found = within(records, "backend", "torch")
        assert found.base == "torch:eager"
        assert sorted(names(found)) == ["jax:eager / torch:eager", "numpy:eager / torch:eager"]

    def test_modes_are_compared_backend_by_backend(self, make_record: Make) -> None:
        known = [("keras", "eager"), ("keras", "xla"), ("torch", "eager"), ("torch", "bptt")]
        records = [make_record(backend=b, mode=m) for b, m in [*known, ("jax", "jit")]]
        found = within(records, "mode", "eager")
        assert sorted(names(found)) == ["keras:xla / keras:eager", "torch:bptt / torch:eager"]
        assert alone(found) == [("jit", "jax:jit")]

    def test_threads_are_numbers(self, make_record: Make) -> None:
        records = [make_record(threads=count, protocol=sized(8)) for count in (16, 2, 4)]
        found = within([*records, make_record(protocol=sized(9))], "threads")
        assert found.base == "2"
        assert names(found) == [
            "numpy:eager, hidden_size 8, threads 4 / 2",
            "numpy:eager, hidden_size 8, threads 16 / 2",
        ]
        assert alone(found) == [("2", "numpy:eager, hidden_size 9, threads 2")]

    def test_code_of_another_time_is_another_group(self, make_record: Make) -> None:
        records = [
            make_record(backend=name, run=commit, commit=commit * 40)
            for name in ("jax", "torch")
            for commit in "ab"
        ]
        found = within(records, "backend")
        assert len(found.pairs) == 2
        for pair in found.pairs:
            assert pair.a.first.source.commit == pair.b.first.source.commit

    def test_nothing_to_compare_is_an_error(self, make_record: Make) -> None:
        with pytest.raises(UserError, match="no two rows differ in threads only: there is 2"):
            within([make_record()], "threads")
        with pytest.raises(UserError, match="--relative-to jax: no row is that; there are numpy"):
            within([make_record()], "backend", "jax")
        records = [make_record(backend="keras", mode=mode) for mode in ("a", "b")]
        with pytest.raises(UserError, match="that may be keras:a, keras:b"):
            within(records, "backend", "keras")


def test_what_sides_differ_in_is_listed(make_record: Make) -> None:
    code = PluginCode(distribution="x", version="1", digest="d" * 64, commit=None, dirty=False)
    a = make_record(run="a", commit="a" * 40, started="2022-05-19T12:00:00+00:00")
    b = make_record(run="b", commit="b" * 40, started="2022-05-20T12:00:00+00:00", plugins=[code])
    machine = b.machine.model_copy(update={"versions": {"python": "3.11.0", "torch": "2.13"}})
    b = b.model_copy(update={"machine": machine})
    found = between([a], [b])
    assert found.differing == ["run", "date", "commit", "version of torch", "code of x"]
    assert not found.differences


def test_digests_are_short_unless_they_begin_alike() -> None:
    one, another, third = "a" * 64, "a" * 32 + "b" * 32, "c" * 40
    assert conditions.in_words({one}, {third}) == "a" * 8
    assert conditions.in_words({one}, {another}) == one


def test_of_many_values_some_are_shown() -> None:
    assert conditions.in_words({str(n) for n in range(100)}) == "0 or 1 or 2 or 97 more"
    assert len(conditions.in_words({"x" * 10**6})) < 200
    assert conditions.in_words(set()) == "none"


@given(st.lists(st.sampled_from(["nan", "inf", "10", "9", "1e3", "b", "a"]) | st.text(max_size=3)))
def test_numbers_stand_in_order_before_texts(values: list[str]) -> None:
    found = sorted(values, key=conditions.in_order)
    values.reverse()
    assert found == sorted(values, key=conditions.in_order)
    numbers = [v for v in found if v in ("9", "10", "1e3")]
    assert numbers == sorted(numbers, key=float)
