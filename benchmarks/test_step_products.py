"""A time step's product in both orders of its operands, by each library, and a square one, in turns.

The step of the default protocol multiplies a state ``[32, 256]`` by a kernel ``[256, 1024]``; with the
batch last it multiplies ``[1024, 256]`` by ``[256, 32]``. The arithmetic is the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lstmbench import statistics
from lstmbench.conductor import SETTLE
from lstmbench.protocol import D2L
from lstmbench.roofline import product_side

GATES, SIDE = 4 * D2L.hidden_size, product_side("cpu")
SHAPES = {
    "batch_first": ((D2L.batch_size, D2L.hidden_size), (D2L.hidden_size, GATES)),
    "batch_last": ((GATES, D2L.hidden_size), (D2L.hidden_size, D2L.batch_size)),
    "square": ((SIDE, SIDE), (SIDE, SIDE)),
}
TURNS, WARM_UP, OPERATIONS = 30, 3, 4 * 10**9

Multiply = Callable[[], object]


def by_numpy(left: Any, right: Any) -> Multiply:
    out = np.empty((left.shape[0], right.shape[1]), np.float32)
    return lambda: np.matmul(left, right, out=out)


def by_torch(left: Any, right: Any) -> Multiply:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(os.cpu_count() or 1)
    first, second = torch.from_numpy(left), torch.from_numpy(right)
    out = torch.empty(left.shape[0], right.shape[1])
    return lambda: torch.mm(first, second, out=out)


@pytest.mark.parametrize("library", [by_numpy, by_torch])
def test_orders_of_a_step(library: Callable[[Any, Any], Multiply], benchmark: Any) -> None:
    """How much faster the batch last is, and how near to the square product that comes."""
    random = np.random.default_rng(0)
    calls: dict[str, Multiply] = {}
    operations: dict[str, int] = {}
    for name, shapes in SHAPES.items():
        left, right = (random.standard_normal(shape, np.float32) for shape in shapes)
        calls[name] = library(left, right)
        operations[name] = 2 * left.shape[0] * left.shape[1] * right.shape[1]
    series: dict[str, list[float]] = {name: [] for name in SHAPES}
    for _ in range(WARM_UP + TURNS):
        for name, call in calls.items():
            count = OPERATIONS // operations[name]
            time.sleep(SETTLE)
            begin = time.perf_counter()
            for _ in range(count):
                call()
            series[name].append((time.perf_counter() - begin) / (count * operations[name]))
    seconds = {
        name: statistics.faster_half_mean(values[WARM_UP:]) or float("nan")
        for name, values in series.items()
    }
    benchmark.extra_info["batch_last_relative_to_batch_first"] = (
        seconds["batch_first"] / seconds["batch_last"]
    )
    benchmark.extra_info["batch_last_relative_to_square"] = seconds["square"] / seconds["batch_last"]
    benchmark.pedantic(calls["batch_last"], rounds=100, warmup_rounds=10)
