"""Which common mistake would give just the loss that a backend gave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import numpy as np

from lstmbench import reference
from lstmbench.backend import LayerParameters, Parameters
from lstmbench.batches import Batches
from lstmbench.cells import LSTM, Cell

GATES = ("input", "forget", "cell", "output")


#: Of the tolerance: a loss computed with the mistake is as exact as any, and another is not.
CLOSE = 1 / 30


def fitting_mistakes(
    start: Parameters, batches: Batches, nats: float, tolerance: float, cell: Cell = LSTM
) -> list[str]:
    """One line for each mistake after which ``start`` loses ``nats`` on one window of ``batches``.

    Tried are means for sums, the other 23 orders of the LSTM's gates, and batch and time the wrong
    way round.
    """
    exact = start.astype(np.float64)
    return [
        f"this loss fits {mistake}"
        for mistake, loss in _losses(exact, batches, cell)
        if abs(nats - loss) <= CLOSE * tolerance * abs(loss)
    ]


def _losses(start: Parameters, batches: Batches, cell: Cell) -> Iterator[tuple[str, float]]:
    right = reference.evaluate(start, batches, cell).nats
    _, batch, steps = batches.inputs.shape
    for name, count in {"tokens": batch * steps, "rows": batch, "steps": steps}.items():
        yield f"a mean over the window's {count} {name}, where the sum is expected", right / count
    for order in permutations(range(4)) if cell is LSTM else ():
        if order != (0, 1, 2, 3):
            names = ", ".join(GATES[gate] for gate in order)
            yield (
                f"the gates read as {names}",
                reference.evaluate(with_gates(start, order), batches).nats,
            )
    inputs, targets = (_reread(array) for array in (batches.inputs, batches.targets))
    ways = ("[batch, steps] read as [steps, batch]", "[steps, batch] read as [batch, steps]")
    for way, x, y in zip(ways, inputs, targets, strict=True):
        swaps = {
            "targets": Batches(batches.inputs, y),
            "inputs": Batches(x, batches.targets),
            "inputs and targets": Batches(x, y),
        }
        for what, swapped in swaps.items():
            yield f"{what} of {way}", reference.evaluate(start, swapped, cell).nats


def with_gates(parameters: Parameters, order: tuple[int, ...]) -> Parameters:
    """``parameters`` for one who takes the first quarter for gate ``order[0]``, and so on."""

    def arranged(array: np.ndarray) -> np.ndarray:
        quarters = np.split(array, 4, axis=-1)
        return np.concatenate([quarters[order.index(gate)] for gate in range(4)], axis=-1)

    layers = tuple(
        LayerParameters(
            arranged(layer.input_kernel), arranged(layer.recurrent_kernel), arranged(layer.bias)
        )
        for layer in parameters.layers
    )
    return replace(parameters, layers=layers)


def _reread(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``[1, B, T]`` flattened in one order and cut up in the other, either way."""
    _, batch, steps = windows.shape
    as_time_first = windows.reshape(1, steps, batch).transpose(0, 2, 1)
    as_batch_first = windows.transpose(0, 2, 1).reshape(1, batch, steps)
    return as_time_first, as_batch_first
