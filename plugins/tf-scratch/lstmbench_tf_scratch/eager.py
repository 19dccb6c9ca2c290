"""The LSTM as a student writes it: op by op, eagerly, with a gradient tape.

One matrix per gate and source, as in "Dive into Deep Learning", section "Long Short-Term Memory":
input, forget and output gate and the cell candidate each have their own product with the one-hot
input and with the hidden state. Nothing is fused, on purpose: this mode is what the others are
measured against. Shapes: B batch, T steps, W windows, H hidden, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from lstmbench import Task
from lstmbench_tf_scratch.updates import nothing_kept, update

#: Per layer (H, C), each ``[B, H]``.
State = list[tuple[tf.Tensor, tf.Tensor]]


class EagerModel:
    """Twelve variables per layer, two for the output, and one for an embedding.

    With tied weights the output has but its bias.

    A layer's are ``W_x`` ``[in, H]``, ``W_h`` ``[H, H]`` and ``b`` ``[H]`` for each gate in the
    canonical order: input, forget, cell candidate, output.
    """

    def __init__(self, task: Task, weights: Sequence[np.ndarray]) -> None:
        self._task = task
        self._rate = task.training.learning_rate
        tf.random.set_seed(task.seed)
        self._variables = [tf.Variable(value, dtype=task.dtype) for value in self._split(weights)]
        self._kept = nothing_kept(task.training, self._variables)

    def load(self, weights: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables, self._split(weights), strict=True):
            variable.assign(value)
        self._kept = nothing_kept(self._task.training, self._variables)

    def arrays(self) -> list[np.ndarray]:
        return self._join([variable.numpy() for variable in self._variables])

    def set_learning_rate(self, rate: float) -> None:
        self._rate = rate

    def moments(self) -> list[list[np.ndarray]]:
        """What the optimizer keeps beside each parameter."""
        kept = self._kept[: len(self._task.training.moments)]
        return [self._join([value.numpy() for value in values]) for values in kept]

    def _split(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        first, last = self._around()
        layers = weights[first : len(weights) - last]
        return [*weights[:first], *split_gates(layers), *weights[len(weights) - last :]]

    def _join(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        first, last = self._around()
        gates = arrays[first : len(arrays) - last]
        return [*arrays[:first], *join_gates(gates), *arrays[len(arrays) - last :]]

    def _around(self) -> tuple[int, int]:
        """How many parameters stand before the layers, and how many behind."""
        model = self._task.model
        return int(model.embedding_size is not None), 1 if model.tied else 2

    def warm_up(self, inputs: tf.Tensor, targets: tf.Tensor) -> None:
        """Load the kernels: the first window's gradient, not applied."""
        self._gradients(inputs[0], targets[0], self._zero_state(inputs.shape[2]))

    def train(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Train on ids ``[W, T, B]``. Returns each window's sum of nats, ``[W]``."""
        state = self._zero_state(inputs.shape[2])
        nats = []
        for window, wanted in zip(inputs, targets, strict=True):
            loss, gradients, state = self._gradients(window, wanted, state)
            self._step(gradients)
            nats.append(loss * tf.size(wanted, loss.dtype))
        return tf.stack(nats)

    def _step(self, gradients: list[tf.Tensor]) -> None:
        """SGD with clipping as the course has it; anything else as a function of all values."""
        training = self._task.training
        if training.optimizer == "sgd" and math.isfinite(training.clip_norm):
            norm = tf.sqrt(tf.add_n([tf.reduce_sum(gradient**2) for gradient in gradients]))
            scale = tf.minimum(training.clip_norm / norm, 1.0)
            for variable, gradient in zip(self._variables, gradients, strict=True):
                variable.assign_sub(self._rate * scale * gradient)
            return
        values, self._kept = update(training, self._rate, self._variables, self._kept, gradients)
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    def evaluate(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Each window's sum of nats, ``[W]``."""
        state = self._zero_state(inputs.shape[2])
        nats = []
        for window, wanted in zip(inputs, targets, strict=True):
            logits, state = self._forward(window, state)
            nats.append(cross_entropy(logits, wanted) * tf.size(wanted, logits.dtype))
        return tf.stack(nats)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        state = self._zero_state(1)
        ids = list(prefix)
        for position in range(len(prefix) + length - 1):
            logits, state = self._forward(tf.constant([[ids[position]]]), state)
            if position >= len(prefix) - 1:
                ids.append(int(tf.argmax(logits[0])))
        return ids[len(prefix) :]

    def layers(self, inputs: tf.Tensor, slopes: tf.Tensor | None) -> list[tf.Tensor]:
        """The layers alone, of ``[T, B, in]`` from zero state: outputs and, with ``slopes``, the
        gradients by the inputs and by each variable."""
        first, last = self._around()
        variables = self._variables[first : len(self._variables) - last]
        if slopes is None:
            return [self._layers(inputs, variables)]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = self._layers(inputs, variables)
        return [outputs, *tape.gradient(outputs, [inputs, *variables], slopes)]

    def _layers(self, inputs: tf.Tensor, variables: list[tf.Variable]) -> tf.Tensor:
        outputs = tf.unstack(inputs)
        for index, before in enumerate(self._zero_state(inputs.shape[1])):
            outputs, _ = lstm(outputs, before, variables[12 * index : 12 * (index + 1)])
        return tf.stack(outputs)

    def canonical_layers(self, gradients: Sequence[tf.Tensor]) -> list[np.ndarray]:
        """Input kernel, recurrent kernel and bias of each layer."""
        return join_gates([gradient.numpy() for gradient in gradients])

    def _zero_state(self, batch: int) -> State:
        zeros = tf.zeros((batch, self._task.model.hidden_size), self._task.dtype)
        return [(zeros, zeros)] * self._task.model.layers

    def _forward(
        self, ids: tf.Tensor, state: State, training: bool = False
    ) -> tuple[tf.Tensor, State]:
        """Logits ``[T * B, V]`` of ids ``[T, B]``, and the state after the last step."""
        rate = self._task.training.dropout if training else 0.0

        def dropped(sequence: list[tf.Tensor]) -> list[tf.Tensor]:
            return [tf.nn.dropout(X, rate) for X in sequence] if rate else sequence

        model = self._task.model
        *layers, b_q = self._variables
        if model.embedding_size is None:
            outputs = tf.unstack(tf.one_hot(ids, model.vocabulary_size, dtype=b_q.dtype))
            W_hq = layers.pop()
        else:
            W_e = layers.pop(0)
            outputs = dropped(tf.unstack(tf.gather(W_e, ids)))
            W_hq = tf.transpose(W_e) if model.tied else layers.pop()
        after = []
        for index, before in enumerate(state):
            outputs, last = lstm(outputs, before, layers[12 * index : 12 * (index + 1)])
            outputs = dropped(outputs)
            after.append(last)
        return tf.concat([tf.matmul(H, W_hq) + b_q for H in outputs], axis=0), after

    def _gradients(
        self, ids: tf.Tensor, targets: tf.Tensor, state: State
    ) -> tuple[tf.Tensor, list[tf.Tensor], State]:
        """The mean loss of a window, ids ``[T, B]``, its gradients, and the state after it."""
        with tf.GradientTape() as tape:
            logits, state = self._forward(ids, state, training=True)
            loss = cross_entropy(logits, targets)
            # a sum over steps is so many times their mean
            times = len(ids) if self._task.training.loss == "sum" else 1
            differentiated = times * loss
        gradients = tape.gradient(differentiated, self._variables)
        # those of a look-up come row by row
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients], state


def lstm(
    inputs: list[tf.Tensor], state: tuple[tf.Tensor, tf.Tensor], variables: list[tf.Variable]
) -> tuple[list[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """One layer's outputs, T times ``[B, H]``, and its state, from inputs T times ``[B, in]``."""
    W_xi, W_hi, b_i, W_xf, W_hf, b_f, W_xc, W_hc, b_c, W_xo, W_ho, b_o = variables
    H, C = state
    outputs = []
    for X in inputs:
        I = tf.sigmoid(tf.matmul(X, W_xi) + tf.matmul(H, W_hi) + b_i)  # noqa: E741
        F = tf.sigmoid(tf.matmul(X, W_xf) + tf.matmul(H, W_hf) + b_f)
        O = tf.sigmoid(tf.matmul(X, W_xo) + tf.matmul(H, W_ho) + b_o)  # noqa: E741
        C_tilda = tf.tanh(tf.matmul(X, W_xc) + tf.matmul(H, W_hc) + b_c)
        C = F * C + I * C_tilda
        H = O * tf.tanh(C)
        outputs.append(H)
    return outputs, (H, C)


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean nats of targets ``[T, B]`` under logits ``[T * B, V]``."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(targets, [-1]), logits)
    return tf.reduce_mean(losses)


def split_gates(weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """From the arrays of layers, three each, to one array per gate and source."""
    out: list[np.ndarray] = []
    for i in range(0, len(weights), 3):
        parts = [np.split(array, 4, axis=-1) for array in weights[i : i + 3]]
        out += [array for gate in zip(*parts, strict=True) for array in gate]
    return out


def join_gates(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The inverse of :func:`split_gates`."""
    out: list[np.ndarray] = []
    for i in range(0, len(arrays), 12):
        out += [np.concatenate(arrays[i + k : i + 12 : 3], axis=-1) for k in range(3)]
    return out
