"""One invocation of ``lstmbench run``: options checked, plan made and conducted, table printed."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lstmbench import corpus as corpora
from lstmbench import machine, plugins, provenance
from lstmbench.backend import BackendSpec
from lstmbench.batches import window_count
from lstmbench.conductor import Conductor, Limits
from lstmbench.corpus import Corpus, CorpusMissing
from lstmbench.errors import UserError
from lstmbench.execution.local import LocalExecutor
from lstmbench.plan import DTYPES, Selection, make_plan
from lstmbench.progress import observe
from lstmbench.protocol import OVERRIDABLE, Protocol
from lstmbench.record import Record, Source, Status
from lstmbench.report import text
from lstmbench.report.figures import settings
from lstmbench.store import Run, write_atomically

DEVICE = re.compile(r"cpu|mps|cuda:\d+")


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
    backends = choose_backends(host, options.backends)
    devices = choose_devices(options.devices)
    modes = choose_modes(options.modes, [spec for spec, _ in backends])
    protocol, overrides = choose_protocol(host, options)
    threads = choose_threads(options.threads)
    environment = parse_environment(options.env)
    corpus = choose_corpus(host, options.corpus, options.corpus_file)
    check_fits(protocol, corpus)
    plan = make_plan(
        Selection(
            backends,
            devices,
            modes,
            choose_dtype(options.dtype),
            protocol,
            overrides,
            options.init,
            corpus.name,
            corpus.digest,
            options.seed,
            threads,
            environment,
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
            Limits(options.timeout, options.prepare_timeout),
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


def choose_backends(host: plugins.Host, text: str) -> list[tuple[BackendSpec, str | None]]:
    """``all``, or ``name`` or ``name:mode``, comma-separated."""
    specs = host.backends()
    if text == "all":
        host.refuse_problems()
        if not specs:
            raise UserError("no backend is installed: pip install ./plugins/torch, for one")
        return [(spec, None) for spec in specs.values() if spec.out_of_all is None]
    chosen: list[tuple[BackendSpec, str | None]] = []
    for item in split(text, "--backends"):
        name, _, mode = item.partition(":")
        spec = plugins.find_backend(host, name)
        known = {m for modes in spec.modes.values() for m in modes}
        if mode and mode not in known:
            raise plugins.unknown(f"mode of {name}", mode, known)
        chosen.append((spec, mode or None))
    return chosen


def choose_modes(text: str, specs: Sequence[BackendSpec]) -> list[str]:
    """``default``, ``all``, or names that at least one selected backend has."""
    known = {m for spec in specs for modes in spec.modes.values() for m in modes}
    chosen = split(text, "--modes")
    for mode in chosen:
        if mode not in known | {"default", "all"}:
            raise plugins.unknown("mode", mode, known)
    return chosen


def choose_devices(text: str) -> list[str]:
    """``all`` that the machine has, or names; whether a backend can use one it says itself."""
    if text == "all":
        return machine.devices()
    chosen = split(text, "--devices")
    for device in chosen:
        if not DEVICE.fullmatch(device):
            raise plugins.unknown("device", device, {*machine.devices(), "cuda:0", "mps"})
    return chosen


def choose_dtype(dtype: str) -> str:
    """One of :data:`lstmbench.plan.DTYPES`."""
    if dtype not in DTYPES:
        raise plugins.unknown("dtype", dtype, DTYPES)
    return dtype


def choose_protocol(host: plugins.Host, options: Options) -> tuple[Protocol, Mapping[str, float]]:
    """The named preset with the command line's overrides, and what they really change."""
    presets = host.protocols()
    if options.protocol not in presets:
        raise plugins.unknown("protocol", options.protocol, presets)
    preset: Protocol = presets[options.protocol]
    given = {name: getattr(options, name) for name in OVERRIDABLE}
    protocol = preset.override({k: v for k, v in given.items() if v is not None})
    return protocol, protocol.overrides(preset)


def choose_threads(threads: int | None) -> int:
    """The physical cores, or as many as asked for, up to the logical ones."""
    if threads is None:
        return machine.physical_cores()
    most = len(machine.usable_cpus())
    if not 1 <= threads <= most:
        raise UserError(f"--threads {threads}: this machine offers 1 to {most}")
    return threads


def choose_corpus(host: plugins.Host, name: str | None, file: Path | None) -> Corpus:
    """The named text; without a name The Time Machine, or the bundled text, saying so."""
    specs = host.corpora()
    if name is not None and name not in specs:
        raise plugins.unknown("corpus", name, specs)
    try:
        return corpora.resolve(specs[name] if name else corpora.DEFAULT, file)
    except CorpusMissing:
        if name is not None:
            raise
        print(
            f"lstmbench: {corpora.DEFAULT.name} is not here and cannot be downloaded: training "
            f"on {corpora.FALLBACK.name!r} instead (same shapes and speed, other perplexities)",
            file=sys.stderr,
        )
        return corpora.resolve(corpora.FALLBACK)


def check_fits(protocol: Protocol, corpus: Corpus) -> None:
    """Every split must give at least one window."""
    batch, steps = protocol.batch_size, protocol.steps
    for name, part in protocol.splits(len(corpus.ids)).items():
        tokens = part.stop - part.start
        if window_count(tokens, batch, steps) < 1:
            raise UserError(
                f"the {name} part of corpus {corpus.name!r} has {tokens} tokens, too few for one "
                f"window of --batch-size {batch} x --steps {steps}: lower them"
            )


def parse_environment(assignments: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` each."""
    parsed = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--env {assignment!r}: expected NAME=VALUE")
        parsed[name] = value
    return parsed


def split(text: str, option: str) -> list[str]:
    """Comma-separated names; at least one."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"{option}: name at least one")
    return parts
