"""The language model out of Keras layers: the same on every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from lstmbench import ModelConfig

#: Drops numbers of a sequence, with masks of its own for each place.
Drop = Callable[[Any, int], Any]
#: Per layer ``[h, c]``, each ``[B, H]``.
States = list[list[Any]]


class TiedReadout(keras.layers.Layer):
    """A linear layer whose kernel is an embedding, transposed; its bias is its own."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.bias = self.add_weight((units,), "zeros", name="bias")

    def call(self, sequence: Any, embedding: Any) -> Any:
        return ops.matmul(sequence, ops.transpose(embedding)) + self.bias


class LanguageModel(keras.Model):
    """One-hot symbols or an embedding, LSTM layers, linear output.

    Keras keeps an LSTM as kernel ``[in, 4H]``, recurrent kernel ``[H, 4H]`` and one bias
    ``[4H]``, gates in the order input, forget, cell, output. So ``trainable_variables`` are the
    canonical parameters, in their order.
    """

    def __init__(self, config: ModelConfig, **lstm: Any) -> None:
        """``lstm`` goes to every layer, such as ``use_cudnn``."""
        super().__init__()
        self.vocabulary_size = config.vocabulary_size
        self.embedding = None
        if config.embedding_size is not None:
            self.embedding = keras.layers.Embedding(config.vocabulary_size, config.embedding_size)
        self.recurrent = [
            keras.layers.LSTM(config.hidden_size, return_sequences=True, return_state=True, **lstm)
            for _ in range(config.layers)
        ]
        self.tied = config.tied
        readout = TiedReadout if config.tied else keras.layers.Dense
        self.readout = readout(config.vocabulary_size)

    def call(
        self, ids: Any, states: States, drop: Drop | None = None, alone: bool = False
    ) -> tuple[Any, States]:
        """Logits ``[B, T, V]`` of ids ``[B, T]``, and the states after the last step.

        ``drop`` is applied to the embedding's output, between layers, and before the output. With
        ``alone``, outputs ``[B, T, H]`` of the LSTM layers alone, for ``[B, T, in]`` in place of
        ids.
        """

        def dropped(sequence: Any, place: int) -> Any:
            return drop(sequence, place) if drop else sequence

        if alone:
            sequence = ids
        elif self.embedding is None:
            sequence = ops.one_hot(ids, self.vocabulary_size, dtype=self.compute_dtype)
        else:
            sequence = dropped(self.embedding(ids), 0)
        last = []
        for place, (layer, state) in enumerate(zip(self.recurrent, states, strict=True), 1):
            sequence, h, c = layer(sequence, initial_state=state)
            sequence = dropped(sequence, place)
            last.append([h, c])
        if alone:
            return sequence, last
        if self.tied and self.embedding is not None:
            return self.readout(sequence, ops.convert_to_tensor(self.embedding.embeddings)), last
        return self.readout(sequence), last

    def zero_states(self, batch: int) -> States:
        """No tensor twice, so that compilers see the first window like any other."""
        shapes = [(batch, layer.units) for layer in self.recurrent]
        return [[ops.zeros(shape), ops.zeros(shape)] for shape in shapes]
