"""A trial's session on the worker's loop, in this process: two text streams are all it needs."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import reference
from lstmbench.audit.session import AuditSession
from lstmbench.backend import EpochLoss, ModelConfig, Parameters, Task, TrainingConfig
from lstmbench.batches import Batches, draw_offsets, partition
from lstmbench.cells import LSTM, tensor_shapes
from lstmbench.errors import Unavailable
from lstmbench.testing.child import KitSession
from lstmbench.worker import loop
from lstmbench.worker.arrays import read_parameters, write_batches, write_parameters
from lstmbench.worker.messages import (
    INTERFACE,
    Build,
    Evaluate,
    Failure,
    Finish,
    Generate,
    LoadParameters,
    LoadTrial,
    Matmul,
    Ping,
    Prepare,
    Request,
    SaveParameters,
    TrainEpoch,
    WaitUntilIdle,
    decode_reply,
    encode_request,
)
from lstmbench.worker.probe import Probe
from lstmbench.worker.session import Instance, TrialSession

TASK = Task(
    ModelConfig(vocabulary_size=9, hidden_size=8, layers=1),
    TrainingConfig(learning_rate=1.0, clip_norm=1.0, batch_size=4, steps=5),
    device="cpu",
    mode="eager",
    dtype="float32",
    threads=1,
    seed=3,
)


SHAPES = tensor_shapes(LSTM, TASK.model)
IDS = np.random.default_rng(0).integers(0, 9, 400, dtype=np.int32)
SHARED = reference.draw_parameters(TASK.model, 3)
LOAD = LoadTrial("lstmbench_numpy.backend:NumpyBackend", ["numpy"], "pip install it", None)


def train(offset: int = 0) -> Batches:
    return partition(IDS[:300], 4, 5, offset)


TEST = partition(IDS[300:], 4, 5, 0)


@dataclass(frozen=True)
class Given:
    """What a host hands over, and where it has parameters written to."""

    folder: Path

    def batches(self, batches: Batches) -> str:
        path = self.folder / f"batches-{len(list(self.folder.iterdir()))}.npy"
        write_batches(path, batches)
        return str(path)

    def parameters(self, parameters: Parameters) -> str:
        path = self.folder / f"start-{len(list(self.folder.iterdir()))}.npy"
        write_parameters(path, parameters)
        return str(path)

    @property
    def saved(self) -> Path:
        return self.folder / "saved.npy"

    @property
    def build(self) -> Build:
        """From the shared initial parameters."""
        return Build(TASK, self.batches(train()), self.parameters(SHARED))

    @property
    def epoch(self) -> TrainEpoch:
        return TrainEpoch(self.batches(train(2)))

    @property
    def save(self) -> SaveParameters:
        return SaveParameters(str(self.saved))


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


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


FINISH = Finish()
GENERATE = Generate(prefixes=[[1, 2], [3]], length=4, vocabulary_size=9)


def test_a_whole_trial(given: Given) -> None:
    evaluate = Evaluate(given.batches(TEST))
    answers = ask(
        *(LOAD, given.build, given.epoch, given.epoch, evaluate),
        *(WaitUntilIdle(), GENERATE, given.save, FINISH),
    )
    assert len(answers) == 9
    parameters = SHARED
    for answer in answers[2:4]:
        parameters, loss = reference.train_epoch(parameters, train(2), TASK.training)
        assert answer.nats == pytest.approx(loss.nats, rel=1e-6)
        assert answer.tokens == loss.tokens
        assert answer.seconds > 0
    assert answers[4].nats == pytest.approx(reference.evaluate(parameters, TEST).nats, rel=1e-6)
    expected = [reference.generate(parameters, prefix, 4) for prefix in ([1, 2], [3])]
    assert answers[6].continuations == expected
    assert read_parameters(given.saved, SHAPES).digest() == parameters.digest()
    assert answers[8].runtime["kernel"]


def test_each_phase_has_its_seconds(given: Given, backend: Callable[[Any], str]) -> None:
    """What takes long in one phase counts in no other."""
    slow = {"build": 0.02, "load": 0.03, "prepare": 0.1, "generate": 0.06}

    class Slow(NumpyBackend):
        def __init__(self, task: Task) -> None:
            super().__init__(task)
            time.sleep(slow["build"])

        def load_parameters(self, parameters: Parameters) -> None:
            super().load_parameters(parameters)
            time.sleep(slow["load"])

        def prepare(self, batches: Batches) -> None:
            time.sleep(slow["prepare"])

        def generate(self, prefix: Any, length: int) -> list[int]:
            time.sleep(slow["generate"] / 2)
            return super().generate(prefix, length)

    _, built, generated = ask(replace(LOAD, factory=backend(Slow)), given.build, GENERATE)
    assert built.build_seconds >= slow["build"] + slow["load"]
    assert built.prepare_seconds >= slow["prepare"]
    assert generated.seconds >= slow["generate"]


@pytest.mark.parametrize("shared", [True, False])
def test_native_parameters_are_the_backend_s_own(
    given: Given, backend: Callable[[Any], str], shared: bool
) -> None:
    own = reference.draw_parameters(TASK.model, 99, scale=0.5)

    class Native(NumpyBackend):
        def __init__(self, task: Task) -> None:
            super().__init__(task)
            self._parameters = own

    build = given.build if shared else replace(given.build, parameters=None)
    ask(replace(LOAD, factory=backend(Native)), build, given.save)
    saved = read_parameters(given.saved, SHAPES)
    assert saved.digest() == (SHARED if shared else own).digest()


def test_an_instance_that_is_built_again_is_another_one(
    given: Given, backend: Callable[[Any], str]
) -> None:
    built: list[Any] = []

    class Counted(NumpyBackend):
        def __init__(self, task: Task) -> None:
            super().__init__(task)
            self.epochs = 0
            built.append(self)

        def train_epoch(self, batches: Batches) -> EpochLoss:
            self.epochs += 1
            return super().train_epoch(batches)

    other = replace(given.build, task=replace(TASK, seed=4))
    epoch = given.epoch
    ask(replace(LOAD, factory=backend(Counted)), given.build, epoch, epoch, other, epoch)
    assert [instance.epochs for instance in built] == [2, 1]
    assert [instance.task.seed for instance in built] == [3, 4]


def test_only_one_instance_is_alive_at_a_time(given: Given, backend: Callable[[Any], str]) -> None:
    """The memory of the one that parity was asked of is not the trial's."""
    alive: list[int] = [0]
    most = []

    class Counted(NumpyBackend):
        def __init__(self, task: Task) -> None:
            super().__init__(task)
            alive[0] += 1
            most.append(alive[0])

        def __del__(self) -> None:
            alive[0] -= 1

    ask(replace(LOAD, factory=backend(Counted)), given.build, given.build, given.epoch)
    assert most == [1, 1]


def test_an_instance_can_start_again_from_other_parameters(given: Given) -> None:
    other = reference.draw_parameters(TASK.model, 5, scale=0.1, bias_scale=0.1)
    load = LoadParameters(given.parameters(other))
    *_, trained, _ = ask(LOAD, given.build, given.epoch, load, given.epoch, given.save)
    expected, loss = reference.train_epoch(other, train(2), TASK.training)
    assert trained.nats == pytest.approx(loss.nats, rel=1e-6)
    assert read_parameters(given.saved, SHAPES).digest() == expected.digest()


def test_an_instance_can_be_prepared_for_other_batches(
    given: Given, backend: Callable[[Any], str]
) -> None:
    shapes = []

    class Noting(NumpyBackend):
        def prepare(self, batches: Batches) -> None:
            shapes.append(batches.inputs.shape)

    short = Batches(train().inputs[:2], train().targets[:2])
    again = Prepare(given.batches(short))
    ask(replace(LOAD, factory=backend(Noting)), given.build, again)
    assert shapes == [train().inputs.shape, short.inputs.shape]


def test_a_ping_needs_nothing() -> None:
    assert len(ask(Ping(), Ping())) == 2


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_files_that_cannot_be_read_end_the_trial(given: Given, content: bytes | None) -> None:
    path = given.folder / "wrong.npy"
    if content is not None:
        path.write_bytes(content)
    *_, reply = ask(LOAD, given.build, TrainEpoch(str(path)), FINISH)
    assert reply.reason == "exception"


def test_offsets_change_nothing_but_the_text(given: Given) -> None:
    offsets = draw_offsets(0, 5, 5)
    epochs = [TrainEpoch(given.batches(train(offset))) for offset in offsets]
    answers = ask(LOAD, given.build, *epochs)
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
    given: Given,
    backend: Callable[[Any], str],
    error: Exception,
    reason: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Raising(NumpyBackend):
        def __init__(self, task: Task) -> None:
            raise error

    factory = replace(LOAD, factory=backend(Raising))
    first, second = ask(factory, given.build, given.epoch, given.epoch)
    assert not isinstance(first, Failure)
    assert second.reason == reason
    assert words in second.message
    if reason == "exception":
        assert "Traceback" in capsys.readouterr().err


def test_a_missing_framework_is_unavailable_with_the_way_there() -> None:
    missing = replace(LOAD, factory="no_such_framework.nn:Model", imports=["no_such_framework"])
    (reply,) = ask(missing)
    assert reply.reason == "unavailable"
    assert "no_such_framework is not installed: pip install it" in reply.message


def test_any_other_missing_module_is_an_exception() -> None:
    (reply,) = ask(replace(LOAD, factory="no_such_module:Model"))
    assert reply.reason == "exception"
    assert "no_such_module" in reply.message


@pytest.mark.parametrize("made", [None, object(), "a string"])
def test_a_factory_must_make_a_backend(
    given: Given, backend: Callable[[Any], str], made: Any
) -> None:
    _, reply = ask(replace(LOAD, factory=backend(lambda task: made)), given.build)
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
    given: Given, backend: Callable[[Any], str], made: Any
) -> None:
    bad = backend(type("Bad", (Generating,), {"answer": made}))
    *_, reply = ask(replace(LOAD, factory=bad), given.build, GENERATE)
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
    given: Given, backend: Callable[[Any], str], answer: Any
) -> None:
    bad = backend(type("Bad", (Returning,), {"answer": answer}))
    *_, reply = ask(replace(LOAD, factory=bad), given.build, given.epoch)
    assert reply.reason == INTERFACE
    assert "EpochLoss" in reply.message


@pytest.mark.parametrize("tokens", [0, 1])
def test_a_wrong_count_from_the_first_epoch_on_breaks_the_interface(
    given: Given, backend: Callable[[Any], str], tokens: int
) -> None:
    bad = backend(type("Bad", (Returning,), {"answer": EpochLoss(1.5, tokens)}))
    *_, reply = ask(replace(LOAD, factory=bad), given.build, given.epoch)
    assert reply.reason == INTERFACE
    assert "tokens" in reply.message


@pytest.mark.parametrize("answer", [None, {}, [1, 2]])
def test_parameters_of_a_wrong_type_break_the_interface(
    given: Given, backend: Callable[[Any], str], answer: Any
) -> None:
    def parameters(self: NumpyBackend) -> Any:
        return answer

    bad = backend(type("Bad", (NumpyBackend,), {"parameters": parameters}))
    *_, reply = ask(replace(LOAD, factory=bad), given.build, given.save)
    assert reply.reason == INTERFACE


def test_parameters_of_another_shape_break_the_interface(
    given: Given, backend: Callable[[Any], str]
) -> None:
    class Misshapen(NumpyBackend):
        def parameters(self) -> Parameters:
            good = super().parameters()
            return Parameters(good.layers, good.output_kernel.T, good.output_bias)

    *_, reply = ask(replace(LOAD, factory=backend(Misshapen)), given.build, given.save)
    assert reply.reason == INTERFACE
    assert reply.message == "parameters: output_kernel: expected shape (8, 9), got (9, 8)"
    assert not given.saved.exists()


def test_the_end_of_the_requests_is_the_end() -> None:
    assert len(ask(LOAD)) == 1
    assert ask() == []


def test_nothing_is_answered_after_finish(given: Given) -> None:
    assert len(ask(LOAD, given.build, FINISH, given.epoch)) == 3


AFTER_BUILD = (
    *(TrainEpoch("b.npy"), Evaluate("b.npy"), Prepare("b.npy"), GENERATE, FINISH, Matmul(8, 1)),
    *(LoadParameters("p.npy"), SaveParameters("p.npy")),
)


@pytest.mark.parametrize("request_", [Build(TASK, "b.npy", None), *AFTER_BUILD])
def test_a_request_before_load_says_what_must_come_first(request_: Request[Any]) -> None:
    (reply,) = ask(request_)
    assert reply.reason == INTERFACE
    assert "must be asked to load" in reply.message


@pytest.mark.parametrize("request_", AFTER_BUILD)
def test_a_request_before_build_says_what_must_come_first(request_: Request[Any]) -> None:
    _, reply = ask(LOAD, request_)
    assert reply.reason == INTERFACE
    assert "to build first" in reply.message


SESSIONS = (TrialSession(), Probe(), KitSession(), AuditSession())


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: type(session).__name__)
def test_every_handler_takes_its_request_and_returns_its_answer(session: loop.Session) -> None:
    for kind, handler in session.handlers().items():
        hints = get_type_hints(handler)
        assert hints == {"request": kind, "return": kind.answer}, kind


@pytest.fixture(autouse=True)
def _quiet_after() -> Iterator[None]:
    yield
    sys.modules[__name__].__dict__.pop("published", None)


class Offering:
    """Takes device memory for its matmuls."""

    allocated = 7

    def matrix_product(self, side: int) -> None:
        self.allocated += side * side

    def device_memory(self) -> int:
        return self.allocated

    def runtime(self) -> dict[str, str]:
        return {}


def test_memory_is_the_trial_s_not_that_of_its_matmuls() -> None:
    session = TrialSession()
    session._factory = NumpyBackend
    session._instance = Instance(Offering(), TASK, "peak", SHAPES)  # type: ignore[arg-type]
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
    session._factory = NumpyBackend
    session._instance = Instance(Refusing(), TASK, "peak", SHAPES)  # type: ignore[arg-type]
    assert session.matmul(Matmul(side=100, count=3)).seconds is None
