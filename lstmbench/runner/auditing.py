"""Has a group's trials audited: draws what is asked for, keeps it, and lets the auditor judge."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lstmbench import reference
from lstmbench.audit.comparison import SAMPLES
from lstmbench.audit.draws import Segment, challenge, order, segments
from lstmbench.audit.messages import (
    Audited,
    AuditEvaluation,
    AuditSegment,
    AuditText,
    File,
    LoadAudit,
    ModelFacts,
)
from lstmbench.backend import Parameters, Task, parameter_dtype
from lstmbench.batches import Batches, partition
from lstmbench.cells import LSTM, Shapes, count, tensor_shapes
from lstmbench.corpora.corpus import Corpus
from lstmbench.records.record import Audit, AuditPart
from lstmbench.records.trial import Trial
from lstmbench.runner.channel import Channel, Executor, Launch, WorkerLost
from lstmbench.runner.evidence import Evidence, Snapshot
from lstmbench.runner.interrupts import deferred_interrupts
from lstmbench.runner.trial_state import TrialState
from lstmbench.worker.arrays import write_batches, write_parameters
from lstmbench.worker.messages import A, Request

#: Segments of a trial that are audited, at most. The first, the last and the fastest are needed:
#: they are audited even if that takes more than the share of time below.
MAX_SEGMENTS, NEEDED_SEGMENTS = 6, 3
#: Files of parameters that a trial may have before one more is kept for a validation.
MAX_SHOWN = 8
#: The share of a group's time so far that auditing may take, for more than that to be audited.
SHARE = 0.06
#: Seconds that any question may take without asking whether it is affordable.
FREE_SECONDS = 0.2
#: The share of a trial's training that showing parameters may take, and seconds.
SHOWING_SHARE, SHOWING_SECONDS = 0.01, 0.3
NOT_SHOWN = f"showing parameters would take more than {SHOWING_SHARE:.0%} of the time"
#: Seconds that one question may take the reference; beyond it is left out.
MAX_SECONDS = 120.0
#: Operations per second that the reference reaches in float64 on one core, until it has shown what
#: it reaches.
OPERATIONS_PER_SECOND = 1e10


class AuditorLost(Exception):
    """The auditor is gone, and starting it again has not helped."""


class Auditor:
    """The auditor's process, started when it is needed and again if it is lost.

    ``hold`` keeps everybody else from running: once an auditor was lost, the next one works under
    it, for the first may have been killed. ``reference`` names a plugin's own model, and ``model``
    is what the auditor says of it, once it was asked anything; both are empty for the LSTM.
    """

    def __init__(
        self,
        executor: Executor,
        launch: Launch,
        task: Task,
        timeout: float,
        hold: Callable[[], AbstractContextManager[None]] = nullcontext,
        reference: str = "",
    ) -> None:
        self.reference = reference
        self.model: ModelFacts | None = None
        self._executor, self._launch = executor, launch
        self._task, self._timeout, self._hold = task, timeout, hold
        self._channel: Channel | None = None

    @property
    def shapes(self) -> Shapes:
        """Of the parameters of the trials that are audited."""
        if self.model is None:
            return tensor_shapes(LSTM, self._task.model)
        return {name: tuple(shape) for name, shape in self.model.tensors.items()}

    def ask(self, request: Request[A], before: Request[Any] | None = None) -> A:
        """The answer to a request; a new process is asked ``before`` first.

        Raises :class:`AuditorLost`.
        """
        try:
            return self._ask(request, before)
        except WorkerLost:
            self.close()
        with self._hold():
            try:
                return self._ask(request, before)
            except WorkerLost as lost:
                self.close()
                raise AuditorLost(str(lost)) from None

    def _ask(self, request: Request[A], before: Request[Any] | None) -> A:
        if self._channel is None:
            with deferred_interrupts():  # what is started will be ended
                self._channel = self._executor.start(self._launch)
            loaded = self._channel.ask(LoadAudit(self._task, self.reference), self._timeout)
            self.model = loaded.model
        if before is not None:
            self._channel.ask(before, self._timeout)
        return self._channel.ask(request, self._timeout)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


class Question(NamedTuple):
    """What is asked of the auditor about which epochs.

    ``seconds`` are the reference's, as a guess; what is not ``needed`` is asked while it costs
    little. There is no ``request`` where the trial was not asked to show what it takes.
    """

    what: Literal["segment", "challenge", "evaluation", "text", "forward", "backward"]
    first: int | None
    last: int
    request: Request[Audited] | None
    seconds: float
    needed: bool = True

    @property
    def name(self) -> str:
        if self.what == "challenge":
            return self.what
        if self.what in ("forward", "backward"):
            return f"the {self.what} pass of round {self.last}"
        if self.what != "segment":
            return f"{self.what} after epoch {self.last}"
        one = self.first == self.last
        return f"epoch {self.last}" if one else f"epochs {self.first} to {self.last}"


class GroupAudit:
    """The audit of one group: the nonce, the draws, the files, the questions.

    ``offsets`` are those of the group's epochs. ``folder`` takes files once no worker is left to
    see which.
    """

    def __init__(
        self, corpus: Corpus, offsets: Sequence[int], auditor: Auditor, folder: Path
    ) -> None:
        self.nonce = ""
        self._corpus, self._offsets = corpus, offsets
        self._auditor, self._folder = auditor, folder
        self._began = time.monotonic()
        self._spent, self._pace = 0.0, 1.0
        self._judged = self._trials = 0
        self._evidence: dict[str, Evidence] = {}
        self._challenge: tuple[object, tuple[Parameters, Batches]] | None = None

    def draw(self, trials: Sequence[Trial]) -> None:
        """Decide what will be audited, now that every worker is ready."""
        self.nonce = secrets.token_hex(16)
        self._trials = len(trials)
        for trial in trials:
            drawn = segments(self.nonce, trial.name, trial.protocol.epochs)
            self._evidence[trial.name].segments = drawn

    def evidence(self, trial: Trial) -> Evidence:
        return self._evidence.setdefault(trial.name, Evidence(()))

    def asks(self, trial: Trial, epoch: int, trained: float) -> bool:
        """Whether parameters are asked for after so many epochs, of ``trained`` seconds.

        At the end of each segment, as long as showing them takes little of that time; at the end of
        the first segment, and at both ends of the last one, always.
        """
        evidence = self.evidence(trial)
        ends = [segment.last for segment in evidence.segments]
        if epoch in {*ends[:1], *ends[-2:]}:
            return True
        # as much as the last time, as far as is known
        next_one = evidence.showing / max(1, evidence.times_shown)
        affordable = evidence.showing + next_one <= SHOWING_SHARE * trained + SHOWING_SECONDS
        return epoch in ends and affordable

    def keeps(self, trial: Trial, epoch: int) -> bool:
        """Whether they may be needed."""
        last = trial.protocol.epochs
        every = trial.protocol.validate_every
        validated = every and epoch % every == 0
        return (
            epoch in {0, last}
            or (validated and len(self.evidence(trial).snapshots) < MAX_SHOWN)
            or any(
                epoch in (segment.first - 1, segment.last) for segment in self._candidates(trial)
            )
        )

    def shown(
        self, trial: Trial, content: bytes, seconds: float, epochs: Sequence[float] = ()
    ) -> None:
        """Parameters, shown in ``seconds`` after ``epochs`` of so many seconds each.

        They are kept if they may be needed.
        """
        evidence = self.evidence(trial)
        evidence.showing += seconds
        evidence.times_shown += 1
        snapshot = Snapshot.of(content)
        if self.keeps(trial, len(epochs)):
            evidence.snapshots[len(epochs)] = snapshot
        evidence.shown(len(epochs), snapshot, epochs)

    def _candidates(self, trial: Trial) -> Iterator[Segment]:
        drawn = self.evidence(trial).segments
        return islice(order(self.nonce, trial.name, drawn), MAX_SEGMENTS)

    def _audited(self, trial: Trial) -> list[Segment]:
        """Segments in the order in which they are audited.

        The one with the fastest epoch comes before those that chance has drawn: work left out makes
        an epoch fast.
        """
        fastest = self.evidence(trial).fastest
        drawn = list(self._candidates(trial))
        if fastest is None or fastest.segment in drawn[:2]:
            return drawn
        rest = [segment for segment in drawn[2:] if segment != fastest.segment]
        return [*drawn[:2], fastest.segment, *rest][:MAX_SEGMENTS]

    def challenge(self, trial: Trial, number: int) -> tuple[Parameters, Batches]:
        """Parameters and windows that are new, and no other trial's, who could pass them on."""
        key = trial.name, number
        if self._challenge is None or self._challenge[0] != key:
            protocol = trial.protocol
            ids = self._corpus.ids[self._corpus.splits(protocol)["train"]]
            drawn = challenge(
                self.nonce,
                trial.name,
                number,
                ids,
                self._auditor.shapes,
                protocol.batch_size,
                protocol.steps,
            )
            self._challenge = key, drawn
        return self._challenge[1]

    def judge(self, state: TrialState) -> str | None:
        """Audit one trial. Returns what differs, if anything does."""
        trial = state.trial
        parts: list[AuditPart] = []
        left_out: list[str] = []
        copies = 1
        difference = None
        self._judged += 1
        name = "everything"
        try:
            for question in self._questions(state):
                name = question.name
                why = self._too_dear(question)
                if why or question.request is None:
                    left_out.append(f"{name}: {why or NOT_SHOWN}")
                    continue
                answer = self._answer(question, question.request)
                part = AuditPart(
                    what=question.what,
                    first=question.first,
                    last=question.last,
                    errors=answer.errors,
                    allowed=answer.allowed,
                )
                parts.append(part)
                copies = max(copies, answer.bias_copies)
                if difference := _difference(name, part):
                    break
        except AuditorLost as lost:
            left_out.append(f"{name}: the auditor was lost: {lost}")
        except OSError as error:
            left_out.append(f"{name}: {error}")
        state.audit = Audit(nonce=self.nonce, bias_copies=copies, parts=parts, left_out=left_out)
        del self._evidence[trial.name]
        return difference

    def _answer(self, question: Question, request: Request[Audited]) -> Audited:
        begin = time.monotonic()
        answer = self._auditor.ask(request)
        seconds = time.monotonic() - begin
        self._spent += seconds
        if question.what == "challenge" and question.seconds:  # one that is never remembered
            self._pace = seconds / question.seconds
        return answer

    def _too_dear(self, question: Question) -> str | None:
        """Why a question is not asked: what the reference needs is known from the challenge."""
        seconds = question.seconds * self._pace
        if seconds > MAX_SECONDS:
            return f"the reference would take {seconds:.0f} s"
        if question.needed or seconds <= FREE_SECONDS:
            return None
        elapsed = time.monotonic() - self._began
        own = SHARE * elapsed * self._judged / max(1, self._trials)
        if self._spent + seconds <= own:
            return None
        return f"audits would take more than {SHARE:.0%} of the time"

    def interrupted(self, state: TrialState) -> None:
        """The run was interrupted before this trial's audit."""
        state.audit = Audit(nonce=self.nonce, left_out=["everything: the run was interrupted"])

    def _questions(self, state: TrialState) -> Iterator[Question]:
        """The cheap and the telling ones first."""
        trial, evidence = state.trial, self.evidence(state.trial)
        done = len(state.series)
        operations = 6 * count(self._auditor.shapes) / OPERATIONS_PER_SECOND
        epoch_seconds = operations * (state.series[0].tokens if state.series else 0)
        if trial.protocol.dropout:  # in float32, which takes half as long
            epoch_seconds *= SAMPLES / 2
        if evidence.challenge is not None:
            number, nats, end = evidence.challenge
            start, batches = self.challenge(trial, number)
            again = AuditSegment(
                self._parameters("challenge", start, trial.dtype),
                [self._batches("challenge", batches)],
                [nats],
                self._snapshot("challenge-end", end),
                [1],
                seed=number,
            )
            yield Question("challenge", None, done, again, epoch_seconds)
        final = evidence.after(done)
        if final is not None:
            file = self._snapshot("end", final)
            for prefix, ids in zip(self._prefixes(trial), evidence.ids, strict=True):
                yield Question("text", None, done, AuditText(file, prefix, ids), 0.0)
        for evaluation in state.evaluations:
            shown = evidence.after(evaluation.epoch)
            if shown is not None:
                seconds = operations / 3 * evaluation.tokens
                held_out = self._batches(evaluation.split, self.batches(trial, evaluation.split, 0))
                file = self._snapshot("evaluated", shown)
                passed = AuditEvaluation(file, held_out, evaluation.nats)
                yield Question("evaluation", None, evaluation.epoch, passed, seconds)
        for index, segment in enumerate(self._audited(trial)):
            before, after = evidence.after(segment.first - 1), evidence.after(segment.last)
            seconds = epoch_seconds * segment.length
            if before is None or after is None:
                yield Question("segment", segment.first, segment.last, None, seconds)
                continue
            epochs = range(segment.first - 1, segment.last)
            request = AuditSegment(
                self._snapshot("before", before),
                [
                    self._batches(f"epoch{e}", self.batches(trial, "train", self._offsets[e]))
                    for e in epochs
                ],
                [claimed for e in epochs if (claimed := state.series[e].nats) is not None],
                self._snapshot("after", after),
                [1] if trial.init == "shared" else [1, 2],
                [state.rates[e] for e in epochs] if trial.protocol.training.scheduled else [],
                updates=epochs[0] * self.batches(trial, "train", 0).windows,
                seed=epochs[0],
            )
            needed = index < NEEDED_SEGMENTS
            yield Question("segment", segment.first, segment.last, request, seconds, needed)

    def batches(self, trial: Trial, split: str, offset: int) -> Batches:
        """Windows of a split of the text."""
        protocol = trial.protocol
        ids = self._corpus.ids[self._corpus.splits(protocol)[split]]
        return partition(ids, protocol.batch_size, protocol.steps, offset)

    def initial_parameters(self, trial: Trial) -> Parameters:
        """The shared ones, as the trial keeps them."""
        wanted = trial.protocol.model(1).initialisation
        drawn = reference.draw_initial(self._auditor.shapes, trial.seed, wanted)
        return drawn.astype(parameter_dtype(trial.dtype))

    def _prefixes(self, trial: Trial) -> list[list[int]]:
        return [self._corpus.vocabulary.encode(p).tolist() for p in trial.protocol.prefixes]

    def _batches(self, name: str, batches: Batches) -> File:
        path = self._folder / f"{name}-batches.npy"
        write_batches(path, batches)
        return File.of(path)

    def _snapshot(self, name: str, snapshot: Snapshot) -> File:
        return snapshot.written(self._folder / f"{name}-shown.npy")

    def _parameters(self, name: str, parameters: Parameters, dtype: str) -> File:
        path = self._folder / f"{name}-parameters.npy"
        write_parameters(path, parameters.astype(parameter_dtype(dtype)))
        return File.of(path)


def _difference(name: str, part: AuditPart) -> str | None:
    """The quantity that is furthest beyond what is allowed."""
    beyond = [q for q, allowed in part.allowed.items() if not part.errors[q] <= allowed]
    if not beyond:
        return None
    worst = max(beyond, key=lambda q: part.errors[q] / max(part.allowed[q], 1e-300))
    return (
        f"{name}: {worst} differs from the reference by {part.errors[worst]:.1e}, "
        f"allowed is {part.allowed[worst]:.0e}"
    )
