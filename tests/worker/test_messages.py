"""The wire: what is sent arrives, and what is no proper message is refused with its field."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.testing import messages as kit_messages
from lstmbench.testing.messages import KIT_REQUESTS
from lstmbench.worker import messages
from lstmbench.worker.messages import (
    REQUESTS,
    Answer,
    EpochTrained,
    Failure,
    Generate,
    Idle,
    InvalidMessage,
    Matmul,
    Request,
    TrainEpoch,
    WaitUntilIdle,
    decode_reply,
    decode_request,
    encode_answer,
    encode_failure,
    encode_request,
)

ROOT = Path(__file__).parents[2]
ALL_REQUESTS = (*REQUESTS, *KIT_REQUESTS)
ANSWERS: list[Any] = sorted({kind.answer for kind in ALL_REQUESTS}, key=lambda kind: kind.__name__)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation, as :mod:`lstmbench.worker.messages` uses them."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        low, high = arguments[1].low, arguments[1].high
        if arguments[0] is int:
            return st.integers(int(low), int(high))
        return st.floats(low, high)
    if origin in (Union, UnionType):
        return st.one_of(*(values(argument) for argument in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(values(arguments[0]), max_size=3)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    if origin is dict:
        return st.dictionaries(st.text(), values(arguments[1]), max_size=3)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        fields = {f.name: values(hints[f.name]) for f in dataclasses.fields(kind)}
        return st.builds(kind, **fields)  # type: ignore[arg-type]
    simple = {
        int: st.integers(),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
        str: st.text(),
        NoneType: st.none(),
    }
    return simple[kind]


@given(st.data(), st.sampled_from(ALL_REQUESTS), st.integers())
def test_a_request_arrives_as_it_was_sent(data: Any, kind: Any, number: int) -> None:
    request = data.draw(values(kind))
    line = encode_request(number, request)
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    assert decode_request(line, ALL_REQUESTS) == (number, request)


@dataclasses.dataclass(frozen=True)
class Any_(Request[Answer], name="any"):
    """Takes any answer: which is set by the test."""


@given(st.data(), st.sampled_from(ANSWERS), st.integers())
def test_an_answer_arrives_as_it_was_sent(data: Any, kind: Any, number: int) -> None:
    answer = data.draw(values(kind))
    line = encode_answer(number, answer)
    assert "\n" not in line[:-1]
    Any_.answer = kind
    assert decode_reply(line, number, Any_()) == answer


@given(values(Failure), st.integers())
def test_a_failure_arrives_as_it_was_sent(failure: Failure, number: int) -> None:
    assert decode_reply(encode_failure(number, failure), number, WaitUntilIdle()) == failure


@given(st.binary() | st.text() | st.from_type(dict).map(str))
def test_any_other_line_is_refused(line: str | bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode_reply(line, 1, WaitUntilIdle())
    with pytest.raises(InvalidMessage):
        decode_request(line, REQUESTS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["seconds", "nats", "tokens", "more"]), json_values)
    | json_values
)
def test_whatever_is_taken_for_an_epoch_is_one(answer: Any) -> None:
    line = json.dumps({"number": 1, "answer": answer})
    try:
        taken = decode_reply(line, 1, TrainEpoch("b.npy"))
    except InvalidMessage:
        return
    assert isinstance(taken, EpochTrained)
    assert 0 < taken.seconds < float("inf")
    assert abs(taken.nats) < float("inf")
    assert type(taken.tokens) is int
    assert taken.tokens > 0


EPOCH = {"seconds": 0.5, "nats": 100.0, "tokens": 50}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seconds": 0.0}, "answer.seconds: expected 1e-09 to 1e+09, got 0.0"),
        ({"seconds": -1}, "answer.seconds: expected 1e-09"),
        ({"seconds": float("nan")}, "answer.seconds: expected 1e-09"),
        ({"seconds": "0.5"}, "answer.seconds: expected float, got '0.5'"),
        ({"seconds": True}, "answer.seconds: expected float, got True"),
        ({"seconds": None}, "answer.seconds: expected float, got None"),
        ({"seconds": 10**400}, "answer.seconds: expected 1e-09"),
        ({"nats": float("-inf")}, "answer.nats: expected"),
        ({"tokens": 0}, "answer.tokens: expected 1"),
        ({"tokens": 50.0}, "answer.tokens: expected int, got 50.0"),
        ({"tokens": 2**60}, "answer.tokens: expected 1"),
        ({"more": 1}, "expected seconds, nats, tokens, got 'more'"),
    ],
)
def test_a_field_that_is_wrong_is_named(change: dict[str, Any], words: str) -> None:
    line = json.dumps({"number": 1, "answer": {**EPOCH, **change}})
    with pytest.raises(InvalidMessage, match=re.escape(words)):
        decode_reply(line, 1, TrainEpoch("b.npy"))


@pytest.mark.parametrize("name", EPOCH)
def test_a_field_that_is_missing_is_named(name: str) -> None:
    answer = {key: value for key, value in EPOCH.items() if key != name}
    with pytest.raises(InvalidMessage, match=rf"answer\.{name}: missing"):
        decode_reply(json.dumps({"number": 1, "answer": answer}), 1, TrainEpoch("b.npy"))


def test_the_reply_to_another_request_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="expected a reply to request 2, got one to 1"):
        decode_reply(encode_answer(1, Idle(True)), 2, WaitUntilIdle())


def test_a_request_that_is_not_served_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="'epoch' is not served here"):
        decode_request(encode_request(1, TrainEpoch("b.npy")), [WaitUntilIdle])


@pytest.mark.parametrize("reason", ["signal", "parity", "audit", "", "ok", 5, None, ["nan"]])
def test_a_worker_gives_its_own_reasons_only(reason: Any) -> None:
    error = {"reason": reason, "message": ""}
    with pytest.raises(InvalidMessage, match=r"error\.reason: expected one of exception"):
        decode_reply(json.dumps({"number": 1, "error": error}), 1, WaitUntilIdle())


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (Matmul(side=8, count=3), {"seconds": [0.5, 0.5]}),
        (Generate([[1], [2]], 2, 9), {"continuations": [[1, 2]], "seconds": 1.0}),
        (Generate([[1]], 2, 9), {"continuations": [[1, 2, 3]], "seconds": 1.0}),
        (Generate([[1]], 2, 9), {"continuations": [[1, 9]], "seconds": 1.0}),
        (Generate([[1]], 2, 9), {"continuations": [[1, -1]], "seconds": 1.0}),
    ],
)
def test_an_answer_must_fit_its_request(request_: Request[Any], answer: dict[str, Any]) -> None:
    line = json.dumps({"number": 1, "answer": answer})
    with pytest.raises(InvalidMessage, match="expected"):
        decode_reply(line, 1, request_)


def test_an_error_is_a_reason_and_a_message_and_nothing_else() -> None:
    error = {"reason": "exception", "message": "no luck"}
    reply = decode_reply(json.dumps({"number": 1, "error": error}), 1, WaitUntilIdle())
    assert reply == Failure("exception", "no luck")
    error["detail"] = "parity holds"
    with pytest.raises(InvalidMessage, match="expected reason, message, got 'detail'"):
        decode_reply(json.dumps({"number": 1, "error": error}), 1, WaitUntilIdle())


def table() -> str:
    """The requests as the documents list them."""
    lines = ["| request | what it asks for | fields | answer |", "|---|---|---|---|"]
    for kind in ALL_REQUESTS:
        summary = (kind.__doc__ or "").partition("\n\n")[0].replace("\n    ", " ").rstrip(".")
        sides: tuple[Any, Any] = (kind, kind.answer)
        fields, answer = (
            ", ".join(f"`{field.name}`" for field in dataclasses.fields(side)) for side in sides
        )
        lines.append(f"| `{kind.name}` | {summary} | {fields} | {answer} |")
    return "\n".join(lines).replace("``", "`") + "\n"


def test_every_request_is_listed_once() -> None:
    declared = {
        thing
        for module in (messages, kit_messages)
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Request) and thing is not Request
    }
    assert set(ALL_REQUESTS) == declared
    assert len({kind.name for kind in ALL_REQUESTS}) == len(ALL_REQUESTS)


def test_the_documents_list_the_requests_as_they_are() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert table() in text, f"docs/architecture.md should hold:\n\n{table()}"
