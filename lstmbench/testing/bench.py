"""Prepared workers for benchmarks: a backend as a trial runs it, without a run around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lstmbench import reference
from lstmbench.backend import BackendSpec, Task
from lstmbench.batches import Batches, partition
from lstmbench.corpora import corpus
from lstmbench.machine import facts
from lstmbench.machine.processes import Family
from lstmbench.protocol import Protocol
from lstmbench.records.trial import Trial
from lstmbench.runner.account import open_account
from lstmbench.runner.auditing import Auditor
from lstmbench.runner.channel import Launch
from lstmbench.runner.live import LiveTrial
from lstmbench.runner.local import LocalExecutor
from lstmbench.runner.plan import Selection, make_plan
from lstmbench.runner.proving import Prover
from lstmbench.runner.trial_state import TrialState

#: Seconds for any answer.
TIMEOUT = 900.0


def bundled(protocol: Protocol, offset: int = 0) -> Batches:
    """One epoch of a protocol on the bundled text."""
    text = corpus.resolve(corpus.BUNDLED)
    ids = text.ids[text.splits(protocol)["train"]]
    return partition(ids, protocol.batch_size, protocol.steps, offset)


def _trial(spec: BackendSpec, mode: str, device: str, protocol: Protocol) -> tuple[Trial, Task]:
    text = corpus.resolve(corpus.BUNDLED)
    selection = Selection(
        backends=[(spec, mode)],
        devices=[device],
        modes=["default"],
        dtype="float32",
        protocols=[(protocol, {})],
        init="shared",
        corpus=text.name,
        corpus_digest=text.digest,
        seeds=[0],
        threads=[facts.default_threads()],
        environment={},
    )
    (trial,) = make_plan(selection).trials
    return trial, trial.task(len(text.vocabulary))


@contextmanager
def start_worker(
    spec: BackendSpec,
    mode: str,
    device: str,
    protocol: Protocol,
    folder: Path,
    module: str = "lstmbench.worker",
) -> Iterator[LiveTrial]:
    """The process of a trial, which has not been asked for anything."""
    trial, _ = _trial(spec, mode, device, protocol)
    state = TrialState(trial, folder / "log")
    launch = Launch(state.log, trial.threads, trial.backend_environment, module)
    channel = LocalExecutor().start(launch)
    try:
        account = open_account(channel.pid, channel.marker, Family(), trial.label, None)
        yield LiveTrial(state, channel, account, TIMEOUT)
    finally:
        channel.close()


@contextmanager
def prepared_worker(
    spec: BackendSpec, mode: str, device: str, protocol: Protocol, folder: Path
) -> Iterator[LiveTrial]:
    """A worker that has proven parity and compiled for windows as :func:`bundled` cuts them.

    Raises :class:`lstmbench.runner.channel.WorkerLost` if it does not get that far.
    """
    _, task = _trial(spec, mode, device, protocol)
    executor = LocalExecutor()
    launch = Launch(folder / "audit", 1, {}, "lstmbench.audit")
    auditor = Auditor(executor, launch, task, TIMEOUT, reference=spec.reference)
    try:
        with start_worker(spec, mode, device, protocol, folder) as live:
            prover = Prover(auditor, bundled(protocol), folder, TIMEOUT)
            prover.load(live, spec, executor.cpus(task.threads))
            prover.prove(live)
            prover.rebuild(live, task, reference.draw_tensors(auditor.shapes, 0))
            yield live
    finally:
        auditor.close()
