"""What must be said beneath a table."""

from __future__ import annotations

import math
from collections import Counter
from statistics import median

from lstmbench.analysis import flags, impossible, roofline
from lstmbench.analysis.metrics import ENERGY
from lstmbench.analysis.precision import MIN_PROCESSES, widest
from lstmbench.analysis.tables import Table, seeds_title
from lstmbench.records.record import Flag, Record
from lstmbench.report.numbers import significant


def notes(table: Table) -> list[str]:
    """One sentence each, in plain text."""
    records = [record for row in table.rows for record in row.records]
    return [
        _rank_note(table, records),
        *_seed_notes(table),
        "Tokens/s is the mean over the faster half of the steady epochs, because interference can "
        "only slow an epoch down; mean and quartiles are over all of them.",
        *_peak_notes(table),
        *_interference_notes(table),
        *_stopping_notes(table, records),
        *_relative_notes(table),
        *_flag_notes(table),
        *sorted({record.trial.protocol.note for record in records} - {""}),
        *_messages(table),
        *_commit_notes(records),
    ]


def _relative_notes(table: Table) -> list[str]:
    what = f"x {table.relative_to}: speed relative to it on the same device."
    return [what] if table.relative_to else []


def _rank_note(table: Table, records: list[Record]) -> str:
    if not table.repeated:
        return (
            "One process per trial: the rows are sorted by tokens/s but not ranked, because one "
            "process gives no interval."
        )
    interleaved = all(record.source.interleaved for record in records)
    how = "repeat by repeat where they were interleaved" if interleaved else "not interleaved"
    return (
        "Rows of equal rank are not distinguishable: none is significantly slower than the first "
        f"of them, by the 95 % interval of their ratio ({how})."
    )


def _seed_notes(table: Table) -> list[str]:
    """Of how many seeds the perplexities are, and what that says."""
    trained = [row for row in table.rows if row.ok_seeds]
    if not trained:
        return []
    if len(table.seeds) == 1:
        return [
            f"One seed ({table.seeds[0]}): another gives other perplexities; by how much, several "
            "(--seed 0,1,2) would say."
        ]
    counts = {row.ok_seeds for row in trained}
    written = any(row.first.continuations for row in table.rows)
    lines = [
        f"Perplexities are geometric means over seeds ({seeds_title(table.seeds)}), with the 95 % "
        "interval over them. The processes of one seed are one observation of what it decides, the "
        "median of theirs; for speeds each process is one."
        + (f" What models write is that of seed {table.seeds[0]}." if written else "")
    ]
    if len(counts) > 1:
        lines.append(
            "Rows have different seeds, so that their perplexities differ by chance, too: "
            + "; ".join(f"{row.label} {seeds_title(row.ok_seeds)}" for row in trained)
            + "."
        )
    return lines


def _flag_notes(table: Table) -> list[str]:
    """What a row's flags mean, and how many of its processes have them.

    Except for flags that the rows of a group share: other notes say what was measured.
    """
    lines = []
    shared = {flag.name for flag in flags.RULES if flag.shared}
    for row in table.rows:
        for flag in (flag for flag in row.flags if flag not in shared):
            number = sum(flag in flags.effective(record) for record in row.records)
            of = f" ({number} of {len(row.records)} processes)" if len(row.records) > 1 else ""
            meaning = flags.BY_NAME[flag].meaning
            if flag == Flag.SUSPECT and row.suspicions:
                meaning = f"{'; '.join(row.suspicions)}. That cannot be true, so it is not ranked"
            lines.append(f"{row.label} on {row.first.trial.device} is {flag}{of}: {meaning}.")
    return lines


def _peak_notes(table: Table) -> list[str]:
    """Which matmuls the shares of the peak are shares of, and whether joules are missing."""
    peaks: dict[str, list[float]] = {}
    for row in table.rows:
        for record in row.ok_records:
            rate = roofline.peak(record)
            if rate and record.peak:
                made = f"{record.peak.matmul.library} (side {record.peak.matmul.side:,})"
                peaks.setdefault(f"{made} on {record.trial.device}", []).append(rate)
    lines = []
    if peaks:
        made = "; ".join(
            f"{who}, {significant(median(rates) / 1e9, 3)} GFLOP/s"
            for who, rates in sorted(peaks.items())
        )
        lines.append(
            "% of peak: the model's operations, by the formula, against the fastest matmul that "
            f"was interleaved with the trials: {made}."
        )
    if any(row.ok_records and row.figure(ENERGY) is None for row in table.rows):
        lines.append("No joules where no energy counter could be read.")
    return lines


def _interference_notes(table: Table) -> list[str]:
    """What others took of the machine meanwhile, where it was enough to matter."""
    seen = [r.system_load for row in table.rows for r in row.ok_records if r.system_load]
    lines = []
    others = [load.others for load in seen if load.others >= impossible.BUSY_PROCESSORS]
    if others:
        lines.append(
            f"Other programs kept up to {significant(max(others), 2)} processors busy meanwhile "
            f"({len(others)} of {len(seen)} trials): speeds may be too low."
        )
    stolen = [load.stolen for load in seen if load.stolen >= impossible.BUSY_STOLEN]
    if stolen:
        lines.append(
            f"The hypervisor gave up to {max(stolen):.1%} of the processor time to other guests "
            f"({len(stolen)} of {len(seen)} trials): speeds may be too low."
        )
    throttled = [t for load in seen if (t := load.throttled or 0.0) >= impossible.BUSY_THROTTLED]
    if throttled:
        lines.append(
            f"A container's limit stopped the run in up to {max(throttled):.0%} of the periods "
            f"({len(throttled)} of {len(seen)} trials): speeds may be too low."
        )
    return lines


def _stopping_notes(table: Table, records: list[Record]) -> list[str]:
    rules = [record.source.stopping_rule for record in records if record.source.stopping_rule]
    if not rules:
        return []
    width, processes = widest(table), max(len(row.ok_records) for row in table.rows)
    known = "not every ratio is known"
    if width is not None and math.isfinite(width):
        known = f"the widest is known within {width:.1%}"
    reached = width is not None and width <= rules[0].precision and processes >= MIN_PROCESSES
    ending = "reached" if reached else "not reached: what is not decided stays undecided"
    return [
        f"Sampling was to go on until every ratio is known within {rules[0].precision:.1%}, or for "
        f"{rules[0].seconds:g} s: {known}, {ending}."
    ]


def _messages(table: Table) -> list[str]:
    """The message of each process that has one, equal ones once."""
    lines: Counter[str] = Counter()
    for row in table.rows:
        for record in (record for record in row.records if record.message):
            reason = f" ({record.reason})" if record.reason else ""
            who = f"{row.label} on {record.trial.device}"
            lines[f"{who} {record.status.value}{reason}: {record.message}"] += 1
    return [f"{line} ({n} times)" if n > 1 else line for line, n in lines.items()]


def _commit_notes(records: list[Record]) -> list[str]:
    found = sorted({why for record in records if (why := record.unclean)})
    return [f"{why[0].upper()}{why[1:]}: not for publication." for why in found]
