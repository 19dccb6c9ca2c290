"""A run from its options to its records: checked first, then conducted."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lstmbench.backend import BackendSpec
from lstmbench.corpora.corpus import Corpus
from lstmbench.errors import UserError
from lstmbench.machine import load, provenance
from lstmbench.messages import tell
from lstmbench.plugin import manager
from lstmbench.protocol import OVERRIDES
from lstmbench.records.parse import first_fault, unreadable
from lstmbench.records.record import Machine, Record, Shard, Source, Stack, Status
from lstmbench.records.store import Run
from lstmbench.runner import advice, devices, estimate, planfile, selection, texts
from lstmbench.runner.conductor import Conductor, this_machine
from lstmbench.runner.context import Limits
from lstmbench.runner.journal import recover
from lstmbench.runner.local import LocalExecutor
from lstmbench.runner.options import Options
from lstmbench.runner.plan import Plan, Selection, make_plan, recorded_environment
from lstmbench.runner.planfile import PlanFile
from lstmbench.runner.progress import observe
from lstmbench.runner.schedule import Earlier, Sampler
from lstmbench.runner.scratch import ScratchFolder, reclaim
from lstmbench.runner.stopping import MAX_PROCESSES, UntilPrecise
from lstmbench.runner.trial_state import parameter_count
from lstmbench.stacks import request as requests
from lstmbench.stacks.needs import Needs
from lstmbench.stacks.ready import Ready
from lstmbench.stacks.ready import ready as ready_stacks
from lstmbench.stacks.request import Request

#: Of a trial's name: file systems allow 255, and names of temporary files are a little longer.
MAX_NAME_BYTES = 220

#: Bytes for temporary files without which nothing is begun: the ids of a text, for one.
MIN_TEMPORARY = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done, all of it checked.

    ``command`` is the command line that asked for it, of which ``words`` are not private;
    ``raw_environment`` is what workers get, paths and all. ``stacks`` are yet to be made.
    ``warnings`` and ``notes`` are lines for the user. ``options`` ask for the same anywhere;
    without them a run cannot go on once it has ended. ``shard`` says which part of a plan this is,
    ``begun`` which run goes on.
    """

    plan: Plan
    specs: Mapping[str, BackendSpec]
    corpus: Corpus
    command: Sequence[str]
    words: Collection[str] = ()
    limits: Limits = field(default_factory=Limits)
    raw_environment: Mapping[str, str] = field(default_factory=dict)
    stacks: Sequence[Request] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    options: Options | None = None
    shard: Shard | None = None
    begun: Begun | None = None


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run that goes on, its plan as it is to be, and what it has done."""

    run: Run
    plan: PlanFile
    earlier: Earlier


@dataclass(frozen=True, kw_only=True)
class Done:
    """A run's folder and records.

    Not ``finished`` if it was interrupted; ``stopped`` is why sampling ended, where it did;
    ``problems`` has a line for each record that could not be written.
    """

    run: Run
    records: Sequence[Record]
    finished: bool
    stopped: str | None
    warnings: Sequence[str]
    problems: Sequence[str]


def check(options: Options) -> Work:
    """The work that the options ask for; nothing is written and nothing started.

    Raises :class:`UserError` for anything that cannot be had, naming the option and the way out.
    """
    sampler = load.LoadSampler()
    sampler.start()
    host = manager.load()
    backends = selection.choose_backends(host, options.backends)
    devices = selection.choose_devices(options.devices)
    dtype = selection.choose_dtype(options.dtype)
    modes = selection.choose_modes(options.modes, [spec for spec, _ in backends])
    overrides = {name: getattr(options, name) for name in OVERRIDES}
    if not options.yes:
        estimate.check_sweep(overrides)
    protocols = selection.choose_protocols(host, options.protocol, overrides)
    preset = protocols[0][0]
    repeats = selection.choose_repeats(options.repeats)
    seeds = selection.choose_seeds(options.seed)
    rule = selection.choose_stopping_rule(preset, repeats, options.precision, options.budget)
    if rule:
        selection.check_one_seed(seeds, options.precision, preset)
    threads = selection.choose_threads(options.threads)
    limits = Limits(
        answer=selection.positive_seconds(options.timeout, "--timeout"),
        prepare=selection.positive_seconds(options.prepare_timeout, "--prepare-timeout"),
        memory=selection.choose_memory_limit(options.memory_limit),
    )
    environment = selection.parse_environment(options.env)
    stacks = requests.parse(options.stack)
    if stacks:
        Needs.of([spec for spec, _ in backends], host)
    if preset.is_layer:
        corpus, note = texts.no_text(preset, options.text, options.prompt, options.init), None
    else:
        corpus, note = texts.choose_corpus(host, options.text)
    for protocol, _ in protocols:
        texts.check_fits(protocol, corpus)
    protocols = [
        (texts.choose_prompts(protocol, corpus, options.prompt, not options.no_samples), overrides)
        for protocol, overrides in protocols
    ]
    selected = Selection(
        backends=backends,
        devices=devices,
        modes=modes,
        dtype=dtype,
        protocols=protocols,
        init=selection.choose_init(options.init),
        corpus=corpus.name,
        corpus_digest=corpus.digest,
        preparation=corpus.preparation,
        seeds=seeds,
        threads=threads,
        environment=recorded_environment(environment),
        repeats=MAX_PROCESSES if rule else repeats or preset.repeats,
        interleave=not options.no_interleave,
        stopping_rule=rule,
        stacks=[stack.label for stack in stacks] or [""],
    )
    if not options.yes:
        estimate.check_size(selected, corpus.train_tokens, len(corpus.vocabulary))
    for spec, _ in backends:
        selection.check_environment(spec.environment, f"backend {spec.name!r}")
    plan = make_plan(selected)
    check_recordable(plan, len(corpus.vocabulary))
    busy = advice.warning(sampler.busy())
    warnings = [note, *host.problems, *provenance.warnings(), busy]
    return Work(
        plan=plan,
        specs=host.backends(),
        corpus=corpus,
        command=options.command(),
        words=selection.words(host),
        limits=limits,
        raw_environment=environment,
        stacks=stacks,
        warnings=[warning for warning in warnings if warning],
        notes=[] if preset.is_layer else [corpus.description],
        options=planfile.in_full(options, plan, None if preset.is_layer else corpus.name),
    )


def plan_of(work: Work, run: str, started: str) -> PlanFile:
    """What ``plan.json`` says of work that begins."""
    return planfile.make(
        run=run,
        started=started,
        command=planfile.shown(work.command, work.words),
        options=work.options,
        plan=work.plan,
        machine=this_machine(work.specs, in_stacks=bool(work.stacks)),
        shard=work.shard,
    )


def now() -> str:
    """The time as records hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def check_recordable(plan: Plan, vocabulary_size: int) -> None:
    """Raise :class:`UserError` for a trial whose record or log could not be written or read again.

    Names, sizes and texts of plugins end up in records; better now than after the training.
    """
    source = Source(run="", started="", command=[], commit=None, dirty=None, interleaved=True)
    machine = Machine(digest="", facts={}, versions={})
    for trial in [*plan.trials, *(trial for trial, _ in plan.unavailable)]:
        length = len(trial.name.encode(errors="replace"))
        if length > MAX_NAME_BYTES:
            raise UserError(
                f"{trial.label[:80]}... on {trial.device[:20]}: its files would have names of "
                f"{length} bytes, {MAX_NAME_BYTES} are the most: shorten the backend's or mode's"
            )
        if trial.repeat:
            continue
        fields: dict[str, Any] = {
            "trial": trial,
            "source": source,
            "machine": machine,
            "stack": Stack(label=trial.stack, request="") if trial.stack else None,
            "vocabulary_size": vocabulary_size,
            "parameters": parameter_count(trial, vocabulary_size),
            "status": Status.INTERRUPTED,
        }
        try:
            fault = unreadable(Record.model_validate(fields))
        except ValidationError as error:
            fault = first_fault(error)
        if fault:
            raise UserError(f"{trial.label}: its record could not be read: {fault}")


def conduct(
    work: Work,
    store: Path,
    *,
    sampler: Sampler | None = None,
    measure_peak: bool = True,
    progress: bool = True,
    wait: bool = True,
) -> Done:
    """Make the run's folder in ``store``, write the plan, and lead it to its records.

    A run that goes on stays where it is. Waits while another run uses one of the devices, or, if
    it is not to ``wait``, raises :class:`UserError`; so it does, with nothing begun, if a folder
    cannot be written. ``sampler`` ends the repeats early; without one the plan's stopping rule
    does, if it has one. With ``progress``, warnings and what happens are shown on standard error.
    """
    reclaim()
    check_temporary_folder()
    found = [*work.plan.trials, *(trial for trial, _ in work.plan.unavailable)]
    what = shlex.join(planfile.shown(work.command, work.words))
    held = devices.held(
        {trial.device for trial in found},
        what,
        wait=wait,
        tell=lambda line: tell([line] if progress else []),
    )
    # making a stack takes processors: no other run is measured meanwhile
    with held, _stacks(work, progress) as ready:
        sampler = sampler or sampler_of(work.plan)
        return _conduct(work, store, ready, sampler, measure_peak, progress)


@contextmanager
def _stacks(work: Work, progress: bool) -> Iterator[Mapping[str, Ready]]:
    """Those that were asked for, each by its label; why one cannot be had is one of its facts."""
    if not work.stacks:
        yield {}
        return
    trials = [*work.plan.trials, *(trial for trial, _ in work.plan.unavailable)]
    specs = [work.specs[name] for name in dict.fromkeys(trial.backend for trial in trials)]
    needs = Needs.of(specs, manager.load())
    with (
        ScratchFolder() as code,
        ready_stacks(work.stacks, needs, code, lambda s: tell([s] if progress else [])) as ready,
    ):
        yield ready


def sampler_of(plan: Plan) -> Sampler | None:
    """What ends a plan early, if it has a stopping rule."""
    return UntilPrecise(plan.stopping_rule) if plan.stopping_rule else None


def _conduct(
    work: Work,
    store: Path,
    stacks: Mapping[str, Ready],
    sampler: Sampler | None,
    measure_peak: bool,
    progress: bool,
) -> Done:
    plan = work.plan.where(
        lambda trial: stacks[trial.stack].obstacles.get(trial.backend) if trial.stack else None
    )
    begun = work.begun
    if begun:
        _check_stacks(begun, stacks)
    warnings = [*work.warnings, *recover([store])]
    run = begun.run if begun else Run.create(store, plan.protocol)
    written = begun.plan if begun else plan_of(work, run.name, now())
    source = Source(
        run=written.run,
        started=written.started,
        command=written.command,
        commit=written.code.commit,
        dirty=written.code.dirty,
        interleaved=plan.interleave,
        stopping_rule=plan.stopping_rule,
        plugins=written.code.plugins,
        resumed=now() if begun else None,
        shard=written.shard,
    )
    if not begun:
        run.write_plan(written.sealed())
    with observe(plan, shown=progress) as observer, ExitStack() as owned:
        conductor = Conductor(
            plan=plan,
            specs=work.specs,
            corpus=work.corpus,
            run=run,
            source=source,
            executor=LocalExecutor(),
            observer=observer,
            limits=work.limits,
            raw_environment=work.raw_environment,
            sampler=sampler,
            measure_peak=measure_peak,
            stacks=stacks,
            earlier=begun.earlier if begun else None,
        )
        owned.callback(conductor.close)
        if begun:
            if not conductor.owns_run:
                raise UserError(f"run {run.folder} is on its way in another process")
            run.write_plan(written.sealed())
        if progress:
            tell([*work.notes, *warnings])
        finished = conductor.conduct()
    return Done(
        run=run,
        records=conductor.records,
        finished=finished,
        stopped=conductor.stopped,
        warnings=warnings,
        problems=conductor.problems,
    )


def _check_stacks(begun: Begun, stacks: Mapping[str, Ready]) -> None:
    """Raise :class:`UserError` where a stack holds something else than when the run began."""
    for record in begun.earlier.records.values():
        now = stacks[record.trial.stack].facts if record.trial.stack in stacks else None
        if record.stack and now and record.stack.digest != now.digest:
            raise UserError(
                f"run {begun.run.folder} cannot go on: the stack {record.trial.stack} holds other "
                "releases than when the run began"
            )


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
