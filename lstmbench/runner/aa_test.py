"""An A/A test: the same trial against itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lstmbench.analysis.noise import MIN_SETS, PROCESSES_PER_SET
from lstmbench.errors import UserError
from lstmbench.plugin import manager
from lstmbench.protocol import SPEED, Value
from lstmbench.records.record import Record
from lstmbench.records.trial import Trial
from lstmbench.runner import selection, texts
from lstmbench.runner.plan import Plan, Selection, make_plan
from lstmbench.runner.run import Work
from lstmbench.runner.text_options import TextOptions

#: The backend that is measured if none is named: the first of these that is installed.
PREFERRED = ("torch", "jax", "tf-scratch", "keras", "numpy")
#: More pairs than anyone waits for: the time ends an A/A test.
MAX_PAIRS = 250


def check(
    *,
    backend: str | None,
    device: str,
    threads: int | None,
    overrides: Mapping[str, Sequence[Value] | None],
    text: TextOptions,
    command: Sequence[str],
) -> Work:
    """The work of an A/A test; raises :class:`UserError` as a run's check does."""
    host = manager.load()
    name = backend or next((n for n in PREFERRED if n in host.backends()), "torch")
    ((spec, mode), *more) = selection.choose_backends(host, name)
    if more:
        raise UserError(f"--backend {name}: name one")
    protocols = selection.choose_protocols(host, SPEED.name, overrides)
    if len(protocols) > 1:
        raise UserError("noise is that of one trial: give each size once")
    devices = selection.choose_devices(device)
    counts = selection.choose_threads(None if threads is None else [threads])
    corpus, note = texts.choose_corpus(host, text)
    texts.check_fits(protocols[0][0], corpus)
    plan = make_plan(
        Selection(
            backends=[(spec, mode)],
            devices=devices[:1],
            modes=["default"],
            dtype="float32",
            protocols=protocols,
            init="shared",
            corpus=corpus.name,
            corpus_digest=corpus.digest,
            preparation=corpus.preparation,
            seeds=[0],
            threads=counts,
            environment={},
        )
    )
    for _, reason in plan.unavailable:
        raise UserError(reason)
    return Work(
        plan=plan_pairs(plan.trials[0], MAX_PAIRS),
        specs=host.backends(),
        corpus=corpus,
        command=command,
        words=selection.words(host),
        warnings=[note] if note else [],
        notes=[corpus.description],
    )


def plan_pairs(trial: Trial, pairs: int) -> Plan:
    """``pairs`` times two interleaved processes and one alone, which pairs with the next alone."""
    groups = []
    for pair in range(pairs):
        a, b, alone = (
            replace(trial, repeat=PROCESSES_PER_SET * pair + index)
            for index in range(PROCESSES_PER_SET)
        )
        groups += [[a, b], [alone]]
    return Plan(protocol=trial.protocol.name, groups=groups)


class UntilTime:
    """Stops after whole sets, at least :data:`MIN_SETS`, when another would not fit."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._began = 0.0

    def start(self, spent: float = 0.0) -> None:
        """The seconds count from now on; so many were spent earlier."""
        self._began = self._clock() - spent

    def should_stop(self, records: Sequence[Record], repeat: int) -> str | None:
        """Why not to begin ``repeat``, after so many processes."""
        sets, within = divmod(repeat, PROCESSES_PER_SET)
        if within or sets < MIN_SETS:
            return None
        if (self._clock() - self._began) * (sets + 1) / sets <= self._seconds:
            return None
        return f"after {sets} sets another would not fit into {self._seconds:g} s"
