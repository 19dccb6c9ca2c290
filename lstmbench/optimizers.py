"""Clipping, and how a clipped gradient moves parameters, in NumPy and generic in dtype.

Sources, with g the clipped gradient, r the learning rate, t the number of updates so far:

- ``sgd``: ``w - r g``. Clipping all tensors together to a global norm: Pascanu, Mikolov & Bengio,
  "On the difficulty of training recurrent neural networks" (2013).
- ``adam``: ``m = 0.9 m + 0.1 g``, ``v = 0.999 v + 0.001 g**2``, then
  ``w - r m' / (sqrt(v') + 1e-8)`` with ``m' = m / (1 - 0.9**t)``, ``v' = v / (1 - 0.999**t)``:
  Kingma & Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1.
- ``rmsprop``: ``v = 0.95 v + 0.05 g**2``, then ``w - r g / (sqrt(v) + 1e-8)``: ``rmsprop.lua`` of
  torch/optim as ``train.lua`` of karpathy/char-rnn calls it; after Tieleman & Hinton, "Lecture 6.5
  - rmsprop" (2012). v starts at zero and is not corrected; epsilon stands outside the root.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lstmbench.backend import Parameters, TrainingConfig

ADAM_DECAY = (0.9, 0.999)
RMSPROP_DECAY = 0.95
EPSILON = 1e-8


def global_norm(parameters: Parameters, bias_copies: int = 1) -> float:
    """Euclidean norm over all tensors together, each layer's bias counted so many times."""
    squares = (
        _copies(name, bias_copies) * np.vdot(array, array) for name, array in parameters.items()
    )
    return float(np.sqrt(sum(squares)))


def largest(parameters: Parameters) -> float:
    """The largest absolute value of all tensors."""
    return max(float(np.abs(array).max(initial=0.0)) for _, array in parameters.items())


class Optimizer:
    """Moves parameters, and keeps what ``training.optimizer`` keeps.

    ``learning_rate`` may be changed between updates. ``moments`` are named by
    ``training.moments``, in shapes and dtype of the parameters; empty before the first update.
    ``updates`` counts them. ``bias_copies``: how many trained biases add up to the one of each
    layer. A framework with two trains both: their gradients are equal, so that their sum moves at
    twice the rate, and both count in the norm that is clipped.
    """

    def __init__(
        self,
        training: TrainingConfig,
        moments: Sequence[Parameters] = (),
        updates: int = 0,
        bias_copies: int = 1,
    ) -> None:
        self.training = training
        self.learning_rate = training.learning_rate
        self.moments = tuple(moments)
        self.updates = updates
        self.bias_copies = bias_copies

    def step(self, parameters: Parameters, gradient: Parameters) -> Parameters:
        """The parameters after one update."""
        self.updates += 1
        norm = global_norm(gradient, self.bias_copies)
        scale = min(1.0, self.training.clip_norm / norm if norm else 1.0)
        if math.isfinite(self.training.clip_value):
            scale, gradient = 1.0, clipped_to_value(gradient, self.training.clip_value)
        if self.training.optimizer == "sgd":
            return self._move(parameters, gradient, self.learning_rate * scale)
        if scale != 1.0:
            gradient = gradient.like([scale * array for _, array in gradient.items()])
        return self._move(parameters, self._direction(gradient), self.learning_rate)

    def _move(self, parameters: Parameters, direction: Parameters, rate: float) -> Parameters:
        pairs = zip(parameters.items(), direction.items(), strict=True)
        return parameters.like(
            [
                value - rate * _copies(name, self.bias_copies) * change
                for (name, value), (_, change) in pairs
            ]
        )

    def _direction(self, gradient: Parameters) -> Parameters:
        """Where adam and rmsprop go, for a rate of one."""
        kept = self.moments or (zeros_like(gradient),) * len(self.training.moments)
        slopes = [array for _, array in gradient.items()]
        if self.training.optimizer == "rmsprop":
            (squares,) = (_decayed(kept[0], RMSPROP_DECAY, [g * g for g in slopes]),)
            self.moments = (squares,)
            roots = [np.sqrt(v) for _, v in squares.items()]
            return gradient.like([g / (r + EPSILON) for g, r in zip(slopes, roots, strict=True)])
        first = _decayed(kept[0], ADAM_DECAY[0], slopes)
        second = _decayed(kept[1], ADAM_DECAY[1], [g * g for g in slopes])
        self.moments = first, second
        corrections = [1 - decay**self.updates for decay in ADAM_DECAY]
        pairs = zip(first.items(), second.items(), strict=True)
        return gradient.like(
            [
                m / corrections[0] / (np.sqrt(v / corrections[1]) + EPSILON)
                for (_, m), (_, v) in pairs
            ]
        )


def sgd_step(parameters: Parameters, gradient: Parameters, training: TrainingConfig) -> Parameters:
    """Clip as ``training`` says, then move against the gradient."""
    return Optimizer(training).step(parameters, gradient)


def clipped_to_value(gradient: Parameters, bound: float) -> Parameters:
    """Every number kept within ``-bound`` and ``bound``."""
    return gradient.like([np.clip(array, -bound, bound) for _, array in gradient.items()])


def zeros_like(parameters: Parameters) -> Parameters:
    return parameters.like([np.zeros_like(array) for _, array in parameters.items()])


def _decayed(kept: Parameters, decay: float, new: Sequence[np.ndarray]) -> Parameters:
    """A running mean with another value taken in."""
    pairs = zip(kept.items(), new, strict=True)
    return kept.like([decay * old + (1 - decay) * value for (_, old), value in pairs])


def _copies(name: str, bias_copies: int) -> int:
    return bias_copies if name.startswith("layer") and name.endswith(".bias") else 1
