"""A trial's session on the worker's loop, in this process: two text streams are all it needs."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import reference
from lstmbench.backend import Backend, EpochLoss, ModelConfig, Parameters, Task, TrainingConfig
from lstmbench.batches import Batches, draw_offsets, partition
from lstmbench.errors import Unavailable
from lstmbench.testing.child import KitSession
from lstmbench.worker import loop
from lstmbench.worker.messages import (
    INTERFACE,
    Evaluate,
    Failure,
    Finish,
    Generate,
    LoadTrial,
    Matmul,
    Prepare,
    Request,
    TrainEpoch,
    WaitUntilIdle,
    decode_reply,
    encode_request,
)
from lstmbench.worker.probe import Probe
from lstmbench.worker.session import Ready, TrialSession

TASK = Task(
    ModelConfig(vocabulary_size=9, hidden_size=8, layers=1),
    TrainingConfig(learning_rate=1.0, clip_norm=1.0, batch_size=4, steps=5),
    device="cpu",
    mode="eager",
    dtype="float32",
    threads=1,
    seed=3,
)


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 9, 400, dtype=np.int32)


@pytest.fixture
def load(tmp_path: Path, ids: np.ndarray) -> LoadTrial:
    np.save(tmp_path / "tokens.npy", ids)
    return LoadTrial(
        factory="lstmbench_numpy.backend:NumpyBackend",
        imports=["numpy"],
        install="pip install it",
        task=TASK,
        init="shared",
        cpus=None,
        tokens=str(tmp_path / "tokens.npy"),
        splits={"train": (0, 300), "test": (300, 400)},
    )


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    """Makes a class importable; returns its ``module:attribute``."""

    def publish(thing: Any) -> str:
        monkeypatch.setattr(sys.modules[__name__], "published", thing, raising=False)
        return f"{__name__}:published"

    return publish


def ask(*requests: Request[Any]) -> list[Any]:
    """What a new session replies to each, until it has failed."""
    replies = io.StringIO()
    lines = "".join(encode_request(n, request) for n, request in enumerate(requests))
    loop.serve(TrialSession(), io.StringIO(lines), replies)
    said = enumerate(replies.getvalue().splitlines())
    return [decode_reply(line, number, requests[number]) for number, line in said]


PREPARE, FINISH, EPOCH = Prepare(), Finish(), TrainEpoch(offset=2)
GENERATE = Generate(prefixes=[[1, 2], [3]], length=4, vocabulary_size=9)


def test_a_whole_life(load: LoadTrial, ids: np.ndarray) -> None:
    answers = ask(load, PREPARE, EPOCH, EPOCH, Evaluate("test"), WaitUntilIdle(), GENERATE, FINISH)
    assert len(answers) == 8
    training = TASK.training
    parameters = reference.draw_parameters(TASK.model, 3)
    assert answers[1].parameters_digest == parameters.digest()
    batches = partition(ids[:300], 4, 5, 2)
    for answer in answers[2:4]:
        parameters, loss = reference.train_epoch(parameters, batches, training)
        assert answer.nats == pytest.approx(loss.nats, rel=1e-6)
        assert answer.tokens == loss.tokens
        assert answer.seconds > 0
    test = reference.evaluate(parameters, partition(ids[300:], 4, 5, 0))
    assert answers[4].nats == pytest.approx(test.nats, rel=1e-6)
    expected = [reference.generate(parameters, prefix, 4) for prefix in ([1, 2], [3])]
    assert answers[6].continuations == expected
    assert answers[7].runtime["kernel"]


def test_each_phase_has_its_seconds(load: LoadTrial, backend: Callable[[Any], str]) -> None:
    """What takes long in one phase counts in no other."""
    slow = {"build": 0.02, "prepare": 0.04, "generate": 0.06}

    class Slow(NumpyBackend):
        def __init__(self, task: Task) -> None:
            super().__init__(task)
            time.sleep(slow["build"])

        def prepare(self, batches: Batches) -> None:
            time.sleep(slow["prepare"])

        def generate(self, prefix: Any, length: int) -> list[int]:
            time.sleep(slow["generate"] / 2)
            return super().generate(prefix, length)

    answers = ask(replace(load, factory=backend(Slow)), PREPARE, GENERATE)
    phases = answers[1].phases
    assert set(phases) == {"build", "prepare", "parity", "rebuild"}
    assert phases["build"] >= slow["build"]
    assert phases["prepare"] >= slow["prepare"]
    assert phases["rebuild"] >= slow["build"] + slow["prepare"]
    assert answers[2].seconds >= slow["generate"]


def test_parity_is_proven_before_training_and_with_the_trial_s_shapes(
    load: LoadTrial,
) -> None:
    proof = ask(load, PREPARE)[1].parity
    assert proof.worst < proof.tolerance == 1e-4
    assert proof.shape == partition(np.arange(300), 4, 5).inputs.shape
    assert proof.cut is False


def test_native_parameters_are_the_backend_s_own(
    load: LoadTrial, backend: Callable[[Any], str]
) -> None:
    class Native(NumpyBackend):
        def __init__(self, task: Task) -> None:
            super().__init__(task)
            self._parameters = reference.draw_parameters(task.model, 99, scale=0.5)

    native = replace(load, factory=backend(Native))
    digests = {
        init: ask(replace(native, init=init), PREPARE)[1].parameters_digest
        for init in ("shared", "native")
    }
    assert digests["shared"] == reference.draw_parameters(TASK.model, 3).digest()
    assert digests["native"] == reference.draw_parameters(TASK.model, 99, scale=0.5).digest()


def test_the_instance_that_parity_used_is_thrown_away(
    load: LoadTrial, backend: Callable[[Any], str]
) -> None:
    built: list[Backend] = []

    class Counted(NumpyBackend):
        def __init__(self, task: Task) -> None:
            super().__init__(task)
            self.epochs = 0
            built.append(self)

        def train_epoch(self, batches: Batches) -> EpochLoss:
            self.epochs += 1
            return super().train_epoch(batches)

    ask(replace(load, factory=backend(Counted)), PREPARE, EPOCH)
    assert [instance.epochs for instance in built] == [2, 1]  # type: ignore[attr-defined]


def test_offsets_change_nothing_but_the_text(load: LoadTrial) -> None:
    offsets = draw_offsets(0, 5, 5)
    answers = ask(load, PREPARE, *map(TrainEpoch, offsets))
    assert len({answer.tokens for answer in answers[2:]}) == 1


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (RuntimeError("no\nluck"), "exception", "RuntimeError: no"),
        (MemoryError(), "memory", "out of memory"),
        (Unavailable("no such device"), "unavailable", "no such device"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "memory", "CUDA"),
    ],
)
def test_what_a_backend_raises_is_an_answer_and_the_end(
    load: LoadTrial,
    backend: Callable[[Any], str],
    error: Exception,
    reason: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Raising(NumpyBackend):
        def __init__(self, task: Task) -> None:
            raise error

    first, second = ask(replace(load, factory=backend(Raising)), PREPARE, EPOCH, EPOCH)
    assert not isinstance(first, Failure)
    assert second.reason == reason
    assert words in second.message
    if reason == "exception":
        assert "Traceback" in capsys.readouterr().err


def test_a_missing_framework_is_unavailable_with_the_way_there(load: LoadTrial) -> None:
    missing = replace(load, factory="no_such_framework.nn:Model", imports=["no_such_framework"])
    (reply,) = ask(missing)
    assert reply.reason == "unavailable"
    assert "no_such_framework is not installed: pip install it" in reply.message


def test_any_other_missing_module_is_an_exception(load: LoadTrial) -> None:
    (reply,) = ask(replace(load, factory="no_such_module:Model"))
    assert reply.reason == "exception"
    assert "no_such_module" in reply.message


@pytest.mark.parametrize("made", [None, object(), "a string"])
def test_a_factory_must_make_a_backend(
    load: LoadTrial, backend: Callable[[Any], str], made: Any
) -> None:
    _, reply = ask(replace(load, factory=backend(lambda task: made)), PREPARE)
    assert reply.reason == INTERFACE
    assert type(made).__name__ in reply.message


class Generating(NumpyBackend):
    answer: Any = None

    def generate(self, prefix: Any, length: int) -> Any:
        return self.answer


@pytest.mark.parametrize(
    "made", [[1, 2, 3], [1] * 5, (1,) * 4, np.ones(4, int), [np.int64(1)] * 4, [1.0] * 4, [9] * 4]
)
def test_continuations_that_are_refused(
    load: LoadTrial, backend: Callable[[Any], str], made: Any
) -> None:
    bad = backend(type("Bad", (Generating,), {"answer": made}))
    *_, reply = ask(replace(load, factory=bad), PREPARE, GENERATE)
    assert reply.reason == INTERFACE
    assert "expected" in reply.message


class Returning(NumpyBackend):
    """Trains with a made-up answer from the very first epoch on."""

    answer: Any = None

    def train_epoch(self, batches: Batches) -> Any:
        super().train_epoch(batches)
        return self.answer


@pytest.mark.parametrize("answer", [1.5, None, (1.5, 300), EpochLoss("1.5", 300)])  # type: ignore[arg-type]
def test_a_wrong_type_from_the_first_epoch_on_breaks_the_interface(
    load: LoadTrial, backend: Callable[[Any], str], answer: Any
) -> None:
    bad = backend(type("Bad", (Returning,), {"answer": answer}))
    *_, reply = ask(replace(load, factory=bad), PREPARE)
    assert reply.reason == INTERFACE
    assert "EpochLoss" in reply.message


@pytest.mark.parametrize("tokens", [0, 1])
def test_a_wrong_count_from_the_first_epoch_on_breaks_the_interface(
    load: LoadTrial, backend: Callable[[Any], str], tokens: int
) -> None:
    bad = backend(type("Bad", (Returning,), {"answer": EpochLoss(1.5, tokens)}))
    *_, reply = ask(replace(load, factory=bad), PREPARE)
    assert reply.reason == INTERFACE
    assert "tokens" in reply.message


@pytest.mark.parametrize("answer", [None, {}, [1, 2]])
def test_parameters_of_a_wrong_type_break_the_interface(
    load: LoadTrial, backend: Callable[[Any], str], answer: Any
) -> None:
    def parameters(self: NumpyBackend) -> Parameters:
        return answer

    bad = backend(type("Bad", (NumpyBackend,), {"parameters": parameters}))
    *_, reply = ask(replace(load, factory=bad), PREPARE)
    assert reply.reason == INTERFACE


def test_a_failed_parity_names_the_quantity_and_carries_the_proof(
    load: LoadTrial, backend: Callable[[Any], str]
) -> None:
    class Twice(NumpyBackend):
        def train_epoch(self, batches: Batches) -> EpochLoss:
            before = self._parameters
            loss = super().train_epoch(batches)
            pairs = zip(before.items(), self._parameters.items(), strict=True)
            self._parameters = Parameters.from_arrays([2 * b - a for (_, a), (_, b) in pairs])
            return loss

    *_, failure = ask(replace(load, factory=backend(Twice)), PREPARE, EPOCH)
    assert failure.reason == "parity"
    assert failure.message.startswith("text: layer0.input_kernel differs from the reference by")
    assert failure.detail.parity.worst > 0.5
    assert set(failure.detail.phases) == {"build", "prepare", "parity"}


def test_the_end_of_the_requests_is_the_end(load: LoadTrial) -> None:
    assert len(ask(load)) == 1
    assert ask() == []


def test_nothing_is_answered_after_finish(load: LoadTrial) -> None:
    assert len(ask(load, PREPARE, FINISH, EPOCH)) == 3


@pytest.mark.parametrize(
    "request_", [PREPARE, EPOCH, Evaluate("test"), GENERATE, FINISH, Matmul(8, 1)]
)
def test_a_request_before_load_says_what_must_come_first(request_: Request[Any]) -> None:
    (reply,) = ask(request_)
    assert reply.reason == INTERFACE
    assert "must be asked to load" in reply.message


@pytest.mark.parametrize("request_", [EPOCH, Evaluate("test"), GENERATE, FINISH, Matmul(8, 1)])
def test_a_request_before_prepare_says_what_must_come_first(
    load: LoadTrial, request_: Request[Any]
) -> None:
    _, reply = ask(load, request_)
    assert reply.reason == INTERFACE
    assert "to prepare first" in reply.message


@pytest.mark.parametrize("session", [TrialSession(), Probe(), KitSession()], ids=repr)
def test_every_handler_takes_its_request_and_returns_its_answer(session: loop.Session) -> None:
    for kind, handler in session.handlers().items():
        hints = get_type_hints(handler)
        assert hints == {"request": kind, "return": kind.answer}, kind


@pytest.fixture(autouse=True)
def _quiet_after() -> Iterator[None]:
    yield
    sys.modules[__name__].__dict__.pop("published", None)


class Offering:
    """Takes device memory for its matrix products."""

    allocated = 7

    def matrix_product(self, side: int) -> None:
        self.allocated += side * side

    def device_memory(self) -> int:
        return self.allocated

    def runtime(self) -> dict[str, str]:
        return {}


def test_memory_is_the_trial_s_not_that_of_its_matmuls() -> None:
    session = TrialSession()
    session._ready = Ready(Offering(), "peak")  # type: ignore[arg-type]
    answer = session.matmul(Matmul(side=100, count=3))
    assert answer.seconds is not None
    assert len(answer.seconds) == 3
    memory = session.finish(FINISH).memory
    assert memory["device_peak"] == 7
    assert memory["peak"] > 0


@pytest.mark.parametrize("error", [NotImplementedError(), RuntimeError("no room")])
def test_a_matmul_that_is_not_offered_costs_nothing(error: Exception) -> None:
    class Refusing(Offering):
        def matrix_product(self, side: int) -> None:
            raise error

    session = TrialSession()
    session._ready = Ready(Refusing(), "peak")  # type: ignore[arg-type]
    assert session.matmul(Matmul(side=100, count=3)).seconds is None
