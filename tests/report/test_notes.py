"""What tables say of peaks, time, memory, energy and sampling."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from lstmbench.analysis.tables import tables_from, widest
from lstmbench.records.record import Copy, Epochs, Matmul, Peak, Source, StoppingRule, SystemLoad
from lstmbench.report.text import render

Make = Callable[..., Any]
PEAK = Peak(
    matmul=Matmul(library="someblas", side=1024, dtype="float32", seconds=[0.02] * 4),
    copies=Copy(size=1 << 27, seconds=[0.01] * 4),
)


def epochs(rate: float, **more: Any) -> Epochs:
    return Epochs(seconds=[1 / rate] * 4, nats=[4.0, 2.0, 1.0, 0.05], tokens=[1] * 4, **more)


def aimed(make_record: Make, seconds: list[float], precision: float) -> list[Any]:
    source = Source(
        run="one",
        started="",
        command=[],
        commit="c",
        dirty=False,
        interleaved=True,
        stopping_rule=StoppingRule(precision=precision, seconds=600),
    )
    return [
        make_record(backend=backend, repeat=n, source=source, epochs=epochs(factor * rate))
        for n, rate in enumerate(seconds)
        for backend, factor in (("a", 1.0), ("b", 1.0 + 0.01 * (n % 2)))
    ]


def table(records: Any, form: str = "plain") -> str:
    return render(tables_from(records), form)


def test_the_peak_is_named_and_its_share_is_a_column(make_record: Make) -> None:
    shown = table([make_record(peak=PEAK)])
    assert "% of peak" in shown
    assert "someblas (side 1,024) on cpu, 107 GFLOP/s" in shown
    assert "% of peak" not in table([make_record()])


def test_time_to_a_perplexity_stands_with_and_without_start_up(make_record: Make) -> None:
    record = make_record(epochs=epochs(2.0))  # half a second each, start-up 4.25 s
    shown = table([record])
    assert "s to perplexity 1.1" in shown
    assert "2.00 (6.25)" in shown
    (row,) = json.loads(table([record], "json"))[0]["rows"]
    assert row["seconds_to_perplexity_1.1"] == 2.0
    assert row["seconds_to_perplexity_1.1_with_startup"] == 6.25


def test_a_perplexity_that_one_process_never_reached_has_no_time(make_record: Make) -> None:
    lost = Epochs(seconds=[1.0] * 4, nats=[4.0] * 4, tokens=[1] * 4)
    records = [make_record(repeat=0, epochs=epochs(2.0)), make_record(repeat=1, epochs=lost)]
    assert "s to perplexity" not in table(records)


def test_memory_is_what_came_on_top_of_the_import(make_record: Make) -> None:
    mib = 2**20
    shown = table([make_record(memory={"imported": 200 * mib, "peak": 323 * mib})])
    assert "memory MiB" in shown
    assert re.search(r"\b123\b", shown)
    whole_life = {"imported": 200 * mib, "peak_with_parity": 900 * mib}
    assert "memory MiB" not in table([make_record(memory=whole_life)])
    shown = table([make_record(memory={"device_peak": 77 * mib})])
    assert "device MiB" in shown


def test_energy_is_shown_where_it_was_counted_and_blank_where_not(make_record: Make) -> None:
    counted = make_record(epochs=epochs(2.0, joules=[9.0, 0.5, 0.5, 0.5]))
    assert "500,000" in table([counted])
    assert "No joules" not in table([counted])
    shown = table([make_record()])
    assert "J / M tokens" in shown
    assert "No joules where no energy counter could be read." in shown


@pytest.mark.parametrize(
    ("precision", "words"), [(0.1, "reached."), (0.002, "not reached: what is not decided stays")]
)
def test_whether_the_precision_was_reached_is_computed_from_the_records(
    make_record: Make, precision: float, words: str
) -> None:
    records = aimed(make_record, [2.0, 2.1, 1.9, 2.0, 2.05], precision)
    shown = table(records)
    assert f"within {precision:.1%}, or for 600 s" in shown
    assert words in shown
    (setting,) = tables_from(records)
    width = widest(setting)
    assert width is not None
    assert f"the widest is known within {width:.1%}" in shown


def test_one_process_leaves_every_ratio_unknown(make_record: Make) -> None:
    records = aimed(make_record, [2.0], 0.02)
    assert "not every ratio is known, not reached" in table(records)


def test_a_lone_row_is_known_by_its_own_interval(make_record: Make) -> None:
    records = [r for r in aimed(make_record, [2.0, 2.1, 1.9], 0.02) if r.trial.backend == "a"]
    (setting,) = tables_from(records)
    assert setting.rows[0].speed is not None
    assert widest(setting) == setting.rows[0].speed.half_width


def around(make_record: Make, *pairs: tuple[float, float]) -> str:
    """The table of a row whose processes were measured beside that much."""
    found = [SystemLoad(others=others, stolen=stolen) for others, stolen in pairs]
    return table([make_record(repeat=n, system_load=s) for n, s in enumerate(found)])


def test_busy_neighbours_are_told(make_record: Make) -> None:
    shown = around(make_record, (0.02, 0.0), (1.85, 0.0), (0.5, 0.0))
    assert "Something else kept up to 1.9 processors busy meanwhile (2 of 3 trials)" in shown
    assert "hypervisor" not in shown


def test_stolen_time_is_told(make_record: Make) -> None:
    shown = around(make_record, (0.02, 0.005), (0.05, 0.123))
    assert "gave up to 12.3% of the processor time to other guests (1 of 2 trials)" in shown
    assert "Something else" not in shown


def test_a_flag_is_explained_with_how_many_processes_have_it(make_record: Make) -> None:
    one = [make_record(repeat=n, flags=["drifting"] if n == 1 else []) for n in range(3)]
    shown = table(one)
    assert "numpy:eager on cpu is drifting (1 of 3 processes): the steady epochs still" in shown
    assert "is drifting" not in table([make_record()])
    assert "is suspect: a perplexity is too good" in table([make_record(flags=["suspect"])])
