"""Training by ``Model.fit``: what a user of Keras writes who writes no loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

from lstmbench import Batches, TrainingConfig
from lstmbench_keras.model import LanguageModel


class CarryingModel(keras.Model):
    """A language model that keeps its state from batch to batch.

    As ``LSTM(stateful=True)`` would, but in weights that Keras tracks: seen in Keras 3.15, that
    option loses the state under JAX's ``fit``, since the layer hides its state from the trainer,
    and fails under PyTorch's, where the state is overwritten before the backward pass reads it.
    """

    def __init__(self, model: LanguageModel, batch: int) -> None:
        super().__init__()
        self.model = model
        self.batch = batch
        self.states = [
            [
                self.add_weight((batch, layer.units), "zeros", trainable=False, name=name)
                for name in ("h", "c")
            ]
            for layer in model.recurrent
        ]

    def call(self, ids: Any) -> Any:
        """Logits ``[B, T, V]``; no gradient flows into the batch before."""
        # copies, since PyTorch assigns in place
        before = [[ops.copy(ops.stop_gradient(v)) for v in state] for state in self.states]
        logits, after = self.model(ids, before)
        for variable, value in zip(tree.flatten(self.states), tree.flatten(after), strict=True):
            variable.assign(ops.stop_gradient(value))
        return logits

    def reset_states(self) -> None:
        for variable in tree.flatten(self.states):
            variable.assign(ops.zeros(variable.shape))


def arrays(batches: Batches) -> dict[str, Any]:
    """An epoch as ``fit`` takes it on any engine: all rows of the first window, of the next, ..."""
    _, batch, steps = batches.inputs.shape
    return {
        "x": batches.inputs.reshape(-1, steps),
        "y": batches.targets.reshape(-1, steps),
        "batch_size": batch,
    }


class FitTrainer:
    """Trains the weights of ``model``, an epoch a call; compiled anew for another batch size.

    ``feed`` gives the data arguments of ``fit``.
    """

    def __init__(
        self,
        model: LanguageModel,
        training: TrainingConfig,
        feed: Callable[[Batches], dict[str, Any]],
        jit_compile: bool | str,
    ) -> None:
        self._model = model
        self._training = training
        self._feed = feed
        self._jit_compile = jit_compile
        self._carrying: CarryingModel | None = None

    def epoch(self, batches: Batches) -> float:
        """Mean loss per token; every window counts alike, since all are of one size."""
        batch = batches.inputs.shape[1]
        if self._carrying is None or self._carrying.batch != batch:
            self._carrying = CarryingModel(self._model, batch)
            self._carrying.compile(
                keras.optimizers.SGD(
                    self._training.learning_rate, global_clipnorm=self._training.clip_norm
                ),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                jit_compile=self._jit_compile,
            )
        self._carrying.reset_states()
        history = self._carrying.fit(**self._feed(batches), shuffle=False, verbose=0)
        return float(history.history["loss"][0])
