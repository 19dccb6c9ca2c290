"""Which estimator of a process's speed repeats best? From the records of ``lstmbench noise``.

    python benchmarks/estimators.py results/noise --into docs/protocol.md

For each candidate the standard deviation of the logarithm of the ratio of two processes of the same
trial, which would be 0 on a machine without noise.
"""

from __future__ import annotations

import argparse
import math
import statistics as stdlib
from collections.abc import Callable, Sequence
from pathlib import Path

from lstmbench.analysis import series
from lstmbench.analysis.noise import pairs_of
from lstmbench.records.record import Record
from lstmbench.records.store import open_runs, write_atomically
from lstmbench.report.grid import grid
from lstmbench.report.numbers import significant

Estimator = Callable[[Sequence[float]], float]
BEGIN, END = "<!-- estimators:begin -->", "<!-- estimators:end -->"


def share(part: float) -> Estimator:
    """The mean of the shortest ``part`` of the epochs."""
    return lambda seconds: stdlib.fmean(sorted(seconds)[: max(1, round(len(seconds) * part))])


CANDIDATES: dict[str, Estimator] = {
    "the shortest epoch": min,
    "first decile": lambda seconds: stdlib.quantiles(seconds, n=10)[0],
    "first quartile": lambda seconds: stdlib.quantiles(seconds, n=4)[0],
    "mean of the faster third": share(1 / 3),
    "**mean of the faster half**": lambda seconds: series.faster_half_mean(seconds) or 0.0,
    "mean of the faster four fifths": share(0.8),
    "median": stdlib.median,
    "mean": stdlib.fmean,
}


def deviation(pairs: Sequence[tuple[Record, Record]], estimator: Estimator) -> float:
    """Standard deviation of the logarithm of the ratio of a pair's steady durations."""
    logs = []
    for pair in pairs:
        ours, theirs = (
            estimator([1 / rate for rate in series.rates(record.epochs)]) for record in pair
        )
        logs.append(math.log(ours / theirs))
    return stdlib.stdev(logs)


def table(records: Sequence[Record]) -> str:
    """Markdown: candidates against ways of measuring."""
    ways = {interleaved: pairs_of(records, interleaved) for interleaved in (True, False)}
    if min(map(len, ways.values())) < 2:
        raise SystemExit("fewer than two pairs: measure longer with 'lstmbench noise'")
    header = (
        "estimator",
        f"interleaved ({len(ways[True])} pairs)",
        f"sequential ({len(ways[False])} pairs)",
    )
    rows = [
        (
            name,
            *(f"{significant(100 * deviation(pairs, estimator), 2)} %" for pairs in ways.values()),
        )
        for name, estimator in CANDIDATES.items()
    ]
    first = records[0]
    threads = f"{first.trial.threads} threads"
    made = (
        f"Standard deviation of the ratio of `{first.trial.label}` to itself, protocol "
        f"`{first.trial.protocol.name}`, {threads} on {first.machine.facts.get('processor')}, "
        f"commit {(first.source.commit or 'unknown')[:8]}."
    )
    return f"{grid(header, rows, 'github')}\n\n{made}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, help="replace what stands between the markers")
    chosen = parser.parse_args()
    records = [record for run in open_runs(chosen.runs) for record in run.records()]
    if not chosen.into:
        print(table(records))
        return
    before, _, rest = chosen.into.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    write_atomically(chosen.into, f"{before}{BEGIN}\n{table(records)}\n{END}{after}")


if __name__ == "__main__":
    main()
