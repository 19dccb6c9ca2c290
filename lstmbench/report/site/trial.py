"""One trial: its facts in sections, and its series."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lstmbench.analysis import roofline, series
from lstmbench.analysis.tables import Row
from lstmbench.protocol import stated
from lstmbench.records.record import Agreement, Evaluation, Record, Status
from lstmbench.report.columns import DETAIL_FIGURES, FIGURES
from lstmbench.report.numbers import scaled, significant
from lstmbench.report.site import command
from lstmbench.report.site.facts import machine_name, plain, versions

MIB = 2**20
#: Fields of a protocol that are no hyper-parameters.
WORDS = {"name", "summary", "note"}
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class FactGroup:
    """Facts under one title; pages know the group by ``key``."""

    key: str
    title: str
    pairs: Pairs


def figures(row: Row) -> Pairs:
    """The columns of the tables that say something about a row."""
    cells = ((c.heading, c.cell(row)) for c in (*FIGURES, *DETAIL_FIGURES))
    return [(heading, text) for heading, text in cells if text]


def fact_groups(record: Record) -> list[FactGroup]:
    """Everything that was asked and in force, as text."""
    trial, source, machine = record.trial, record.source, record.machine
    protocol, prepared = trial.protocol, trial.preparation.words
    sizes = [(name, getattr(protocol, name)) for name in stated(protocol)]
    found = [
        FactGroup(
            "setting",
            "Setting",
            [
                ("backend", trial.backend),
                ("mode", trial.mode),
                *_stack(record),
                ("device", trial.device),
                ("dtype", trial.dtype),
                ("threads", str(trial.threads)),
                ("protocol", protocol.name),
                ("initial parameters", trial.init),
                ("corpus", trial.corpus),
                ("corpus digest", trial.corpus_digest),
                *([("preparation", ", ".join(prepared))] if prepared else []),
                ("seed", str(trial.seed)),
                ("repeat", str(trial.repeat)),
                ("environment", plain(dict(trial.environment))),
                ("environment of the backend", plain(dict(trial.backend_environment))),
            ],
        ),
        FactGroup(
            "protocol",
            "Protocol",
            [
                ("summary", protocol.summary),
                *((k.replace("_", " "), plain(v)) for k, v in sizes if k not in WORDS),
                ("vocabulary size", str(record.vocabulary_size)),
                ("trained scalars", f"{record.parameters:,}"),
            ],
        ),
        FactGroup(
            "phases",
            "Seconds by phase",
            [(name, significant(value, 3)) for name, value in record.phases.known().items()],
        ),
        FactGroup(
            "memory",
            "Memory in MiB",
            [
                (name.replace("_", " "), significant(size / MIB, 4))
                for name, size in record.memory.known().items()
            ],
        ),
        FactGroup("peak", "Peak of the hardware", _peak(record)),
        FactGroup(
            "origin",
            "Origin",
            [
                ("run", source.run),
                ("started", source.started),
                ("commit", source.commit or "unknown"),
                ("clean commit", plain(None if source.dirty is None else not source.dirty)),
                ("interleaved", plain(source.interleaved)),
                ("interleaved with", ", ".join(record.interleaved_with)),
                ("stopping rule", _stopping_rule(record)),
                *_system_load(record),
            ],
        ),
        FactGroup(
            "machine",
            "Machine",
            [
                ("digest", machine.digest),
                *((key.replace("_", " "), plain(value)) for key, value in machine.facts.items()),
            ],
        ),
        FactGroup("versions", "Versions", list(versions(record).items())),
        FactGroup("runtime", "In force", list(record.runtime.items())),
        FactGroup("digests", "Digests", list(record.digests.known().items())),
    ]
    filled = [replace(g, pairs=[(k, v) for k, v in g.pairs if v != ""]) for g in found]
    return [group for group in filled if group.pairs]


def _stack(record: Record) -> Pairs:
    stack = record.stack
    if stack is None:
        return []
    return [
        ("stack", stack.label),
        ("stack asked for", stack.request),
        ("stack digest", stack.digest or ""),
        *((f"commit of {p.distribution}", p.commit or "unknown") for p in stack.plugins),
    ]


def _system_load(record: Record) -> Pairs:
    load = record.system_load
    if load is None:
        return []
    return [
        ("processors used by others", f"{load.others:.2f}"),
        ("processor time stolen", f"{load.stolen:.1%}"),
    ]


def _peak(record: Record) -> Pairs:
    if record.peak is None:
        return []
    matmul = record.peak.matmul
    return [
        ("matmul by", matmul.library),
        ("side", f"{matmul.side:,}"),
        ("dtype", matmul.dtype),
        ("GFLOP/s", scaled(roofline.peak(record), 1e-9, 3)),
        ("copies in memory, GB/s", scaled(roofline.bandwidth(record), 1e-9, 3)),
    ]


def _stopping_rule(record: Record) -> str:
    rule = record.source.stopping_rule
    return f"every ratio within {rule.precision:.1%}, or {rule.seconds:g} s" if rule else ""


def errors(record: Record) -> list[tuple[str, str, str, bool]]:
    """What parity compared: name, relative error, how much is allowed, whether it held.

    In the trial's dtype, and in float32 where that has 16 bits.
    """
    proof = record.parity
    if proof is None:
        return []
    found: list[tuple[str, Agreement, float]]
    found = [(name, proof, error) for name, error in proof.errors.items()]
    if proof.program is not None:
        found += [(f"float32: {n}", proof.program, e) for n, e in proof.program.errors.items()]
    cells = []
    for name, part, error in found:
        allowed = part.allowed.get(name.removeprefix("float32: "), part.tolerance)
        cells.append((name, f"{error:.1e}", f"{allowed:.1e}", error <= allowed))
    return cells


def evaluations(record: Record) -> list[tuple[str, str, str, str]]:
    """Split, epoch, perplexity and the perplexity of the text's own source."""
    return [
        (
            e.split,
            str(e.epoch),
            significant(series.perplexity(e.nats, e.tokens), 5),
            _source_perplexity(e),
        )
        for e in record.evaluations
    ]


def page_data(row: Row, slug: str, raw: str, machine: str) -> dict[str, Any]:
    """What the page of a row's only trial shows; ``raw`` and ``machine`` are addresses from it."""
    record = row.first
    trial = record.trial
    return {
        "record": record,
        "slug": slug,
        "raw": raw,
        "machine": machine,
        "machine_name": machine_name(record.machine),
        "ok": record.status == Status.OK,
        "status": row.status,
        "message": row.message,
        "about": " · ".join(
            [
                trial.protocol_title(),
                f"{trial.init} initial parameters",
                trial.corpus,
                f"seed {trial.seed}",
                f"repeat {trial.repeat}",
            ]
        ),
        "figures": figures(row),
        "groups": fact_groups(record),
        "errors": errors(record),
        "evaluations": evaluations(record),
        "command": command.command(trial, record.stack.option if record.stack else ""),
        "ran": shlex.join(record.source.command),
    }


def script_data(record: Record, page: dict[str, Any]) -> dict[str, Any]:
    """What other pages load of a trial: facts in words, and series as numbers with spaces."""
    epochs = record.epochs
    return {
        "label": record.trial.label,
        "device": record.trial.device,
        "status": page["status"],
        **({"message": page["message"]} if page["message"] else {}),
        "about": page["about"],
        "speed": series.speed(epochs) if page["ok"] else None,
        "figures": page["figures"],
        "groups": [(group.key, group.title, group.pairs) for group in page["groups"]],
        "continuations": [(c.prefix, c.text) for c in record.continuations],
        "perplexity": _numbers(series.perplexities(epochs)),
        "seconds": _numbers(epochs.seconds),
        "tokens": _numbers(epochs.tokens),
        "evaluations": [
            (e.split, e.epoch, series.perplexity(e.nats, e.tokens)) for e in record.evaluations
        ],
    }


def _numbers(values: Sequence[float]) -> str:
    """Five digits each; a single one where all are the same, as tokens are."""
    if len(set(values)) == 1:
        return f"{values[0]:.8g}"
    return " ".join([f"{value:.5g}" for value in values])


def _source_perplexity(evaluation: Evaluation) -> str:
    """Of the text's own source, where it is known."""
    nats = evaluation.source_nats
    return "" if nats is None else significant(series.perplexity(nats, evaluation.tokens), 5)
