"""From what the user typed to a text, and to what models continue; errors name the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from lstmbench.batches import window_count
from lstmbench.corpora import corpus as corpora
from lstmbench.corpora import files, prompts
from lstmbench.corpora.corpus import Corpus, CorpusMissing
from lstmbench.corpora.named import NO_TEXT
from lstmbench.corpora.normalise import NONE
from lstmbench.errors import UserError
from lstmbench.machine import limits
from lstmbench.messages import storable
from lstmbench.plugin import manager
from lstmbench.preparation import Preparation
from lstmbench.protocol import Protocol
from lstmbench.runner.text_options import TextOptions

#: Characters of the name under which a user's own text is recorded.
MAX_NAME = 64
#: Bytes of each parameter that a trial has at least: the backend's with its gradient in float32,
#: and the reference's in float64, by which parity is proven.
BYTES_OF_A_PARAMETER = 24


def choose_corpus(host: manager.Host, options: TextOptions) -> tuple[Corpus, str | None]:
    """The text of a name or a path; without one The Time Machine, or the bundled text and a note.

    A path that holds a named text is that text.
    """
    specs, name = host.corpora(), options.corpus
    if name is not None and name not in specs:
        return _own(host, name, options), None
    spec = specs[name] if name else corpora.DEFAULT
    try:
        return corpora.resolve(spec, options.over(spec.preparation), specs), None
    except CorpusMissing as missing:
        if name is not None:
            raise
        spec = corpora.FALLBACK
        note = (
            f"{corpora.DEFAULT.name} is not here and cannot be downloaded ({missing.reason}): "
            f"training on {spec.name!r} instead (same shapes and speed, other perplexities)"
        )
        return corpora.resolve(spec, options.over(spec.preparation), specs), note


def no_text(protocol: Protocol, options: TextOptions, prompts: Sequence[str], init: str) -> Corpus:
    """For a protocol that reads none: raises :class:`UserError` for what asks for one."""
    given = [f"--{name.replace('_', '-')}" for name, value in vars(options).items() if value]
    given += ["--prompt"] if prompts else []
    given += [f"--init {init}"] if init != "shared" else []
    if given:
        raise UserError(
            f"{given[0]}: protocol {protocol.name!r} reads random numbers, no text, and hands "
            "parameters over: leave it out"
        )
    return corpora.resolve(NO_TEXT)


def _own(host: manager.Host, named: str, options: TextOptions) -> Corpus:
    specs = host.corpora()
    path = Path(named)
    try:
        here = bool(named) and path.exists()
    except OSError as error:
        raise UserError(f"--corpus {named!r:.200}: {error.strerror or error}") from error
    if not here and re.search(r"[/\\.]", named):
        raise UserError(
            f"--corpus {named}: no such file or folder, and no text of that name"
            f"{host.left_out(named)}"
        )
    if not here:
        raise host.unknown("corpus", named, specs)
    known = files.recognise(path, specs.values())
    if known is not None:
        return corpora.resolve(known, options.over(known.preparation), specs, path)
    name = storable(path.resolve().name)[:MAX_NAME] or "text"
    if name in specs:
        raise UserError(
            f"--corpus {named}: a text of the name {name!r} comes with lstmbench or a plugin: "
            "rename yours"
        )
    preparation = options.over(Preparation(normalise=NONE))
    return corpora.own_text(path, name, preparation, specs)


def choose_prompts(
    protocol: Protocol, corpus: Corpus, given: Sequence[str], samples: bool
) -> Protocol:
    """The protocol with what models continue: given, none, or from the text.

    A protocol's own prompts fit texts that are prepared as The Time Machine is.
    """
    if not samples:
        if given:
            raise UserError("--no-samples writes no continuation: no --prompt asks for one")
        return replace(protocol, prefixes=())
    if given:
        return replace(protocol, prefixes=prompts.given(corpus, given))
    if protocol.prefixes and (corpus.own or corpus.preparation != Preparation()):
        train = corpus.splits(protocol)["train"]
        return replace(protocol, prefixes=prompts.from_text(corpus, train))
    return protocol


def check_fits(protocol: Protocol, corpus: Corpus) -> None:
    """Every split must give at least one window, and the model must fit into memory."""
    batch, steps = protocol.batch_size, protocol.steps
    if protocol.is_layer:
        _check_layer(protocol, memory())
        return
    for name, part in corpus.splits(protocol).items():
        tokens = part.stop - part.start
        if window_count(tokens, batch, steps) < 1:
            raise UserError(
                f"the {name} part of corpus {corpus.name!r} has {tokens} tokens, too few for one "
                f"window of --batch-size {batch} x --steps {steps}: lower them, "
                "or take a longer text (--corpus)"
            )
    check_memory(protocol, len(corpus.vocabulary), memory())


def _check_layer(protocol: Protocol, available: int) -> None:
    """What one pass keeps, of the reference in float64 and beside it in float32, must fit."""
    model, tokens = protocol.model(1), protocol.batch_size * protocol.steps
    kept = tokens * (2 * model.input_size(0) + 12 * protocol.layers * protocol.hidden_size)
    needed = BYTES_OF_A_PARAMETER * model.layers_parameter_count + 12 * kept
    if needed > available:
        raise UserError(
            f"a pass of --steps {protocol.steps} x --batch-size {protocol.batch_size} through "
            f"layers of {protocol.hidden_size} does not fit into memory: with its proof it takes "
            f"{_gib(needed)} or more, of {_gib(available)}: lower one of them"
        )


def memory() -> int:
    """Bytes of the machine's memory, within a container's limit."""
    total: int = psutil.virtual_memory().total
    return min(total, limits.limits().memory or total)


def check_memory(protocol: Protocol, vocabulary_size: int, available: int) -> None:
    """Raise :class:`UserError` for a vocabulary whose own weights memory does not hold."""
    one, two = protocol.model(1).parameter_count, protocol.model(2).parameter_count
    each = two - one  # of the first layer or the embedding, and of the output
    weights = vocabulary_size * each
    if BYTES_OF_A_PARAMETER * weights <= available:
        return
    embedding = "" if protocol.embedding_size else ", or take an --embedding-size"
    raise UserError(
        f"{vocabulary_size:,} symbols with --hidden-size {protocol.hidden_size} do not fit into "
        f"memory: {each:,} weights of 4 bytes for each symbol take {_gib(4 * weights)}, a trial "
        f"with its proof {_gib(BYTES_OF_A_PARAMETER * weights)} or more, of {_gib(available)}: "
        f"lower --vocabulary-size or --hidden-size{embedding}"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB"
