"""What is asked of the auditor, how much of it, and what is said of the rest."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lstmbench.audit.messages import Audited, AuditLoaded, AuditSegment, LoadAudit
from lstmbench.backend import Parameters
from lstmbench.batches import draw_offsets
from lstmbench.cells import LSTM, tensor_shapes
from lstmbench.corpora import corpus
from lstmbench.protocol import D2L
from lstmbench.records.trial import Trial
from lstmbench.runner import auditing
from lstmbench.runner.auditing import Auditor, AuditorLost, GroupAudit
from lstmbench.runner.channel import WorkerLost
from lstmbench.runner.evidence import Snapshot
from lstmbench.runner.trial_state import EpochResult, TrialState
from lstmbench.testing import make_record
from lstmbench.worker.arrays import write_parameters
from lstmbench.worker.messages import Done, Ping

EPOCHS = 60
PROTOCOL = D2L.override({"epochs": EPOCHS, "hidden_size": 4, "batch_size": 8, "steps": 10})


class FakeAuditor:
    """Finds nothing; a segment takes ``seconds`` for each epoch, by a clock of its own."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.now = 1000.0
        self.seconds, self.error = seconds, error
        self.asked: list[Any] = []
        self.shapes = tensor_shapes(LSTM, PROTOCOL.model(28))

    def ask(self, request: Any) -> Audited:
        if self.error is not None:
            raise self.error
        self.asked.append(request)
        if isinstance(request, AuditSegment):
            self.now += self.seconds * len(request.epochs)
        return Audited({"parameters": 0.0}, {"parameters": 1e-4})


def judged(
    auditor: FakeAuditor,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    trials: int,
    took: float,
    showing: float = 0.0,
    seconds: Sequence[float] = (0.1,) * EPOCHS,
) -> list[TrialState]:
    """Trials whose group has trained for so many seconds, audited one after the other."""
    monkeypatch.setattr("lstmbench.runner.auditing.time.monotonic", lambda: auditor.now)
    text = corpus.resolve(corpus.BUNDLED)
    offsets = draw_offsets(0, EPOCHS, PROTOCOL.steps)
    audit = GroupAudit(text, offsets, auditor, folder)  # type: ignore[arg-type]
    states = [state(number, folder) for number in range(trials)]
    for each in states:
        audit.shown(each.trial, parameters(audit, each.trial), 0.0)
    audit.draw([each.trial for each in states])
    for each in states:
        content = parameters(audit, each.trial)
        for epoch in range(1, EPOCHS + 1):
            if audit.asks(each.trial, epoch, trained=0.1 * epoch):
                audit.shown(each.trial, content, showing, seconds[:epoch])
        audit.evidence(each.trial).ids = [[1]] * len(PROTOCOL.prefixes)
        audit.evidence(each.trial).challenge = 0, 1.0, Snapshot.of(content)
    auditor.now += took
    for each in states:
        assert audit.judge(each) is None
    return states


def state(number: int, folder: Path) -> TrialState:
    trial = make_record(backend=f"b{number}", protocol=PROTOCOL).trial
    made = TrialState(trial, folder / "log")
    made.series = [EpochResult(0.1, 9.0, 1000, None, 0.1, 0.1, 0.001, 0.0)] * EPOCHS
    return made


def parameters(audit: GroupAudit, trial: Trial) -> bytes:
    start: Parameters = audit.initial_parameters(trial)
    file = io.BytesIO()
    write_parameters(file, start)
    return file.getvalue()


def counts(states: list[TrialState]) -> list[int]:
    """Segments that were audited, by trial."""
    found = []
    for each in states:
        assert each.audit is not None
        found.append(sum(part.what == "segment" for part in each.audit.parts))
    return found


def test_what_costs_next_to_nothing_is_asked(tmp_path: Path, monkeypatch: Any) -> None:
    states = judged(FakeAuditor(0.0), tmp_path, monkeypatch, trials=2, took=10.0)
    assert counts(states) == [auditing.MAX_SEGMENTS] * 2


@pytest.mark.parametrize("seconds", [0.5, 2.0, 10.0])
def test_audits_take_their_share_and_trials_get_the_same_of_it(
    tmp_path: Path, monkeypatch: Any, seconds: float
) -> None:
    took, trials = 1000.0, 6
    auditor = FakeAuditor(seconds)
    begin = auditor.now
    states = judged(auditor, tmp_path, monkeypatch, trials=trials, took=took)
    spent = auditor.now - begin - took
    # the challenge, the first, the last and the fastest segment are asked in any case
    needed = trials * seconds * (1 + 3 * 3)
    assert spent <= needed + auditing.SHARE * (took + spent)
    audited = counts(states)
    assert min(audited) >= 1
    assert max(audited) - min(audited) <= 3
    for each, number in zip(states, audited, strict=True):
        assert each.audit is not None
        assert len(each.audit.left_out) == auditing.MAX_SEGMENTS - number
        assert all("6% of the time" in reason for reason in each.audit.left_out)


def test_what_the_reference_cannot_do_in_time_is_left_out_and_said(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """From the second trial on: it is known then how long it takes."""
    auditor = FakeAuditor(auditing.MAX_SECONDS + 1)
    first, second = judged(auditor, tmp_path, monkeypatch, trials=2, took=1e6)
    assert first.audit is not None
    assert {part.what for part in first.audit.parts} == {"challenge", "text"}
    assert second.audit is not None
    assert {part.what for part in second.audit.parts} == {"text"}
    assert "the reference would take" in second.audit.left_out[0]


def test_the_segment_with_the_fastest_epoch_is_needed(tmp_path: Path, monkeypatch: Any) -> None:
    """Work left out in an epoch that chance does not draw would make a row fast for nothing."""
    for fast in range(1, EPOCHS + 1):
        seconds = [0.1 if epoch != fast else 0.001 for epoch in range(1, EPOCHS + 1)]
        auditor = FakeAuditor(10.0)
        (each,) = judged(auditor, tmp_path, monkeypatch, trials=1, took=10.0, seconds=seconds)
        assert each.audit is not None
        segments = [part for part in each.audit.parts if part.what == "segment"]
        assert any(part.first is not None and part.first <= fast <= part.last for part in segments)
        assert len(segments) <= auditing.NEEDED_SEGMENTS


@pytest.mark.parametrize("error", [AuditorLost("killed"), OSError(28, "No space left on device")])
def test_an_audit_that_cannot_be_made_costs_the_run_nothing(
    tmp_path: Path, monkeypatch: Any, error: Exception
) -> None:
    for each in judged(FakeAuditor(0, error), tmp_path, monkeypatch, trials=2, took=1):
        assert each.audit is not None
        assert each.audit.parts == []
        (left,) = each.audit.left_out
        assert left.startswith("challenge: ")
        assert str(error) in left


def test_what_shows_its_parameters_slowly_is_asked_less_and_it_is_said(
    tmp_path: Path, monkeypatch: Any
) -> None:
    (slow,) = judged(FakeAuditor(0), tmp_path, monkeypatch, trials=1, took=10.0, showing=30.0)
    assert slow.audit is not None
    segments = [part for part in slow.audit.parts if part.what == "segment"]
    assert segments[0].first == 1
    assert len(segments) < auditing.MAX_SEGMENTS
    assert all("showing parameters" in reason for reason in slow.audit.left_out)
    assert len(slow.audit.left_out) == auditing.MAX_SEGMENTS - len(segments)


class FakeChannel:
    """The n-th one started dies at its first question if ``lost`` says so."""

    def __init__(self, lost: bool) -> None:
        self.lost, self.asked, self.closed = lost, 0, False

    def ask(self, request: Any, timeout: float) -> Any:
        self.asked += 1
        if self.lost and self.asked > 1:
            raise WorkerLost("signal", "killed by SIGKILL")
        return AuditLoaded() if isinstance(request, LoadAudit) else Done()

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("losses", [0, 1, 2])
def test_an_auditor_that_is_killed_is_started_once_more_while_nothing_else_runs(
    losses: int,
) -> None:
    channels: list[FakeChannel] = []
    held: list[str] = []

    class Executor:
        def start(self, launch: Any) -> FakeChannel:
            channels.append(FakeChannel(len(channels) < losses))
            held.append("start")
            return channels[-1]

    class Hold:
        def __enter__(self) -> None:
            held.append("hold")

        def __exit__(self, *_: object) -> None:
            held.append("go on")

    auditor = Auditor(Executor(), None, None, 1.0, Hold)  # type: ignore[arg-type]
    if losses == 2:
        with pytest.raises(AuditorLost, match="SIGKILL"):
            auditor.ask(Ping())
    else:
        assert auditor.ask(Ping()) == Done()
    assert len(channels) == min(2, losses + 1)
    assert all(channel.closed for channel in channels[:losses])
    assert held == (["start"] if not losses else ["start", "hold", "start", "go on"])


def test_both_ends_of_the_last_segment_are_asked_for_however_slowly_they_come(
    tmp_path: Path,
) -> None:
    """Else it could not be audited, and it is the one whose loss every table shows."""
    trial = make_record(protocol=PROTOCOL).trial
    text = corpus.resolve(corpus.BUNDLED)
    audit = GroupAudit(text, draw_offsets(0, EPOCHS, 10), FakeAuditor(0.0), tmp_path)  # type: ignore[arg-type]
    audit.evidence(trial)
    audit.draw([trial])
    evidence = audit.evidence(trial)
    evidence.showing, evidence.times_shown = 1e6, 1
    asked = [epoch for epoch in range(1, EPOCHS + 1) if audit.asks(trial, epoch, trained=1.0)]
    first, *_, last = evidence.segments
    assert asked == [first.last, last.first - 1, last.last]
