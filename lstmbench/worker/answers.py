"""What a backend may answer: its results, checked before anything relies on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lstmbench.backend import Backend, EpochLoss, LayerResult, Parameters
from lstmbench.batches import Batches
from lstmbench.cells import Shapes
from lstmbench.worker.messages import INTERFACE, WorkerReason


class InvalidAnswer(Exception):
    """The trial cannot go on."""

    def __init__(self, reason: WorkerReason, message: str) -> None:
        super().__init__(message)
        self.reason: WorkerReason = reason


def check_loss(loss: Any, batches: Batches) -> EpochLoss:
    """The loss; raises :class:`InvalidAnswer` unless it is finite Python numbers, all counted."""
    if not isinstance(loss, EpochLoss):
        raise InvalidAnswer(INTERFACE, f"expected an EpochLoss, got {type(loss).__name__}")
    for name, value, kind in (("nats", loss.nats, float), ("tokens", loss.tokens, int)):
        if type(value) is not kind:
            got = type(value).__name__
            raise InvalidAnswer(
                INTERFACE, f"expected EpochLoss.{name} as {kind.__name__}, got {got}"
            )
    if loss.tokens != batches.tokens:
        raise InvalidAnswer(INTERFACE, f"expected {batches.tokens} tokens, got {loss.tokens}")
    if not math.isfinite(loss.nats):
        raise InvalidAnswer("nan", f"the loss is {loss.nats}")
    return loss


def check_parameters(parameters: Any, expected: Shapes | None = None) -> Parameters:
    """The parameters; :class:`InvalidAnswer` if they are none, or not as ``expected``."""
    if not isinstance(parameters, Parameters):
        raise InvalidAnswer(INTERFACE, f"expected Parameters, got {type(parameters).__name__}")
    if expected is None:
        return parameters
    got = {name: np.shape(array) for name, array in parameters.items()}
    for name in [*expected, *got]:
        if got.get(name) != expected.get(name):
            shapes = f"expected shape {expected.get(name)}, got {got.get(name)}"
            raise InvalidAnswer(INTERFACE, f"parameters: {name}: {shapes}")
    return parameters


def check_moments(
    backend: Backend, names: Sequence[str], expected: Shapes | None = None
) -> tuple[Parameters, ...]:
    """What the optimizer keeps, under ``names``; :class:`InvalidAnswer` if it is anything else."""
    state = backend.optimizer_state()
    if not isinstance(state, tuple) or len(state) != len(names):
        wanted = f"({', '.join(names)}) from optimizer_state"
        raise InvalidAnswer(INTERFACE, f"expected {wanted}, got {state!r:.80}")
    return tuple(check_parameters(each, expected) for each in state)


def check_layer_result(result: Any, expected: Shapes) -> LayerResult:
    """What a pass through the layers alone gave; :class:`InvalidAnswer` if it is anything else."""
    if not isinstance(result, LayerResult):
        raise InvalidAnswer(INTERFACE, f"expected a LayerResult, got {type(result).__name__}")
    got = {name: np.shape(array) for name, array in result.items()}
    for name in [*expected, *got]:
        if got.get(name) != expected.get(name):
            shapes = f"expected shape {expected.get(name)}, got {got.get(name)}"
            raise InvalidAnswer(INTERFACE, f"layer_result: {name}: {shapes}")
    return result


def check_ids(ids: Any, length: int, vocabulary_size: int) -> list[int]:
    """Generated ids; :class:`InvalidAnswer` if they are not so many ints of the vocabulary."""
    if not isinstance(ids, list) or any(type(i) is not int for i in ids):
        raise InvalidAnswer(INTERFACE, f"expected a list of ints from generate, got {ids!r:.80}")
    if len(ids) != length or any(not 0 <= i < vocabulary_size for i in ids):
        raise InvalidAnswer(
            INTERFACE, f"expected {length} new ids below {vocabulary_size}, got {ids!r:.80}"
        )
    return ids
