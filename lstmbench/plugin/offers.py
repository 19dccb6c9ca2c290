"""What a plugin offers, checked field by field. Each check yields what is wrong with an offer.

By hand: listing must not wait for a validator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from lstmbench.backend import (
    DISTRIBUTIONS,
    FEATURES,
    INTERFACES,
    LOSSES,
    LSTM_MODEL,
    MOMENTS,
    BackendSpec,
)
from lstmbench.plugin.extensions import SUFFIX, Format
from lstmbench.preparation import MAX_SYMBOLS, MIN_SYMBOLS, TOKENS

if TYPE_CHECKING:
    import click

    from lstmbench.corpora.spec import CorpusSpec
    from lstmbench.protocol import Protocol

#: Of a file: which function, and its digits.
_DIGEST = re.compile("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|git:[0-9a-f]{40}")

T = TypeVar("T")
Check = Callable[[T], Iterator[str]]

#: Names stand in file names and on command lines.
MAX_NAME = 64
#: Characters of an environment variable, half of what Linux takes.
MAX_VARIABLE = 2**16
#: Characters that are shown of a value that is not as expected.
MAX_SHOWN = 80
#: Of a protocol's counts, the least that makes sense.
_COUNTS = {"validate_every": 0, "continuation": 0, "repeats": 1, "decay_after": 0}
_SHARES = ("train_fraction", "validation_fraction", "test_fraction")
#: Counts up to here are exact in every program that reads JSON.
_MAX_COUNT = 2**53


def fault(offer: object, kind: type[T], check: Check[T], subclasses: bool = False) -> str | None:
    """Why ``offer`` is no usable ``kind``, or ``None``.

    Without ``subclasses`` the offer must be of ``kind`` itself: a subclass may have fields, such
    as an optimizer, that nothing would look at.
    """
    if not isinstance(offer, kind):
        return f"returned {type(offer).__name__} where {kind.__name__} is expected"
    if type(offer) is not kind and not subclasses:
        return (
            f"returned a {type(offer).__name__}, a subclass of {kind.__name__}: what it adds would "
            f"be ignored, so it must be a {kind.__name__} itself"
        )
    name: Any = getattr(offer, "name", None)
    if not usable(name):
        return f"offers the unusable name {_shown(name)}"
    wrong = next(check(offer), None)
    return f"offers {name!r} {wrong}" if wrong else None


def usable(name: object) -> bool:
    """Whether a name can be typed beside others, and be part of a file's name."""
    return (
        type(name) is str
        and 0 < len(name) <= MAX_NAME
        and name.isprintable()
        and not name.startswith("-")
        and not set(name) & set(",:/\\ ")
        and name not in ("all", "default")
    )


def backend_faults(spec: BackendSpec) -> Iterator[str]:
    if spec.interface not in INTERFACES:
        yield (
            f"for interface {_shown(spec.interface)}, this lstmbench has "
            f"{INTERFACES[0]} to {INTERFACES[-1]}: install matching versions"
        )
    yield from _expect(
        spec,
        factory=(_text(spec.factory) and ":" in spec.factory, "'module:attribute'"),
        modes=(bool(spec.modes) and _lists(spec.modes), "{device: (mode, ...)}"),
        dtypes=(_lists(spec.dtypes), "{device: (dtype, ...)}"),
        imports=(_texts(spec.imports, tuple), "(module, ...)"),
        environment=(_variables(spec.environment), "{name: text}"),
        expected_failures=(_pairs(spec.expected_failures), "{check: reason}"),
        summary=(_text(spec.summary), "text"),
        install=(_text(spec.install), "text"),
        model=(usable(spec.model), "a name"),
        reference=(
            _text(spec.reference) and (":" in spec.reference) == (spec.model != LSTM_MODEL),
            f"'module:attribute' with a model of its own, and none with {LSTM_MODEL!r}",
        ),
        features=(
            _texts(spec.features, tuple)
            and set(spec.features) <= (set(FEATURES) if spec.interface > 1 else set()),
            f"(name, ...) of {', '.join(FEATURES)}, and none with interface 1",
        ),
        out_of_all=(spec.out_of_all is None or _text(spec.out_of_all), "the reason, or None"),
    )


def protocol_faults(offered: Protocol) -> Iterator[str]:
    from lstmbench.protocol import KINDS, OVERRIDABLE, SCHEDULES

    for name, (least, most) in OVERRIDABLE.items():
        value = getattr(offered, name)
        if name == "learning_rate":
            right = _number(value, least, most) and value > 0
            expected = f"a positive number, at most {most}"
        elif name == "dropout":
            right = _number(value, least, most) and value < most
            expected = "a share from 0 to below 1"
        elif name in ("embedding_size", "input_size"):
            right = value is None or _count(value, least, most)
            expected = f"a whole number from {least} to {most}, or None"
        else:
            right = _count(value, least, most)
            expected = f"a whole number from {least} to {most}"
        yield from _expect(offered, **{name: (right, expected)})
    for name, least in _COUNTS.items():
        right = _count(getattr(offered, name), least)
        yield from _expect(offered, **{name: (right, f"a whole number from {least}")})
    for name in _SHARES:
        right = _number(getattr(offered, name), 0, 1)
        yield from _expect(offered, **{name: (right, "a share from 0 to 1")})
    shares = sum(getattr(offered, name) for name in _SHARES)
    yield from _expect(
        offered,
        train_tokens=(
            offered.train_tokens is None or _count(offered.train_tokens, 1),
            "a whole number from 1, or None",
        ),
        test_fraction=(
            offered.train_tokens is not None or shares < 1 + 1e-9,
            "no more than the train and validation fractions leave",
        ),
        clip_norm=(_positive_or_none(offered.clip_norm), "a positive number, or None"),
        clip_value=(_positive_or_none(offered.clip_value), "a positive number, or None"),
        tied=(type(offered.tied) is bool, "True or False"),
        optimizer=(offered.optimizer in tuple(MOMENTS), f"one of {', '.join(MOMENTS)}"),
        kind=(offered.kind in KINDS, f"one of {', '.join(KINDS)}"),
        loss=(offered.loss in LOSSES, f"one of {', '.join(LOSSES)}"),
        schedule=(offered.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
        decay=(_number(offered.decay, 0, 1) and offered.decay > 0, "a share above 0"),
        initialisation=(
            offered.initialisation in DISTRIBUTIONS,
            f"one of {', '.join(DISTRIBUTIONS)}",
        ),
        initial_scale=(_number(offered.initial_scale, 0, 1e6), "a number from 0"),
        initial_bias_scale=(_number(offered.initial_bias_scale, 0, 1e6), "a number from 0"),
        forget_bias=(
            offered.forget_bias is None or _number(offered.forget_bias, -1e6, 1e6),
            "a number, or None",
        ),
        precision=(
            offered.precision is None or _number(offered.precision, 0, 1),
            "a share such as 0.02, or None",
        ),
        budget=(_number(offered.budget) and offered.budget > 0, "a positive number"),
        prefixes=(_texts(offered.prefixes, tuple), "(text, ...)"),
        summary=(_text(offered.summary), "text"),
        note=(_text(offered.note), "text"),
    )
    yield from (f"that cannot be: {fault}" for fault in offered.contradictions())


def corpus_faults(spec: CorpusSpec) -> Iterator[str]:
    yield from _expect(
        spec,
        summary=(_text(spec.summary), "text"),
        make=(spec.make is None or callable(spec.make), "a function that returns the text"),
        surprisal=(spec.surprisal is None or callable(spec.surprisal), "a function, or None"),
        filename=(_file_name(spec.filename), "a file's name"),
        urls=(_texts(spec.urls, tuple), "(address, ...)"),
        source=(_text(spec.source), "text"),
        splits=(
            isinstance(spec.splits, tuple) and all(map(_split_file, spec.splits)),
            "(SplitFile, ...)",
        ),
        tokens=(spec.tokens in TOKENS, " or ".join(TOKENS)),
        normalise=(
            spec.normalise in ("letters", "none", "exact") or callable(spec.normalise),
            "letters, none, exact, or a function from text to text",
        ),
        vocabulary_size=(
            spec.vocabulary_size is None or _count(spec.vocabulary_size, MIN_SYMBOLS, MAX_SYMBOLS),
            f"a whole number from {MIN_SYMBOLS}, or None",
        ),
        min_count=(_count(spec.min_count, 1, MAX_SYMBOLS), "a whole number from 1"),
    )
    names = [part.split for part in spec.splits]
    if names and (len(set(names)) < len(names) or "train" not in names):
        yield f"with splits {', '.join(names)}, expected each once, and train"
    if spec.make is None and not spec.splits:
        digest = isinstance(spec.sha256, str) and re.fullmatch("[0-9a-f]{64}", spec.sha256)
        yield from _expect(
            spec,
            filename=(bool(spec.filename), "a file's name, as there is no make"),
            sha256=(bool(digest), "64 digits of 0-9a-f"),
        )


def _split_file(part: Any) -> bool:
    from lstmbench.corpora.spec import SPLITS, SplitFile

    return (
        type(part) is SplitFile
        and part.split in SPLITS
        and _file_name(part.filename)
        and bool(part.filename)
        and isinstance(part.digest, str)
        and bool(_DIGEST.fullmatch(part.digest))
        and _texts(part.urls, tuple)
    )


def _file_name(value: Any) -> bool:
    return _text(value) and not set(value) & set("/\\")


def command_faults(offered: click.Command) -> Iterator[str]:
    if not _text(offered.get_short_help_str()):
        yield "without a help text"


def format_faults(offered: Format) -> Iterator[str]:
    suffix = offered.suffix
    right = isinstance(suffix, str) and len(suffix) <= MAX_NAME and bool(SUFFIX.fullmatch(suffix))
    yield from _expect(
        offered,
        suffix=(right, "a dot and letters, such as '.txt'"),
        render=(callable(offered.render), "a function"),
    )


def _expect(offer: object, **fields: tuple[bool, str]) -> Iterator[str]:
    """Of the fields, each given with whether it is right and what is expected, those in fault."""
    for name, (right, expected) in fields.items():
        if not right:
            yield f"with {name}={_shown(getattr(offer, name))}, expected {expected}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _text(value: object) -> bool:
    """A string that files and environments can hold."""
    return isinstance(value, str) and not re.search("[\0\ud800-\udfff]", value)


def _texts(values: Any, kind: type[Any]) -> bool:
    return isinstance(values, kind) and all(map(_text, values))


def _pairs(table: Any) -> bool:
    return _texts(table, Mapping) and all(map(_text, table.values()))


def _variables(table: Any) -> bool:
    """Of an environment, in which a process can be started."""
    return _pairs(table) and all(
        name and "=" not in name and len(name) + len(value) <= MAX_VARIABLE
        for name, value in table.items()
    )


def _lists(table: Any) -> bool:
    """Names by name, at least one each."""
    return (
        isinstance(table, Mapping)
        and all(map(usable, table))
        and all(isinstance(v, tuple) and v and all(map(usable, v)) for v in table.values())
    )


def _count(value: object, least: float = 0, most: float = _MAX_COUNT) -> bool:
    return type(value) is int and least <= value <= most


def _positive_or_none(value: Any) -> bool:
    return value is None or (_number(value) and value > 0)


def _number(value: Any, least: float = -_MAX_COUNT, most: float = _MAX_COUNT) -> bool:
    return type(value) in (int, float) and least <= value <= most
