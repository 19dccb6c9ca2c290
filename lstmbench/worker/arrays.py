"""Arrays that processes hand to each other as ``.npy`` files.

Parameters are one vector, tensor after tensor in the order of ``Parameters.items``, and what the
optimizer keeps follows in the same order; batches are one array ``[2, windows, batch, steps]`` of
int32, inputs and then targets. Nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from lstmbench.backend import LayerResult, Parameters
from lstmbench.batches import Batches
from lstmbench.cells import Shapes, count, parameters_of


def write_parameters(
    path: Path | str | IO[bytes], parameters: Parameters, moments: Sequence[Parameters] = ()
) -> None:
    """A dtype that NumPy has no name for, such as bfloat16, is written as float32."""
    _write_vector(path, [array for each in (parameters, *moments) for _, array in each.items()])


def _write_vector(path: Path | str | IO[bytes], written: Sequence[np.ndarray]) -> None:
    vector = np.concatenate([np.ravel(array) for array in written])
    if vector.dtype.kind != "f" or vector.dtype.name not in ("float16", "float32", "float64"):
        vector = vector.astype(np.float32)
    np.save(path, vector, allow_pickle=False)


def read_parameters(path: Path | str | IO[bytes], shapes: Shapes) -> Parameters:
    """Raises ``ValueError`` if the file does not hold parameters of those shapes, and no more."""
    return read_trained(path, shapes, 0)[0]


def read_trained(
    path: Path | str | IO[bytes], shapes: Shapes, moments: int
) -> tuple[Parameters, tuple[Parameters, ...]]:
    """Parameters and so many of the same shapes that the optimizer keeps; none, if none follow.

    Raises ``ValueError`` if the file holds anything else.
    """
    vector = np.load(path, allow_pickle=False)
    size = count(shapes)
    if vector.shape not in ((size,), ((1 + moments) * size,)) or vector.dtype.kind != "f":
        expected = f"{(1 + moments) * size} floating-point numbers"
        raise ValueError(f"expected {expected}, got shape {vector.shape} of {vector.dtype}")
    first, *more = (_parameters(part, shapes) for part in vector.reshape(-1, size))
    return first, tuple(more)


def _parameters(vector: np.ndarray, shapes: Shapes) -> Parameters:
    return parameters_of(shapes, _cut(vector, shapes))


def _cut(vector: np.ndarray, shapes: Shapes) -> list[np.ndarray]:
    arrays, begin = [], 0
    for shape in shapes.values():
        size = int(np.prod(shape))
        arrays.append(vector[begin : begin + size].reshape(shape))
        begin += size
    return arrays


def write_layer_result(path: Path | str | IO[bytes], result: LayerResult) -> None:
    """One vector, as parameters are."""
    _write_vector(path, [array for _, array in result.items()])


def read_layer_result(path: Path | str | IO[bytes], shapes: Shapes) -> dict[str, np.ndarray]:
    """Raises ``ValueError`` if the file does not hold a result of those shapes, and no more."""
    vector = np.load(path, allow_pickle=False)
    size = count(shapes)
    if vector.shape != (size,) or vector.dtype.kind != "f":
        raise ValueError(f"expected {size} floating-point numbers, got shape {vector.shape}")
    return dict(zip(shapes, _cut(vector, shapes), strict=True))


def write_batches(path: Path | str | IO[bytes], batches: Batches) -> None:
    np.save(path, np.stack([batches.inputs, batches.targets]), allow_pickle=False)


def read_batches(path: Path | str | IO[bytes]) -> Batches:
    """Raises ``ValueError`` if the file holds no batches."""
    both = np.load(path, allow_pickle=False)
    if both.ndim != 4 or len(both) != 2 or both.dtype != np.int32:
        raise ValueError(f"expected int32 [2, windows, batch, steps], got {both.shape}")
    return Batches(both[0], both[1])
