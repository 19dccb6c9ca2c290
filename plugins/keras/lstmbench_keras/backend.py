"""What the three engines share: Keras variables hold the parameters, pure functions use them.

An engine says how gradients are taken, how masks are drawn and how the loop over windows is
compiled. Everything else, the loss, clipping and updates too, is written once, in ``keras.ops``.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from lstmbench import (
    Backend,
    Batches,
    EpochLoss,
    LayerResult,
    Parameters,
    Task,
    Unavailable,
)
from lstmbench.backend import needed_features
from lstmbench_keras.fit import FitTrainer, arrays
from lstmbench_keras.model import Drop, LanguageModel, States
from lstmbench_keras.updates import Kept, Values, nothing_kept, update


class KerasBackend(Backend):
    """An LSTM language model of Keras layers on one engine."""

    #: What ``KERAS_BACKEND`` has to say.
    engine: ClassVar[str]

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        running = keras.backend.backend()
        if running != self.engine:
            raise Unavailable(
                f"Keras runs on {running} here: set KERAS_BACKEND={self.engine} before it starts"
            )
        if task.mode == "fit" and (needed := needed_features(task.model, task.training)):
            raise Unavailable(f"mode fit is Model.fit as it comes, and has no {needed[0]} here")
        self._configure()
        keras.config.set_floatx(task.dtype)
        keras.config.set_dtype_policy(task.dtype)
        # Initialisers take their seeds from Python's generator; keras.utils.set_random_seed does
        # no more for them, but imports TensorFlow whatever the engine.
        random.seed(task.seed)
        with self._device():
            self._model = LanguageModel(task.model, **self._lstm_options())
            try:
                self._model(ops.zeros((1, 1), "int32"), self._model.zero_states(1))
            except ValueError as error:
                if "cuDNN" not in str(error):
                    raise
                raise Unavailable(f"Keras cannot use cuDNN here: mode {task.mode}") from error
            # dropout's seeds: Keras wants them handed over, although nothing is dropped
            self._frozen = [ops.stop_gradient(v) for v in self._model.non_trainable_variables]
            self._kept = nothing_kept(task.training, self._values())
        self._rate, self._epochs = task.training.learning_rate, 0
        self._cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._fit = self._fit_trainer()
        self._compiled_epoch = self._compile(self._epoch)
        self._compiled_forward = self._compile(self._forward)
        self._compiled_layers = self._compile(self._layers)
        self._compiled_layer_gradients = self._compile(self._layer_gradients)
        self._factors: dict[int, tuple[Any, Any]] = {}

    @abstractmethod
    def _configure(self) -> None:
        """Claim the device, set threads and precision; :class:`Unavailable` if it is not there."""

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` as the mode runs it: op by op unless an engine has a compiler."""
        return function

    @abstractmethod
    def _epoch(
        self, values: Values, kept: Kept, rate: Any, epoch: Any, inputs: Any, targets: Any
    ) -> tuple[Values, Kept, Any]:
        """Train on ``[windows, batch, steps]``: new values, what the optimizer keeps, and the sum
        of the windows' losses. ``epoch``, a number, makes its masks new."""

    @abstractmethod
    def _layer_gradients(self, values: Values, inputs: Any, slopes: Any) -> tuple[Any, Any, Values]:
        """Outputs of the LSTM layers alone, and the gradients of outputs times ``slopes`` by the
        inputs and by the layers' ``values``; batch first."""

    @abstractmethod
    def _drop(self, epoch: Any, window: Any) -> Drop:
        """Dropout with the masks of a window, by numbers that say which."""

    @abstractmethod
    def _wait(self, tensor: Any) -> None:
        """Return when ``tensor`` exists."""

    @abstractmethod
    def runtime(self) -> dict[str, str]:
        """See :class:`Backend`; an engine adds to this."""
        count = sum(int(np.prod(v.shape)) for v in self._model.trainable_variables)
        return {
            "keras": keras.__version__,
            "parameters": str(count),
            "biases": "one per layer",
        }

    def _fit_trainer(self) -> FitTrainer:
        return FitTrainer(self._model, self.task.training, arrays, jit_compile="auto")

    def _lstm_options(self) -> dict[str, Any]:
        """On a GPU either cuDNN or an error: an unnoticed fallback would falsify the record."""
        if self.task.device_kind != "cuda":
            return {}
        return {"use_cudnn": self.task.mode not in ("xla", "jit")}

    def _device(self) -> AbstractContextManager[Any]:
        """Where Keras puts new tensors, for an engine that is not told once for all."""
        return nullcontext()

    def _values(self) -> Values:
        """The parameters as plain tensors: an engine records for itself what it differentiates."""
        return [ops.stop_gradient(variable) for variable in self._model.trainable_variables]

    def _assign(self, values: Sequence[Any]) -> None:
        for variable, value in zip(self._model.trainable_variables, values, strict=True):
            variable.assign(value)

    def _forward(self, values: Values, ids: Any, states: States) -> tuple[Any, States]:
        """Logits and last states, as a pure function of the parameters."""
        outputs, _ = self._model.stateless_call(values, self._frozen, ids, states)
        return outputs

    def _layers(self, values: Values, inputs: Any) -> Any:
        """Outputs ``[B, T, H]`` of the LSTM layers alone, whose parameters are ``values``."""
        every: list[Any] = list(self._model.trainable_variables)
        first = 0 if self._model.embedding is None else 1
        every[first : first + len(values)] = values
        states = self._model.zero_states(inputs.shape[0])
        given = (every, self._frozen, inputs, states)
        outputs, _ = self._model.stateless_call(*given, alone=True)
        return outputs[0]

    def _layer_values(self) -> Values:
        first = 0 if self._model.embedding is None else 1
        return self._values()[first : first + 3 * len(self._model.recurrent)]

    def _loss(
        self,
        values: Values,
        inputs: Any,
        targets: Any,
        states: States,
        epoch: Any = 0,
        window: Any = 0,
    ) -> tuple[Any, States]:
        """Mean cross-entropy over one window's tokens, and the states to carry on."""
        more = {"drop": self._drop(epoch, window)} if self.task.training.dropout else {}
        outputs, _ = self._model.stateless_call(values, self._frozen, inputs, states, **more)
        logits, states = outputs
        return self._cross_entropy(targets, logits), states

    def _step(
        self, values: Values, kept: Kept, rate: Any, gradients: Sequence[Any]
    ) -> tuple[Values, Kept]:
        """One update; the learning rate is part of a program unless it is scheduled."""
        training = self.task.training
        rate = rate if training.scheduled else training.learning_rate
        return update(training, rate, values, kept, list(gradients))

    def load_parameters(self, parameters: Parameters) -> None:
        with self._device():
            self._assign([array for _, array in parameters.items()])
            self._kept = nothing_kept(self.task.training, self._values())

    def parameters(self) -> Parameters:
        return self._canonical(self._model.trainable_variables)

    def set_learning_rate(self, rate: float) -> None:
        self._rate = rate

    def optimizer_state(self) -> tuple[Parameters, ...]:
        moments = self._kept[: len(self.task.training.moments)]
        return tuple(self._canonical(values) for values in moments)

    def _canonical(self, values: Sequence[Any]) -> Parameters:
        arrays = [np.array(ops.convert_to_numpy(value)) for value in values]
        return Parameters.of_model(self.task.model, arrays)

    def prepare(self, batches: Batches) -> None:
        """Compile by training an epoch, then take it back."""
        before, kept = self.parameters(), self._kept
        self.train_epoch(batches)
        self.load_parameters(before)
        self._kept = kept

    def train_epoch(self, batches: Batches) -> EpochLoss:
        with self._device():
            if self.task.mode == "fit":
                return EpochLoss(self._fit.epoch(batches) * batches.tokens, batches.tokens)
            inputs, targets = map(ops.convert_to_tensor, (batches.inputs, batches.targets))
            self._epochs += 1
            rate = ops.convert_to_tensor(self._rate, self.task.dtype)
            epoch = ops.convert_to_tensor(self._epochs, "int32")
            values, self._kept, losses = self._compiled_epoch(
                self._values(), self._kept, rate, epoch, inputs, targets
            )
            self._assign(values)
            # reading the loss waits for the program that made the values too
            return EpochLoss(float(losses) / batches.windows * batches.tokens, batches.tokens)

    def evaluate(self, batches: Batches) -> EpochLoss:
        with self._device():
            values, states = self._values(), self._model.zero_states(batches.inputs.shape[1])
            losses = 0.0
            for inputs, targets in batches:
                logits, states = self._compiled_forward(values, inputs, states)
                losses += float(self._cross_entropy(targets, logits))
        return EpochLoss(losses / batches.windows * batches.tokens, batches.tokens)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        with self._device():
            values, states = self._values(), self._model.zero_states(1)
            ids, chosen = list(prefix), []
            for _ in range(length):
                logits, states = self._compiled_forward(values, np.array([ids], np.int32), states)
                ids = [int(ops.argmax(logits[0, -1]))]
                chosen += ids
        return chosen

    def stage_layer(self, inputs: np.ndarray, slopes: np.ndarray | None = None) -> None:
        with self._device():
            self._staged = [
                [ops.convert_to_tensor(array.swapaxes(0, 1).copy()) for array in each]
                for each in (inputs, slopes)
                if each is not None
            ]
            self._alone = self._layer_values()

    def layer_pass(self, index: int) -> None:
        given = [each[index] for each in self._staged]
        backward = len(given) > 1
        with self._device():
            run = self._compiled_layer_gradients if backward else self._compiled_layers
            self._given = run(self._alone, *given)
            # the last to be computed
            self._wait(self._given[2][0] if backward else self._given)

    def layer_result(self) -> LayerResult:
        def numpy(tensor: Any) -> np.ndarray:
            return np.array(ops.convert_to_numpy(tensor))

        if len(self._staged) == 1:
            return LayerResult(numpy(self._given).swapaxes(0, 1))
        outputs, d_inputs, gradients = self._given
        return LayerResult.of_arrays(
            numpy(outputs).swapaxes(0, 1),
            numpy(d_inputs).swapaxes(0, 1),
            [numpy(gradient) for gradient in gradients],
        )

    def matrix_product(self, side: int) -> None:
        with self._device():
            if side not in self._factors:
                factors = np.random.default_rng(side).random((2, side, side))
                left, right = (ops.convert_to_tensor(f, self.task.dtype) for f in factors)
                self._factors[side] = left, right
            self._wait(ops.matmul(*self._factors[side]))
