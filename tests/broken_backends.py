"""Backends with one mistake each, for the conformance kit to find."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import (
    Backend,
    Batches,
    EpochLoss,
    LayerParameters,
    Parameters,
    Task,
    Unavailable,
    reference,
)


class Open(NumpyBackend):
    """The reference's loops, open to mistakes in a few places."""

    def arranged(self) -> Parameters:
        """Parameters as they are computed with."""
        return self._parameters

    def first_state(self, batch: int) -> reference.State:
        return reference.zero_state(self._parameters, batch)

    def next_state(self, state: reference.State) -> reference.State:
        return state

    def step(self, gradient: Parameters) -> Parameters:
        return reference.sgd_step(self._parameters, gradient, self.task.training)

    def train_epoch(self, batches: Batches) -> EpochLoss:
        total, state = 0.0, self.first_state(batches.inputs.shape[1])
        for inputs, targets in batches:
            nats, gradient, state = reference.gradients(self.arranged(), inputs, targets, state)
            self._parameters = self.step(gradient)
            state = self.next_state(state)
            total += nats
        return EpochLoss(total, batches.tokens)

    def evaluate(self, batches: Batches) -> EpochLoss:
        total, state = 0.0, self.first_state(batches.inputs.shape[1])
        for inputs, targets in batches:
            nats, _, state = reference.gradients(self.arranged(), inputs, targets, state)
            state = self.next_state(state)
            total += nats
        return EpochLoss(total, batches.tokens)


class SwappedGates(Open):
    """Computes with forget and cell gate the wrong way round."""

    def arranged(self) -> Parameters:
        def swapped(array: np.ndarray) -> np.ndarray:
            i, f, g, o = np.split(array, 4, axis=-1)
            return np.concatenate([i, g, f, o], axis=-1)

        layers = tuple(
            LayerParameters(
                swapped(layer.input_kernel), swapped(layer.recurrent_kernel), swapped(layer.bias)
            )
            for layer in self._parameters.layers
        )
        return replace(self._parameters, layers=layers)


class StateNeverReset(Open):
    """Goes on from where the last pass ended."""

    _left: reference.State | None = None

    def first_state(self, batch: int) -> reference.State:
        left = self._left
        return left if left and len(left[0][0]) == batch else super().first_state(batch)

    def next_state(self, state: reference.State) -> reference.State:
        self._left = state
        return state


class TrainingStateNeverReset(StateNeverReset):
    """Goes on from the last epoch, but evaluates properly."""

    def evaluate(self, batches: Batches) -> EpochLoss:
        return reference.evaluate(self._parameters, batches)


class StateNeverCarried(Open):
    """Every window starts from zero."""

    def next_state(self, state: reference.State) -> reference.State:
        return [(h * 0, c * 0) for h, c in state]


class TrainingStateNeverCarried(StateNeverCarried):
    """Every window of training starts from zero, but evaluates properly."""

    def evaluate(self, batches: Batches) -> EpochLoss:
        return reference.evaluate(self._parameters, batches)


class MeanForSum(NumpyBackend):
    """Returns nats per token."""

    def train_epoch(self, batches: Batches) -> EpochLoss:
        loss = super().train_epoch(batches)
        return EpochLoss(loss.nats / loss.tokens, loss.tokens)

    def evaluate(self, batches: Batches) -> EpochLoss:
        loss = super().evaluate(batches)
        return EpochLoss(loss.nats / loss.tokens, loss.tokens)


class ClipsEachTensor(Open):
    def step(self, gradient: Parameters) -> Parameters:
        training, moved = self.task.training, []
        for (_, value), (_, slope) in zip(self._parameters.items(), gradient.items(), strict=True):
            scale = min(1.0, training.clip_norm / float(np.linalg.norm(slope)))
            moved.append(value - training.learning_rate * scale * slope)
        return Parameters.from_arrays(moved)


class NeverClips(Open):
    def step(self, gradient: Parameters) -> Parameters:
        free = replace(self.task.training, clip_norm=float("inf"))
        return reference.sgd_step(self._parameters, gradient, free)


class BiasTwice(Open):
    """Adds a second bias that is trained too."""

    def step(self, gradient: Parameters) -> Parameters:
        moved = super().step(gradient)
        before, after = self._parameters.layers[0], moved.layers[0]
        layer = replace(after, bias=2 * after.bias - before.bias)
        return replace(moved, layers=(layer, *moved.layers[1:]))


class ReturnsEarly(NumpyBackend):
    """Leaves a thread working: the new parameters come when they come."""

    _work: threading.Thread | None = None

    def _wait(self) -> None:
        if self._work:
            self._work.join()

    def train_epoch(self, batches: Batches) -> EpochLoss:
        self._wait()
        begin, before = time.perf_counter(), self._parameters
        loss = super().train_epoch(batches)
        after, self._parameters = self._parameters, before

        def work(seconds: float) -> None:
            time.sleep(seconds)
            self._parameters = after

        self._work = threading.Thread(target=work, args=(9 * (time.perf_counter() - begin),))
        self._work.start()
        return loss

    def parameters(self) -> Parameters:
        self._wait()
        return super().parameters()

    def load_parameters(self, parameters: Parameters) -> None:
        self._wait()
        super().load_parameters(parameters)

    def evaluate(self, batches: Batches) -> EpochLoss:
        self._wait()
        return super().evaluate(batches)


class TrainsOnEvaluation(NumpyBackend):
    """Evaluates first, and learns from it afterwards."""

    def evaluate(self, batches: Batches) -> EpochLoss:
        loss = super().evaluate(batches)
        self.train_epoch(batches)
        return loss


class EvaluatesByTraining(NumpyBackend):
    def evaluate(self, batches: Batches) -> EpochLoss:
        return self.train_epoch(batches)


class TooGood(NumpyBackend):
    """Reports a part of its training loss."""

    def train_epoch(self, batches: Batches) -> EpochLoss:
        loss = super().train_epoch(batches)
        return EpochLoss(0.9 * loss.nats, loss.tokens)


class LossAfterTheStep(NumpyBackend):
    """Reports what the updated parameters would have lost."""

    def train_epoch(self, batches: Batches) -> EpochLoss:
        super().train_epoch(batches)
        return self.evaluate(batches)


class TrainsInPrepare(NumpyBackend):
    def prepare(self, batches: Batches) -> None:
        self.train_epoch(batches)


class GoesUphill(Open):
    def step(self, gradient: Parameters) -> Parameters:
        up = Parameters.from_arrays([-slope for _, slope in gradient.items()])
        return super().step(up)


class SecondLayerUntrained(Open):
    def step(self, gradient: Parameters) -> Parameters:
        moved = super().step(gradient)
        return replace(moved, layers=(moved.layers[0], *self._parameters.layers[1:]))


class Samples(NumpyBackend):
    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        rng = np.random.default_rng()
        return [int(i) for i in rng.integers(0, self.task.model.vocabulary_size, length)]


class RepeatsThePrefix(NumpyBackend):
    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        return [*prefix, *super().generate(prefix, length)]


class IgnoresTheSeed(NumpyBackend):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._parameters = reference.draw_parameters(task.model, 0).astype(task.dtype)


class AlwaysAnotherSeed(NumpyBackend):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        chance = int.from_bytes(os.urandom(4), "big")
        self._parameters = reference.draw_parameters(task.model, chance).astype(task.dtype)


class FixedSteps(NumpyBackend):
    """Compiled for windows of the task's length only."""

    def evaluate(self, batches: Batches) -> EpochLoss:
        if batches.inputs.shape[2] != self.task.training.steps:
            raise ValueError("compiled for another shape")
        return super().evaluate(batches)


class OffersNoMatmul(NumpyBackend):
    matrix_product = Backend.matrix_product


class OneMatmulOnly(NumpyBackend):
    """Keeps the matrices of the first side for every other."""

    def matrix_product(self, side: int) -> None:
        super().matrix_product(side)
        if len(self._factors) > 1:
            raise ValueError("compiled for another shape")


class MultipliesItsKernel(NumpyBackend):
    """Takes a parameter for the matrices of the matmul."""

    def matrix_product(self, side: int) -> None:
        super().matrix_product(side)
        kernel = self._parameters.layers[0].recurrent_kernel
        kernel[:side, :side] = self._factors[side][2][: len(kernel)]


class AnyDevice(NumpyBackend):
    """Takes every device for its own."""

    def __init__(self, task: Task) -> None:
        super().__init__(replace(task, device="cpu"))


class WrongError(NumpyBackend):
    def __init__(self, task: Task) -> None:
        if task.device != "cpu":
            raise RuntimeError("invalid device ordinal")
        super().__init__(task)


class Incomplete(NumpyBackend):
    generate = Backend.generate  # abstract again


class NoBackend:
    def __init__(self, task: Task) -> None:
        pass


class OtherDtype(NumpyBackend):
    def parameters(self) -> Parameters:
        return super().parameters().astype(np.float64)


class Transposed(NumpyBackend):
    def parameters(self) -> Parameters:
        good = super().parameters()
        return replace(good, output_kernel=np.ascontiguousarray(good.output_kernel.T))


class Dictionary(NumpyBackend):
    def parameters(self) -> Any:
        return dict(super().parameters().items())


class OneLayerShort(NumpyBackend):
    def parameters(self) -> Parameters:
        return replace(super().parameters(), layers=())


class NoArrays(NumpyBackend):
    def parameters(self) -> Parameters:
        good = super().parameters()
        return replace(good, output_bias=good.output_bias.tolist())


class Lossy(NumpyBackend):
    """Keeps its parameters in half precision."""

    def load_parameters(self, parameters: Parameters) -> None:
        super().load_parameters(parameters.astype(np.float16))


class Views(NumpyBackend):
    """Hands out its own memory, and computes in place."""

    def parameters(self) -> Parameters:
        return self._parameters

    def train_epoch(self, batches: Batches) -> EpochLoss:
        before = self._parameters
        loss = super().train_epoch(batches)
        pairs = zip(before.items(), self._parameters.items(), strict=True)
        for (_, old), (_, new) in pairs:
            old[...] = new
        self._parameters = before
        return loss


class Tuple(NumpyBackend):
    def train_epoch(self, batches: Batches) -> Any:
        loss = super().train_epoch(batches)
        return loss.nats, loss.tokens


class NumpyLoss(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        loss = super().train_epoch(batches)
        return EpochLoss(np.float64(loss.nats), loss.tokens)


class WindowsForTokens(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        return EpochLoss(super().train_epoch(batches).nats, batches.windows)


class ArrayOfIds(NumpyBackend):
    def generate(self, prefix: Sequence[int], length: int) -> Any:
        return np.array(super().generate(prefix, length))


class NumpyIds(NumpyBackend):
    def generate(self, prefix: Sequence[int], length: int) -> Any:
        return [np.int64(i) for i in super().generate(prefix, length)]


class NoFacts(NumpyBackend):
    def runtime(self) -> dict[str, str]:
        return {}


class MiscountsParameters(NumpyBackend):
    def runtime(self) -> dict[str, str]:
        return {**super().runtime(), "parameters": "12"}


class DiesInTraining(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        os._exit(1)


class NowhereToRun(NumpyBackend):
    def __init__(self, task: Task) -> None:
        raise Unavailable("no such accelerator in this machine")
