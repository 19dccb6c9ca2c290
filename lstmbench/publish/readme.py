"""``README.md`` of a published store: what got out, on what, and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lstmbench.analysis.tables import Table
from lstmbench.corpora.named import DEFAULT
from lstmbench.messages import one_line
from lstmbench.publish import tables as published_tables
from lstmbench.publish.gather import Entries, unclean
from lstmbench.publish.plots import Plot
from lstmbench.records.record import Record
from lstmbench.report.escape import escape_markdown_line
from lstmbench.report.text import render

#: Runs beyond which the rest is left to the records.
MAX_RUNS = 100


def readme(entries: Entries, tables: Sequence[Table], plots: Sequence[Plot]) -> str:
    """The page; the same records give the same bytes."""
    statuses = [entry.record.status.value for entry in entries.values()]
    counts = ", ".join(f"{statuses.count(s)} {s}" for s in sorted(set(statuses)))
    parts = [
        "# Results",
        "How fast, and how well, an LSTM language model trains. Made by `lstmbench publish` from "
        f"{len(entries)} {'record' if len(entries) == 1 else 'records'} ({counts}) in "
        "[records/](records); `lstmbench verify` on this folder recomputes every figure from them.",
        *_warnings(entries),
        "All figures: [tables/all.csv](tables/all.csv), [tables/all.json](tables/all.json), and "
        "LaTeX in [tables/](tables). To sort and compare: [site/index.html](site/index.html).",
        "## Fastest of each backend and device",
        published_tables.best_markdown(tables),
        "## All tables",
        _all(tables),
    ]
    if plots:
        parts += ["## Plots", *(f"![{text(plot.title)}]({plot.path})" for plot in plots)]
    parts += ["## Machines", *_machines(entries), "## How to reproduce", *_runs(entries)]
    return "\n\n".join(parts) + "\n"


def text(value: object) -> str:
    """Anything as text of one line that GitHub shows as it is."""
    return escape_markdown_line(one_line(str(value)))


def _warnings(entries: Entries) -> list[str]:
    reasons = [why for entry in entries.values() if (why := unclean(entry.record))]
    return [
        f"**Not for publication: {reasons.count(why)} of the records are {text(why)}.**"
        for why in sorted(set(reasons))
    ]


def _all(tables: Sequence[Table]) -> str:
    if not published_tables.long(tables):
        return render(tables, "github")
    return "\n".join(
        f"- [{text(table.title)}](tables/{published_tables.name(table)}.md)" for table in tables
    )


def _machines(entries: Entries) -> list[str]:
    """Each machine, with the versions that were installed on it, and in each stack."""
    found: dict[str, set[str]] = {}
    for entry in entries.values():
        facts, versions = entry.record.machine.facts, entry.record.machine.versions
        hardware = ", ".join(
            f"{name.replace('_', ' ')}: {value}" for name, value in sorted(facts.items())
        )
        software = ", ".join(f"{name} {value}" for name, value in sorted(versions.items()))
        found.setdefault(hardware, set()).add(software)
        if stack := entry.record.stack:
            inside = ", ".join(f"{name} {version}" for name, version in stack.versions.items())
            found[hardware].add(f"stack {stack.option}: {inside or 'unavailable'}")
    return [
        "\n".join(
            "\n  - ".join([f"- {text(hardware)}", *map(text, sorted(software))])
            for hardware, software in sorted(found.items())
        )
    ]


def _runs(entries: Entries) -> list[str]:
    """The command line of each run, with the commit that it was given at."""
    found = {
        (
            e.record.source.run,
            e.record.source.short_commit,
            shlex.join(_anywhere(e.record)),
        )
        for e in entries.values()
    }
    runs = sorted(found)
    commands = [
        one_line(f"{command}  # commit {commit}, run {run}")
        for run, commit, command in runs[:MAX_RUNS]
    ]
    fence = "`" * max(3, *(_longest_ticks(command) + 1 for command in commands), 3)
    parts = [
        "At the commit named, in a checkout with its pinned versions installed (see its README):",
        "\n".join([f"{fence}sh", *commands, fence]),
    ]
    if len(runs) > MAX_RUNS:
        parts.append(f"And {len(runs) - MAX_RUNS} more runs: see the records.")
    return parts


def _anywhere(record: Record) -> list[str]:
    """A run's command without the folder that it wrote to, and with the text that it fell back to.

    Of the folder a record knows no more than the name.
    """
    kept, words = [], iter(record.source.command)
    for word in words:
        if word == "--store":
            next(words, None)
        elif not word.startswith("--store="):
            kept.append(word)
    named = any(word.partition("=")[0] == "--corpus" for word in kept)
    if not named and record.trial.corpus != DEFAULT.name:
        kept.append(f"--corpus={record.trial.corpus}")
    return kept


def _longest_ticks(line: str) -> int:
    ticks = [len(run) for run in "".join(c if c == "`" else " " for c in line).split()]
    return max(ticks, default=0)
