"""Clipping and updates as functions of tensors; the equations are ``lstmbench.optimizers``'."""

from __future__ import annotations

import math

import tensorflow as tf

from lstmbench import TrainingConfig

#: One tensor for each parameter.
Weights = list[tf.Tensor]
#: What the optimizer keeps: moments, each like the parameters, and for adam the number of updates.
Kept = list[Weights]
ADAM_DECAY = (0.9, 0.999)
RMSPROP_DECAY = 0.95
EPSILON = 1e-8


def nothing_kept(training: TrainingConfig, weights: Weights) -> Kept:
    """Before the first update."""
    moments = [[tf.zeros_like(value) for value in weights] for _ in training.moments]
    counts = [[tf.zeros((), weights[0].dtype)]] if training.optimizer == "adam" else []
    return [*moments, *counts]


def update(
    training: TrainingConfig,
    rate: tf.Tensor | float,
    weights: Weights,
    kept: Kept,
    changes: Weights,
) -> tuple[Weights, Kept]:
    """The parameters after one update, and what the optimizer keeps."""
    scale, changes = clipped(training, changes)
    if training.optimizer == "sgd":
        factor = rate if scale is None else rate * scale
        return [value - factor * g for value, g in zip(weights, changes, strict=True)], kept
    if scale is not None:
        changes = [scale * g for g in changes]
    if training.optimizer == "rmsprop":
        squares = _decayed(kept[0], RMSPROP_DECAY, [g * g for g in changes])
        steps = [g / (tf.sqrt(v) + EPSILON) for g, v in zip(changes, squares, strict=True)]
        kept = [squares]
    else:
        first = _decayed(kept[0], ADAM_DECAY[0], changes)
        second = _decayed(kept[1], ADAM_DECAY[1], [g * g for g in changes])
        count = kept[2][0] + 1
        # 1 - decay ** count, without losing digits
        one, two = (-tf.math.expm1(count * math.log(decay)) for decay in ADAM_DECAY)
        steps = [m / one / (tf.sqrt(v / two) + EPSILON) for m, v in zip(first, second, strict=True)]
        kept = [first, second, [count]]
    return [value - rate * step for value, step in zip(weights, steps, strict=True)], kept


def clipped(training: TrainingConfig, changes: Weights) -> tuple[tf.Tensor | None, Weights]:
    """By how much all gradients are to be scaled, if they are; and they themselves, if each number
    is clipped."""
    if math.isfinite(training.clip_value):
        bound = training.clip_value
        return None, [tf.clip_by_value(change, -bound, bound) for change in changes]
    if math.isinf(training.clip_norm):
        return None, changes
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(change * change) for change in changes]))
    return tf.minimum(training.clip_norm / norm, 1.0), changes


def _decayed(kept: Weights, decay: float, new: Weights) -> Weights:
    """Running means with another value each."""
    return [decay * old + (1 - decay) * value for old, value in zip(kept, new, strict=True)]
