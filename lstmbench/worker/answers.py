"""What a backend may answer: its results, checked before anything relies on them."""

from __future__ import annotations

import math
from typing import Any

from lstmbench.backend import EpochLoss, Parameters
from lstmbench.batches import Batches


class InvalidAnswer(Exception):
    """The trial cannot go on; ``reason`` is one of the record's."""

    def __init__(self, reason: str, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.reason = reason
        self.detail = detail


def check_loss(loss: Any, batches: Batches) -> EpochLoss:
    """The loss; raises :class:`InvalidAnswer` unless it is finite Python numbers, all counted."""
    if not isinstance(loss, EpochLoss):
        raise InvalidAnswer("interface", f"expected an EpochLoss, came {type(loss).__name__}")
    for name, value, kind in (("nats", loss.nats, float), ("tokens", loss.tokens, int)):
        if type(value) is not kind:
            came = type(value).__name__
            raise InvalidAnswer(
                "interface", f"expected EpochLoss.{name} as {kind.__name__}, came {came}"
            )
    if loss.tokens != batches.tokens:
        raise InvalidAnswer("interface", f"expected {batches.tokens} tokens, came {loss.tokens}")
    if not math.isfinite(loss.nats):
        raise InvalidAnswer("nan", f"the loss is {loss.nats}")
    return loss


def check_parameters(parameters: Any) -> Parameters:
    """The parameters; :class:`InvalidAnswer` if they are none."""
    if not isinstance(parameters, Parameters):
        raise InvalidAnswer("interface", f"expected Parameters, came {type(parameters).__name__}")
    return parameters


def check_ids(ids: Any, length: int, vocabulary_size: int) -> list[int]:
    """Generated ids; :class:`InvalidAnswer` if they are not so many ints of the vocabulary."""
    if not isinstance(ids, list) or any(type(i) is not int for i in ids):
        raise InvalidAnswer("interface", f"expected a list of ints from generate, came {ids!r:.80}")
    if len(ids) != length or any(not 0 <= i < vocabulary_size for i in ids):
        raise InvalidAnswer(
            "interface", f"expected {length} new ids below {vocabulary_size}, came {ids!r:.80}"
        )
    return ids
