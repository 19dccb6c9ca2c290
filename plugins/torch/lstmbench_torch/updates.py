"""Clipping and updates over lists of tensors, in place and without synchronising.

The equations are those of ``lstmbench.optimizers``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lstmbench import Task, TrainingConfig

#: One per trained parameter, in their order.
Gradients = list[Tensor] | tuple[Tensor, ...]
ADAM_DECAY = (0.9, 0.999)
RMSPROP_DECAY = 0.95
EPSILON = 1e-8


def clip_and_step(
    parameters: list[Tensor],
    gradients: Gradients,
    training: TrainingConfig,
    learning_rate: float | Tensor,
) -> None:
    """One SGD step with all gradients clipped together."""
    with torch.no_grad():
        rate = _scale(gradients, training) * -learning_rate
        # not in place: oneDNN hands out one gradient for both of nn.LSTM's biases
        torch._foreach_add_(parameters, torch._foreach_mul(gradients, rate))


class Updater:
    """Moves parameters, and holds what the optimizer keeps.

    What a captured program reads is never replaced while the same parameters are trained: the
    learning rate, if it is scheduled, the moments and the number of updates stay the same tensors.
    """

    def __init__(
        self,
        task: Task,
        device: torch.device,
        dtype: torch.dtype,
        sgd: Callable[..., None] = clip_and_step,
    ) -> None:
        """``sgd``: :func:`clip_and_step`, or what was compiled from it."""
        self._training = training = task.training
        self._sgd = sgd
        self._rate: float | Tensor = training.learning_rate
        if training.scheduled and task.mode in ("graphs", "compile"):
            # a number would be part of the program; adam's kernel reads a float32
            kind = torch.float32 if training.optimizer == "adam" else dtype
            self._rate = torch.tensor(training.learning_rate, device=device, dtype=kind)
        #: Per moment one tensor for each parameter.
        self.moments: list[list[Tensor]] = [[] for _ in training.moments]
        self._count = torch.zeros((), device=device)  # float32, as the fused kernel wants it

    def set_learning_rate(self, rate: float) -> None:
        if isinstance(self._rate, Tensor):
            self._rate.fill_(rate)
        else:
            self._rate = rate

    def reset(self, parameters: list[Tensor]) -> None:
        """Begin anew, for these parameters."""
        self._count.zero_()
        for kept in self.moments:
            if len(kept) == len(parameters):
                torch._foreach_zero_(kept)
            else:
                kept[:] = [torch.zeros_like(tensor) for tensor in parameters]

    def state(self) -> list[Tensor]:
        """All that :meth:`step` changes beside the parameters."""
        return [self._count, *(tensor for kept in self.moments for tensor in kept)]

    def step(self, parameters: list[Tensor], gradients: Gradients) -> None:
        training = self._training
        by_norm = math.isinf(training.clip_value)
        if training.optimizer == "sgd" and by_norm and math.isfinite(training.clip_norm):
            self._sgd(parameters, gradients, training, self._rate)
            return
        with torch.no_grad():
            clipped = _clipped(gradients, training)
            if training.optimizer == "sgd":
                torch._foreach_add_(parameters, torch._foreach_mul(clipped, -self._rate))
            elif training.optimizer == "adam":
                self._adam(parameters, clipped)
            else:
                self._rmsprop(parameters, clipped)

    def _adam(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """One pass over memory, by the kernel behind ``torch.optim.Adam(fused=True)``."""
        self._count += 1
        torch._fused_adam_(
            parameters,
            gradients,
            *self.moments,
            [],
            [self._count] * len(parameters),
            lr=self._rate,
            beta1=ADAM_DECAY[0],
            beta2=ADAM_DECAY[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _rmsprop(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        (squares,) = self.moments
        torch._foreach_mul_(squares, RMSPROP_DECAY)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - RMSPROP_DECAY)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, EPSILON)
        steps = torch._foreach_div(gradients, roots)
        torch._foreach_mul_(steps, -self._rate)
        torch._foreach_add_(parameters, steps)


def _scale(gradients: Gradients, training: TrainingConfig) -> Tensor:
    """By how much all gradients are scaled so that their norm is at most ``clip_norm``."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return (training.clip_norm / norm).clamp(max=1.0)


def _clipped(gradients: Gradients, training: TrainingConfig) -> list[Tensor]:
    bound = training.clip_value
    if math.isfinite(bound):
        return torch._foreach_clamp_max(torch._foreach_clamp_min(gradients, -bound), bound)
    if math.isinf(training.clip_norm):
        return list(gradients)
    return torch._foreach_mul(gradients, _scale(gradients, training))
