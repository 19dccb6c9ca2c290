"""One invocation of ``lstmbench run``: options checked, plan made and conducted, table printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lstmbench import plugins, provenance
from lstmbench import selection as select
from lstmbench.conductor import Conductor, Limits
from lstmbench.execution.local import LocalExecutor
from lstmbench.plan import Selection, make_plan
from lstmbench.progress import observe
from lstmbench.protocol import OVERRIDABLE
from lstmbench.record import Record, Source, Status
from lstmbench.report import text
from lstmbench.report.figures import settings
from lstmbench.store import Run, write_atomically


@dataclass(frozen=True)
class Options:
    """The command line of ``lstmbench run``, names not yet checked."""

    backends: str
    modes: str
    devices: str
    protocol: str
    epochs: int | None
    hidden_size: int | None
    batch_size: int | None
    steps: int | None
    learning_rate: float | None
    layers: int | None
    dtype: str
    seed: int
    init: str
    repeats: int
    corpus: str | None
    corpus_file: Path | None
    threads: int | None
    env: Sequence[str]
    no_interleave: bool
    timeout: float
    prepare_timeout: float
    store: Path


def execute(options: Options) -> int:
    """Run it all. Returns the exit code; raises :class:`UserError` before anything is written."""
    host = plugins.load()
    backends = select.choose_backends(host, options.backends)
    devices = select.choose_devices(options.devices)
    modes = select.choose_modes(options.modes, [spec for spec, _ in backends])
    protocol, overrides = select.choose_protocol(
        host, options.protocol, {name: getattr(options, name) for name in OVERRIDABLE}
    )
    threads = select.choose_threads(options.threads)
    limits = Limits(
        select.positive_seconds(options.timeout, "--timeout"),
        select.positive_seconds(options.prepare_timeout, "--prepare-timeout"),
    )
    environment = select.parse_environment(options.env)
    corpus = select.choose_corpus(host, options.corpus, options.corpus_file)
    select.check_fits(protocol, corpus)
    plan = make_plan(
        Selection(
            backends,
            devices,
            modes,
            select.choose_dtype(options.dtype),
            protocol,
            overrides,
            options.init,
            corpus.name,
            corpus.digest,
            options.seed,
            threads,
            {name: provenance.scrub(value) for name, value in environment.items()},
            options.repeats,
        ),
        interleave=not options.no_interleave,
    )
    for problem in host.problems.values():
        print(f"lstmbench: {problem}", file=sys.stderr)
    run = Run.create(options.store, protocol.name)
    run.write_plan(plan.to_json())
    commit, dirty = provenance.commit()
    source = Source(
        run=run.name,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=["lstmbench", *map(provenance.scrub, sys.argv[1:])],
        commit=commit,
        dirty=dirty,
        interleaved=not options.no_interleave,
    )
    with observe(plan) as observer:
        conductor = Conductor(
            plan,
            {spec.name: spec for spec, _ in backends},
            corpus,
            run,
            source,
            LocalExecutor(),
            observer,
            limits,
            environment,
        )
        finished = conductor.conduct()
    publish(run, conductor.records)
    if not finished:
        return 130
    return exit_code(
        conductor.records,
        named_backends=options.backends != "all",
        named_devices=options.devices != "all",
    )


def publish(run: Run, records: Sequence[Record]) -> None:
    """Print the table; keep it and the plot in the run's folder."""
    from lstmbench.report.plots import perplexity_svg  # matplotlib is slow to import

    tables = settings(records)
    write_atomically(run.folder / "table.md", text.render(tables, "github") + "\n")
    write_atomically(run.folder / "perplexity.svg", perplexity_svg(tables))
    print(text.render(tables, "plain"))
    print(f"\nRecords, logs, table and plot: {run.folder}")


def exit_code(records: Sequence[Record], named_backends: bool, named_devices: bool) -> int:
    """1 if a trial failed, or if what the user named was to be had nowhere it was asked for."""
    if any(record.status == Status.FAILED for record in records):
        return 1
    had = [record.trial for record in records if record.status != Status.UNAVAILABLE]
    for record in records:
        if record.status != Status.UNAVAILABLE:
            continue
        missing_backend = record.trial.backend not in {trial.backend for trial in had}
        missing_device = record.trial.device not in {trial.device for trial in had}
        if named_backends and (named_devices or missing_backend):
            return 1
        if named_devices and missing_device:
            return 1
    return 0
