"""The recurrent layers alone, interleaved as training is.

An epoch is a round: passes that go forward, then others that go backward too, on numbers that the
host draws when the round is due. Here and there in the round, drawn too, the pass that was the last
so far is shown; the auditor goes through one of them again.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstmbench.analysis.roofline import layer_cost, layer_passes
from lstmbench.audit.draws import audited_rounds, layer_numbers, layer_parameters, shown_passes
from lstmbench.audit.messages import Audited, AuditLayer, File, Proof
from lstmbench.backend import Parameters, Task
from lstmbench.cells import Shapes
from lstmbench.corpora.corpus import Corpus
from lstmbench.layer import result_shapes
from lstmbench.records.trial import Trial
from lstmbench.runner import clocks
from lstmbench.runner.auditing import (
    MAX_SECONDS,
    OPERATIONS_PER_SECOND,
    Auditor,
    AuditorLost,
    GroupAudit,
    Question,
)
from lstmbench.runner.channel import WorkerLost
from lstmbench.runner.evidence import Snapshot
from lstmbench.runner.group import Group
from lstmbench.runner.live import LiveTrial
from lstmbench.runner.proving import Prover
from lstmbench.runner.trial_state import EpochResult, TrialState
from lstmbench.worker.arrays import write_parameters
from lstmbench.worker.messages import INTERFACE, Build, Drop, LoadParameters, PassLayer, Ping
from lstmbench.worker.parity import MAX_ALLOWED, TOLERANCE

#: Processor seconds that taking numbers to the device may cost: for each of them, for each time,
#: and as a share of what the passes on them cost.
STAGING_PER_NUMBER, STAGING_SECONDS, STAGING_SHARE = 3e-8, 0.02, 0.5
#: Seconds that writing a result may take, for each byte and each time: what takes longer computes.
WRITING_PER_BYTE, WRITING_SECONDS = 4e-9, 1e-3

#: Inputs ``[P, T, B, in]``, and slopes ``[P, T, B, H]`` of passes that go backward too.
Numbers = tuple[np.ndarray, np.ndarray | None]


class Shown(NamedTuple):
    """What ``number`` of a round's passes has given; they took ``seconds`` together."""

    round: int
    backward: bool
    number: int
    seconds: float
    snapshot: Snapshot


class LayerAudit(GroupAudit):
    """The audit of a group whose trials go through the layers alone, ``passes`` times a round."""

    def __init__(
        self,
        corpus: Corpus,
        offsets: Sequence[int],
        auditor: Auditor,
        folder: Path,
        passes: int,
    ) -> None:
        super().__init__(corpus, offsets, auditor, folder)
        self.passes = passes
        self._kept: dict[str, list[Shown]] = {}

    def numbers(self, trial: Trial, what: object, backward: bool) -> Numbers:
        """What the passes of a round, or of a challenge, read; the same for the whole group."""
        protocol = trial.protocol
        size = protocol.steps, protocol.batch_size
        return layer_numbers(self.nonce, what, self.passes, protocol.model(1), *size, backward)

    def passed(self, trial: Trial, shown: Shown) -> None:
        """Keep what was shown if it may be audited: of the fastest rounds, and of those drawn."""
        kept = [*self._kept.get(trial.name, []), shown]
        drawn = audited_rounds(self.nonce, trial.name, trial.protocol.epochs)
        fastest = _fastest(kept)
        self._kept[trial.name] = [s for s in kept if s.round in drawn or s in fastest]

    def layer_challenge(self, trial: Trial, number: int) -> tuple[Parameters, Numbers]:
        """Parameters and numbers that are new, and no other trial's."""
        what = f"challenge {number} of {trial.name}"
        start = layer_parameters(self.nonce, what, self._auditor.shapes)
        return start, self.numbers(trial, what, True)

    def _questions(self, state: TrialState) -> Iterator[Question]:
        trial, done = state.trial, len(state.series)
        evidence = self.evidence(trial)
        seconds = pass_seconds(trial.task(1))
        if evidence.challenge is not None:
            number, _, end = evidence.challenge
            start, numbers = self.layer_challenge(trial, number)
            request = self._request(
                self._parameters("challenge", start, trial.dtype), numbers, -1, end
            )
            yield Question("challenge", None, done, request, seconds)
        kept = self._kept.pop(trial.name, [])
        fastest = _fastest(kept)
        initial = self._initial(trial)
        for shown in sorted(kept, key=lambda shown: shown not in fastest):
            numbers = self.numbers(trial, shown.round, shown.backward)
            request = self._request(initial, numbers, shown.number, shown.snapshot)
            what, needed = "backward" if shown.backward else "forward", shown in fastest
            yield Question(what, None, shown.round, request, seconds, needed)  # type: ignore[arg-type]

    def _initial(self, trial: Trial) -> File:
        return self._parameters("initial", self.initial_parameters(trial), trial.dtype)

    def _request(
        self, parameters: File, numbers: Numbers, index: int, shown: Snapshot
    ) -> AuditLayer:
        return layer_question(
            self._folder, parameters, numbers, index, shown.written(self._folder / "result.npy")
        )


def _fastest(kept: Sequence[Shown]) -> list[Shown]:
    """Of the rounds that go forward, and of those that go backward too."""
    kinds = ([s for s in kept if s.backward == backward] for backward in (True, False))
    return [min(kind, key=lambda s: s.seconds) for kind in kinds if kind]


def layer_question(
    folder: Path, parameters: File, numbers: Numbers, index: int, result: File
) -> AuditLayer:
    """One pass for the auditor, which reads no more than that pass did."""
    files: list[File | None] = []
    for name, array in zip(("inputs", "slopes"), numbers, strict=True):
        path = folder / f"audited-{name}.npy"
        if array is not None:
            np.save(path, array[index], allow_pickle=False)
        files.append(None if array is None else File.of(path))
    inputs, slopes = files
    assert inputs is not None
    return AuditLayer(parameters, inputs, slopes, result)


def pass_seconds(task: Task) -> float:
    """Of the auditor for one pass, as a guess."""
    tokens = task.training.batch_size * task.training.steps
    return layer_cost(task.model, task.training).operations * tokens / OPERATIONS_PER_SECOND


class LayerProver(Prover):
    """Proves that an instance computes the reference's outputs and gradients, one pass each.

    On fewer steps than the trial's where the reference would take too long.
    """

    def __init__(self, auditor: Auditor, folder: Path, timeout: float, task: Task) -> None:
        self._auditor, self._folder, self._timeout = auditor, folder, timeout
        self._nonce = secrets.token_hex(16)
        self._task = task
        affordable = MAX_SECONDS / pass_seconds(task)
        self._steps = max(1, min(task.training.steps, math.floor(task.training.steps * affordable)))

    def prove(self, live: LiveTrial) -> None:
        live.shapes = self._auditor.shapes
        start = layer_parameters(self._nonce, "proof", live.shapes)
        task = live.trial.task(self._task.model.vocabulary_size)
        answer = live.channel.ask(Build(task, None, live.give_parameters(start)), self._timeout)
        live.state.phases["build"] = answer.build_seconds
        claims = {backward: self._pass(live, backward) for backward in (False, True)}
        live.state.phases["prepare"] = sum(seconds for seconds, _ in claims.values())
        begin = time.perf_counter()
        path = self._folder / "proof-parameters.npy"
        write_parameters(path, start.astype(live.trial.dtype))
        given = File.of(path)
        errors: dict[str, float] = {}
        allowed: dict[str, float] = {}
        for backward, (_, shown) in claims.items():
            audited = self._judged(given, backward, shown)
            label = "backward" if backward else "forward"
            errors |= {f"{label}: {name}": error for name, error in audited.errors.items()}
            allowed |= {f"{label}: {name}": most for name, most in audited.allowed.items()}
        live.state.phases["parity"] = time.perf_counter() - begin
        self._conclude(live, errors, allowed)

    def rebuild(self, live: LiveTrial, task: Task, start: Parameters | None) -> None:
        given = live.give_parameters(start) if start is not None else None
        live.channel.ask(Drop(), self._timeout)
        live.restart_peak_memory()
        answer = live.channel.ask(Build(task, None, given), self._timeout)
        seconds = answer.build_seconds
        for backward in (False, True):
            self._stage(live, backward, task.training.steps)
            seconds += live.channel.ask(PassLayer(0, 1), self._timeout).seconds
        live.state.phases["rebuild"] = seconds

    def _numbers(self, backward: bool, steps: int) -> Numbers:
        task = self._task
        size = steps, task.training.batch_size
        return layer_numbers(self._nonce, "proof", 1, task.model, *size, backward)

    def _stage(self, live: LiveTrial, backward: bool, steps: int) -> None:
        live.stage(*self._numbers(backward, steps))

    def _pass(self, live: LiveTrial, backward: bool) -> tuple[float, Snapshot]:
        """The first pass of an instance, which compiles: its seconds, and what it gave."""
        self._stage(live, backward, self._steps)
        seconds = live.channel.ask(PassLayer(0, 1), self._timeout).seconds
        batch = self._task.training.batch_size
        shapes = result_shapes(self._task.model, self._steps, batch, backward)
        return seconds, Snapshot.of(live.show_layer(shapes))

    def _judged(self, parameters: File, backward: bool, shown: Snapshot) -> Audited:
        result = shown.written(self._folder / "proof-result.npy")
        numbers = self._numbers(backward, self._steps)
        try:
            return self._auditor.ask(layer_question(self._folder, parameters, numbers, 0, result))
        except AuditorLost as lost:
            raise WorkerLost("audit", f"parity cannot be judged: {lost}") from None

    def _conclude(
        self, live: LiveTrial, errors: dict[str, float], allowed: dict[str, float]
    ) -> None:
        """Raise :class:`WorkerLost` for what is not proven."""
        tolerance = TOLERANCE[live.trial.dtype]
        most = max(tolerance, MAX_ALLOWED)
        allowed = {name: min(value, most) for name, value in allowed.items()}
        unjudged = [name for name in errors if name not in allowed]
        if unjudged:
            raise WorkerLost(
                "unavailable",
                f"parity cannot be proven: rounding alone hides {unjudged[0]}: take fewer steps or "
                "layers",
            )
        beyond = [name for name in errors if not errors[name] <= allowed[name]]
        worst = max(beyond, key=lambda name: errors[name] / allowed[name], default=None)
        size = 1, self._task.training.batch_size, self._steps
        live.state.proven(
            Proof(
                worst=max(errors.values()),
                tolerance=tolerance,
                errors=errors,
                allowed={name: most for name, most in allowed.items() if most > tolerance},
                shape=size,
                cut=self._steps < self._task.training.steps,
                difference=worst,
            )
        )
        if worst is not None:
            raise WorkerLost(
                "parity",
                f"{worst} differs from the reference by {errors[worst]:.1e}, allowed is "
                f"{allowed[worst]:.0e}",
            )


class LayerGroup(Group):
    """Leads trials of the layers alone to their records."""

    _audit: LayerAudit

    @property
    def _passes(self) -> int:
        return layer_passes(self._trial.protocol, self._trial.device_kind)

    def _make_audit(self, folder: Path) -> LayerAudit:
        for state in self.states:
            state.passes = self._passes
        return LayerAudit(self.context.corpus, self._offsets, self._auditor, folder, self._passes)

    def _make_prover(self, folder: Path) -> Prover:
        task = self._trial.task(len(self.context.corpus.vocabulary))
        return LayerProver(self._auditor, folder, self.context.limits.prepare, task)

    def _next(self, done: int) -> Callable[[LiveTrial], None]:
        numbers = [self._audit.numbers(self._trial, done + 1, back) for back in (False, True)]
        return lambda live: self._round(live, done + 1, numbers)

    def _round(self, live: LiveTrial, number: int, numbers: Sequence[Numbers]) -> None:
        self._begin(live)
        forward, backward = (self._passes_on(live, number, each) for each in numbers)
        live.state.forward.append(forward)
        live.state.series.append(backward)
        self.context.journal.epoch(live.trial.name, backward)
        rate = backward.tokens / backward.seconds
        self.context.observer.epoch(live.trial, number, perplexity=None, rate=rate)
        self._rest(live)

    def _passes_on(self, live: LiveTrial, number: int, numbers: Numbers) -> EpochResult:
        """All passes of a round on some numbers, in parts: after each of them, what its last pass
        has given is shown."""
        trial, backward = live.trial, numbers[1] is not None
        request_seconds = _ping(live)
        spent = live.account.lap()
        live.stage(*numbers)
        staging = live.account.lap() - spent
        what = number, backward
        ends, kept = shown_passes(self._audit.nonce, trial.name, what, self._passes)
        answers, seen = [], []
        content = b""
        for begin, end in zip([0, *ends], ends, strict=False):
            with self._measured(live) as each:
                answers.append(live.ask(PassLayer(begin, end - begin)))
            seen.append(each)
            given = live.show_layer(self._shapes(backward))
            content = given if end == kept else content
        joules = [each.joules for each in seen if each.joules is not None]
        result = EpochResult(
            sum(answer.seconds for answer in answers),
            None,
            self._passes * trial.protocol.batch_size * trial.protocol.steps,
            sum(joules) if len(joules) == len(seen) else None,
            sum(each.host_seconds for each in seen),
            sum(each.spent for each in seen),
            request_seconds * len(seen),
            sum(each.queued for each in seen),
        )
        self._check_staging(live, staging, result, sum(a.size for a in numbers if a is not None))
        shown = Shown(number, backward, kept - 1, result.seconds, Snapshot.of(content))
        self._audit.passed(trial, shown)
        return result

    def _check_staging(
        self, live: LiveTrial, staging: float, result: EpochResult, numbers: int
    ) -> None:
        """Nothing may be computed before the clock runs."""
        allowed = STAGING_SECONDS + STAGING_PER_NUMBER * numbers
        allowed += STAGING_SHARE * result.processor_seconds
        if live.trial.device_kind == "cpu" and staging > allowed:
            live.account.remark(
                f"computed for {staging:.2g} s when numbers were staged, before the clock ran"
            )

    def _shapes(self, backward: bool) -> Shapes:
        protocol = self._trial.protocol
        size = protocol.steps, protocol.batch_size
        return result_shapes(protocol.model(1), *size, backward)

    def _end(self, live: LiveTrial) -> None:
        self.context.observer.phase(live.trial, "ending")
        live.account.begin()
        for series in (live.state.series, live.state.forward):
            if fault := clocks.fault(series, live.trial.threads):
                raise WorkerLost(INTERFACE, fault)
        live.account.rest()

    def _challenge(self, live: LiveTrial, number: int) -> None:
        start, numbers = self._audit.layer_challenge(live.trial, number)
        live.ask(LoadParameters(live.give_parameters(start)))
        live.stage(*numbers)
        shapes = self._shapes(True)
        live.account.begin()
        begin = time.perf_counter()
        live.ask(PassLayer(0, self._passes))
        passed, computed = time.perf_counter(), live.account.lap()
        content = live.show_layer(shapes)
        shown, spent = time.perf_counter(), live.account.lap()
        live.show_layer(shapes)
        again, showing = time.perf_counter() - shown, live.account.lap() - spent
        # until the result is there, without what it takes to write it once more: but a worker may
        # compute each time that it is asked
        writing = WRITING_SECONDS + WRITING_PER_BYTE * len(content)
        seconds = max(1e-9, shown - begin - min(again, shown - passed, writing))
        spent = max(0.0, spent - min(showing, spent - computed, writing))
        live.state.challenges.append((seconds, spent))
        if seconds == min(seconds for seconds, _ in live.state.challenges):
            kept = number, 0.0, Snapshot.of(content)
            self._audit.evidence(live.trial).challenge = kept
        self._rest(live)


def _ping(live: LiveTrial) -> float:
    """What a request costs that asks for nothing."""
    begin = time.perf_counter()
    live.ask(Ping())
    return time.perf_counter() - begin
