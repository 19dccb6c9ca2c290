"""A time step's matmul in both orders of its operands and a square matmul, interleaved.

The step of the default protocol multiplies a state ``[32, 256]`` by a kernel ``[256, 1024]``; with
the batch last it multiplies ``[1024, 256]`` by ``[256, 32]``. The arithmetic is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lstmbench.analysis import series
from lstmbench.analysis.roofline import matmul_side
from lstmbench.protocol import D2L
from lstmbench.runner.group import interleave_order
from lstmbench.worker.idle import wait_until_idle

GATES, SIDE = 4 * D2L.hidden_size, matmul_side("cpu")
SHAPES = {
    "batch_first": ((D2L.batch_size, D2L.hidden_size), (D2L.hidden_size, GATES)),
    "batch_last": ((GATES, D2L.hidden_size), (D2L.hidden_size, D2L.batch_size)),
    "square": ((SIDE, SIDE), (SIDE, SIDE)),
}
ROUNDS, WARM_UP = 30, 4
OPERATIONS = 8 * SIDE**3

Multiply = Callable[[], object]


def by_numpy(left: Any, right: Any) -> Multiply:
    out = np.empty((left.shape[0], right.shape[1]), np.float32)
    return lambda: np.matmul(left, right, out=out)


def by_torch(left: Any, right: Any) -> Multiply:
    torch = pytest.importorskip("torch")
    first, second = torch.from_numpy(left), torch.from_numpy(right)
    out = torch.empty(left.shape[0], right.shape[1])
    return lambda: torch.mm(first, second, out=out)


@pytest.mark.parametrize("library", [by_numpy, by_torch])
def test_orders_of_a_step(library: Callable[[Any, Any], Multiply], benchmark: Any) -> None:
    """How much faster the batch last is, and how near to the square matmul that comes.

    Each round is as many matmuls as four square ones have operations, on the library's own number
    of threads.
    """
    random = np.random.default_rng(0)
    calls: dict[str, Multiply] = {}
    operations: dict[str, int] = {}
    for name, shapes in SHAPES.items():
        left, right = (random.standard_normal(shape, np.float32) for shape in shapes)
        calls[name] = library(left, right)
        operations[name] = 2 * left.shape[0] * left.shape[1] * right.shape[1]
    seconds: dict[str, list[float]] = {name: [] for name in SHAPES}
    for round_ in range(WARM_UP + ROUNDS):
        for name in interleave_order(list(SHAPES), round_):
            count = OPERATIONS // operations[name]
            wait_until_idle()
            begin = time.perf_counter()
            for _ in range(count):
                calls[name]()
            seconds[name].append((time.perf_counter() - begin) / OPERATIONS)
    speed = {
        name: 1e-9 / (series.faster_half_mean(measured[WARM_UP:]) or float("nan"))
        for name, measured in seconds.items()
    }
    benchmark.extra_info["gflop_per_s"] = speed
    benchmark.extra_info["batch_last_relative_to_batch_first"] = (
        speed["batch_last"] / speed["batch_first"]
    )
    benchmark.extra_info["batch_last_relative_to_square"] = speed["batch_last"] / speed["square"]
    benchmark.pedantic(calls["batch_last"], rounds=100, warmup_rounds=10)
