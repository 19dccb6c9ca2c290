"""Backends of the layers alone that are broken or that cheat, one way each."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import LayerResult, Task
from lstmbench.layer import layer_pass


class Honest(NumpyBackend):
    """The second instance is the one that is timed."""

    built = 0

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        type(self).built += 1
        self.timed = type(self).built > 1


class Without(NumpyBackend):
    """Its spec does not name the feature."""


class DoublesBias(Honest):
    def layer_pass(self, index: int) -> None:
        super().layer_pass(index)
        layers = tuple(replace(layer, bias=2 * layer.bias) for layer in self._result.layers)
        self._result = replace(self._result, layers=layers)


class NoGradientOfInputs(Honest):
    """Leaves a matmul out once it is timed."""

    def layer_pass(self, index: int) -> None:
        super().layer_pass(index)
        if self.timed and self._result.inputs is not None:
            self._result = replace(self._result, inputs=np.zeros_like(self._result.inputs))


class FirstPassOnly(Honest):
    """Of what was staged, it computes one pass."""

    def stage_layer(self, inputs: np.ndarray, slopes: np.ndarray | None = None) -> None:
        super().stage_layer(inputs, slopes)
        self._done = False

    def layer_pass(self, index: int) -> None:
        if not self.timed or not self._done:
            super().layer_pass(index)
        self._done = True


class OnceShown(Honest):
    """Leaves out the rest of a round once something of it was shown."""

    def stage_layer(self, inputs: np.ndarray, slopes: np.ndarray | None = None) -> None:
        super().stage_layer(inputs, slopes)
        self._shown = False

    def layer_pass(self, index: int) -> None:
        if not self.timed or not self._shown:
            super().layer_pass(index)

    def layer_result(self) -> LayerResult:
        self._shown = True
        return super().layer_result()


class WhenStaged(Honest):
    """Computes all passes before the clock runs."""

    def stage_layer(self, inputs: np.ndarray, slopes: np.ndarray | None = None) -> None:
        super().stage_layer(inputs, slopes)
        self._all = []
        for index in range(len(inputs)):
            super().layer_pass(index)
            self._all.append(self._result)

    def layer_pass(self, index: int) -> None:
        self._result = self._all[index]


class WhenShown(Honest):
    """Computes a pass when its result is asked for."""

    def layer_pass(self, index: int) -> None:
        self._asked = index

    def layer_result(self) -> LayerResult:
        super().layer_pass(self._asked)
        return self._result


class OtherShape(Honest):
    def layer_result(self) -> LayerResult:
        return replace(self._result, outputs=self._result.outputs[1:])


class Exits(Honest):
    def layer_pass(self, index: int) -> None:
        if self.timed:
            os._exit(7)
        super().layer_pass(index)


class Half(Honest):
    """Computes in 16 bits."""

    def layer_pass(self, index: int) -> None:
        inputs, slopes = self._staged
        halved = self._parameters.astype(np.float16).astype(np.float32)
        self._result = layer_pass(
            halved.layers, inputs[index], None if slopes is None else slopes[index]
        )
