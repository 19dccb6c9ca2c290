"""The language model out of Keras layers: the same on every engine."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from lstmbench import ModelConfig

#: Per layer ``[h, c]``, each ``[B, H]``.
States = list[list[Any]]


class LanguageModel(keras.Model):
    """One-hot symbols, LSTM layers, linear output.

    Keras keeps an LSTM as kernel ``[in, 4H]``, recurrent kernel ``[H, 4H]`` and one bias
    ``[4H]``, gates in the order input, forget, cell, output. So ``trainable_variables`` are the
    canonical parameters, in their order.
    """

    def __init__(self, config: ModelConfig, **lstm: Any) -> None:
        """``lstm`` goes to every layer, such as ``use_cudnn``."""
        super().__init__()
        self.vocabulary_size = config.vocabulary_size
        self.recurrent = [
            keras.layers.LSTM(config.hidden_size, return_sequences=True, return_state=True, **lstm)
            for _ in range(config.layers)
        ]
        self.readout = keras.layers.Dense(config.vocabulary_size)

    def call(self, ids: Any, states: States) -> tuple[Any, States]:
        """Logits ``[B, T, V]`` of ids ``[B, T]``, and the states after the last step."""
        sequence = ops.one_hot(ids, self.vocabulary_size, dtype=self.compute_dtype)
        last = []
        for layer, state in zip(self.recurrent, states, strict=True):
            sequence, h, c = layer(sequence, initial_state=state)
            last.append([h, c])
        return self.readout(sequence), last

    def zero_states(self, batch: int) -> States:
        """No tensor twice, so that compilers see the first window like any other."""
        shapes = [(batch, layer.units) for layer in self.recurrent]
        return [[ops.zeros(shape), ops.zeros(shape)] for shape in shapes]
