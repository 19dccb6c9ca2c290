"""Figures: each value from the series, how processes become one figure, and the one list."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from lstmbench.analysis import metrics
from lstmbench.analysis.metrics import BY_KEY, METRICS, Metric, Place, Summary
from lstmbench.analysis.tables import tables_from
from lstmbench.records.record import Copy, Epochs, Evaluation, Matmul, Peak
from lstmbench.report.columns import DETAIL_FIGURES, FIGURES
from lstmbench.report.text import render

Make = Callable[..., Any]


def epochs(*seconds: float, **more: Any) -> Epochs:
    count = len(seconds)
    return Epochs(seconds=list(seconds), nats=[1.0] * count, tokens=[10] * count, **more)


@pytest.fixture
def everything(make_record: Make) -> Any:
    """A record with something for every figure."""
    nats = [20.0, 10.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    return make_record(
        epochs=Epochs(
            seconds=[9.0, *(0.1 * n for n in range(1, 13))],
            nats=nats,
            tokens=[10] * 13,
            joules=[50.0, *([2.0] * 12)],
        ),
        phases={"import": 1.5, "build": 0.25, "prepare": 2.5},
        memory={"imported": 100, "peak": 350, "device_peak": 77},
        evaluations=[Evaluation(split="test", epoch=13, nats=20.0, tokens=10, source_nats=10.0)],
        peak=Peak(
            matmul=Matmul(library="blas", side=100, dtype="float32", seconds=[0.01] * 4),
            copies=Copy(size=1000, seconds=[0.1]),
        ),
    )


#: From the record above, by hand: the first epoch is dropped, the six fastest others count.
FAST = 10 * 6 / sum(0.1 * n for n in range(1, 7))
EXPECTED = {
    "perplexity": math.exp(0.04),
    "perplexity_last_10_median": statistics.median(
        math.exp(n / 10) for n in (4.0, 3.0, 2.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    ),
    # of 13 epochs, the sixth and fifth from the end are the middle of the last ten
    "bits_per_token": math.log2((math.exp(0.09) + math.exp(0.08)) / 2),
    "perplexity_test": math.exp(2.0),
    "perplexity_test_source": math.exp(1.0),
    "tokens_per_second": FAST,
    "tokens_per_second_mean": 120 / 7.8,
    "tokens_per_second_quartile_1": statistics.quantiles(
        [100 / n for n in range(1, 13)], n=4, method="inclusive"
    )[0],
    "tokens_per_second_quartile_3": statistics.quantiles(
        [100 / n for n in range(1, 13)], n=4, method="inclusive"
    )[2],
    "seconds_to_perplexity_2": 9.0 + 0.1 + 0.2,
    "seconds_to_perplexity_2_with_startup": 9.3 + 4.25,
    "seconds_to_perplexity_1.5": 9.0 + 0.1 + 0.2 + 0.3,
    "seconds_to_perplexity_1.5_with_startup": 9.6 + 4.25,
    "seconds_to_perplexity_1.1": 9.0 + 0.1 * sum(range(1, 8)),
    "seconds_to_perplexity_1.1_with_startup": 11.8 + 4.25,
    "memory_bytes": 250.0,
    "device_memory_bytes": 77.0,
    "joules_per_million_tokens": 24.0 / 120 * 1e6,
    "startup_seconds": 4.25,
    "training_seconds": 9.0 + 7.8,
    "parity_worst": 5e-6,
}
#: Derived from the formulas of the roofline, which has tests of its own, or of the layers alone.
ELSEWHERE = {"operations_per_second", "share_of_peak"}
ELSEWHERE |= {"layer_forward_seconds", "layer_seconds", "layer_step_seconds"}


def test_every_figure_is_expected_here() -> None:
    assert EXPECTED.keys() | ELSEWHERE == BY_KEY.keys()


@pytest.mark.parametrize("key", EXPECTED)
def test_a_figure_of_one_process(everything: Any, key: str) -> None:
    assert BY_KEY[key].value(everything) == pytest.approx(EXPECTED[key])
    figure = BY_KEY[key].of([everything])
    assert figure is not None
    assert figure.value == pytest.approx(EXPECTED[key])


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_what_did_not_train_has_no_figure_but_its_parity(make_record: Make, metric: Metric) -> None:
    lost = make_record(status="failed", reason="parity", message="differs", phases={})
    assert (metric.of([lost]) is not None) == metric.any_status
    assert metric.of([]) is None


def test_a_perplexity_below_the_smallest_float_has_no_bits(make_record: Make) -> None:
    certain = Epochs(seconds=[1.0], nats=[-1e9], tokens=[1])
    assert BY_KEY["bits_per_token"].of([make_record(epochs=certain)]) is None


def measured(make_record: Make, *speeds: float | None) -> list[Any]:
    """Processes with these tokens/s; ``None`` for one that was not long enough to have a speed."""
    return [
        make_record(repeat=n, epochs=epochs(9.0, 10 / speed) if speed else epochs(9.0))
        for n, speed in enumerate(speeds)
    ]


def test_speeds_are_averaged_geometrically_with_an_interval(make_record: Make) -> None:
    figure = metrics.TOKENS_PER_SECOND.of(measured(make_record, 100.0, 400.0))
    assert figure is not None
    assert figure.value == pytest.approx(200.0)
    assert figure.low is not None
    assert figure.low < 200 < (figure.high or 0)
    assert metrics.TOKENS_PER_SECOND.of(measured(make_record, 100.0, None)) is None


def test_other_figures_are_medians_of_what_is_known(make_record: Make) -> None:
    sizes = [100, 300, 900, None]
    records = [
        make_record(repeat=n, memory={"device_peak": size} if size else {})
        for n, size in enumerate(sizes)
    ]
    figure = BY_KEY["device_memory_bytes"].of(records)
    assert figure is not None
    assert (figure.value, figure.low, figure.processes) == (300.0, None, 3)


def test_the_worst_parity_is_the_largest_of_all_processes(make_record: Make) -> None:
    good = make_record()
    bad = make_record(
        repeat=1,
        status="failed",
        reason="parity",
        message="differs",
        parity=good.parity.model_copy(update={"worst": 0.5}),
    )
    figure = BY_KEY["parity_worst"].of([good, bad])
    assert figure is not None
    assert figure.value == 0.5


def test_quartiles_are_of_all_processes_together(make_record: Make) -> None:
    records = [
        make_record(repeat=0, epochs=epochs(9.0, 1.0, 1.0)),
        make_record(repeat=1, epochs=epochs(9.0, 10.0)),
    ]
    low, high = (BY_KEY[f"tokens_per_second_quartile_{n}"].of(records) for n in (1, 3))
    assert low is not None
    assert high is not None
    assert (low.value, high.value) == (5.5, 10.0)


def test_a_record_that_is_read_twice_counts_once(make_record: Make) -> None:
    records = measured(make_record, 100.0, 200.0, 400.0)
    assert metrics.TOKENS_PER_SECOND.of(records * 2) == metrics.TOKENS_PER_SECOND.of(records)


def test_keys_and_what_they_refer_to_are_consistent() -> None:
    keys = [key for metric in METRICS for key in metric.keys]
    assert len(set(keys)) == len(keys)
    for metric in METRICS:
        assert metric.meaning
        assert not metric.label or metric.better, f"{metric.key} is compared: which is better?"
        assert not metric.bounds or metric.summary in (
            Summary.GEOMETRIC_MEAN,
            Summary.MEAN_OVER_SEEDS,
        )
        if metric.shown and metric.shown.beside:
            assert metric.shown.beside in BY_KEY


def test_the_list_decides_what_json_csv_and_tables_hold(everything: Any) -> None:
    tables = tables_from([everything])
    keys = [key for metric in METRICS for key in metric.keys]
    (row,) = json.loads(render(tables, "json"))[0]["rows"]
    assert [key for key in row if key in keys] == keys
    header = render(tables, "csv").splitlines()[0].replace('"', "").split(",")
    assert [key for key in header if key in keys] == keys
    for place, columns in ((Place.MAIN, FIGURES), (Place.DETAILS, DETAIL_FIGURES)):
        shown = [m.key for m in METRICS if m.shown and m.shown.place is place]
        assert [column.key for column in columns if column.key in BY_KEY] == shown
