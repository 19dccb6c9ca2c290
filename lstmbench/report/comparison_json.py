"""A comparison of rows for programs: keys stay what they are (``docs/comparing.md``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lstmbench.analysis import conditions
from lstmbench.analysis.compare import Comparison
from lstmbench.analysis.gate import Gate
from lstmbench.analysis.pairs import Pair, Pairing
from lstmbench.analysis.tables import Row
from lstmbench.report.numbers import rounded_tree

#: Rises when a key is renamed or removed, or means something else.
FORMAT = 1


def to_json(
    places: Mapping[str, str], pairing: Pairing, gate: Gate, damaged: Sequence[str]
) -> dict[str, Any]:
    """Everything that :func:`lstmbench.report.comparison.section` shows, figures at ten digits."""
    return {
        "format": FORMAT,
        "by": pairing.by,
        "base": pairing.base,
        "sides": {
            side: {
                "from": places[side],
                "records": len(records),
                "conditions": {n: sorted(v) for n, v in conditions.of(records).items()},
            }
            for side, records in pairing.sides.items()
        },
        "differing": pairing.differing,
        "pairs": [_pair_to_json(pairing, pair, gate) for pair in pairing.pairs],
        "alone": [
            {"side": side, "row": pairing.name(row), **_row_to_json(row)}
            for side, row in pairing.alone
        ],
        "gate": {
            "fail_below": gate.fail_below,
            "fail_if_slower": gate.fail_if_slower,
            "outcome": gate.outcome(pairing).value if gate.asked else None,
        },
        "damaged": list(damaged),
    }


def _pair_to_json(pairing: Pairing, pair: Pair, gate: Gate) -> dict[str, Any]:
    outcome = gate.judge(pair) if gate.asked else None
    return {
        "row": pairing.name(pair.a, pair.b),
        "a": _row_to_json(pair.a),
        "b": _row_to_json(pair.b),
        "not_the_same": sorted(set(pair.differences) - pairing.free),
        "gate": outcome.value if outcome else None,
        "figures": {c.metric.key: _figure_to_json(c, pair) for c in pair.comparisons},
    }


def _row_to_json(row: Row) -> dict[str, Any]:
    return {
        "backend": row.first.trial.backend,
        "mode": row.first.trial.mode,
        "stack": row.first.trial.stack,
        "settings": conditions.settings(row.first),
        "status": row.status,
        "flags": [flag.value for flag in row.flags],
        "processes": len(row.records),
        "processes_ok": len(row.ok_records),
    }


def _figure_to_json(comparison: Comparison, pair: Pair) -> dict[str, Any]:
    metric, ratio = comparison.metric, comparison.ratio
    found: dict[str, Any] = rounded_tree(
        {
            "a": pair.a.value(metric),
            "b": pair.b.value(metric),
            "ratio": ratio.value,
            "ratio_low": ratio.low,
            "ratio_high": ratio.high,
            "verdict": comparison.verdict,
            "measured": comparison.measured,
            "observations": ratio.processes,
        }
    )
    return found
