"""One invocation of ``lstmbench run``: options checked, plan made and conducted, table printed."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lstmbench import streams
from lstmbench.analysis.tables import tables_from
from lstmbench.backend import BackendSpec
from lstmbench.corpora.corpus import Corpus
from lstmbench.errors import UserError
from lstmbench.machine import load, provenance, redact
from lstmbench.messages import tell
from lstmbench.plugin import manager
from lstmbench.protocol import OVERRIDABLE
from lstmbench.records.record import Record, Source, Status, StoppingRule
from lstmbench.records.store import Run, write_atomically
from lstmbench.report import images, text
from lstmbench.runner import advice, estimate
from lstmbench.runner import selection as select
from lstmbench.runner.conductor import Conductor, Limits, Sampler
from lstmbench.runner.local import LocalExecutor
from lstmbench.runner.plan import Plan, Selection, make_plan
from lstmbench.runner.progress import observe
from lstmbench.runner.stopping import MAX_PROCESSES, Sampling

#: Bytes for temporary files without which nothing is begun: the ids of a text, for one.
MIN_TEMPORARY = 4 * 2**20


@dataclass(frozen=True)
class Options:
    """The command line of ``lstmbench run``, names not yet checked."""

    backends: str
    modes: str
    devices: str
    protocol: str
    epochs: Sequence[int] | None
    hidden_size: Sequence[int] | None
    batch_size: Sequence[int] | None
    steps: Sequence[int] | None
    learning_rate: Sequence[float] | None
    layers: Sequence[int] | None
    dtype: str
    seed: int
    init: str
    repeats: int | None
    precision: float | None
    budget: float | None
    corpus: str | None
    corpus_file: Path | None
    threads: Sequence[int] | None
    yes: bool
    env: Sequence[str]
    no_interleave: bool
    timeout: float
    prepare_timeout: float
    store: Path


def execute(options: Options) -> int:
    """Run it all. Returns the exit code; raises :class:`UserError` before anything is written."""
    lookout = load.LoadSampler()
    host = manager.load()
    backends = select.choose_backends(host, options.backends)
    devices = select.choose_devices(options.devices)
    dtype = select.choose_dtype(options.dtype)
    modes = select.choose_modes(options.modes, [spec for spec, _ in backends])
    overrides = {name: getattr(options, name) for name in OVERRIDABLE}
    if not options.yes:
        estimate.check_sweep(overrides)
    protocols = select.choose_protocols(host, options.protocol, overrides)
    preset = protocols[0][0]
    aim = select.choose_stopping_rule(preset, options.repeats, options.precision, options.budget)
    threads = select.choose_threads(options.threads)
    limits = Limits(
        select.positive_seconds(options.timeout, "--timeout"),
        select.positive_seconds(options.prepare_timeout, "--prepare-timeout"),
    )
    environment = select.parse_environment(options.env)
    corpus = select.choose_corpus(host, options.corpus, options.corpus_file)
    for protocol, _ in protocols:
        select.check_fits(protocol, corpus)
    selection = Selection(
        backends,
        devices,
        modes,
        dtype,
        protocols,
        options.init,
        corpus.name,
        corpus.digest,
        options.seed,
        threads,
        {name: redact.scrub(value) for name, value in environment.items()},
        MAX_PROCESSES if aim else options.repeats or preset.repeats,
    )
    if not options.yes:
        estimate.check_size(selection, aim, len(corpus.ids), len(corpus.vocabulary))
    plan = make_plan(selection, interleave=not options.no_interleave)
    warnings = [
        *host.problems.values(),
        *provenance.warnings(),
        *filter(None, [advice.limit_warning(threads), advice.warning(lookout.busy())]),
    ]
    sampling = Sampling(aim) if aim else None
    done = carry_out(
        Work(
            plan,
            host.backends(),
            corpus,
            limits,
            environment,
            select.words(host),
            warnings,
        ),
        options.store,
        sampling,
        interleaved=not options.no_interleave,
        aim=aim,
    )
    problems = [*done.problems, *publish(done.run, done.records)]
    tell(problems)
    if not done.finished:
        return 130
    if sampling and sampling.outcome:
        streams.show(f"Sampling ended: {sampling.outcome}.\n")
    code = exit_code(
        done.records,
        named_backends=options.backends != "all",
        named_devices=options.devices != "all",
    )
    return 1 if problems else code


@dataclass(frozen=True)
class Work:
    """What is to be done, all of it checked.

    ``words`` of the command line are nobody's names; ``warnings`` are lines for standard error.
    """

    plan: Plan
    specs: Mapping[str, BackendSpec]
    corpus: Corpus
    limits: Limits
    environment: Mapping[str, str]
    words: Collection[str]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Done:
    """A run's folder and records; not ``finished`` if it was interrupted.

    ``problems``: a line for each record that could not be written.
    """

    run: Run
    records: Sequence[Record]
    finished: bool
    problems: Sequence[str] = ()


def carry_out(
    work: Work,
    store: Path,
    sampling: Sampler | None = None,
    *,
    interleaved: bool = True,
    aim: StoppingRule | None = None,
    products: bool = True,
) -> Done:
    """Make the run's folder, write the plan, conduct it.

    Raises :class:`UserError`, with nothing begun, if a folder cannot be written.
    """
    check_temporary_folder()
    first = next(iter([*work.plan.trials, *(trial for trial, _ in work.plan.unavailable)]))
    run = Run.create(store, first.protocol.name)
    run.write_plan(work.plan.to_json())
    tell(work.warnings)
    commit, dirty = provenance.commit()
    source = Source(
        run=run.name,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=["lstmbench", *(redact.scrub_argument(a, work.words) for a in sys.argv[1:])],
        commit=commit,
        dirty=dirty,
        interleaved=interleaved,
        aim=aim,
    )
    with observe(work.plan) as observer:
        conductor = Conductor(
            work.plan,
            work.specs,
            work.corpus,
            run,
            source,
            LocalExecutor(),
            observer,
            work.limits,
            work.environment,
            sampling,
            products,
        )
        finished = conductor.conduct()
    return Done(run, conductor.records, finished, conductor.problems)


def check_temporary_folder() -> None:
    """Raise :class:`UserError` if there is no room for temporary files."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(MIN_TEMPORARY))
            file.flush()
    except OSError as error:
        raise UserError(
            f"temporary files cannot be written: {error.strerror or error}; make room, or name "
            "another folder in TMPDIR"
        ) from error


def publish(run: Run, records: Sequence[Record]) -> list[str]:
    """Print the table; keep it and the plots in the run's folder.

    Returns a line for each of these that failed.
    """
    tables = tables_from(records)
    table = text.render(tables, "plain")
    trouble = streams.show(f"{table}\n\nRecords, logs, table and plots: {run.folder}\n")
    problems = [trouble] if trouble else []
    made = {"table.md": text.render(tables, "github") + "\n"}
    made |= images.draw(images.images(tables), problems)
    for name, content in made.items():
        try:
            write_atomically(run.folder / name, content)
        except OSError as error:
            problems.append(f"{run.folder / name}: {error.strerror or error}")
    return problems


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
