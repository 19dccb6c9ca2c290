"""What is audited, drawn from a nonce that the host makes once a run has begun.

Every trial is asked for its parameters again and again, one to :data:`MAX_SEGMENT_EPOCHS` epochs
after the last time, so that whatever a backend has been asked so far, the epoch that it is about to
train may belong to a segment, from one question to the next, that is trained again. Which of the
segments are, no one outside the host knows before the end. The draws can be made again from the
nonce.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lstmbench import reference
from lstmbench.backend import ModelConfig, Parameters
from lstmbench.batches import Batches, partition
from lstmbench.cells import Shapes

#: Epochs between two questions for parameters, at most.
MAX_SEGMENT_EPOCHS = 3
#: Rounds of the layers alone that are drawn, beside the last one.
AUDITED_ROUNDS = 2
#: Passes of such a round that are shown beside the last, on average.
SHOWN_PASSES = 2.0


@dataclass(frozen=True)
class Segment:
    """Epochs ``first`` to ``last``, counted from 1, between two questions for parameters."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def _generator(nonce: str, *what: object) -> np.random.Generator:
    digest = hashlib.sha256(":".join([nonce, *map(str, what)]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def segments(nonce: str, trial: str, epochs: int) -> tuple[Segment, ...]:
    """All epochs of a trial of that name, in segments; the first is the same for every trial.

    Parameters are asked for before the first epoch and after the last one of each segment.
    """
    shared, own = _generator(nonce, "first"), _generator(nonce, "segments", trial)
    found: list[Segment] = []
    done = 0
    while done < epochs:
        draw = own if found else shared
        last = min(epochs, done + int(draw.integers(1, MAX_SEGMENT_EPOCHS + 1)))
        found.append(Segment(done + 1, last))
        done = last
    return tuple(found)


def order(nonce: str, trial: str, drawn: tuple[Segment, ...]) -> Iterator[Segment]:
    """Segments in the order in which they are audited, until enough was spent on it.

    The first, whose start the host chose; the last, whose loss is in every table; then
    any.
    """
    ends = drawn[:1] + drawn[1:][-1:]
    yield from ends
    between = [segment for segment in drawn if segment not in ends]
    for index in _generator(nonce, "order", trial).permutation(len(between)):
        yield between[index]


def _strong_scale(shapes: Shapes) -> float:
    """Of parameters and biases at which mistakes show, and rounding does not grow."""
    # of tied weights the output kernel is the embedding
    hidden = shapes["output_kernel"][0] if "output_kernel" in shapes else shapes["embedding"][1]
    return 0.1 if hidden <= 256 else float(1 / np.sqrt(hidden))


def layer_parameters(nonce: str, what: object, shapes: Shapes) -> Parameters:
    """For the layers alone, new by ``what``, and such that mistakes show."""
    scale = _strong_scale(shapes)
    seed = int(_generator(nonce, "layer parameters", what).integers(2**63))
    return reference.draw_tensors(shapes, seed, scale, scale)


def layer_numbers(
    nonce: str,
    what: object,
    passes: int,
    model: ModelConfig,
    steps: int,
    batch: int,
    backward: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """What passes through the layers alone read, ``[passes, steps, batch, in]``, and, if they go
    ``backward``, slopes ``[passes, steps, batch, H]``: float32, uniform in -1 to 1.

    ``what``, such as the number of a round, makes them new.
    """
    draw = _generator(nonce, "layer", what, backward)

    def numbers(width: int) -> np.ndarray:
        drawn = draw.random((passes, steps, batch, width), np.float32)
        drawn *= 2
        drawn -= 1
        return drawn

    return numbers(model.input_size(0)), numbers(model.hidden_size) if backward else None


def shown_passes(nonce: str, trial: str, what: object, passes: int) -> tuple[list[int], int]:
    """After how many passes of a round the last one so far is shown, and which of these counts.

    Always after the last, and about :data:`SHOWN_PASSES` times before: how often is not known, so
    that after none of them the rest may be left out.
    """
    draw = _generator(nonce, "shown", trial, what)
    drawn = draw.random(passes - 1) < SHOWN_PASSES / passes
    shown = [number for number, is_shown in enumerate(drawn, 1) if is_shown] + [passes]
    return shown, shown[int(draw.integers(len(shown)))]


def audited_rounds(nonce: str, trial: str, rounds: int) -> set[int]:
    """Rounds of the layers alone, counted from 1, that are audited beside the fastest ones."""
    draw = _generator(nonce, "rounds", trial)
    return {int(number) for number in draw.integers(1, rounds + 1, AUDITED_ROUNDS)} | {rounds}


def challenge(
    nonce: str,
    trial: str,
    number: int,
    ids: np.ndarray,
    shapes: Shapes,
    batch: int,
    steps: int,
) -> tuple[Parameters, Batches]:
    """Parameters and one epoch that cannot have been trained before.

    Parameters and biases as in the proof of parity, of a size at which mistakes show; the ids of
    the training split cut at any offset, with symbols exchanged at random. All targets of one
    window are one symbol, so that clipping acts.
    """
    draw = _generator(nonce, "challenge", trial, number)
    (vocabulary,) = shapes["output_bias"]
    scale = _strong_scale(shapes)
    seed = int(draw.integers(2**63))
    start = reference.draw_tensors(shapes, seed, scale=scale, bias_scale=scale)
    symbols = draw.permutation(vocabulary).astype(np.int32)
    batches = partition(symbols[ids], batch, steps, int(draw.integers(steps + 1)))
    batches.targets[draw.integers(batches.windows)] = draw.integers(vocabulary)
    return start, batches
