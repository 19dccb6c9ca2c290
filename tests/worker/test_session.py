"""The worker's answers, in this process: it needs no more than two text streams."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import reference
from lstmbench.backend import Backend, EpochLoss, ModelConfig, Parameters, Task, TrainingConfig
from lstmbench.batches import Batches, draw_offsets, partition
from lstmbench.errors import Unavailable
from lstmbench.worker import loop, session

TASK = {
    "model": {"vocabulary_size": 9, "hidden_size": 8, "layers": 1},
    "training": {"learning_rate": 1.0, "clip_norm": 1.0, "batch_size": 4, "steps": 5},
    "device": "cpu",
    "mode": "eager",
    "dtype": "float32",
    "threads": 1,
    "seed": 3,
}
Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 9, 400, dtype=np.int32)


@pytest.fixture
def load(tmp_path: Path, ids: np.ndarray) -> dict[str, Any]:
    np.save(tmp_path / "tokens.npy", ids)
    return {
        "do": "load",
        "factory": "lstmbench_numpy.backend:NumpyBackend",
        "imports": ["numpy"],
        "install": "pip install it",
        "task": TASK,
        "init": "shared",
        "cpus": None,
        "tokens": str(tmp_path / "tokens.npy"),
        "splits": {"train": [0, 300], "test": [300, 400]},
    }


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    """Makes a class importable; returns its ``module:attribute``."""

    def publish(thing: Any) -> str:
        monkeypatch.setattr(sys.modules[__name__], "published", thing, raising=False)
        return f"{__name__}:published"

    return publish


def ask(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    answers = io.StringIO()
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    loop.serve(session.Session(), io.StringIO(lines), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


PREPARE, FINISH = {"do": "prepare"}, {"do": "finish"}
EPOCH = {"do": "epoch", "offset": 2}
GENERATE = {"do": "generate", "prefixes": [[1, 2], [3]], "length": 4}


def test_a_whole_life(load: dict[str, Any], ids: np.ndarray) -> None:
    replies = ask(
        load, PREPARE, EPOCH, EPOCH, {"do": "evaluate", "split": "test"}, GENERATE, FINISH
    )
    answers = [reply["answer"] for reply in replies]
    assert len(answers) == 7
    model = ModelConfig(**TASK["model"])
    training = TrainingConfig(**TASK["training"])
    parameters = reference.draw_parameters(model, 3)
    assert answers[1]["parameters_digest"] == parameters.digest()
    batches = partition(ids[:300], 4, 5, 2)
    for came in answers[2:4]:
        parameters, loss = reference.train_epoch(parameters, batches, training)
        assert came["nats"] == pytest.approx(loss.nats, rel=1e-6)
        assert came["tokens"] == loss.tokens
        assert came["seconds"] > 0
    test = reference.evaluate(parameters, partition(ids[300:], 4, 5, 0))
    assert answers[4]["nats"] == pytest.approx(test.nats, rel=1e-6)
    expected = [reference.generate(parameters, prefix, 4) for prefix in ([1, 2], [3])]
    assert answers[5]["continuations"] == expected
    assert answers[6]["runtime"]["kernel"]


def test_phases_are_told_apart(load: dict[str, Any]) -> None:
    first, second, third = (r["answer"] for r in ask(load, PREPARE, GENERATE))
    assert set(first["phases"]) == {"import"}
    assert set(second["phases"]) == {"build", "prepare", "parity", "rebuild"}
    assert set(third["phases"]) == {"generate"}
    phases = [*first["phases"].values(), *second["phases"].values(), *third["phases"].values()]
    assert min(phases) >= 0


def test_parity_is_proven_before_training_and_with_the_trial_s_shapes(
    load: dict[str, Any],
) -> None:
    proof = ask(load, PREPARE)[1]["answer"]["parity"]
    assert proof["worst"] < proof["tolerance"] == 1e-4
    assert tuple(proof["shape"]) == partition(np.arange(300), 4, 5).inputs.shape
    assert proof["cut"] is False


def test_native_parameters_are_the_backend_s_own(
    load: dict[str, Any], backend: Callable[[Any], str]
) -> None:
    class Native(NumpyBackend):
        def __init__(self, task: Task) -> None:
            super().__init__(task)
            self._parameters = reference.draw_parameters(task.model, 99, scale=0.5)

    load["factory"] = backend(Native)
    digests = {
        init: ask({**load, "init": init}, PREPARE)[1]["answer"]["parameters_digest"]
        for init in ("shared", "native")
    }
    model = ModelConfig(**TASK["model"])
    assert digests["shared"] == reference.draw_parameters(model, 3).digest()
    assert digests["native"] == reference.draw_parameters(model, 99, scale=0.5).digest()


def test_the_instance_that_parity_used_is_thrown_away(
    load: dict[str, Any], backend: Callable[[Any], str]
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

    load["factory"] = backend(Counted)
    ask(load, PREPARE, EPOCH)
    assert [instance.epochs for instance in built] == [2, 1]  # type: ignore[attr-defined]


def test_parity_is_proven_at_a_rate_that_shows_changes(
    load: dict[str, Any], backend: Callable[[Any], str]
) -> None:
    built: list[float] = []

    class Noted(NumpyBackend):
        def __init__(self, task: Task) -> None:
            super().__init__(task)
            built.append(task.training.learning_rate)

    load["factory"] = backend(Noted)
    load["task"] = {**TASK, "training": {**TASK["training"], "learning_rate": 1e-5}}
    prepared = ask(load, PREPARE)[1]["answer"]
    assert prepared["parity"]["worst"] <= prepared["parity"]["tolerance"]
    assert built == [pytest.approx(1.31072), 1e-5]


def test_what_cannot_be_proven_is_unavailable_for_that_reason(load: dict[str, Any]) -> None:
    model = {"vocabulary_size": 9, "hidden_size": 1, "layers": 1000}
    training = {**TASK["training"], "batch_size": 1, "steps": 1}
    load["task"] = {**TASK, "model": model, "training": training}
    load["splits"] = {"train": [0, 5]}
    error = ask(load, PREPARE)[1]["error"]
    assert error["reason"] == "unavailable"
    assert error["message"].startswith("parity cannot be proven for 1000 layers of 1")


def test_offsets_change_nothing_but_the_text(load: dict[str, Any]) -> None:
    offsets = draw_offsets(0, 5, 5)
    replies = ask(load, PREPARE, *({"do": "epoch", "offset": o} for o in offsets))
    assert len({reply["answer"]["tokens"] for reply in replies[2:]}) == 1


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
    load: dict[str, Any],
    backend: Callable[[Any], str],
    error: Exception,
    reason: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Raising(NumpyBackend):
        def __init__(self, task: Task) -> None:
            raise error

    load["factory"] = backend(Raising)
    first, second = ask(load, PREPARE, EPOCH, EPOCH)
    assert "answer" in first
    assert second["error"]["reason"] == reason
    assert words in second["error"]["message"]
    if reason == "exception":
        assert "Traceback" in capsys.readouterr().err


def test_a_missing_framework_is_unavailable_with_the_way_there(load: dict[str, Any]) -> None:
    load.update(factory="no_such_framework.nn:Model", imports=["no_such_framework"])
    (reply,) = ask(load)
    assert reply["error"]["reason"] == "unavailable"
    assert "no_such_framework is not installed: pip install it" in reply["error"]["message"]


def test_any_other_missing_module_is_an_exception(load: dict[str, Any]) -> None:
    load["factory"] = "no_such_module:Model"
    (reply,) = ask(load)
    assert reply["error"]["reason"] == "exception"
    assert "no_such_module" in reply["error"]["message"]


@pytest.mark.parametrize("made", [None, object(), "a string"])
def test_a_factory_must_make_a_backend(
    load: dict[str, Any], backend: Callable[[Any], str], made: Any
) -> None:
    load["factory"] = backend(lambda task: made)
    _, reply = ask(load, PREPARE)
    assert reply["error"]["reason"] == "protocol"
    assert type(made).__name__ in reply["error"]["message"]


class Generating(NumpyBackend):
    answer: Any = None

    def generate(self, prefix: Any, length: int) -> Any:
        return self.answer


@pytest.mark.parametrize(
    "made", [[1, 2, 3], [1] * 5, (1,) * 4, np.ones(4, int), [np.int64(1)] * 4, [1.0] * 4, [9] * 4]
)
def test_continuations_that_are_refused(
    load: dict[str, Any], backend: Callable[[Any], str], made: Any
) -> None:
    load["factory"] = backend(type("Bad", (Generating,), {"answer": made}))
    *_, reply = ask(load, PREPARE, GENERATE)
    assert reply["error"]["reason"] == "protocol"
    assert "expected" in reply["error"]["message"]


class Returning(NumpyBackend):
    """Trains with a made-up answer from the very first epoch on."""

    answer: Any = None

    def train_epoch(self, batches: Batches) -> Any:
        super().train_epoch(batches)
        return self.answer


@pytest.mark.parametrize("answer", [1.5, None, (1.5, 300), EpochLoss("1.5", 300)])  # type: ignore[arg-type]
def test_a_wrong_type_from_the_first_epoch_on_is_a_matter_of_protocol(
    load: dict[str, Any], backend: Callable[[Any], str], answer: Any
) -> None:
    load["factory"] = backend(type("Bad", (Returning,), {"answer": answer}))
    *_, reply = ask(load, PREPARE)
    assert reply["error"]["reason"] == "protocol"
    assert "EpochLoss" in reply["error"]["message"]


@pytest.mark.parametrize("tokens", [0, 1])
def test_a_wrong_count_from_the_first_epoch_on_is_a_matter_of_protocol(
    load: dict[str, Any], backend: Callable[[Any], str], tokens: int
) -> None:
    load["factory"] = backend(type("Bad", (Returning,), {"answer": EpochLoss(1.5, tokens)}))
    *_, reply = ask(load, PREPARE)
    assert reply["error"]["reason"] == "protocol"
    assert "tokens" in reply["error"]["message"]


@pytest.mark.parametrize("answer", [None, {}, [1, 2]])
def test_parameters_of_a_wrong_type_are_a_matter_of_protocol(
    load: dict[str, Any], backend: Callable[[Any], str], answer: Any
) -> None:
    def parameters(self: NumpyBackend) -> Parameters:
        return answer

    load["factory"] = backend(type("Bad", (NumpyBackend,), {"parameters": parameters}))
    *_, reply = ask(load, PREPARE)
    assert reply["error"]["reason"] == "protocol"


def test_a_failed_parity_names_the_quantity_and_carries_the_proof(
    load: dict[str, Any], backend: Callable[[Any], str]
) -> None:
    class Twice(NumpyBackend):
        def train_epoch(self, batches: Batches) -> EpochLoss:
            before = self._parameters
            loss = super().train_epoch(batches)
            pairs = zip(before.items(), self._parameters.items(), strict=True)
            self._parameters = Parameters.from_arrays([2 * b - a for (_, a), (_, b) in pairs])
            return loss

    load["factory"] = backend(Twice)
    *_, reply = ask(load, PREPARE, EPOCH)
    error = reply["error"]
    assert error["reason"] == "parity"
    errors = error["parity"]["errors"]
    worst = error["parity"]["worst"]
    assert worst > 0.5
    named, _, figures = error["message"].partition(" differs from the reference by ")
    assert errors[named] == worst
    assert figures.startswith(f"{worst:.1e}, allowed is 1e-04")
    assert {"build", "prepare", "parity"} <= set(error["phases"])


def test_the_end_of_the_commands_is_the_end(load: dict[str, Any]) -> None:
    assert len(ask(load)) == 1
    assert ask() == []


@pytest.fixture(autouse=True)
def _quiet_after() -> Iterator[None]:
    yield
    sys.modules[__name__].__dict__.pop("published", None)


class Offering:
    """Takes device memory for its products."""

    allocated = 7

    def matrix_product(self, side: int) -> None:
        self.allocated += side * side

    def device_memory(self) -> int:
        return self.allocated

    def runtime(self) -> dict[str, str]:
        return {}


def test_memory_is_the_trial_s_not_that_of_its_products() -> None:
    worker = session.Session()
    worker.backend, worker.peak_name = Offering(), "peak"  # type: ignore[assignment]
    answer = worker.product({"side": 100, "count": 3})
    assert len(answer["seconds"]) == 3
    memory = worker.finish({})["memory"]
    assert memory["device_peak"] == 7
    assert memory["peak"] > 0


@pytest.mark.parametrize("error", [NotImplementedError(), RuntimeError("no room")])
def test_a_product_that_is_not_to_be_had_costs_nothing(error: Exception) -> None:
    class Refusing(Offering):
        def matrix_product(self, side: int) -> None:
            raise error

    worker = session.Session()
    worker.backend, worker.peak_name = Refusing(), "peak"  # type: ignore[assignment]
    assert worker.product({"side": 100, "count": 3}) == {"seconds": None}
