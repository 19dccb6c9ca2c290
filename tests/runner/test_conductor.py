"""The conductor with simulated workers: what each is asked, when, and what is kept of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmbench import reference
from lstmbench.audit import messages as audit
from lstmbench.backend import BackendSpec, ModelConfig
from lstmbench.batches import Batches, draw_offsets, partition
from lstmbench.corpora.corpus import Corpus
from lstmbench.corpora.vocabulary import Vocabulary
from lstmbench.machine import energy
from lstmbench.machine.load import Load
from lstmbench.protocol import Protocol
from lstmbench.records.store import Run
from lstmbench.runner import group as groups
from lstmbench.runner import peaks
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.conductor import Conductor
from lstmbench.runner.context import Limits
from lstmbench.runner.group import interleave_order
from lstmbench.runner.peaks import Peaks
from lstmbench.runner.plan import Selection, make_plan
from lstmbench.runner.trial_state import MAX_LOG_TAIL, TrialState
from lstmbench.testing import make_record
from lstmbench.worker import messages
from lstmbench.worker.arrays import read_batches
from lstmbench.worker.messages import INTERFACE
from tests.runner.stage import (
    PROOF,
    SMALL,
    SMALL_TASK,
    TEXT,
    TOKENS,
    FakeChannel,
    Noting,
    Script,
    Stage,
)


@pytest.fixture
def conduct(tmp_path: Path) -> Callable[..., Any]:
    """Conducts backends ``a``, ``b`` and ``c``; returns stage, run, and whether it was finished."""

    def go(
        script: Script | None = None,
        *,
        backends: str = "abc",
        protocol: Protocol = SMALL,
        interleave: bool = True,
        devices: tuple[str, ...] = ("cpu",),
        stage: Stage | None = None,
        sampler: Any = None,
        **changes: Any,
    ) -> Any:
        specs = {
            n: BackendSpec(n, "", f"{n}:X", {"cpu": ("eager",)}, environment={"OWN": "/srv/x/own"})
            for n in backends
        }
        vocabulary = Vocabulary(TEXT)
        corpus = Corpus("fake", "0" * 64, vocabulary, vocabulary.encode(TEXT))
        chosen: dict[str, Any] = {
            "backends": [(spec, None) for spec in specs.values()],
            "devices": devices,
            "modes": ["default"],
            "dtype": "float32",
            "protocols": [(protocol, {})],
            "init": "shared",
            "corpus": "fake",
            "corpus_digest": "0" * 64,
            "seeds": [0],
            "threads": [2],
            "environment": {},
            "interleave": interleave,
        }
        plan = make_plan(Selection(**{**chosen, **changes}))
        run = Run.create(tmp_path / "store", "d2l")
        source = make_record(run=run.name, interleaved=interleave).source
        stage = stage or Stage(script or {})
        stage.folder = tmp_path / f"workers-{run.name}"
        stage.folder.mkdir()
        observer = Noting()
        limits = Limits(answer=7.0, prepare=70.0)
        conductor = Conductor(
            plan=plan,
            specs=specs,
            corpus=corpus,
            run=run,
            source=source,
            executor=stage,
            observer=observer,
            limits=limits,
            raw_environment={"GIVEN": "/srv/x/given"},
            sampler=sampler,
        )
        finished = conductor.conduct()
        return stage, {r.trial.backend: r for r in run.records()}, finished, observer

    return go


def epochs(stage: Stage) -> list[str]:
    return [name for request, name in stage.asked if request == "epoch"]


def test_epochs_are_interleaved_in_rotating_order(conduct: Any) -> None:
    stage, _, finished, _ = conduct()
    assert finished
    rounds = ["".join(epochs(stage)[i : i + 3]) for i in range(0, 15, 3)]
    assert rounds == ["abc", "cba", "bca", "acb", "cab"]


def test_no_worker_is_asked_to_compute_before_the_last_one_is_idle(conduct: Any) -> None:
    stage = Stage({})
    stage.offers = {"a": 0.5, "b": 2.0}
    parts: dict[str, Any] = {"train_fraction": 0.8, "validation_fraction": 0.2, "validate_every": 2}
    conduct(stage=stage, protocol=replace(SMALL, train_tokens=None, **parts))
    assert {request for request, _ in stage.work} == {
        "epoch",
        "challenge",
        "matmul",
        "copy",
        "evaluate",
        "wait_until_idle",
    }
    busy = None
    for request, name in stage.work:
        assert busy in (None, name)
        busy = None if request == "wait_until_idle" else name
    assert busy is None


def test_all_are_ready_before_the_first_epoch_and_none_ends_before_the_last(conduct: Any) -> None:
    stage, _, _, _ = conduct()
    requests = [request for request, _ in stage.asked]
    before, after = requests.index("epoch"), requests.index("generate")
    assert requests[:before].count("build") == 6
    assert requests[before:after].count("epoch") == 15
    assert not {"build", "epoch"} & set(requests[after:])
    assert set(requests[before:after]) == {"ping", "epoch", "save_parameters"}
    assert stage.max_open == 3


def test_sequential_trials_end_before_the_next_begins(conduct: Any) -> None:
    stage, records, _, _ = conduct(interleave=False)
    assert epochs(stage) == ["a"] * 5 + ["b"] * 5 + ["c"] * 5
    assert stage.max_open == 1
    assert not records["a"].source.interleaved


IDS = Vocabulary(TEXT).encode(TEXT)[:10_000]


def test_every_backend_trains_the_same_epochs(conduct: Any) -> None:
    stage, records, _, _ = conduct()
    expected = [partition(IDS, 4, 5, offset) for offset in draw_offsets(0, 5, 5)]
    for name in "abc":
        for got, batches in zip(stage.batches[name], expected, strict=True):
            np.testing.assert_array_equal(got.inputs, batches.inputs)
            np.testing.assert_array_equal(got.targets, batches.targets)
    assert len({r.digests.offsets for r in records.values()}) == 1
    _, others, _, _ = conduct(seeds=[1])
    assert others["a"].digests.offsets != records["a"].digests.offsets


def test_a_worker_is_told_all_it_needs(conduct: Any) -> None:
    stage, _, _, _ = conduct(backends="a")
    load = stage.loads["a"]
    assert load.factory == "a:X"
    assert load.cpus == [0, 1]
    for build in stage.builds["a"]:
        assert build.task.model == ModelConfig(vocabulary_size=16, hidden_size=3, layers=1)
        assert build.task.training.steps == 5
        assert build.task.threads == 2
        assert build.task.mode == "eager"


class Reading(Stage):
    """Notes what lies in a worker's folder when it is asked to train."""

    def __init__(self) -> None:
        super().__init__({})
        self.requests: list[messages.Request[Any]] = []
        self.seen: list[tuple[set[str], Batches]] = []

    def start(self, launch: Launch) -> Any:
        channel = super().start(launch)
        if isinstance(channel, FakeChannel):
            ask = channel.ask

            def reading(request: messages.Request[Any], timeout: float) -> Any:
                self.requests.append(request)
                if isinstance(request, messages.TrainEpoch):
                    names = {path.name for path in channel.folder.iterdir()}
                    self.seen.append((names, read_batches(request.batches)))
                return ask(request, timeout)

            channel.ask = reading  # type: ignore[method-assign]
        return channel


@pytest.mark.parametrize("init", ["shared", "native"])
def test_a_worker_is_not_told_what_follows(conduct: Any, init: str) -> None:
    """Neither the text, nor the seed of its order: an epoch's arrays come when it is due."""
    stage = Reading()
    seed = 7_654_321
    conduct(backends="a", stage=stage, seeds=[seed], init=init)
    for request in stage.requests:
        assert str(seed) not in messages.encode_request(1, request)
    offsets = draw_offsets(seed, 5, 5)
    for build in stage.builds["a"]:
        assert draw_offsets(build.task.seed, 5, 5) != offsets
    *epochs, (_, challenge) = stage.seen
    expected = [partition(IDS, 4, 5, offset) for offset in offsets]
    for (names, batches), due in zip(epochs, expected, strict=True):
        assert names <= {"batches.npy", "start.npy", "parameters.npy", "now"}
        np.testing.assert_array_equal(batches.targets, due.targets)
    assert all(not np.array_equal(challenge.targets, each.targets) for each in expected)


@pytest.mark.parametrize("init", ["shared", "native"])
def test_initial_parameters_are_those_of_the_record(conduct: Any, init: str) -> None:
    stage, records, _, _ = conduct(backends="a", init=init)
    first, timed = stage.builds["a"]
    assert first.parameters is None
    seed = 0 if init == "shared" else 99
    expected = reference.draw_parameters(timed.task.model, seed)
    assert (timed.parameters is None) == (init == "native")
    assert records["a"].digests.parameters == expected.digest()


def test_shared_parameters_that_were_not_kept_break_the_interface(conduct: Any) -> None:
    class Forgetting(Stage):
        def start(self, launch: Launch) -> Any:
            channel = super().start(launch)
            if isinstance(channel, FakeChannel) and channel.name == "b":
                answer = channel.answer

                def forgetting(request: messages.Request[Any], count: int) -> messages.Answer:
                    if isinstance(request, messages.Build):
                        request = replace(request, parameters=None)
                    return answer(request, count)

                channel.answer = forgetting  # type: ignore[method-assign]
            return channel

    _, records, _, _ = conduct(stage=Forgetting({}))
    assert (records["b"].status, records["b"].reason) == ("failed", INTERFACE)
    assert "other parameters" in records["b"].message
    assert records["a"].status == "ok"


def test_preparing_has_its_own_limit(conduct: Any) -> None:
    stage, _, _, _ = conduct()
    assert stage.timeouts["load"] == stage.timeouts["build"] == {70.0}
    for request in ("epoch", "challenge", "save_parameters", "generate", "finish"):
        assert stage.timeouts[request] == {7.0}


def test_a_record_keeps_the_raw_series(conduct: Any) -> None:
    _, records, _, _ = conduct()
    record = records["b"]
    assert record.status == "ok"
    assert record.epochs.seconds == [0.5] * 5
    assert record.epochs.nats == [200.0 / k for k in range(1, 6)]
    assert record.epochs.tokens == [TOKENS] * 5
    assert len(record.epochs.host_seconds) == len(record.epochs.processor_seconds) == 5
    assert all(0 < seconds < 0.5 for seconds in record.epochs.host_seconds)
    phases = record.phases.known()
    assert 0 < phases.pop("parity") < 60
    expected = {"import": 1.0, "build": 1.0, "prepare": 2.0, "rebuild": 3.0, "generate": 0.5}
    assert phases == expected
    assert record.memory.known() == {"imported": 1, "peak": 2}
    assert record.parity is not None
    assert record.parity.worst == 1e-6
    assert record.runtime == {"kernel": "fake"}
    shared = reference.draw_parameters(SMALL.model(16), 0)
    assert record.digests.parameters == shared.digest()
    assert [c.prefix for c in record.continuations] == ["time traveller", "traveller"]
    assert {len(c.text) for c in record.continuations} == {2}
    assert record.vocabulary_size == 16
    assert record.parameters == 4 * 3 * (16 + 3 + 1) + (3 + 1) * 16
    assert record.log_tail == "a line\n"


@pytest.mark.parametrize(
    ("request_", "count", "done"),
    [
        *(("load", 1, 0), ("build", 1, 0), ("build", 2, 0), ("save_parameters", 1, 0)),
        *(("ping", 3, 2), ("epoch", 3, 2), ("generate", 1, 5), ("challenge", 1, 5)),
        ("finish", 1, 5),
    ],
)
def test_a_lost_worker_leaves_its_group_and_a_record(
    conduct: Any, request_: str, count: int, done: int
) -> None:
    script = {("b", request_, count): WorkerLost("exit", "gone\naway")}
    stage, records, finished, _ = conduct(script)
    assert finished
    assert records["b"].status == "failed"
    assert records["b"].reason == "exit"
    assert records["b"].message == "gone away"
    assert len(records["b"].epochs.seconds) == done
    for other in "ac":
        assert records[other].status == "ok"
        assert len(records[other].epochs.seconds) == 5
    assert stage.open == []


def test_the_run_goes_on_when_all_are_lost(conduct: Any) -> None:
    script = {
        (n, "epoch", k): WorkerLost("signal", "SIGKILL") for k, n in enumerate("abc", start=1)
    }
    stage, records, finished, _ = conduct(script)
    assert finished
    assert {r.status for r in records.values()} == {"failed"}
    assert [len(records[n].epochs.nats) for n in "abc"] == [0, 1, 2]
    assert stage.open == []


def test_a_proof_that_fails_is_kept(conduct: Any) -> None:
    stage = Stage({})
    errors = {"text: loss": 0.5, "text: layer0.bias": 1e-6}
    failed = replace(PROOF, worst=0.5, errors=errors, difference="text: loss")
    stage.answers = {("audit", "judge_proof", 2): failed}
    records = conduct(stage=stage)[1]
    record = records["b"]
    assert (record.status, record.reason) == ("failed", "parity")
    assert record.message == (
        "text: loss differs from the reference by 5.0e-01, allowed is 1e-04; "
        "see which quantity differs first: lstmbench debug b:eager"
    )
    assert record.parity.worst == 0.5
    assert set(record.phases.known()) == {"import", "build", "prepare", "parity"}
    assert records["a"].status == records["c"].status == "ok"


def test_what_cannot_be_proven_is_unavailable_for_that_reason(conduct: Any) -> None:
    stage = Stage({})
    made = audit.ProofMade(
        SMALL_TASK, [], cut=False, unprovable="parity cannot be proven: take fewer layers"
    )
    stage.answers = {("audit", "make_proof", n): made for n in (1, 2, 3)}
    stage, records, _, _ = conduct(stage=stage)
    assert {(r.status, r.reason) for r in records.values()} == {("unavailable", None)}
    assert records["b"].message == "parity cannot be proven: take fewer layers"
    assert stage.builds == {}


def test_a_trial_whose_work_is_not_what_it_claims_fails(conduct: Any) -> None:
    stage = Stage({})
    wrong = audit.Audited({"parameters": 0.3, "loss 1": 1e-6}, {"parameters": 1e-4, "loss 1": 1e-5})
    stage.answers = {("audit", "audit_segment", 1): wrong}
    records = conduct(stage=stage)[1]
    record = records["a"]
    assert (record.status, record.reason) == ("failed", "audit")
    assert record.message.startswith(
        "challenge: parameters differs from the reference by 3.0e-01, allowed is 1e-04"
    )
    assert record.audit.parts[-1].errors == wrong.errors
    assert len(record.epochs.seconds) == 5
    assert records["b"].status == records["c"].status == "ok"


def test_what_was_audited_is_in_the_record(conduct: Any) -> None:
    stage, records, _, _ = conduct()
    assert len({record.audit.nonce for record in records.values()}) == 1
    for record in records.values():
        parts = {part.what for part in record.audit.parts}
        assert parts == {"challenge", "text", "segment"}
        assert record.audit.left_out == []
        assert record.challenge is not None
    # an auditor is told nothing but the task, and is gone when the group is
    names = [request.name for request in stage.audited]
    assert names[:2] == ["load_audit", "make_proof"]
    assert names.count("load_audit") == 1
    assert stage.open == []


def test_an_auditor_that_is_lost_is_started_again(conduct: Any) -> None:
    script: Script = {("audit", "audit_segment", 1): WorkerLost("signal", "killed by SIGKILL")}
    stage, records, _, _ = conduct(script)
    assert {record.status for record in records.values()} == {"ok"}
    assert all(record.audit.left_out == [] for record in records.values())
    assert [request.name for request in stage.audited].count("load_audit") == 2


def test_a_proof_is_made_again_for_a_new_auditor(conduct: Any) -> None:
    script: Script = {("audit", "judge_proof", 1): WorkerLost("signal", "killed by SIGKILL")}
    stage, records, _, _ = conduct(script, backends="a")
    assert records["a"].status == "ok"
    names = [request.name for request in stage.audited]
    proving = ["load_audit", "make_proof", "judge_proof"]
    assert names[:7] == [*proving[:2], *proving[1:], *proving]


def test_without_an_auditor_it_is_said_what_was_left_out(conduct: Any) -> None:
    script: Script = {
        ("audit", "audit_segment", n): WorkerLost("memory", "out of memory") for n in range(1, 99)
    }
    records = conduct(script, backends="ab")[1]
    for record in records.values():
        assert record.status == "ok"
        assert "unaudited" in record.flags
        (left,) = record.audit.left_out
        assert left == "challenge: the auditor was lost: out of memory"


def test_without_an_auditor_there_is_no_proof_and_no_speed(conduct: Any) -> None:
    script: Script = {
        ("audit", "make_proof", n): WorkerLost("memory", "out of memory") for n in range(1, 99)
    }
    records = conduct(script, backends="ab")[1]
    assert {(r.status, r.reason) for r in records.values()} == {("failed", "audit")}
    assert "parity cannot be judged: out of memory" in records["a"].message


def test_an_audit_that_breaks_is_one_trial_s_row(conduct: Any) -> None:
    script: Any = {("audit", "audit_segment", 3): ZeroDivisionError("a defect")}
    _, records, finished, _ = conduct(script)
    assert finished
    failed = [record for record in records.values() if record.status != "ok"]
    assert [record.message for record in failed] == ["ZeroDivisionError: a defect"]
    assert len(records) == 3


def test_an_interrupted_audit_keeps_what_was_trained(conduct: Any) -> None:
    script: Any = {("audit", "audit_segment", 3): KeyboardInterrupt()}
    _, records, finished, _ = conduct(script)
    assert not finished
    assert {record.status for record in records.values()} == {"ok"}
    interrupted = [
        name
        for name, record in records.items()
        if record.audit.left_out == ["everything: the run was interrupted"]
    ]
    assert "c" in interrupted
    assert all("unaudited" in records[name].flags for name in interrupted)


def test_unavailable_has_no_reason_but_a_message(conduct: Any) -> None:
    record = conduct({("a", "build", 1): WorkerLost("unavailable", "no device")})[1]["a"]
    assert (record.status, record.reason, record.message) == ("unavailable", None, "no device")


def test_what_the_plan_rules_out_is_recorded_without_a_worker(conduct: Any) -> None:
    stage, records, _, _ = conduct(devices=("cuda:0",))
    assert stage.asked == []
    assert {r.status for r in records.values()} == {"unavailable"}
    assert "does not run on cuda" in records["a"].message


@pytest.mark.parametrize(("request_", "count", "done"), [("load", 1, 0), ("epoch", 3, 2)])
def test_an_interruption_keeps_what_is_finished(
    conduct: Any, request_: str, count: int, done: int
) -> None:
    script: Any = {("b", request_, count): KeyboardInterrupt()}
    stage, records, finished, observer = conduct(script)
    assert not finished
    assert {r.status for r in records.values()} == {"interrupted"}
    assert len(records["b"].epochs.seconds) == done
    assert len(records["a"].epochs.seconds) in (done, done + 1)
    assert stage.open == []
    assert observer.seen.count(("b", "interrupted")) == 1


def test_what_was_recorded_before_an_interruption_stays(conduct: Any) -> None:
    script: Any = {
        ("a", "epoch", 1): WorkerLost("nan", "the loss is nan"),
        ("b", "epoch", 2): KeyboardInterrupt(),
    }
    _, records, _, _ = conduct(script)
    assert records["a"].status == "failed"
    assert records["b"].status == records["c"].status == "interrupted"


def test_an_interruption_while_a_record_is_written_does_not_spoil_it(
    conduct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial was complete: what it left must not become "interrupted"."""
    write = Run.write_record
    written = []

    def interrupted(self: Run, record: Any) -> None:
        write(self, record)
        written.append(record.trial.backend)
        if written == ["a"]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_record", interrupted)
    _, records, finished, _ = conduct()
    assert not finished
    assert records["a"].status == "ok"
    assert records["c"].status == "interrupted"


def test_validation_and_test_where_the_protocol_has_them(conduct: Any) -> None:
    heldout = replace(
        SMALL,
        train_tokens=None,
        train_fraction=0.8,
        validation_fraction=0.1,
        test_fraction=0.1,
        validate_every=2,
    )
    _, records, _, _ = conduct(backends="a", protocol=heldout)
    seen = [(e.split, e.epoch) for e in records["a"].evaluations]
    assert seen == [("validation", 2), ("validation", 4), ("test", 5)]
    assert records["a"].evaluations[0].source_nats is None


def test_observers_are_told_in_order(conduct: Any) -> None:
    *_, observer = conduct(backends="a")
    assert observer.seen == [
        *(("a", phase) for phase in ("loading", "preparing", "ready")),
        *(("a", done) for done in range(1, 6)),
        ("a", "ending"),
        ("a", "auditing"),
        ("a", "ok"),
    ]


def test_only_the_tail_of_a_log_is_kept(conduct: Any) -> None:
    class Talkative(Stage):
        def start(self, launch: Launch) -> Any:
            channel = super().start(launch)
            launch.log.write_bytes("é".encode() * 9000 + b"\xff the end")
            return channel

    _, records, _, _ = conduct(backends="a", stage=Talkative({}))
    tail = records["a"].log_tail
    assert tail.endswith("the end")
    assert len(tail) <= MAX_LOG_TAIL


def test_matmuls_are_interleaved_with_the_epochs_and_the_fastest_is_the_group_s_peak(
    conduct: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peaks, "SHARE", math.inf)
    stage = Stage({})
    stage.offers = {"a": 0.5, "b": 2.0}
    _, records, _, _ = conduct(backends="abc", stage=stage)
    # after each of five epochs, the first to make operands; who offers nothing is asked once
    asked = [name for name, request in stage.matmuls if request == "matmul"]
    assert {name: asked.count(name) for name in "abc"} == {"a": 5, "b": 5, "c": 1}
    assert asked.count("probe") == 5
    for record in records.values():
        assert record.peak.matmul.library == "a:eager"
        assert record.peak.matmul.seconds == [0.5] * 4
        assert record.peak.copies.seconds == [1.0] * 4
    assert stage.matmuls[-1] == ("probe", "close")


def test_a_matmul_that_no_library_can_do_is_no_peak(
    conduct: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Peaks, "beyond_belief", lambda peaks, seconds, spent: "no" * (seconds == [0.1])
    )
    stage = Stage({})
    stage.offers = {"a": 0.1, "b": 0.5}
    _, records, _, _ = conduct(backends="ab", stage=stage)
    assert [name for name, _ in stage.matmuls].count("a") == 1
    assert records["b"].peak.matmul.library == "b:eager"
    assert records["a"].activity.remarks == ["no"]
    assert "suspect" in records["a"].flags


def test_numpy_is_the_peak_where_no_backend_is_faster(conduct: Callable[..., Any]) -> None:
    stage = Stage({})
    stage.offers = {"a": 2.0}
    _, records, _, _ = conduct(backends="a", stage=stage)
    assert records["a"].peak.matmul.library == "fake"


@pytest.mark.parametrize("error", [WorkerLost("exit", "gone"), OSError("no descriptor left")])
@pytest.mark.parametrize("request_", ["load_probe", "matmul", "copy"])
def test_a_group_goes_on_without_its_probe(
    conduct: Callable[..., Any], request_: str, error: Exception
) -> None:
    stage = Stage({("probe", request_, 1): error})
    _, records, finished, _ = conduct(backends="a", stage=stage)
    assert finished
    assert records["a"].status == "ok"
    assert records["a"].peak is None


def test_a_worker_lost_in_a_matmul_is_a_failed_trial(conduct: Callable[..., Any]) -> None:
    stage = Stage({("b", "matmul", 2): WorkerLost("signal", "killed by SIGSEGV")})
    stage.offers = {"b": 1.0}
    _, records, _, _ = conduct(backends="ab", stage=stage)
    assert (records["b"].status, records["b"].reason) == ("failed", "signal")
    assert records["a"].status == "ok"


def test_a_record_names_the_trials_it_was_interleaved_with(conduct: Callable[..., Any]) -> None:
    _, records, _, _ = conduct(backends="ab")
    names = {name: [c.partition("-")[0] for c in r.interleaved_with] for name, r in records.items()}
    assert names == {"a": ["b"], "b": ["a"]}
    _, records, _, _ = conduct(backends="ab", interleave=False)
    assert all(record.interleaved_with == [] for record in records.values())


def test_joules_are_counted_around_every_epoch(
    conduct: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    total = iter(range(0, 1000, 3))
    monkeypatch.setattr(energy, "counter", lambda device: lambda: float(next(total)))
    _, records, _, _ = conduct(backends="a")
    assert records["a"].epochs.joules == [3.0] * 5


class StopAt:
    """Stops before one repeat."""

    def __init__(self, repeat: int) -> None:
        self.repeat = repeat
        self.asked: list[int | str] = []

    def start(self, spent: float = 0.0) -> None:
        self.asked.append("start")

    def should_stop(self, records: Any, repeat: int) -> str | None:
        self.asked.append(repeat)
        return "enough" if repeat == self.repeat else None


def test_what_sampling_does_not_need_is_never_begun(conduct: Callable[..., Any]) -> None:
    sampler = StopAt(1)
    stage, records, finished, _ = conduct(backends="ab", sampler=sampler, repeats=3)
    assert finished
    assert sampler.asked == ["start", 0, 1]
    assert [request for request, _ in stage.asked].count("load") == 2
    assert {r.trial.repeat for r in records.values()} == {0}


def test_the_sampler_is_asked_when_no_repeat_is_left(conduct: Callable[..., Any]) -> None:
    sampler = StopAt(1)
    conduct(backends="ab", sampler=sampler, repeats=1)
    assert sampler.asked == ["start", 0, 1]


def test_an_interruption_records_what_sampling_had_begun(conduct: Callable[..., Any]) -> None:
    _, records, finished, _ = conduct(
        {("b", "epoch", 2): KeyboardInterrupt()}, backends="ab", sampler=StopAt(1), repeats=3
    )
    assert not finished
    assert {r.status for r in records.values()} == {"interrupted"}
    assert {r.trial.repeat for r in records.values()} == {0}


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_interleaving_is_fair(number: int) -> None:
    """In a whole cycle each has every place, and follows each other, equally often."""
    rounds = [interleave_order(range(number), done) for done in range(2 * number)]
    for place in range(number):
        assert sorted(order[place] for order in rounds) == sorted([*range(number)] * 2)
    follows = [(a, b) for order in rounds for a, b in itertools.pairwise(order)]
    assert all(follows.count((a, b)) == follows.count((b, a)) for a, b in follows)
    assert interleave_order([], 3) == []


def test_sampling_goes_on_without_a_row_that_failed_twice(conduct: Callable[..., Any]) -> None:
    script: Script = {("b", "epoch", 2): WorkerLost("exit", "gone")}
    stage, _, _, _ = conduct(script, backends="ab", sampler=StopAt(9), repeats=4)
    loads = [name for request, name in stage.asked if request == "load"]
    assert (loads.count("a"), loads.count("b")) == (4, 2)
    stage, _, _, _ = conduct(script, backends="ab", repeats=4)
    assert [name for request, name in stage.asked if request == "load"].count("b") == 4


class FakeDelta:
    """Shows as load which of several it is."""

    number = 0

    def __init__(self) -> None:
        type(self).number += 1
        self.own = self.number

    def so_far(self, least: float = 1.0) -> Load:
        return Load(others=float(self.own), stolen=0.0)


def test_what_others_took_is_counted_anew_after_a_loss(
    conduct: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed worker's children had computed would count as that of other processes."""
    monkeypatch.setattr(groups, "CpuTimeDelta", FakeDelta)
    monkeypatch.setattr(FakeDelta, "number", 0)
    records = conduct()[1]
    assert {name: r.system_load.others for name, r in records.items()} == dict.fromkeys("abc", 1)
    monkeypatch.setattr(FakeDelta, "number", 0)
    records = conduct({("b", "epoch", 2): WorkerLost("exit", "gone")})[1]
    assert records["b"].system_load is None
    assert {records[name].system_load.others for name in "ac"} == {2.0}


WRONG: list[tuple[str, messages.Answer]] = [
    ("epoch", messages.EpochTrained(0.5, 10.0, TOKENS - 1)),
    ("evaluate", messages.Evaluated(10.0, 7)),
]


@pytest.mark.parametrize(("request_", "answer"), WRONG)
def test_tokens_are_counted_by_the_host_too(
    conduct: Callable[..., Any], request_: str, answer: messages.Answer
) -> None:
    parts: dict[str, Any] = {"train_fraction": 0.8, "validation_fraction": 0.2, "validate_every": 2}
    stage = Stage({})
    stage.answers = {("b", request_, 1): answer}
    protocol = SMALL if request_ == "epoch" else replace(SMALL, train_tokens=None, **parts)
    _, records, _, _ = conduct(backends="ab", stage=stage, protocol=protocol)
    assert (records["b"].status, records["b"].reason) == ("failed", INTERFACE)
    assert "expected" in records["b"].message
    assert records["a"].status == "ok"


@pytest.mark.parametrize(
    "request_", ["load", "build", "ping", "epoch", "matmul", "generate", "challenge", "finish"]
)
@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), ZeroDivisionError()])
def test_whatever_goes_wrong_in_a_trial_is_that_trial_s_row(
    conduct: Callable[..., Any], request_: str, error: Exception
) -> None:
    stage = Stage({("b", request_, 1): error})
    stage.offers = {"b": 1.0}
    _, records, finished, _ = conduct(backends="abc", stage=stage)
    assert finished
    assert (records["b"].status, records["b"].reason) == ("failed", "exception")
    assert type(error).__name__ in records["b"].message
    assert type(error).__name__ in records["b"].log_tail
    assert records["a"].status == records["c"].status == "ok"
    assert stage.open == []


def test_a_worker_that_cannot_be_started_is_a_row(conduct: Callable[..., Any]) -> None:
    class NoDescriptors(Stage):
        def start(self, launch: Launch) -> Any:
            if launch.log.name.startswith("b-"):
                raise OSError(24, "Too many open files")
            return super().start(launch)

    _, records, _, _ = conduct(stage=NoDescriptors({}))
    assert records["b"].status == "failed"
    assert "Too many open files" in records["b"].message
    assert records["a"].status == records["c"].status == "ok"


def test_a_record_that_could_not_be_read_is_never_ok(
    conduct: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the checks of answers let through: reading would refuse it."""
    finished = TrialState.finished

    def spoiled(self: TrialState, answer: messages.Finished) -> None:
        finished(self, answer)
        if self.trial.backend == "b":
            self.memory["peak"] = -1

    monkeypatch.setattr(TrialState, "finished", spoiled)
    _, records, _, _ = conduct()
    assert (records["b"].status, records["b"].reason) == ("failed", INTERFACE)
    assert "memory.peak" in records["b"].message
    assert records["b"].log_tail == "a line\n"
    assert records["a"].status == records["c"].status == "ok"


@pytest.mark.parametrize("error", [MemoryError("no room"), SystemExit(3), ValueError("odd")])
def test_whatever_ends_a_run_leaves_what_there_is(
    conduct: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
) -> None:
    """Here the writing of the second record fails."""
    write = Run.write_record
    written: list[Any] = []

    def failing(self: Run, record: Any) -> None:
        written.append(record)
        if len(written) == 2:
            raise error
        write(self, record)

    monkeypatch.setattr(Run, "write_record", failing)
    stage = Stage({})
    with pytest.raises(type(error)):
        conduct(stage=stage)
    (run,) = (tmp_path / "store").iterdir()
    records = {record.trial.backend: record for record in Run(run).records()}
    assert stage.open == []
    assert records["a"].status == "ok"
    assert {records[name].status for name in "bc" if name in records} == {"interrupted"}
    assert "c" in records
    assert type(error).__name__ in records["c"].message
    assert len(records["c"].epochs.seconds) == 5


@pytest.mark.parametrize("error", [BrokenPipeError(), UnicodeEncodeError("ascii", "x", 0, 1, "")])
def test_an_observer_that_breaks_costs_no_trial(
    conduct: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(self: Noting, *arguments: Any, **named: Any) -> None:
        raise error

    monkeypatch.setattr(Noting, "epoch", broken)
    _, records, finished, observer = conduct()
    assert finished
    assert {record.status for record in records.values()} == {"ok"}
    assert ("a", "ok") not in observer.seen


def test_workers_get_the_environment_as_it_is_and_records_show_it_without_folders(
    conduct: Callable[..., Any],
) -> None:
    stage, records, _, _ = conduct(backends="a")
    assert stage.environments == [{"OWN": "/srv/x/own", "GIVEN": "/srv/x/given"}]
    assert records["a"].trial.backend_environment == {"OWN": ".../own"}
