"""The references behind the backend interface. Replace the calls of ``reference`` by your own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from lstmbench import Backend, Batches, Cell, EpochLoss, Parameters, Task, Unavailable, reference
from lstmbench_own_models.reference import GruCell, PeepholeCell


class CellBackend(Backend):
    """Every method is one call, at a cell."""

    cell: Cell

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if task.device != "cpu":
            raise Unavailable(f"NumPy computes on the cpu, not on {task.device}")
        drawn = reference.draw_parameters(task.model, task.seed, cell=self.cell)
        self._parameters = drawn.astype(task.dtype)

    def load_parameters(self, parameters: Parameters) -> None:
        self._parameters = parameters.astype(self.task.dtype)

    def parameters(self) -> Parameters:
        return self._parameters.astype(self.task.dtype)

    def train_epoch(self, batches: Batches) -> EpochLoss:
        self._parameters, loss = reference.train_epoch(
            self._parameters, batches, self.task.training, self.cell
        )
        return loss

    def evaluate(self, batches: Batches) -> EpochLoss:
        return reference.evaluate(self._parameters, batches, self.cell)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        return reference.generate(self._parameters, prefix, length, self.cell)

    def runtime(self) -> dict[str, str]:
        return {
            "kernel": "NumPy's BLAS, one matmul per time step",
            "threads": os.environ.get("OMP_NUM_THREADS", "as the BLAS chooses"),
            "parameters": str(sum(array.size for _, array in self._parameters.items())),
            "biases": "as in the reference",
            "tf32": "off",
        }


class GruBackend(CellBackend):
    cell = GruCell()


class PeepholeBackend(CellBackend):
    cell = PeepholeCell()
