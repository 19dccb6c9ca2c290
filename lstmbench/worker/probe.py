"""A worker without a backend: what NumPy reaches on this machine, beside the trials of a group.

``python -m lstmbench.worker.probe COMMANDS ANSWERS``, with the verbs load, product, copy and
wait_until_idle, on the loop of :mod:`lstmbench.worker`.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from lstmbench.worker.loop import Answer, main, set_cpus
from lstmbench.worker.timing import Stopwatch, time_products


class Probe:
    """Products by NumPy's BLAS, copies by as many threads as the trials have."""

    def load(self, request: dict[str, Any]) -> Answer:
        set_cpus(request["cpus"])
        self._dtype = request["dtype"]
        self._threads = request["threads"]
        self._square: np.ndarray | None = None
        self._parts: np.ndarray | None = None
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
        return {"library": f"numpy {np.__version__} ({blas})"}

    def product(self, request: dict[str, Any]) -> Answer:
        """Seconds of ``count`` products of two ``[side, side]`` matrices."""
        return {"seconds": time_products(self._multiply, request)}

    def _multiply(self, side: int) -> None:
        if self._square is None or len(self._square) != side:
            self._square = np.random.default_rng(0).normal(size=(side, side)).astype(self._dtype)
            self._result = np.empty_like(self._square)
        np.matmul(self._square, self._square, out=self._result)

    def copy(self, request: dict[str, Any]) -> Answer:
        """Seconds of ``count`` copies of ``size`` bytes, a part per thread."""
        if self._parts is None:  # not zeros, which the system would not even store
            self._parts = np.ones((2, self._threads, request["size"] // self._threads), np.uint8)
            self._pool = ThreadPoolExecutor(self._threads)
        clock = Stopwatch()
        for index in range(request["count"]):
            list(self._pool.map(np.copyto, *self._parts))
            clock.lap(str(index))
        return {"seconds": list(clock.laps.values())}


if __name__ == "__main__":
    main(sys.argv[1:], Probe())
