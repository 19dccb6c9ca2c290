"""The reference of ``lstmbench.reference`` behind the backend interface."""

import os
from collections.abc import Sequence

import numpy as np

from lstmbench import (
    Backend,
    Batches,
    EpochLoss,
    LayerResult,
    Parameters,
    Task,
    Unavailable,
    reference,
)
from lstmbench.layer import layer_pass


class NumpyBackend(Backend):
    """Every method is one call: the equations are in ``lstmbench.reference``."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if task.device != "cpu":
            raise Unavailable(f"NumPy computes on the cpu, not on {task.device}")
        self._parameters = reference.draw_parameters(task.model, task.seed).astype(task.dtype)
        self._optimizer = reference.Optimizer(task.training)
        self._dropout = reference.Dropout(task.training.dropout, task.seed)
        self._factors: dict[int, np.ndarray] = {}

    def load_parameters(self, parameters: Parameters) -> None:
        self._parameters = parameters.astype(self.task.dtype)
        rate = self._optimizer.learning_rate
        self._optimizer = reference.Optimizer(self.task.training)
        self.set_learning_rate(rate)

    def parameters(self) -> Parameters:
        return self._parameters.astype(self.task.dtype)

    def set_learning_rate(self, rate: float) -> None:
        self._optimizer.learning_rate = rate

    def optimizer_state(self) -> tuple[Parameters, ...]:
        nothing = reference.zeros_like(self._parameters)
        kept = self._optimizer.moments or (nothing,) * len(self.task.training.moments)
        return tuple(moment.astype(self.task.dtype) for moment in kept)

    def train_epoch(self, batches: Batches) -> EpochLoss:
        self._parameters, loss = reference.train_epoch(
            self._parameters,
            batches,
            self.task.training,
            optimizer=self._optimizer,
            dropout=self._dropout,
        )
        return loss

    def evaluate(self, batches: Batches) -> EpochLoss:
        return reference.evaluate(self._parameters, batches)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        return reference.generate(self._parameters, prefix, length)

    def stage_layer(self, inputs: np.ndarray, slopes: np.ndarray | None = None) -> None:
        self._staged = inputs, slopes

    def layer_pass(self, index: int) -> None:
        inputs, slopes = self._staged
        own = None if slopes is None else slopes[index]
        self._result = layer_pass(self._parameters.layers, inputs[index], own)

    def layer_result(self) -> LayerResult:
        return self._result

    def matrix_product(self, side: int) -> None:
        if side not in self._factors:
            factors = np.random.default_rng(side).random((3, side, side))
            self._factors[side] = factors.astype(self.task.dtype)
        left, right, product = self._factors[side]
        np.matmul(left, right, out=product)

    def runtime(self) -> dict[str, str]:
        return {
            "numpy": np.__version__,
            "kernel": "NumPy's BLAS, one matmul per time step",
            "threads": os.environ.get("OMP_NUM_THREADS", "as the BLAS chooses"),
            "parameters": str(sum(array.size for _, array in self._parameters.items())),
            "biases": "one per layer",
            "tf32": "off",
        }
