"""Sequential partition of a token stream into windows that share their state.

Source: "Dive into Deep Learning", section "Language Models and the Dataset"
(``seq_data_iter_sequential``), with a number of windows that every offset allows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batches:
    """One epoch: int32 arrays ``inputs`` and ``targets`` of shape ``[windows, batch, steps]``.

    Row ``b`` of window ``w + 1`` continues row ``b`` of window ``w``; targets are the inputs
    moved on by one token.
    """

    inputs: np.ndarray
    targets: np.ndarray

    @property
    def windows(self) -> int:
        return int(self.inputs.shape[0])

    @property
    def tokens(self) -> int:
        """Number of predictions: ``windows * batch * steps``."""
        return int(self.inputs.size)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of ``[batch, steps]``, window by window."""
        return zip(self.inputs, self.targets, strict=True)


def window_count(tokens: int, batch_size: int, steps: int) -> int:
    """Windows that every offset in ``0..steps`` allows, so that no epoch changes its shape."""
    return max(0, (tokens - steps - 1) // batch_size // steps)


def partition(tokens: np.ndarray, batch_size: int, steps: int, offset: int = 0) -> Batches:
    """Cut ``tokens`` (1-D, ids) at ``offset`` into consecutive windows.

    Raises ``ValueError`` if the offset is outside ``0..steps`` or not one window fits.
    """
    if not 0 <= offset <= steps:
        raise ValueError(f"offset {offset} is outside 0..{steps}")
    windows = window_count(len(tokens), batch_size, steps)
    if windows < 1:
        raise ValueError(
            f"{len(tokens)} tokens are too few for one window of {batch_size} x {steps}"
        )
    row = (len(tokens) - offset - 1) // batch_size
    used = slice(0, windows * steps)

    def cut(start: int) -> np.ndarray:
        rows = tokens[start : start + batch_size * row].reshape(batch_size, row)[:, used]
        shaped = rows.reshape(batch_size, windows, steps).transpose(1, 0, 2)
        return np.ascontiguousarray(shaped, dtype=np.int32)

    return Batches(cut(offset), cut(offset + 1))


def offsets_digest(offsets: Sequence[int]) -> str:
    """SHA-256 of the offsets of a trial's epochs."""
    return hashlib.sha256(json.dumps(list(offsets)).encode()).hexdigest()


def draw_offsets(seed: int, epochs: int, steps: int) -> list[int]:
    """One offset per epoch, uniform in ``0..steps`` inclusive, the same for every backend."""
    return [int(x) for x in np.random.default_rng([seed, 1]).integers(0, steps + 1, size=epochs)]
