"""The LSTM with fused gates and hand-derived gradients, a whole epoch in one call.

Shapes: B batch, T steps, W windows, H hidden, V vocabulary. Sequences are time-major,
``[T, B, ...]``; gates lie side by side in the order input, forget, cell, output: ``[..., 4H]``.
The equations are those of ``lstmbench.reference``. The method: Werbos, "Backpropagation Through
Time: What It Does and How to Do It", Proceedings of the IEEE 78 (1990).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_optimization_barrier

from lstmbench import ModelConfig, Task, TrainingConfig
from lstmbench_tf_scratch.updates import Kept, nothing_kept, update

#: All parameters, or a gradient for each, flat, in the order of ``Parameters.items``.
Weights = list[tf.Tensor]
#: Per layer (h, c), each ``[B, H]``.
State = list[tuple[tf.Tensor, tf.Tensor]]
Transpose = Callable[[tf.Tensor], tf.Tensor]


class FusedModel:
    """The parameters, one tensor each, and the traced or compiled functions of one mode.

    The batch is cut into at most ``shards`` parts, whose gradients add up to the batch's. They
    run side by side on the inter-op threads: the kernels of one time step are too small to gain
    much from being split among threads one by one.
    """

    def __init__(self, task: Task, weights: Sequence[np.ndarray], shards: int) -> None:
        self._task = task
        self._shards = shards
        self._rate, self._epochs = task.training.learning_rate, 0
        self.load(weights)
        xla = task.mode == "xla"
        # None and not False: a function that forbids XLA runs the programs inside it in sequence
        traced = partial(tf.function, autograph=False, jit_compile=xla or None)
        transpose = materialised_transpose if xla else tf.transpose
        self._gradients = traced(partial(gradients, transpose, task.model, task.training))
        self._step = traced(partial(step, task.training))
        # unsharded, the loop over windows may be part of the XLA program as well
        self._train = tf.function(
            self._epoch, autograph=False, jit_compile=(xla and shards == 1) or None
        )
        self._evaluate = traced(partial(evaluation, transpose, task.model))
        self._layer_share = traced(partial(layers, transpose))
        self._layers = tf.function(
            self._all_layers, autograph=False, jit_compile=(xla and shards == 1) or None
        )

    def load(self, weights: Sequence[np.ndarray]) -> None:
        self._weights = [tf.constant(value, self._task.dtype) for value in weights]
        self._kept = nothing_kept(self._task.training, self._weights)

    def set_learning_rate(self, rate: float) -> None:
        self._rate = rate

    def moments(self) -> list[list[np.ndarray]]:
        """What the optimizer keeps beside each parameter."""
        kept = self._kept[: len(self._task.training.moments)]
        return [[np.array(value) for value in values] for values in kept]

    def arrays(self) -> list[np.ndarray]:
        return [np.array(value) for value in self._weights]

    def warm_up(self, inputs: tf.Tensor, targets: tf.Tensor) -> None:
        """Trace and compile for this shape, by an epoch whose result is dropped."""
        self._train(*self._arguments(), inputs, targets)

    def _arguments(self) -> tuple[Weights, Kept, tf.Tensor, tf.Tensor]:
        """All that a program of an epoch gets beside the text."""
        rate = tf.constant(self._rate, self._task.dtype)
        seed = tf.constant([self._task.seed << 24, self._epochs << 32], tf.int64)
        return self._weights, self._kept, rate, seed

    def train(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Train on ids ``[W, T, B]``. Returns each window's sum of nats, ``[W]``."""
        self._epochs += 1
        nats, self._weights, self._kept = self._train(*self._arguments(), inputs, targets)
        return nats

    def evaluate(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Each window's sum of nats, ``[W]``."""
        return self._evaluate(self._weights, inputs, targets)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        model = self._task.model
        state = zero_state(model, self._task.dtype, 1)
        output = parts(model, self._weights)
        ids = list(prefix)
        for position in range(len(prefix) + length - 1):
            tape = forward(
                tf.transpose, model, self._weights, state, tf.constant([[ids[position]]])
            )
            state = tape.after
            if position >= len(prefix) - 1:
                ids.append(int(tf.argmax(logits_of(output, rows(tape.reads[-1]))[0])))
        return ids[len(prefix) :]

    def layers(self, inputs: tf.Tensor, slopes: tf.Tensor | None) -> Weights:
        """See :func:`layers`."""
        return self._layers(parts(self._task.model, self._weights).layers, inputs, slopes)

    def canonical_layers(self, gradients: Sequence[tf.Tensor]) -> list[np.ndarray]:
        """Input kernel, recurrent kernel and bias of each layer."""
        return [np.array(value) for value in gradients]

    def _all_layers(
        self, weights: list[Weights], inputs: tf.Tensor, slopes: tf.Tensor | None
    ) -> Weights:
        """Of the whole batch, from its shards."""
        shards = shard_count(inputs.shape[1], self._shards)
        given = [tf.split(inputs, shards, 1)]
        given.append([None] * shards if slopes is None else tf.split(slopes, shards, 1))
        answers = [self._layer_share(weights, *share) for share in zip(*given, strict=True)]
        joined = [
            tf.concat(shares, axis=1) for shares in zip(*(a[:2] for a in answers), strict=True)
        ]
        return [*joined, *map(tf.add_n, zip(*(a[2:] for a in answers), strict=True))]

    def _epoch(
        self,
        weights: Weights,
        kept: Kept,
        rate: tf.Tensor,
        seed: tf.Tensor,
        inputs: tf.Tensor,
        targets: tf.Tensor,
    ) -> tuple[tf.Tensor, Weights, Kept]:
        """Each window's sum of nats, ``[W]``, the parameters after the last window, and what the
        optimizer keeps."""
        windows, steps, batch = inputs.shape
        training = self._task.training
        count = steps * batch if training.loss == "mean" else batch
        scheduled = rate if training.scheduled else training.learning_rate
        shards = shard_count(batch, self._shards)
        shares_of_text = list(
            zip(tf.split(inputs, shards, 2), tf.split(targets, shards, 2), strict=True)
        )

        def window(
            w: tf.Tensor, nats: tf.TensorArray, states: list[State], weights: Weights, kept: Kept
        ) -> Any:
            answers = [
                self._gradients(weights, state, x[w], y[w], count, moved(seed, shard << 12, w))
                for shard, (state, (x, y)) in enumerate(zip(states, shares_of_text, strict=True))
            ]
            losses, shares, states = map(list, zip(*answers, strict=True))
            weights, kept = self._step(scheduled, weights, kept, shares)
            return w + 1, nats.write(w, tf.add_n(losses)), states, weights, kept

        _, nats, _, weights, kept = tf.while_loop(
            lambda w, *_: w < windows,
            window,
            (
                0,
                tf.TensorArray(weights[0].dtype, windows, element_shape=()),
                [
                    zero_state(self._task.model, self._task.dtype, batch // shards)
                    for _ in shares_of_text
                ],
                weights,
                kept,
            ),
            parallel_iterations=1,
        )
        return nats.stack(), weights, kept


def shard_count(batch: int, limit: int) -> int:
    """The largest number of equal parts of a batch, up to ``limit``."""
    return max(count for count in range(1, limit + 1) if batch % count == 0)


class Parts(NamedTuple):
    """The parameters by what they are for.

    ``layers``: (input kernel ``[in, 4H]``, recurrent kernel ``[H, 4H]``, bias ``[4H]``) of each.
    ``output_kernel`` is ``[H, V]``, or the embedding ``[V, H]`` if weights are tied.
    """

    embedding: tf.Tensor | None
    layers: list[Weights]
    output_kernel: tf.Tensor
    output_bias: tf.Tensor
    tied: bool


def parts(model: ModelConfig, weights: Weights) -> Parts:
    *rest, bias = weights
    embedding = None if model.embedding_size is None else rest.pop(0)
    kernel = embedding if model.tied else rest.pop()
    layers = [rest[i : i + 3] for i in range(0, len(rest), 3)]
    return Parts(embedding, layers, kernel, bias, model.tied)


class Tape(NamedTuple):
    """What the backward pass needs of a forward pass.

    ``reads``: what each layer has read ``[T, B, in]``, ``None`` for one-hot symbols, and last what
    the output layer has; ``masks``: what these were multiplied by, if by anything; ``hiddens``
    ``[T, B, H]``, ``slopes`` and the last state of each layer.
    """

    reads: list[tf.Tensor | None]
    masks: list[tf.Tensor | None]
    hiddens: list[tf.Tensor]
    slopes: list[list[tf.Tensor]]
    after: State


class Dropout(NamedTuple):
    """Draws masks by a seed ``[2]``, another one for each place."""

    rate: float
    seed: tf.Tensor

    def mask(self, like: tf.Tensor, place: int) -> tf.Tensor:
        # what TensorFlow chooses under XLA on a CPU leaves out half of a seed's bits
        drawn = tf.random.stateless_uniform(like.shape, moved(self.seed, place, 0), alg="philox")
        return tf.cast(drawn >= self.rate, like.dtype) / (1 - self.rate)


def moved(seed: tf.Tensor, first: tf.Tensor | int, second: tf.Tensor | int) -> tf.Tensor:
    """A seed ``[2]`` of int64 beside another one."""
    return seed + tf.cast(tf.stack([first, second]), tf.int64)


def zero_state(model: ModelConfig, dtype: Any, batch: int) -> State:
    zeros = tf.zeros((batch, model.hidden_size), dtype)
    return [(zeros, zeros) for _ in range(model.layers)]


def materialised_transpose(matrix: tf.Tensor) -> tf.Tensor:
    """A transpose that XLA must not fold into the product that reads it.

    On the CPU XLA multiplies row-major operands far faster than transposed ones, and the copy
    costs little.
    """
    return xla_optimization_barrier([tf.transpose(matrix)])[0]


def rows(sequence: tf.Tensor) -> tf.Tensor:
    """``[T, B, N]`` as ``[T * B, N]``."""
    return tf.reshape(sequence, (-1, sequence.shape[-1]))


def logits_of(given: Parts, hiddens: tf.Tensor) -> tf.Tensor:
    """From ``[N, H]`` to ``[N, V]``."""
    kernel = given.output_kernel
    return tf.matmul(hiddens, kernel, transpose_b=given.tied) + given.output_bias


def recur(
    projected: tf.Tensor,
    recurrent_transposed: tf.Tensor,
    state: tuple[tf.Tensor, tf.Tensor],
    keep: bool = True,
) -> tuple[tf.Tensor, list[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """One layer through time, from the input's part of all gates, bias included, ``[T, B, 4H]``.

    Returns h ``[T, B, H]``, what :func:`recur_back` needs (nothing, unless ``keep``), and the state
    after the last step.
    Within a step the batch comes last, ``[H, B]``: a tall kernel times a narrow state multiplies
    faster on a CPU than the same product transposed.
    """
    steps, batch, width = projected.shape
    hidden = width // 4

    def step(
        t: tf.Tensor, h: tf.Tensor, c: tf.Tensor, hiddens: tf.TensorArray, slopes: list[Any]
    ) -> Any:
        raw = tf.transpose(projected[t]) + tf.matmul(recurrent_transposed, h)
        i, f, g, o = tf.split(raw, 4)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        before, c = c, f * c + i * g
        tanh_c = tf.tanh(c)
        h = o * tanh_c
        partials = (
            g * i * (1 - i),  # of c_t, by the raw input gate
            before * f * (1 - f),  # by the raw forget gate
            i * (1 - g * g),  # by the raw cell candidate
            tanh_c * o * (1 - o),  # of h_t, by the raw output gate
            o * (1 - tanh_c * tanh_c),  # by c_t
            f,  # of c_t, by c_(t-1)
        )
        slopes = [array.write(t, value) for array, value in zip(slopes, partials, strict=keep)]
        return t + 1, h, c, hiddens.write(t, tf.transpose(h)), slopes

    hiddens = tf.TensorArray(projected.dtype, steps, element_shape=(batch, hidden))
    slopes = [
        tf.TensorArray(projected.dtype, steps, element_shape=(hidden, batch))
        for _ in range(6 if keep else 0)
    ]
    start = map(tf.transpose, state)
    _, h, c, hiddens, slopes = tf.while_loop(
        lambda t, *_: t < steps, step, (0, *start, hiddens, slopes), parallel_iterations=1
    )
    after = tf.transpose(h), tf.transpose(c)
    return hiddens.stack(), [array.stack() for array in slopes], after


def recur_back(d_hiddens: tf.Tensor, slopes: list[tf.Tensor], recurrent: tf.Tensor) -> tf.Tensor:
    """From dL/dh_t ``[T, B, H]`` to dL/d(raw gates) ``[T, B, 4H]``."""
    steps, batch, hidden = d_hiddens.shape

    def step(t: tf.Tensor, d_h: tf.Tensor, d_c: tf.Tensor, d_raws: tf.TensorArray) -> Any:
        by_i, by_f, by_g, by_o, by_c, f = (slope[t] for slope in slopes)
        d_h += tf.transpose(d_hiddens[t])
        d_c += d_h * by_c
        d_raw = tf.concat([d_c * by_i, d_c * by_f, d_c * by_g, d_h * by_o], axis=0)
        d_raws = d_raws.write(t, tf.transpose(d_raw))
        return t - 1, tf.matmul(recurrent, d_raw), d_c * f, d_raws

    zeros = tf.zeros((hidden, batch), d_hiddens.dtype)
    array = tf.TensorArray(d_hiddens.dtype, steps, element_shape=(batch, 4 * hidden))
    *_, d_raws = tf.while_loop(
        lambda t, *_: t >= 0, step, (steps - 1, zeros, zeros, array), parallel_iterations=1
    )
    return d_raws.stack()


def forward(
    transpose: Transpose,
    model: ModelConfig,
    weights: Weights,
    state: State,
    inputs: tf.Tensor,
    dropout: Dropout | None = None,
) -> Tape:
    """All layers, of ids ``[T, B]``."""
    given, tape = parts(model, weights), Tape([], [], [], [], [])

    def read(sequence: tf.Tensor) -> tf.Tensor:
        mask = dropout.mask(sequence, len(tape.masks)) if dropout else None
        tape.masks.append(mask)
        tape.reads.append(sequence if mask is None else sequence * mask)
        return tape.reads[-1]

    below = None if given.embedding is None else tf.gather(given.embedding, inputs)
    for (kernel, recurrent, bias), before in zip(given.layers, state, strict=True):
        if below is None:  # a one-hot row times the kernel is a row of the kernel
            tape.reads.append(None)
            tape.masks.append(None)
            projected = tf.gather(kernel + bias, inputs)
        else:
            projected = tf.reshape(
                tf.matmul(rows(read(below)), kernel) + bias, (*inputs.shape, kernel.shape[1])
            )
        below, partials, last = recur(projected, transpose(recurrent), before)
        tape.hiddens.append(below)
        tape.slopes.append(partials)
        tape.after.append(last)
    read(below)
    return tape


def gradients(
    transpose: Transpose,
    model: ModelConfig,
    training: TrainingConfig,
    weights: Weights,
    state: State,
    inputs: tf.Tensor,
    targets: tf.Tensor,
    count: int,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, Weights, State]:
    """The sum of nats on a part of a window, ids ``[T, B]``, and the state after it.

    The gradient is that of the sum divided by ``count``; ``seed`` is that of the masks.
    """
    batch = inputs.shape[1]
    dropout = Dropout(training.dropout, seed) if training.dropout else None
    tape = forward(transpose, model, weights, state, inputs, dropout)
    given = parts(model, weights)
    symbols, dtype = given.output_bias.shape[0], given.output_bias.dtype

    top = rows(tape.reads[-1])
    logits, wanted = logits_of(given, top), tf.reshape(targets, [-1])
    if given.embedding is None:
        log_probabilities = tf.nn.log_softmax(logits)
        one_hot = tf.one_hot(wanted, symbols, dtype=dtype)
        nats = -tf.reduce_sum(log_probabilities * one_hot)
        d_logits = (tf.exp(log_probabilities) - one_hot) / count
    else:  # of a large vocabulary: both at once, and nothing as wide as it beside them
        losses, d_logits = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
            features=logits, labels=wanted
        )
        nats, d_logits = tf.reduce_sum(losses), d_logits / count
    d_weights = [tf.reduce_sum(d_logits, axis=0)]
    if not given.tied:
        d_weights.insert(0, tf.matmul(transpose(top), d_logits))
    d_hiddens = tf.matmul(d_logits, given.output_kernel, transpose_b=not given.tied)
    d_hiddens = masked(d_hiddens, tape.masks[-1])

    for index, (kernel, recurrent, _) in reversed(list(enumerate(given.layers))):
        h, read = tape.hiddens[index], tape.reads[index]
        d_raw = rows(recur_back(tf.reshape(d_hiddens, h.shape), tape.slopes[index], recurrent))
        # all steps in one product: h before each step, dL/d(raw gates) at it
        shifted = tf.concat([state[index][0], rows(h)[:-batch]], axis=0)
        d_recurrent = tf.matmul(transpose(shifted), d_raw)
        if read is not None:
            d_kernel = tf.matmul(transpose(rows(read)), d_raw)
            d_bias = tf.reduce_sum(d_raw, axis=0)
            d_hiddens = masked(tf.matmul(d_raw, kernel, transpose_b=True), tape.masks[index])
        else:  # each token has one row of the kernel, so that the rows add up to the bias
            one_hot = tf.one_hot(tf.reshape(inputs, [-1]), symbols, axis=0, dtype=dtype)
            d_kernel = tf.matmul(one_hot, d_raw)
            d_bias = tf.reduce_sum(d_kernel, axis=0)
        d_weights = [d_kernel, d_recurrent, d_bias, *d_weights]
    if given.embedding is not None:
        flat = tf.reshape(inputs, [-1])
        d_embedding = tf.math.unsorted_segment_sum(d_hiddens, flat, symbols)
        if given.tied:
            d_embedding += tf.matmul(transpose(d_logits), top)
        d_weights.insert(0, d_embedding)
    return nats, d_weights, tape.after


def layers(
    transpose: Transpose,
    weights: list[Weights],
    inputs: tf.Tensor,
    slopes: tf.Tensor | None,
) -> Weights:
    """The recurrent layers alone, of ``[T, B, in]`` from zero state: outputs ``[T, B, H]``.

    With ``slopes`` by the outputs, the gradients by the inputs and by all ``weights`` follow.
    """
    reads, kept = [inputs], []
    zeros = tf.zeros((inputs.shape[1], weights[0][1].shape[0]), inputs.dtype)
    for kernel, recurrent, bias in weights:
        raw = tf.matmul(rows(reads[-1]), kernel) + bias
        projected = tf.reshape(raw, (*inputs.shape[:2], kernel.shape[1]))
        hiddens, partials, _ = recur(
            projected, transpose(recurrent), (zeros, zeros), slopes is not None
        )
        reads.append(hiddens)
        kept.append(partials)
    if slopes is None:
        return [reads[-1]]
    d_hiddens: tf.Tensor = slopes
    d_weights: Weights = []
    for index, (kernel, recurrent, _) in reversed(list(enumerate(weights))):
        d_raw = rows(recur_back(d_hiddens, kept[index], recurrent))
        shifted = tf.concat([zeros, rows(reads[index + 1])[: -inputs.shape[1]]], axis=0)
        d_weights = [
            tf.matmul(transpose(rows(reads[index])), d_raw),
            tf.matmul(transpose(shifted), d_raw),
            tf.reduce_sum(d_raw, axis=0),
            *d_weights,
        ]
        d_read = tf.matmul(d_raw, kernel, transpose_b=True)
        d_hiddens = tf.reshape(d_read, reads[index].shape)
    return [reads[-1], d_hiddens, *d_weights]


def masked(slopes: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Slopes ``[T * B, N]`` by what was multiplied by a mask ``[T, B, N]``."""
    return slopes if mask is None else slopes * rows(mask)


def step(
    training: TrainingConfig,
    rate: tf.Tensor | float,
    weights: Weights,
    kept: Kept,
    shares: list[Weights],
) -> tuple[Weights, Kept]:
    """One update by the sum of the shards' gradients."""
    changes = [tf.add_n(parts) for parts in zip(*shares, strict=True)]
    return update(training, rate, weights, kept, changes)


def evaluation(
    transpose: Transpose,
    model: ModelConfig,
    weights: Weights,
    inputs: tf.Tensor,
    targets: tf.Tensor,
) -> tf.Tensor:
    """Each window's sum of nats, ``[W]``, state carried; ids ``[W, T, B]``."""
    windows, _, batch = inputs.shape
    given = parts(model, weights)

    def window(w: tf.Tensor, nats: tf.TensorArray, state: State) -> Any:
        tape = forward(transpose, model, weights, state, inputs[w])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.reshape(targets[w], [-1]), logits_of(given, rows(tape.reads[-1]))
        )
        return w + 1, nats.write(w, tf.reduce_sum(losses)), tape.after

    _, nats, _ = tf.while_loop(
        lambda w, *_: w < windows,
        window,
        (
            0,
            tf.TensorArray(weights[0].dtype, windows, element_shape=()),
            zero_state(model, weights[0].dtype, batch),
        ),
        parallel_iterations=1,
    )
    return nats.stack()
