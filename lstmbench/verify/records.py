"""One record against itself, and against everything that can be computed again."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from itertools import islice
from typing import Any

import pydantic_core

from lstmbench import __version__
from lstmbench.analysis import flags, impossible, roofline
from lstmbench.backend import parameter_names
from lstmbench.corpora.named import NO_TEXT
from lstmbench.machine.facts import digest_of
from lstmbench.preparation import Tokens
from lstmbench.protocol import OVERRIDES, WORDING
from lstmbench.records.migration import upgrade
from lstmbench.records.parse import Stored
from lstmbench.records.record import Agreement, Flag, Record, Status, digest_of_stack
from lstmbench.verify import audits
from lstmbench.verify.known import (
    ReferenceData,
    drawn_offsets_digest,
    drawn_parameters_digest,
)
from lstmbench.worker import parity
from lstmbench.worker.parity_setting import SIXTEEN_BITS

#: A field of a record and what is wrong with it.
Fault = tuple[str, str]
Check = Callable[[Record, ReferenceData], Iterator[Fault]]
#: Faults of one record that are named; the rest is counted.
MAX_FAULTS = 20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def faults(stored: Stored, known: ReferenceData) -> list[Fault]:
    """What is wrong with a record, field by field; of very many faults the first and their count.

    A series is one field, however many of its values are wrong.
    """
    found = _faults(stored, known)
    named = list(islice(found, MAX_FAULTS))
    more = sum(1 for _ in found)
    return [*named, ("record", f"{more} more faults")] if more else named


def _faults(stored: Stored, known: ReferenceData) -> Iterator[Fault]:
    yield from _schema(stored)
    for check in CHECKS:
        try:
            yield from check(stored.record, known)
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            yield check.__name__.strip("_"), f"cannot be checked: {error}"
    try:
        yield from audits.faults(stored)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        yield "audit", f"cannot be checked: {error}"


def _schema(stored: Stored) -> Iterator[Fault]:
    """What was read is what is written: no number as a string, no field taken for another."""
    written = upgrade(stored.raw)
    yield from _unlike("", written, pydantic_core.from_json(stored.record.model_dump_json()))


def _unlike(place: str, written: Any, read: Any) -> Iterator[Fault]:
    if isinstance(written, Mapping) and isinstance(read, Mapping):
        for key, value in written.items():
            where = f"{place}.{key}".lstrip(".")
            if key not in read:
                yield where, "is no field of records"
            else:
                yield from _unlike(where, value, read[key])
    elif isinstance(written, list) and isinstance(read, list):
        if set(map(type, written)) <= {int, float, str} and written == read:
            return  # at once, since a series may be long
        pairs = enumerate(zip(written, read, strict=False))
        unlike = (
            fault for i, (a, b) in pairs for fault in islice(_unlike(f"{place}.{i}", a, b), 1)
        )
        yield from _first(unlike)
    elif written != read or isinstance(written, bool) != isinstance(read, bool):
        yield place, f"{written!r:.60} is read as {read!r:.60}"


def _first(faults: Iterator[Fault]) -> Iterator[Fault]:
    """The first fault of a series, with how many there are."""
    for place, what in faults:
        more = sum(1 for _ in faults)
        yield place, f"{what} (and {more} more values)" if more else what


def _protocol(record: Record, known: ReferenceData) -> Iterator[Fault]:
    """A record that claims a preset differs from it only where it says so."""
    protocol, overrides = record.trial.protocol, record.trial.overrides
    for name in overrides:
        if name not in OVERRIDES:
            yield f"trial.overrides.{name}", "cannot be overridden"
    preset = known.protocols.get(protocol.name)
    if preset is None:
        return
    for field in fields(preset):
        # what models continue is the user's choice; whether they did is checked with the status
        if field.name in ("name", "prefixes", *WORDING):
            continue
        value = getattr(protocol, field.name)
        expected = overrides.get(field.name, getattr(preset, field.name))
        if value != expected:
            listed = "its override" if field.name in overrides else protocol.name
            yield f"trial.protocol.{field.name}", f"{value}, where {listed} says {expected}"


def _corpus(record: Record, known: ReferenceData) -> Iterator[Fault]:
    text = known.text(record.trial)
    if record.trial.protocol.is_layer:
        text = known.no_text
        if record.trial.corpus != NO_TEXT.name:
            yield "trial.corpus", f"{record.trial.corpus}, though no text is read"
    if not _DIGEST.fullmatch(record.trial.corpus_digest):
        yield "trial.corpus_digest", "is no SHA-256"
    if text is None:
        return
    if record.trial.corpus_digest != text.digest:
        yield "trial.corpus_digest", f"{record.trial.corpus} has {text.digest}"
    if text.symbols is not None and record.vocabulary_size != text.symbols:
        yield "vocabulary_size", f"{record.vocabulary_size}, the text has {text.symbols}"


def _model(record: Record, known: ReferenceData) -> Iterator[Fault]:
    """The number of parameters, and the digests of what the trial started from."""
    trial = record.trial
    model = trial.protocol.model(record.vocabulary_size)
    own = record.own_model
    counted = trial.protocol.parameter_count(record.vocabulary_size)
    if not trial.own_model and record.parameters != counted:
        yield "parameters", f"{record.parameters}, by the formula {counted}"
    elif trial.own_model and record.parameters != (own.parameter_count if own else 0):
        yield "parameters", f"{record.parameters}, which the shapes of own_model do not give"
    for name in ("offsets", "parameters"):
        if record.status == Status.OK and getattr(record.digests, name) is None:
            yield f"digests.{name}", "missing, though status is ok"
    offsets = record.digests.offsets
    if offsets is not None:
        expected = drawn_offsets_digest(trial.seed, trial.protocol.epochs, trial.protocol.steps)
        if offsets != expected:
            yield "digests.offsets", f"seed {trial.seed} gives {expected}"
    parameters = record.digests.parameters
    if parameters is not None and not _DIGEST.fullmatch(parameters):
        yield "digests.parameters", "is no SHA-256"
    elif parameters is not None and trial.init == "shared" and not trial.own_model:
        drawn = drawn_parameters_digest(model, trial.seed, trial.dtype)
        if trial.dtype in SIXTEEN_BITS and not (record.parity and record.parity.program):
            drawn = None  # earlier versions gave parameters in the trial's own dtype
        if drawn not in (None, parameters):
            yield "digests.parameters", f"seed {trial.seed} gives {drawn}"


def _series(record: Record, known: ReferenceData) -> Iterator[Fault]:
    epochs, protocol = record.epochs, record.trial.protocol
    count = len(epochs.seconds)
    if record.status == Status.OK and count != protocol.epochs:
        yield "epochs.seconds", f"{count} epochs, the protocol has {protocol.epochs}"
    expected = known.tokens(record.trial, "train")
    if protocol.is_layer:
        expected = passes(record) * protocol.batch_size * protocol.steps
        yield from _layer(record, expected)
    elif expected is None and epochs.tokens:
        expected = epochs.tokens[0]
        if expected % (protocol.batch_size * protocol.steps):
            yield "epochs.tokens.0", f"{expected} are no windows of batch x steps"
    yield from _first(
        (f"epochs.tokens.{index}", f"{tokens}, windows x batch x steps are {expected}")
        for index, tokens in enumerate(epochs.tokens)
        if tokens != expected
    )


def passes(record: Record) -> int:
    """In each round of the layers alone."""
    return roofline.layer_passes(record.trial.protocol, record.trial.device_kind)


def _layer(record: Record, tokens: int) -> Iterator[Fault]:
    if record.layer is None:
        if record.status == Status.OK:
            yield "layer", "missing, though status is ok"
        return
    if record.layer.passes != passes(record):
        yield "layer.passes", f"{record.layer.passes}, a round has {passes(record)}"
    yield from _first(
        (f"layer.forward.tokens.{index}", f"{found}, passes x batch x steps are {tokens}")
        for index, found in enumerate(record.layer.forward.tokens)
        if found != tokens
    )


def _quantities(record: Record) -> set[str]:
    """What parity compares."""
    model, own = record.trial.protocol.model(record.vocabulary_size), record.own_model
    tensors = list(own.tensors) if own else parameter_names(model)
    if record.trial.protocol.is_layer:
        layers = [name for name in tensors if name.startswith("layer")]
        backward = {f"backward: {name}" for name in ("outputs", "inputs", *layers)}
        return {"forward: outputs"} | backward
    quantities = ["loss", *tensors]
    return {f"{label}: {quantity}" for label in ("text", "clipped") for quantity in quantities}


def _parity(record: Record, known: ReferenceData) -> Iterator[Fault]:
    proof, failed = record.parity, record.reason == "parity"
    if proof is None:
        if failed or record.status == Status.OK:
            yield "parity", f"missing, though status is {record.status.value}"
        return
    yield from _agreement(record, proof, record.trial.dtype, "parity", known)
    beyond = _beyond(proof, "parity")
    if proof.program is not None:
        if parity.proof_dtypes(record.trial.dtype) == (record.trial.dtype,):
            yield "parity.program", f"{record.trial.dtype} is proven by itself"
        yield from _agreement(record, proof.program, "float32", "parity.program", known)
        beyond |= _beyond(proof.program, "parity.program")
    if failed and not beyond:
        yield "reason", "parity, though every error is within its tolerance"
    for field, error in beyond.items() if not failed else ():
        yield field, f"{error} is beyond the tolerance"


def _beyond(proof: Agreement, place: str) -> dict[str, float]:
    """The errors that are beyond what is allowed, by their fields."""
    names = parity.beyond(proof.errors, proof.allowed, proof.tolerance)
    return {f"{place}.errors.{name}": proof.errors[name] for name in names}


def _agreement(
    record: Record, proof: Agreement, dtype: str, place: str, known: ReferenceData
) -> Iterator[Fault]:
    """What a proof in one dtype says, against itself and the trial."""
    worst = max(proof.errors.values(), default=math.inf)
    if proof.worst != worst:
        yield f"{place}.worst", f"{proof.worst}, the largest error is {worst}"
    if proof.tolerance != parity.TOLERANCE.get(dtype):
        yield f"{place}.tolerance", f"{proof.tolerance} is not that of {dtype}"
    for name, allowed in proof.allowed.items():
        if name not in proof.errors or not proof.tolerance < allowed <= parity.MAX_ALLOWED:
            yield f"{place}.allowed.{name}", f"{allowed} may not be allowed"
    names = _quantities(record)
    for name in sorted(names ^ proof.errors.keys()):
        what = "missing" if name in names else "is no quantity of the model"
        yield f"{place}.errors.{name}", what
    yield from _shape(record, proof, place, known)


def _shape(record: Record, proof: Agreement, place: str, known: ReferenceData) -> Iterator[Fault]:
    protocol = record.trial.protocol
    batch, steps = protocol.batch_size, protocol.steps
    tokens = known.tokens(record.trial, "train")
    tokens = next(iter(record.epochs.tokens), None) if tokens is None else tokens
    windows = proof.shape[0] if tokens is None else tokens // (batch * steps)
    own = (1 if protocol.is_layer else windows, batch, steps)
    if any(part > whole for part, whole in zip(proof.shape, own, strict=True)):
        yield f"{place}.shape", f"{proof.shape} is more than the trial's own {own}"
    elif (proof.shape != own) != proof.cut:
        yield f"{place}.cut", f"{proof.cut}, yet {proof.shape} was compared of {own}"


def _evaluations(record: Record, known: ReferenceData) -> Iterator[Fault]:
    trial, protocol = record.trial, record.trial.protocol
    every, done = protocol.validate_every, len(record.epochs.seconds)
    expected = [("validation", e) for e in range(every, done + 1, every)] if every else []
    if record.status == Status.OK and protocol.test_fraction and protocol.train_tokens is None:
        expected.append(("test", done))
    if record.status == Status.OK and [(e.split, e.epoch) for e in record.evaluations] != expected:
        yield "evaluations", f"the protocol asks for {expected}"
    text = known.text(trial)
    for index, evaluation in enumerate(record.evaluations):
        tokens = known.tokens(trial, evaluation.split)
        if tokens is not None and evaluation.tokens != tokens:
            yield f"evaluations.{index}.tokens", f"{evaluation.tokens}, the split gives {tokens}"
        if text is None or text.tokens is None:
            continue
        part = text.splits(protocol).get(evaluation.split)
        if part is None:
            yield f"evaluations.{index}.split", f"the protocol has no {evaluation.split!r}"
            continue
        place = (part.start, part.stop, protocol.batch_size, protocol.steps)
        bound = known.source_nats(trial.corpus, trial.preparation, *place)
        stated = evaluation.source_nats
        same = bound == stated or (
            bound is not None and stated is not None and math.isclose(bound, stated)
        )
        if not same:
            yield f"evaluations.{index}.source_nats", f"{stated}, the text's source gives {bound}"


def _flags(record: Record, known: ReferenceData) -> Iterator[Fault]:
    """The flags of a record are those that its own series and loads raise."""
    own_version = record.machine.versions.get("lstmbench") == __version__
    for flag in flags.RULES:
        if flag.versioned and not own_version:
            continue
        raised = flag.rule(record)
        if raised != (flag.name in record.flags):
            stated = "not stated" if raised else "stated"
            why = impossible.reasons(record) if flag.name == Flag.SUSPECT else []
            because = f": {'; '.join(why)}" if why else ""
            yield "flags", f"{flag.name} is {stated}, but the record says otherwise{because}"


def _status(record: Record, known: ReferenceData) -> Iterator[Fault]:
    if (record.reason is not None) != (record.status == Status.FAILED):
        yield "reason", f"{record.reason}, though status is {record.status.value}"
    if bool(record.message) == (record.status == Status.OK):
        yield "message", f"{record.message[:40]!r}, though status is {record.status.value}"
    protocol = record.trial.protocol
    written = [c.prefix for c in record.continuations]
    if record.status == Status.OK and written != list(protocol.prefixes):
        yield "continuations", f"after {written}, the protocol asks for {list(protocol.prefixes)}"
    for index, continuation in enumerate(record.continuations):
        least, most = _written(continuation.text, record.trial.preparation.tokens)
        if not least <= protocol.continuation <= most:
            yield f"continuations.{index}.text", f"{least} symbols, not {protocol.continuation}"


def _written(text: str, tokens: Tokens) -> tuple[int, int]:
    """The least and the most tokens that a written text may be."""
    if tokens == "word":
        return len(text.split()), len(text.split())
    shortest = len(text.replace("<unk>", "?"))  # one symbol, or those that a text spells it with
    if tokens == "byte":  # what is no UTF-8 becomes one character
        return shortest, 4 * len(text.encode())
    return shortest, len(text)


def _source(record: Record, known: ReferenceData) -> Iterator[Fault]:
    source, machine = record.source, record.machine
    facts = digest_of(machine.facts)
    if machine.digest != facts:
        yield "machine.digest", f"the facts give {facts}"
    if source.commit is not None and not _COMMIT.fullmatch(source.commit):
        yield "source.commit", f"{source.commit!r} is no commit"
    if (source.commit is None) != (source.dirty is None):
        yield "source.dirty", f"{source.dirty}, though the commit is {source.commit}"
    code = [(f"source.plugins.{i}", plugin) for i, plugin in enumerate(source.plugins)]
    if stack := record.stack:
        code += [(f"stack.plugins.{i}", plugin) for i, plugin in enumerate(stack.plugins)]
        made = digest_of_stack(stack.python, stack.packages) if stack.python else None
        if stack.digest != made:
            yield "stack.digest", f"python and packages give {made}"
    for place, plugin in code:
        if plugin.digest is not None and not _DIGEST.fullmatch(plugin.digest):
            yield f"{place}.digest", "is no SHA-256"
        if plugin.commit is not None and not _COMMIT.fullmatch(plugin.commit):
            yield f"{place}.commit", f"{plugin.commit!r:.60} is no commit"
        if plugin.dirty and source.dirty is False and place.startswith("source"):
            yield "source.dirty", f"false, though {plugin.distribution} was changed"
    if not _is_time(source.started):
        yield "source.started", f"{source.started!r} is no time"
    if source.resumed is not None and not _is_time(source.resumed):
        yield "source.resumed", f"{source.resumed!r} is no time"
    if source.shard and not _DIGEST.fullmatch(source.shard.plan):
        yield "source.shard.plan", "is no SHA-256"
    if not source.run:
        yield "source.run", "is empty"


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _peak(record: Record, known: ReferenceData) -> Iterator[Fault]:
    """A share of a peak means something only where all peaks are measured alike."""
    if record.peak is None:
        return
    side = roofline.matmul_side(record.trial.device_kind)
    if record.peak.matmul.side != side:
        yield "peak.matmul.side", f"{record.peak.matmul.side}, on {record.trial.device} {side}"
    if record.peak.matmul.dtype != record.trial.dtype:
        yield "peak.matmul.dtype", f"{record.peak.matmul.dtype}, not {record.trial.dtype}"
    copies = record.peak.copies
    if copies is not None and copies.size != roofline.COPY_BYTES:
        yield "peak.copies.size", f"{copies.size}, copies are of {roofline.COPY_BYTES} bytes"


#: In the order of a record's fields, more or less.
CHECKS: tuple[Check, ...] = (
    *(_source, _protocol, _corpus, _model, _status),
    *(_series, _parity, _evaluations, _flags, _peak),
)
