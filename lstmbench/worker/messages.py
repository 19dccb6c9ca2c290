"""What host and worker say to each other: typed requests and answers, one JSON line each.

The host sends ``{"number": N, "request": NAME, "fields": {...}}``. The worker replies
``{"number": N, "answer": {...}}`` or ``{"number": N, "error": {"reason", "message"}}``.
The number of a reply is that of its request. Arrays are handed over in files, as
:mod:`lstmbench.worker.arrays` writes them; messages name the files. :data:`REQUESTS` lists every
request; each side checks what arrives against the types below, for a plugin may write into the
pipe too.
Needs the standard library only.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from lstmbench.backend import Task

#: The reason of a trial whose backend, or whatever writes in its worker, breaks the interface.
INTERFACE: Final = "interface"
#: Why a worker cannot go on; ``unavailable`` is no failure.
WorkerReason = Literal["exception", "nan", "memory", "interface", "unavailable"]


class InvalidMessage(ValueError):
    """A message is not what it should be. Names the field, what was expected and what it got."""


@dataclass(frozen=True)
class Between:
    """A range of numbers, both ends included."""

    low: float
    high: float


#: A measured time: what lies beyond is no measurement.
Seconds = Annotated[float, Between(1e-9, 1e9)]
#: A time that may round to nothing.
Duration = Annotated[float, Between(0.0, 1e9)]
#: Bytes; exact in every program that reads JSON.
Size = Annotated[int, Between(0, 2**53)]
Count = Annotated[int, Between(1, 2**53)]
#: Any finite loss.
Nats = Annotated[float, Between(-1e300, 1e300)]


class Answer:
    """What a request is answered with."""


A = TypeVar("A", bound=Answer)


class Request(Generic[A]):
    """What a worker is asked; ``Request[X]`` is answered with an ``X``."""

    name: ClassVar[str]
    answer: ClassVar[type[Answer]]

    def __init_subclass__(cls, *, name: str) -> None:
        cls.name = name
        (cls.answer,) = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]

    def check(self, answer: A) -> None:
        """Raise :class:`InvalidMessage` for an answer that is none to this very request."""


@dataclass(frozen=True)
class Failure:
    """The reply of a worker that cannot go on."""

    reason: WorkerReason
    message: str


@dataclass(frozen=True)
class Idle(Answer):
    """Whether the process got to rest."""

    idle: bool


@dataclass(frozen=True)
class WaitUntilIdle(Request[Idle], name="wait_until_idle"):
    """Answer once no thread of the process computes any more, so that the next may begin."""


@dataclass(frozen=True)
class Done(Answer):
    """What was asked is done."""


@dataclass(frozen=True)
class Ping(Request[Done], name="ping"):
    """Answer at once: what a request costs that asks for nothing."""


@dataclass(frozen=True)
class TrialLoaded(Answer):
    """Seconds of the import, and the resident bytes after it."""

    import_seconds: Duration
    imported_bytes: Size


@dataclass(frozen=True)
class LoadTrial(Request[TrialLoaded], name="load"):
    """Import the plugin.

    ``factory`` is ``module:attribute``; ``imports`` and ``install`` say what a missing framework
    is and how to get it. ``reference`` is the ``module:attribute`` of the plugin's own model, empty
    for the LSTM.
    """

    factory: str
    imports: list[str]
    install: str
    cpus: list[int] | None
    reference: str = ""


@dataclass(frozen=True)
class Drop(Request[Done], name="drop"):
    """Let go of the instance, if there is one, whose memory is not counted."""


@dataclass(frozen=True)
class Built(Answer):
    """Seconds of building an instance, its parameters included, and of preparing it."""

    build_seconds: Duration
    prepare_seconds: Duration


@dataclass(frozen=True)
class Build(Request[Built], name="build"):
    """Build an instance in place of the one before and prepare it for ``batches``.

    ``parameters`` are loaded first; ``None`` leaves it the framework's own. Without ``batches`` it
    is built for the layers alone, whose first passes prepare it.
    """

    task: Task
    batches: str | None
    parameters: str | None


@dataclass(frozen=True)
class Prepare(Request[Done], name="prepare"):
    """Prepare the instance for other ``batches``."""

    batches: str


@dataclass(frozen=True)
class LoadParameters(Request[Done], name="load_parameters"):
    """Replace the instance's parameters by those of a file, and begin with a new optimizer."""

    path: str


@dataclass(frozen=True)
class SaveParameters(Request[Done], name="save_parameters"):
    """Write the instance's parameters to a file, and what its optimizer keeps."""

    path: str


@dataclass(frozen=True)
class EpochTrained(Answer):
    """Seconds of one epoch and its summed loss."""

    seconds: Seconds
    nats: Nats
    tokens: Count


@dataclass(frozen=True)
class TrainEpoch(Request[EpochTrained], name="epoch"):
    """Train one epoch on ``batches``, at ``learning_rate`` where the protocol schedules it."""

    batches: str
    learning_rate: float | None = None


@dataclass(frozen=True)
class StageLayer(Request[Done], name="stage_layer"):
    """Take what passes through the layers alone read, and the ``slopes`` of those that go back."""

    inputs: str
    slopes: str | None


@dataclass(frozen=True)
class LayerPassed(Answer):
    """Seconds of some passes together."""

    seconds: Seconds


@dataclass(frozen=True)
class PassLayer(Request[LayerPassed], name="pass_layer"):
    """Go through the layers alone ``count`` times, on what was staged from ``first`` on."""

    first: int
    count: int


@dataclass(frozen=True)
class ShowLayer(Request[Done], name="show_layer"):
    """Write what the last pass through the layers alone has given to a file."""

    path: str


@dataclass(frozen=True)
class Timed(Answer):
    """Seconds of each repetition; ``None`` where nothing of the kind is offered."""

    seconds: list[Seconds] | None


@dataclass(frozen=True)
class Matmul(Request[Timed], name="matmul"):
    """Multiply two ``[side, side]`` matrices ``count`` times."""

    side: int
    count: int

    def check(self, answer: Timed) -> None:
        _check_count(answer.seconds, self.count)


@dataclass(frozen=True)
class Copy(Request[Timed], name="copy"):
    """Copy ``size`` bytes in memory ``count`` times."""

    size: int
    count: int

    def check(self, answer: Timed) -> None:
        _check_count(answer.seconds, self.count)


def _check_count(seconds: list[float] | None, count: int) -> None:
    if seconds is not None and len(seconds) != count:
        raise InvalidMessage(f"seconds: expected {count} values, got {len(seconds)}")


@dataclass(frozen=True)
class Evaluated(Answer):
    """The summed loss."""

    nats: Nats
    tokens: Count


@dataclass(frozen=True)
class Evaluate(Request[Evaluated], name="evaluate"):
    """The loss on ``batches``, from zero state, without training."""

    batches: str


@dataclass(frozen=True)
class Generated(Answer):
    """The new ids after each prefix, and the seconds of all together."""

    continuations: list[list[int]]
    seconds: Duration


@dataclass(frozen=True)
class Generate(Request[Generated], name="generate"):
    """Continue each prefix greedily by ``length`` ids below ``vocabulary_size``."""

    prefixes: list[list[int]]
    length: int
    vocabulary_size: int

    def check(self, answer: Generated) -> None:
        expected = f"{len(self.prefixes)} x {self.length} ids below {self.vocabulary_size}"
        if [len(ids) for ids in answer.continuations] != [self.length] * len(self.prefixes):
            lengths = [len(ids) for ids in answer.continuations]
            raise InvalidMessage(f"continuations: expected {expected}, got {lengths!r:.80}")
        for ids in answer.continuations:
            if not all(0 <= i < self.vocabulary_size for i in ids):
                raise InvalidMessage(f"continuations: expected {expected}, got {ids!r:.80}")


@dataclass(frozen=True)
class Finished(Answer):
    """What the backend says of itself, and the memory that the trial took, in bytes by name."""

    runtime: dict[str, str]
    memory: dict[str, Size]


@dataclass(frozen=True)
class Finish(Request[Finished], name="finish"):
    """Facts about the trial that only its process knows; the last request."""


@dataclass(frozen=True)
class ProbeLoaded(Answer):
    """The library that multiplies."""

    library: str


@dataclass(frozen=True)
class LoadProbe(Request[ProbeLoaded], name="load_probe"):
    """Get ready to multiply and copy with so many threads, without a backend."""

    cpus: list[int] | None
    threads: int
    dtype: str


#: Every request of a run, in the order of a trial; the probe's own at the end.
REQUESTS: tuple[type[Request[Any]], ...] = (
    LoadTrial,
    Drop,
    Build,
    Prepare,
    LoadParameters,
    SaveParameters,
    TrainEpoch,
    Ping,
    StageLayer,
    PassLayer,
    ShowLayer,
    Matmul,
    WaitUntilIdle,
    Evaluate,
    Generate,
    Finish,
    LoadProbe,
    Copy,
)


def encode_request(number: int, request: Request[Any]) -> str:
    """One line, its end included."""
    fields = dataclasses.asdict(request)  # type: ignore[call-overload]
    return json.dumps({"number": number, "request": request.name, "fields": fields}) + "\n"


def decode_request(
    line: str | bytes, served: Iterable[type[Request[Any]]]
) -> tuple[int, Request[Any]]:
    """Number and request. Raises :class:`InvalidMessage`, also for what is not ``served``."""
    message = _json_object(line, {"number", "request", "fields"})
    kind = next((kind for kind in served if kind.name == message["request"]), None)
    if kind is None:
        raise InvalidMessage(f"request: {message['request']!r:.80} is not served here")
    number = _typed(message["number"], int, "number")
    request: Request[Any] = _typed(message["fields"], kind, "fields")
    return number, request


def encode_answer(number: int, answer: Answer) -> str:
    """One line, its end included."""
    fields = dataclasses.asdict(answer)  # type: ignore[call-overload]
    return json.dumps({"number": number, "answer": fields}) + "\n"


def encode_failure(number: int, failure: Failure) -> str:
    """One line, its end included."""
    return json.dumps({"number": number, "error": dataclasses.asdict(failure)}) + "\n"


def decode_reply(line: str | bytes, number: int, request: Request[A]) -> A | Failure:
    """The reply to ``request`` with its ``number``. Raises :class:`InvalidMessage`."""
    message = _json_object(line, {"number", "answer"}, {"number", "error"})
    replied = _typed(message["number"], int, "number")
    if replied != number:
        raise InvalidMessage(f"number: expected a reply to request {number}, got one to {replied}")
    if "error" in message:
        failure: Failure = _typed(message["error"], Failure, "error")
        return failure
    answer: A = _typed(message["answer"], request.answer, "answer")
    request.check(answer)
    return answer


def _json_object(line: str | bytes, *allowed: set[str]) -> dict[str, Any]:
    """A line as a JSON object with one of the allowed sets of keys."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"expected JSON, got {line[:80]!r}") from error
    if not isinstance(message, dict) or set(message) not in allowed:
        keys = " or ".join(", ".join(sorted(keys)) for keys in allowed)
        raise InvalidMessage(f"expected an object of {keys}, got {line[:80]!r}")
    return message


@cache
def _fields(kind: type[Any]) -> Mapping[str, tuple[Any, bool]]:
    """Type of each field of a dataclass, and whether the field is required."""
    hints = get_type_hints(kind, include_extras=True)
    absent = dataclasses.MISSING
    return {
        f.name: (hints[f.name], f.default is absent and f.default_factory is absent)
        for f in dataclasses.fields(kind)
    }


def _typed(value: Any, kind: Any, where: str) -> Any:
    """A JSON value as what an annotation says. Raises :class:`InvalidMessage`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits: Between = arguments[1]
        if type(value) in (int, float) and not limits.low <= value <= limits.high:
            raise _unexpected(value, f"{limits.low:g} to {limits.high:g}", where)
        return _typed(value, arguments[0], where)
    if origin in (Union, UnionType):
        (other,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _typed(value, other, where)
    if origin is Literal:
        if value not in arguments:
            raise _unexpected(value, f"one of {', '.join(arguments)}", where)
        return value
    if origin is list:
        items = _instance(value, list, where)
        return [_typed(item, arguments[0], f"{where}.{i}") for i, item in enumerate(items)]
    if origin is tuple:
        items = _instance(value, list, where)
        if len(items) != len(arguments):
            raise _unexpected(value, f"{len(arguments)} values", where)
        pairs = zip(items, arguments, strict=True)
        return tuple(_typed(item, kind, f"{where}.{i}") for i, (item, kind) in enumerate(pairs))
    if origin is dict:
        pairs = _instance(value, dict, where).items()
        return {key: _typed(item, arguments[1], f"{where}.{key}") for key, item in pairs}
    if dataclasses.is_dataclass(kind):
        return _dataclass(_instance(value, dict, where), kind, where)
    if kind is float and type(value) is int and abs(value) <= 2**53:
        return float(value)
    return _instance(value, kind, where)


def _dataclass(value: dict[str, Any], kind: Any, where: str) -> Any:
    known = _fields(kind)
    for name in value:
        if name not in known:
            expected = ", ".join(known) or "nothing"
            raise InvalidMessage(f"{where}: expected {expected}, got {name!r:.80}")
    for name, (_, required) in known.items():
        if required and name not in value:
            raise InvalidMessage(f"{where}.{name}: missing")
    return kind(**{n: _typed(item, known[n][0], f"{where}.{n}") for n, item in value.items()})


def _instance(value: Any, kind: type[Any], where: str) -> Any:
    if type(value) is not kind:  # True is no number here
        raise _unexpected(value, kind.__name__, where)
    return value


def _unexpected(value: Any, expected: str, where: str) -> InvalidMessage:
    return InvalidMessage(f"{where}: expected {expected}, got {value!r:.80}")
