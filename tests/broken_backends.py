"""Backends with one mistake each, for the conformance kit to find."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
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
        return self._optimizer.step(self._parameters, gradient)

    def slopes(
        self, inputs: np.ndarray, targets: np.ndarray, state: reference.State
    ) -> tuple[float, Parameters, reference.State]:
        loss, dropout = self.task.training.loss, self._dropout
        return reference.gradients(
            self.arranged(), inputs, targets, state, loss=loss, dropout=dropout
        )

    def train_epoch(self, batches: Batches) -> EpochLoss:
        total, state = 0.0, self.first_state(batches.inputs.shape[1])
        for inputs, targets in batches:
            nats, gradient, state = self.slopes(inputs, targets, state)
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


class Deferred(NumpyBackend):
    """Knows the last window's loss and leaves its backward pass and update to the next call."""

    _rest: Callable[[], None] | None = None

    def _finish(self) -> None:
        rest, self._rest = self._rest, None
        if rest:
            rest()

    def _leave(self, work: Callable[[], None]) -> None:
        self._rest = work

    def train_epoch(self, batches: Batches) -> EpochLoss:
        self._finish()
        total, state = 0.0, reference.zero_state(self._parameters, batches.inputs.shape[1])
        for index, (inputs, targets) in enumerate(batches):
            if index == batches.windows - 1:
                total += self._last(inputs, targets, state)
            else:
                nats, gradient, state = reference.gradients(
                    self._parameters, inputs, targets, state
                )
                self._step(gradient)
                total += nats
        return EpochLoss(total, batches.tokens)

    def _last(self, inputs: np.ndarray, targets: np.ndarray, state: reference.State) -> float:
        """The loss of the last window."""
        logits, _, _ = reference.forward(self._parameters, inputs, state)

        def rest() -> None:
            self._step(reference.gradients(self._parameters, inputs, targets, state)[1])

        self._leave(rest)
        return reference._cross_entropy(logits, targets)[0]

    def _step(self, gradient: Parameters) -> None:
        self._parameters = reference.sgd_step(self._parameters, gradient, self.task.training)

    def parameters(self) -> Parameters:
        self._finish()
        return super().parameters()

    def load_parameters(self, parameters: Parameters) -> None:
        self._finish()
        super().load_parameters(parameters)

    def evaluate(self, batches: Batches) -> EpochLoss:
        self._finish()
        return super().evaluate(batches)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        self._finish()
        return super().generate(prefix, length)


class Dispatched(Deferred):
    """Hands the same work to a thread, as an asynchronous framework does, and returns."""

    def _leave(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        self._rest = thread.join


class StepDeferred(Deferred):
    """Takes the last gradient, and leaves only the cheap rest: clipping and the update."""

    def _last(self, inputs: np.ndarray, targets: np.ndarray, state: reference.State) -> float:
        nats, gradient, _ = reference.gradients(self._parameters, inputs, targets, state)
        self._leave(lambda: self._step(gradient))
        return nats


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


class SumForMean(Open):
    """Takes the gradient of the summed loss, and clips nothing."""

    def step(self, gradient: Parameters) -> Parameters:
        tokens = self.task.training.batch_size * self.task.training.steps
        whole = Parameters.from_arrays([tokens * slope for _, slope in gradient.items()])
        free = replace(self.task.training, clip_norm=float("inf"))
        return reference.sgd_step(self._parameters, whole, free)


class BiasTwiceAndStateLost(BiasTwice, StateNeverCarried):
    """Two mistakes."""


class TargetsReread(NumpyBackend):
    """Flattens targets of [batch, steps] beside predictions of [steps, batch]."""

    def evaluate(self, batches: Batches) -> EpochLoss:
        windows, batch, steps = batches.targets.shape
        targets = batches.targets.reshape(windows, steps, batch).transpose(0, 2, 1)
        return super().evaluate(Batches(batches.inputs, targets))


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


class Crashes(NumpyBackend):
    """Uses a name that nothing has, in the method that the environment names."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._compute("__init__")

    def _compute(self, method: str) -> None:
        if os.environ.get("CRASH_IN") == method:
            undefined_name  # type: ignore[name-defined]  # noqa: B018, F821

    def prepare(self, batches: Batches) -> None:
        self._compute("prepare")

    def train_epoch(self, batches: Batches) -> EpochLoss:
        self._compute("train_epoch")
        return super().train_epoch(batches)

    def evaluate(self, batches: Batches) -> EpochLoss:
        self._compute("evaluate")
        return super().evaluate(batches)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        self._compute("generate")
        return super().generate(prefix, length)

    def runtime(self) -> dict[str, str]:
        self._compute("runtime")
        return super().runtime()


class Asserts(NumpyBackend):
    def __init__(self, task: Task) -> None:
        assert task.model.hidden_size % 2, f"{task.model.hidden_size} is odd"
        super().__init__(task)


class Prints(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        print("training")
        print("to stderr", file=sys.stderr)
        return super().train_epoch(batches)


class Hangs(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        threading.Event().wait()
        return super().train_epoch(batches)

    def evaluate(self, batches: Batches) -> EpochLoss:
        return self.train_epoch(batches)


class LossIsNan(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        return EpochLoss(float("nan"), super().train_epoch(batches).tokens)


class NowhereToRun(NumpyBackend):
    def __init__(self, task: Task) -> None:
        raise Unavailable("no such accelerator in this machine")
