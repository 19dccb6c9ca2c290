"""Rows of several seeds: what the seed decides is observed once for each, speeds once a process."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.analysis.metrics import BY_KEY, TOKENS_PER_SECOND
from lstmbench.analysis.tables import Row, Table, seeds_title, tables_from
from lstmbench.records.record import Epochs
from lstmbench.report.layout import section
from lstmbench.report.notes import notes
from lstmbench.report.plots import perplexity_svg
from lstmbench.report.text import FORMATS, render
from lstmbench.testing import make_record

Make = Callable[..., Any]
LAST = BY_KEY["perplexity"]
#: Perplexities of the last epoch by seed.
SEEDS = {3: 1.12, 0: 1.31, 17: 1.05}


def process(last: float, seed: int, repeat: int = 0, rate: float = 100.0, **more: Any) -> Any:
    """Twelve epochs at ``rate`` tokens/s that end with the perplexity ``last``."""
    nats = [9.0] * 11 + [10 * math.log(last)]
    epochs = Epochs(seconds=[10 / rate] * 12, nats=nats, tokens=[10] * 12)
    return make_record(epochs=epochs, seed=seed, repeat=repeat, **more)


def only_row(records: Sequence[Any]) -> Row:
    (table,) = tables_from(records)
    (row,) = table.rows
    return row


def student(values: Sequence[float]) -> tuple[float, float]:
    """SciPy's own 95 % interval, on logarithms."""
    from scipy import stats

    logs = [math.log(value) for value in values]
    bounds = stats.t.interval(
        0.95, len(logs) - 1, loc=statistics.fmean(logs), scale=stats.sem(logs)
    )
    return math.exp(bounds[0]), math.exp(bounds[1])


def test_the_perplexity_of_a_row_is_the_mean_over_seeds_with_students_interval() -> None:
    row = only_row([process(last, seed) for seed, last in SEEDS.items()])
    found = row.figure(LAST)
    assert found is not None
    assert found.value == pytest.approx(statistics.geometric_mean(SEEDS.values()))
    assert (found.low, found.high) == pytest.approx(student(list(SEEDS.values())))
    assert found.processes == 3
    assert row.to_json()["seeds_ok"] == 3
    assert row.to_json()["perplexity_low"] == found.low
    assert row.seeds == (0, 3, 17)


@given(st.dictionaries(st.integers(0, 3), st.floats(1.01, 1e6), min_size=2), st.data())
def test_however_many_processes_repeat_a_seed_it_is_one_observation(
    seeds: dict[int, float], data: st.DataObject
) -> None:
    once = [process(last, seed) for seed, last in seeds.items()]
    more = [
        process(last, seed, repeat)
        for seed, last in seeds.items()
        for repeat in range(1, data.draw(st.integers(1, 4)))
    ]
    assert only_row(once + more).figure(LAST) == only_row(once).figure(LAST)


def test_of_a_seed_whose_processes_differ_by_rounding_the_median_counts() -> None:
    noisy = [process(last, 0, n) for n, last in enumerate((1.31, 1.3100001, 1.4))]
    row = only_row([*noisy, process(1.05, 1)])
    assert row.value(LAST) == pytest.approx(math.sqrt(1.3100001 * 1.05), rel=1e-12)


def test_one_seed_has_no_interval_and_its_value_to_the_last_digit() -> None:
    rows = [only_row([process(1.12, 5, n) for n in range(4)]), only_row([process(1.12, 5)])]
    for row in rows:
        found = row.figure(LAST)
        assert found is not None
        assert found.value == math.exp(10 * math.log(1.12) / 10)
        assert (found.low, found.high, found.processes) == (None, None, 1)


@pytest.mark.parametrize("interleaved", [True, False])
def test_for_speeds_every_process_of_every_seed_is_an_observation(interleaved: bool) -> None:
    rates = [100.0, 110.0, 90.0, 95.0, 105.0, 102.0]
    places = itertools.product((0, 1, 2), (0, 1))
    records = [
        process(1.1 + seed, seed, repeat, rate, interleaved=interleaved)
        for rate, (seed, repeat) in zip(rates, places, strict=True)
    ]
    found = only_row(records).figure(TOKENS_PER_SECOND)
    assert found is not None
    assert found.processes == 6
    assert (found.low, found.high) == pytest.approx(student(rates))


def test_speeds_are_compared_within_seed_and_repeat() -> None:
    records = [
        process(1.1, seed, 0, rate * factor, backend=backend)
        for seed, rate in enumerate((100.0, 50.0, 150.0))
        for backend, factor in (("a", 1.0), ("b", 0.9))
    ]
    (table,) = tables_from(records)
    fast, slow = table.rows
    ratio = slow.ratio(fast)
    assert ratio is not None
    # machines that drift by threes leave no doubt, because pairs do not differ
    assert ratio.value == pytest.approx(0.9)
    assert ratio.low is None  # ratios without any spread are one observation
    assert ratio.processes == 3


@pytest.mark.parametrize("last", [math.inf, 1e-320])
def test_what_no_logarithm_can_be_taken_of_leaves_no_interval(last: float) -> None:
    nats = 1e6 if last == math.inf else -7e3
    lost = make_record(seed=1, epochs=Epochs(seconds=[1.0], nats=[nats], tokens=[1]))
    found = only_row([make_record(), lost]).figure(LAST)
    if found is not None:
        assert found.low is None
    assert "perplexity" in render(tables_from([make_record(), lost]), "plain")


def test_bits_are_those_of_the_mean_perplexity() -> None:
    row = only_row([process(last, seed) for seed, last in SEEDS.items()])
    figures = row.figures()
    assert figures["bits_per_token"] == math.log2(figures["perplexity_last_10_median"] or 0)


def test_a_seed_that_never_reached_a_perplexity_leaves_no_time_to_it() -> None:
    reached = BY_KEY["seconds_to_perplexity_1.1"]
    assert only_row([process(1.05, 0), process(1.09, 1)]).value(reached) == pytest.approx(1.2)
    assert only_row([process(1.05, 0), process(1.2, 1)]).value(reached) is None


def several() -> list[Any]:
    return [
        process(last + shift, seed, repeat, rate, backend=backend)
        for backend, shift, rate in (("a", 0.0, 100.0), ("b", 0.01, 80.0))
        for seed, last in SEEDS.items()
        for repeat in (0, 1)
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_seeds_and_the_interval(form: str) -> None:
    tables = tables_from(several())
    shown = render(tables, form)
    low, high = student(list(SEEDS.values()))
    if form == "json":
        (table,) = json.loads(shown)
        assert table["facts"]["seed"] == [0, 3, 17]
        assert table["rows"][0]["perplexity_low"] == pytest.approx(low)
    elif form == "csv":
        line = next(csv.DictReader(io.StringIO(shown)))
        assert (line["seed"], line["seeds_ok"]) == ("0 3 17", "3")
        assert float(line["perplexity_high"]) == pytest.approx(high)
    else:
        assert "seeds 0, 3, 17" in shown
        assert f"{low:.2f} to {high:.1f}" in shown or f"{low:.2f} to {high:.2f}" in shown
    assert "geometric means over seeds" in shown or form == "csv"


def test_the_number_of_seeds_is_a_column_only_where_there_are_several() -> None:
    def keys(records: Sequence[Any]) -> list[str]:
        (table,) = tables_from(records)
        return [column.key for column in section(table).tables[0].columns]

    assert "seeds" in keys(several())
    assert not {"seeds", "perplexity_bounds"} & set(keys([process(1.1, 4)]))


def test_rows_of_different_seeds_say_so() -> None:
    records = [r for r in several() if r.trial.backend == "a" or r.trial.seed == 3]
    (table,) = tables_from(records)
    assert any("a:eager seeds 0, 3, 17; b:eager seed 3." in line for line in notes(table))
    assert not any("different seeds" in line for line in notes(tables_from(several())[0]))


def test_one_seed_is_told_what_it_means() -> None:
    (table,) = tables_from([process(1.1, 4)])
    assert any(line.startswith("One seed (4): another gives other") for line in notes(table))
    untrained = make_record(status="unavailable", epochs=Epochs(), message="no")
    assert not any(line.startswith("One seed") for line in notes(tables_from([untrained])[0]))


def test_records_may_come_in_any_order() -> None:
    records = several()

    def shown(ordered: Sequence[Any]) -> Any:
        tables: list[Table] = tables_from(ordered)
        return [(t.title, [row.to_json() for row in t.rows]) for t in tables]

    assert shown(records) == shown(records[::-1])


def test_the_plot_shows_mean_and_range_of_seeds() -> None:
    from xml.etree import ElementTree

    def areas(records: Sequence[Any]) -> int:
        tree = ElementTree.fromstring(perplexity_svg(tables_from(records)))
        names = (str(element.get("id", "")) for element in tree.iter())
        return sum(bool(re.match("FillBetween", name)) for name in names)

    assert areas(several()) == 2
    assert areas([process(1.1, 0, repeat) for repeat in (0, 1)]) == 0
    # of unequal lengths, as no honest record has them
    short = make_record(backend="a", seed=99)
    assert areas([*several(), short]) == 2


@pytest.mark.parametrize(
    ("seeds", "title"),
    [
        ([0], "seed 0"),
        ([0, 2], "seeds 0, 2"),
        ([1, 2, 3, 4, 5], "seeds 1, 2, 3, 4, 5"),
        (range(10), "seeds 0 to 9"),
        ([0, 1, 2, 3, 4, 9], "seeds 0, 1, 2, 3, 4, 9"),
        ([0, 1, 2, 3, 4, 9, 11], "seeds 0, 1, 2, 3, 4, 2 more"),
    ],
)
def test_the_title_names_seeds(seeds: Sequence[int], title: str) -> None:
    assert seeds_title(tuple(seeds)) == title
