"""What must be said beneath a table."""

from __future__ import annotations

import math
from statistics import median

from lstmbench.analysis import flags, roofline
from lstmbench.analysis.metrics import MIN_PROCESSES
from lstmbench.analysis.tables import Table, widest
from lstmbench.records.record import Flag
from lstmbench.report.numbers import significant


def notes(setting: Table) -> list[str]:
    """One sentence each, in plain text."""
    lines = []
    if setting.repeated:
        turns = all(r.source.interleaved for row in setting.rows for r in row.records)
        how = "repeat by repeat where they took turns" if turns else "without turns"
        lines.append(
            "Rows of equal rank cannot be told apart: none is surely slower than the first of "
            f"them, by the 95 % interval of their ratio ({how})."
        )
    else:
        lines.append(
            "One process per trial: the rows are sorted by tokens/s but not ranked, for one "
            "process gives no interval."
        )
    lines.append(
        "Tokens/s is the mean over the faster half of the steady epochs, for noise only slows "
        "down; mean and quartiles are over all of them."
    )
    lines += _peak_notes(setting) + _neighbour_notes(setting) + _aim_notes(setting)
    if setting.relative_to:
        lines.append(f"x {setting.relative_to}: speed relative to it on the same device.")
    lines += _flag_notes(setting)
    lines += sorted({r.trial.protocol.note for row in setting.rows for r in row.records} - {""})
    messages: dict[str, int] = {}
    for row in setting.rows:
        for record in row.records:
            if record.message:
                reason = f" ({record.reason})" if record.reason else ""
                label = f"{row.label} on {record.trial.device}"
                line = f"{label} {record.status.value}{reason}: {record.message}"
                messages[line] = messages.get(line, 0) + 1
    lines += [f"{line} ({n} times)" if n > 1 else line for line, n in messages.items()]
    if any(r.source.dirty or r.source.commit is None for row in setting.rows for r in row.records):
        lines.append("Made by code that is no clean commit: not for publication.")
    return lines


#: What the flags of a record mean.
FLAGS = {
    "drifting": "the steady epochs still drift",
    "suspect": "a perplexity is too good to be true",
}


def _flag_notes(setting: Table) -> list[str]:
    """What a row's flags mean, and how many of its processes have them.

    But for ``interference``, which all rows of a group share.
    """
    lines = []
    for row in setting.rows:
        for flag in sorted({flag for r in row.records for flag in r.flags} - {Flag.INTERFERENCE}):
            who = f"{row.label} on {row.first.trial.device}"
            number = sum(flag in record.flags for record in row.records)
            of = f" ({number} of {len(row.records)} processes)" if len(row.records) > 1 else ""
            lines.append(f"{who} is {flag}{of}: {FLAGS.get(flag, flag)}.")
    return lines


def _peak_notes(setting: Table) -> list[str]:
    """Which products the shares of the peak are shares of, and whose joules are missing."""
    products: dict[str, list[float]] = {}
    for row in setting.rows:
        for record in row.ok_records:
            rate = roofline.peak(record)
            if rate and record.peak:
                made = f"{record.peak.matmul.library} (side {record.peak.matmul.side:,})"
                products.setdefault(f"{made} on {record.trial.device}", []).append(rate)
    lines = []
    if products:
        made = "; ".join(
            f"{who}, {significant(median(rates) / 1e9, 3)} GFLOP/s"
            for who, rates in sorted(products.items())
        )
        lines.append(
            "% of peak: products of the model, by the formula, against the fastest matrix product "
            f"that took turns with the trials: {made}."
        )
    if any(row.ok_records and row.energy is None for row in setting.rows):
        lines.append("No joules where no energy counter could be read.")
    return lines


def _neighbour_notes(setting: Table) -> list[str]:
    """What others took of the machine meanwhile, where it was enough to matter."""
    seen = [r.system_load for row in setting.rows for r in row.ok_records if r.system_load]
    lines = []
    others = [s.others for s in seen if s.others >= flags.INTERFERING_PROCESSORS]
    if others:
        lines.append(
            f"Something else kept up to {significant(max(others), 2)} processors busy meanwhile "
            f"({len(others)} of {len(seen)} trials): speeds may be too low."
        )
    stolen = [s.stolen for s in seen if s.stolen >= flags.STOLEN_SHARE]
    if stolen:
        lines.append(
            f"The hypervisor gave up to {max(stolen):.1%} of the processor time to other guests "
            f"({len(stolen)} of {len(seen)} trials): speeds may be too low."
        )
    return lines


def _aim_notes(setting: Table) -> list[str]:
    records = [record for row in setting.rows for record in row.records]
    rules = [r.source.stopping_rule for r in records if r.source.stopping_rule]
    if not rules:
        return []
    width, processes = widest(setting), max(len(row.ok_records) for row in setting.rows)
    known = "not every ratio is known"
    if width is not None and math.isfinite(width):
        known = f"the widest is known within {width:.1%}"
    reached = width is not None and width <= rules[0].precision and processes >= MIN_PROCESSES
    ending = "reached" if reached else "not reached: what is not decided stays undecided"
    return [
        f"Sampling was to go on until every ratio is known within {rules[0].precision:.1%}, or for "
        f"{rules[0].seconds:g} s: {known}, {ending}."
    ]
