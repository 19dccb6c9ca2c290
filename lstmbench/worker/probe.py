"""A worker without a backend: what NumPy reaches on this machine, beside the trials of a group.

``python -m lstmbench.worker.probe REQUESTS REPLIES``, on the loop of a trial's worker.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lstmbench.worker.idle import when_idle
from lstmbench.worker.loop import Handlers, OutOfOrder, Session, main, set_cpus
from lstmbench.worker.messages import (
    Copy,
    LoadProbe,
    Matmul,
    ProbeLoaded,
    Timed,
    WaitUntilIdle,
)
from lstmbench.worker.timing import time_calls


class Bench:
    """Operands of one dtype, made when first needed, and as many threads as trials have."""

    def __init__(self, dtype: str, threads: int) -> None:
        self.dtype, self.threads = dtype, threads
        self.pool = ThreadPoolExecutor(threads)
        self.square = self.result = np.empty((0, 0), dtype)
        self.parts = np.empty((2, threads, 0), np.uint8)

    def multiply(self, side: int) -> None:
        if len(self.square) != side:
            self.square = np.random.default_rng(0).normal(size=(side, side)).astype(self.dtype)
            self.result = np.empty_like(self.square)
        np.matmul(self.square, self.square, out=self.result)

    def copy(self) -> None:
        """Copy what :meth:`make_parts` made, a part per thread."""
        list(self.pool.map(np.copyto, *self.parts))

    def make_parts(self, size: int) -> None:
        """``size`` bytes to copy, and room for them."""
        part = size // self.threads
        if self.parts.shape[2] != part:  # not zeros, which the system would not even store
            self.parts = np.ones((2, self.threads, part), np.uint8)


class Probe(Session):
    """Matmuls by NumPy's BLAS, copies by as many threads as the trials have."""

    def __init__(self) -> None:
        self._bench: Bench | None = None

    def handlers(self) -> Handlers:
        return {
            LoadProbe: self.load,
            Matmul: self.matmul,
            Copy: self.copy,
            WaitUntilIdle: when_idle,
        }

    def load(self, request: LoadProbe) -> ProbeLoaded:
        set_cpus(request.cpus)
        self._bench = Bench(request.dtype, request.threads)
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
        return ProbeLoaded(f"numpy {np.__version__} ({blas})")

    def matmul(self, request: Matmul) -> Timed:
        bench = self._loaded()
        return Timed(time_calls(lambda: bench.multiply(request.side), request.count))

    def copy(self, request: Copy) -> Timed:
        bench = self._loaded()
        bench.make_parts(request.size)
        return Timed(time_calls(bench.copy, request.count))

    def _loaded(self) -> Bench:
        if self._bench is None:
            raise OutOfOrder("the probe must be asked to load first")
        return self._bench


if __name__ == "__main__":
    main(sys.argv[1:], Probe())
