"""What stands in columns of peaks, time, memory and energy, and in the notes beneath tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis import flags, metrics
from lstmbench.analysis.precision import widest
from lstmbench.analysis.tables import Table, tables_from
from lstmbench.protocol import QUICK
from lstmbench.records.record import (
    Copy,
    Epochs,
    Flag,
    Matmul,
    Peak,
    StoppingRule,
    SystemLoad,
)
from lstmbench.report.layout import section
from lstmbench.report.notes import notes

Make = Callable[..., Any]
GOLDEN = Path(__file__).parents[1] / "golden" / "notes.txt"
MIB = 2**20
PEAK = Peak(
    matmul=Matmul(library="someblas", side=1024, dtype="float32", seconds=[0.02] * 4),
    copies=Copy(size=1 << 27, seconds=[0.01] * 4),
)


def epochs(rate: float, **more: Any) -> Epochs:
    return Epochs(seconds=[1 / rate] * 4, nats=[4.0, 2.0, 1.0, 0.05], tokens=[1] * 4, **more)


def sampled(make_record: Make, rates: list[float], precision: float) -> list[Any]:
    """Two rows that were sampled until every ratio is known within ``precision``."""
    rule = StoppingRule(precision=precision, seconds=600)
    return [
        make_record(backend=backend, repeat=n, stopping_rule=rule, epochs=epochs(factor * rate))
        for n, rate in enumerate(rates)
        for backend, factor in (("a", 1.0), ("b", 1.0 + 0.01 * (n % 2)))
    ]


def cells(records: list[Any], key: str) -> tuple[str, ...] | None:
    """The texts of a column, wherever it stands; ``None`` where it is left out."""
    (table,) = tables_from(records)
    found = [c for part in section(table).tables for c in part.columns if c.key == key]
    return found[0].texts if found else None


def noted(records: list[Any]) -> list[str]:
    (table,) = tables_from(records)
    return notes(table)


def test_the_share_of_the_peak_is_a_column_where_a_peak_was_measured(make_record: Make) -> None:
    record = make_record(peak=PEAK)
    (table,) = tables_from([record])
    # two operations for each of side**3 multiplications, in 0.02 s
    achieved = table.rows[0].value(metrics.OPERATIONS_PER_SECOND)
    assert achieved is not None
    share = table.rows[0].value(metrics.SHARE_OF_PEAK)
    assert share == pytest.approx(achieved / (2 * 1024**3 / 0.02))
    assert cells([record], "share_of_peak") is not None
    assert cells([make_record()], "share_of_peak") is None


def test_time_to_a_perplexity_stands_with_and_without_start_up(make_record: Make) -> None:
    record = make_record(epochs=epochs(2.0))  # half a second each, start-up 4.25 s
    assert cells([record], "seconds_to_perplexity_1.1") == ("2.00 (6.25)",)
    figures = tables_from([record])[0].rows[0].figures()
    assert figures["seconds_to_perplexity_1.1"] == 2.0
    assert figures["seconds_to_perplexity_1.1_with_startup"] == 6.25


def test_a_perplexity_that_one_process_never_reached_has_no_time(make_record: Make) -> None:
    lost = Epochs(seconds=[1.0] * 4, nats=[4.0] * 4, tokens=[1] * 4)
    records = [make_record(repeat=0, epochs=epochs(2.0)), make_record(repeat=1, epochs=lost)]
    assert cells(records, "seconds_to_perplexity_2") is None


def test_memory_is_what_was_added_to_the_import(make_record: Make) -> None:
    memory = {"imported": 200 * MIB, "peak": 323 * MIB}
    assert cells([make_record(memory=memory)], "memory_bytes") == ("123",)
    whole_process = {"imported": 200 * MIB, "peak_with_parity": 900 * MIB}
    assert cells([make_record(memory=whole_process)], "memory_bytes") is None
    on_device = make_record(memory={"device_peak": 77 * MIB})
    assert cells([on_device], "device_memory_bytes") == ("77.0",)


def test_energy_is_shown_where_it_was_counted_and_blank_where_not(make_record: Make) -> None:
    counted = make_record(epochs=epochs(2.0, joules=[9.0, 0.5, 0.5, 0.5]))
    assert cells([counted], "joules_per_million_tokens") == ("500,000",)
    assert cells([make_record()], "joules_per_million_tokens") == ("",)
    missing = set(noted([make_record()])) - set(noted([counted]))
    assert len(missing) == 1


def test_one_process_leaves_every_ratio_unknown(make_record: Make) -> None:
    (table,) = tables_from(sampled(make_record, [2.0], 0.02))
    assert widest(table) == float("inf")


def test_a_lone_row_is_known_by_its_own_interval(make_record: Make) -> None:
    records = [r for r in sampled(make_record, [2.0, 2.1, 1.9], 0.02) if r.trial.backend == "a"]
    (table,) = tables_from(records)
    assert table.rows[0].speed is not None
    assert widest(table) == table.rows[0].speed.half_width


def test_a_flag_is_explained_unless_the_whole_group_shares_it(make_record: Make) -> None:
    plain = noted([make_record()])
    for flag in flags.RULES:
        added = [line for line in noted([make_record(flags=[flag.name])]) if line not in plain]
        if flag.shared:
            assert added == []
        else:
            (line,) = added
            assert flag.name in line
            assert flag.meaning in line


def loads(make_record: Make, *pairs: tuple[float, float]) -> list[Any]:
    """A row whose processes were measured beside (others, stolen)."""
    found = [SystemLoad(others=others, stolen=stolen) for others, stolen in pairs]
    plain = [make_record(repeat=n, system_load=load) for n, load in enumerate(found)]
    return [record.model_copy(update={"flags": flags.raised(record)}) for record in plain]


def test_load_below_the_limits_of_the_flag_is_not_mentioned(make_record: Make) -> None:
    quiet = noted(loads(make_record, (0.02, 0.0), (0.05, 0.005)))
    assert len(noted(loads(make_record, (0.02, 0.0), (0.1, 0.0)))) == len(quiet) + 1
    assert len(noted(loads(make_record, (0.02, 0.01), (0.1, 0.0)))) == len(quiet) + 2


def test_the_wording(make_record: Make, golden: Callable[[Path, str], None]) -> None:
    """Every note where it stands for the first time, for a reader to judge."""
    lost = {"status": "failed", "reason": "timeout", "message": "no answer within 600 s"}
    one_flagged = [make_record(repeat=n, flags=[Flag.DRIFTING] if n == 1 else []) for n in range(3)]
    clean = make_record()
    dirty = clean.source.model_copy(update={"dirty": True})
    alone = clean.source.model_copy(update={"interleaved": False})
    cases: dict[str, list[Table]] = {
        "one process": tables_from([clean]),
        "several processes, with a peak": tables_from(
            [make_record(repeat=n, peak=PEAK) for n in range(2)]
        ),
        "not interleaved": tables_from([make_record(repeat=n, source=alone) for n in range(2)]),
        "relative to a mode": tables_from([clean], ":eager"),
        "precision reached": tables_from(
            sampled(make_record, [2.0, 2.1, 1.9, 2.0, 2.05], precision=0.1)
        ),
        "precision not reached": tables_from(
            sampled(make_record, [2.0, 2.1, 1.9, 2.0, 2.05], precision=0.002)
        ),
        "no ratio known": tables_from(sampled(make_record, [2.0], 0.02)),
        "busy machine": tables_from(loads(make_record, (0.02, 0.0), (1.85, 0.0), (0.5, 0.0))),
        "stolen time": tables_from(loads(make_record, (0.02, 0.005), (0.05, 0.123))),
        "one of three drifts": tables_from(one_flagged),
        "suspect": tables_from([make_record(flags=[Flag.SUSPECT])]),
        "failed twice": tables_from([make_record(repeat=n, **lost) for n in range(2)]),
        "a preset's own note": tables_from([make_record(protocol=QUICK)]),
        "changes that were not committed": tables_from([make_record(source=dirty)]),
    }
    parts, seen = [], set[str]()
    for name, (table,) in cases.items():
        new = [line for line in notes(table) if line not in seen]
        seen.update(new)
        parts.append("\n".join([f"## {name}", *(f"- {line}" for line in new)]))
    golden(GOLDEN, "\n\n".join(parts) + "\n")
