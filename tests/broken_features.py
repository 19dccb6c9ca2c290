"""Backends with one mistake each in a feature, for the conformance kit to find."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import (
    Batches,
    EpochLoss,
    LayerParameters,
    LayerResult,
    Parameters,
    Task,
    reference,
)
from lstmbench.cells import CellState, LstmCell
from lstmbench.layer import layer_pass
from lstmbench.optimizers import ADAM_DECAY, EPSILON, RMSPROP_DECAY

if TYPE_CHECKING:
    from tests.broken_backends import Open
else:
    from broken_backends import Open


class EmbeddingOverwritten(Open):
    """Of a symbol's occurrences in a window, only the last one counts."""

    def slopes(
        self, inputs: np.ndarray, targets: np.ndarray, state: reference.State
    ) -> tuple[float, Parameters, reference.State]:
        nats, gradient, after = super().slopes(inputs, targets, state)
        if gradient.embedding is not None:
            counts = np.bincount(inputs.ravel(), minlength=len(gradient.embedding))
            gradient.embedding[...] /= np.maximum(counts, 1)[:, None]
        return nats, gradient, after


class EmbeddingOutsideTheNorm(Open):
    def step(self, gradient: Parameters) -> Parameters:
        if gradient.embedding is None:
            return super().step(gradient)
        rest = replace(gradient, embedding=np.zeros_like(gradient.embedding))
        scale = min(1.0, self.task.training.clip_norm / reference.global_norm(rest))
        free = replace(self.task.training, clip_norm=math.inf)
        scaled = gradient.like([scale * array for _, array in gradient.items()])
        return reference.sgd_step(self._parameters, scaled, free)


class _Tied(Open):
    """Knows both gradients of a tied embedding."""

    of_output: np.ndarray

    def slopes(
        self, inputs: np.ndarray, targets: np.ndarray, state: reference.State
    ) -> tuple[float, Parameters, reference.State]:
        nats, gradient, after = super().slopes(inputs, targets, state)
        if self._parameters.tied:
            own = self._parameters
            untied = replace(own, output_kernel=own.output_kernel.copy(), tied=False)
            apart = reference.gradients(untied, inputs, targets, state)[1]
            self.of_output = apart.output_kernel.T
        return nats, gradient, after


class TiedInputOnly(_Tied):
    def step(self, gradient: Parameters) -> Parameters:
        if gradient.tied and gradient.embedding is not None:
            gradient.embedding[...] -= self.of_output
        return super().step(gradient)


class TiedOutputOnly(_Tied):
    def step(self, gradient: Parameters) -> Parameters:
        if gradient.tied and gradient.embedding is not None:
            gradient.embedding[...] = self.of_output
        return super().step(gradient)


class TiedCountedTwice(_Tied):
    """Takes the norm of both gradients before they are added."""

    def step(self, gradient: Parameters) -> Parameters:
        if not gradient.tied or gradient.embedding is None:
            return super().step(gradient)
        of_input = gradient.embedding - self.of_output
        rest = replace(gradient, embedding=np.zeros_like(of_input))
        both = (float(np.linalg.norm(array)) for array in (of_input, self.of_output))
        norm = math.hypot(reference.global_norm(rest), *both)
        scale = min(1.0, self.task.training.clip_norm / norm)
        free = replace(self.task.training, clip_norm=math.inf)
        scaled = gradient.like([scale * array for _, array in gradient.items()])
        return reference.sgd_step(self._parameters, scaled, free)


class MeanForSumLoss(Open):
    def slopes(
        self, inputs: np.ndarray, targets: np.ndarray, state: reference.State
    ) -> tuple[float, Parameters, reference.State]:
        return reference.gradients(self._parameters, inputs, targets, state)


class ClipsTheNormToTheValue(Open):
    def step(self, gradient: Parameters) -> Parameters:
        training = self.task.training
        if math.isinf(training.clip_value):
            return super().step(gradient)
        other = replace(training, clip_norm=training.clip_value, clip_value=math.inf)
        return reference.sgd_step(self._parameters, gradient, other)


class ClipsAnyway(Open):
    def step(self, gradient: Parameters) -> Parameters:
        training = self.task.training
        if math.isinf(training.clip_norm) and math.isinf(training.clip_value):
            training = replace(training, clip_norm=1.0)
        return reference.sgd_step(self._parameters, gradient, training)


class _OtherOptimizer(Open):
    """With an optimizer of its own, wherever the task's is not SGD."""

    kind: type[reference.Optimizer]

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._renew()

    def _renew(self) -> None:
        if self.task.training.moments:
            self._optimizer = self.kind(self.task.training)

    def load_parameters(self, parameters: Parameters) -> None:
        super().load_parameters(parameters)
        self._renew()


class _Uncorrected(reference.Optimizer):
    def _direction(self, gradient: Parameters) -> Parameters:
        super()._direction(gradient)
        pairs = zip(self.moments[0].items(), self.moments[1].items(), strict=True)
        return gradient.like([m / (np.sqrt(v) + EPSILON) for (_, m), (_, v) in pairs])


class AdamUncorrected(_OtherOptimizer):
    kind = _Uncorrected


class _EpsilonHat(reference.Optimizer):
    """As Kingma & Ba write just before section 2.1, where epsilon is another one."""

    def _direction(self, gradient: Parameters) -> Parameters:
        super()._direction(gradient)
        first, second = (1 - decay**self.updates for decay in ADAM_DECAY)
        pairs = zip(self.moments[0].items(), self.moments[1].items(), strict=True)
        rate = math.sqrt(second) / first
        return gradient.like([rate * m / (np.sqrt(v) + EPSILON) for (_, m), (_, v) in pairs])


class AdamEpsilonHat(_OtherOptimizer):
    kind = _EpsilonHat


class _ClipsLast(reference.Optimizer):
    """Clips what comes out, not what goes in."""

    def step(self, parameters: Parameters, gradient: Parameters) -> Parameters:
        kept, self.training = self.training, replace(self.training, clip_norm=math.inf)
        after = super().step(parameters, gradient)
        self.training = kept
        return after


class AdamClipsLast(_OtherOptimizer):
    kind = _ClipsLast


class RmspropClipsLast(_OtherOptimizer):
    kind = _ClipsLast


class _ForgetsEveryEpoch(Open):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        self._optimizer = reference.Optimizer(self.task.training)
        return super().train_epoch(batches)


class AdamForgetsEveryEpoch(_ForgetsEveryEpoch):
    pass


class RmspropForgetsEveryEpoch(_ForgetsEveryEpoch):
    pass


class _NeverForgets(Open):
    def load_parameters(self, parameters: Parameters) -> None:
        kept = self._optimizer
        super().load_parameters(parameters)
        self._optimizer = kept


class AdamNeverForgets(_NeverForgets):
    pass


class RmspropNeverForgets(_NeverForgets):
    pass


class AdamTrainsInPrepare(Open):
    """Puts the parameters back afterwards, and nothing else."""

    def prepare(self, batches: Batches) -> None:
        before = self._parameters
        self.train_epoch(batches)
        self._parameters = before


class _Rmsprop(reference.Optimizer):
    decay, inside, outside = RMSPROP_DECAY, 0.0, EPSILON

    def _direction(self, gradient: Parameters) -> Parameters:
        (kept,) = self.moments or (reference.zeros_like(gradient),)
        pairs = list(zip(kept.items(), gradient.items(), strict=True))
        decay = self.decay
        squares = [decay * v + (1 - decay) * g * g for (_, v), (_, g) in pairs]
        self.moments = (kept.like(squares),)
        slopes = [g for _, (_, g) in pairs]
        return gradient.like(
            [
                g / (np.sqrt(v + self.inside) + self.outside)
                for v, g in zip(squares, slopes, strict=True)
            ]
        )


class _OtherDecay(_Rmsprop):
    decay = 0.9


class RmspropOtherDecay(_OtherOptimizer):
    kind = _OtherDecay


class _Inside(_Rmsprop):
    inside, outside = EPSILON, 0.0


class RmspropEpsilonInside(_OtherOptimizer):
    kind = _Inside


class IgnoresTheRate(NumpyBackend):
    def set_learning_rate(self, rate: float) -> None:
        pass


class RateAnEpochLate(NumpyBackend):
    _next: float | None = None

    def set_learning_rate(self, rate: float) -> None:
        self._next = rate

    def train_epoch(self, batches: Batches) -> EpochLoss:
        loss = super().train_epoch(batches)
        if self._next is not None:
            super().set_learning_rate(self._next)
        return loss


class DropsInEvaluation(NumpyBackend):
    def evaluate(self, batches: Batches) -> EpochLoss:
        before = self._parameters
        state, total = reference.zero_state(before, batches.inputs.shape[1]), 0.0
        for inputs, targets in batches:
            nats, _, state = reference.gradients(
                before, inputs, targets, state, dropout=self._dropout
            )
            total += nats
        return EpochLoss(total, batches.tokens)


class _Dropping(Open):
    """With masks of another kind."""

    kind: type[reference.Dropout]

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._dropout = self.kind(task.training.dropout, task.seed)


class _Nothing(reference.Dropout):
    def mask(self, like: np.ndarray) -> np.ndarray | None:
        return None


class DropsNothing(_Dropping):
    kind = _Nothing


class _Unscaled(reference.Dropout):
    def mask(self, like: np.ndarray) -> np.ndarray | None:
        mask = super().mask(like)
        return None if mask is None else np.sign(mask)


class NeverScales(_Dropping):
    kind = _Unscaled


class _OtherRate(reference.Dropout):
    def __init__(self, rate: float, seed: int) -> None:
        super().__init__(0.35 if rate else 0.0, seed)

    def mask(self, like: np.ndarray) -> np.ndarray | None:
        mask = super().mask(like)
        return None if mask is None else 2 * np.sign(mask)  # the scale of one half


class DropsTooLittle(_Dropping):
    kind = _OtherRate


class _NotAt(reference.Dropout):
    """Leaves out one of the three places."""

    place = 0
    _calls = 0

    def mask(self, like: np.ndarray) -> np.ndarray | None:
        place, self._calls = self._calls % 3, self._calls + 1
        return None if place == self.place else super().mask(like)


class NoDropoutOfTheEmbedding(_Dropping):
    kind = _NotAt


class _NotAtOutput(_NotAt):
    place = 2


class NoDropoutBeforeTheOutput(_Dropping):
    kind = _NotAtOutput


class _RecurrentCell(LstmCell):
    """Drops what it carries."""

    def __init__(self, dropout: reference.Dropout) -> None:
        self._dropout = dropout

    def forward(
        self, layer: LayerParameters, projected: np.ndarray, state: CellState
    ) -> tuple[np.ndarray, CellState, Any]:
        outputs, tapes = [], []
        for at_t in projected:
            h, c = state
            mask = self._dropout.mask(h)
            carried = h if mask is None else h * mask
            out, state, tape = super().forward(layer, at_t[None], (carried, c))
            outputs.append(out[0])
            tapes.append(tape)
        last = tapes[-1]
        last.gates = np.concatenate([tape.gates for tape in tapes])
        last.cells = np.concatenate([tapes[0].cells[:1], *(tape.cells[1:] for tape in tapes)])
        last.hiddens = np.concatenate([*(tape.hiddens[:1] for tape in tapes), outputs[-1][None]])
        return np.stack(outputs), state, last


class DropsWhatIsCarried(Open):
    def slopes(
        self, inputs: np.ndarray, targets: np.ndarray, state: reference.State
    ) -> tuple[float, Parameters, reference.State]:
        training = self.task.training
        cell = _RecurrentCell(self._dropout)
        return reference.gradients(
            self._parameters, inputs, targets, state, cell, training.loss, self._dropout
        )


class SameMasksEveryFewEpochs(Open):
    _epochs = 0

    def train_epoch(self, batches: Batches) -> EpochLoss:
        self._epochs += 1
        self._dropout = reference.Dropout(self.task.training.dropout, self._epochs % 18)
        return super().train_epoch(batches)


class SameMasksEveryWindow(Open):
    _epochs = 0

    def train_epoch(self, batches: Batches) -> EpochLoss:
        self._epochs += 1
        return super().train_epoch(batches)

    def slopes(
        self, inputs: np.ndarray, targets: np.ndarray, state: reference.State
    ) -> tuple[float, Parameters, reference.State]:
        self._dropout = reference.Dropout(self.task.training.dropout, self._epochs)
        return super().slopes(inputs, targets, state)


class _SharedAlong(reference.Dropout):
    """One mask for all places along an axis of ``[T, B, H]``."""

    axis = 0

    def mask(self, like: np.ndarray) -> np.ndarray | None:
        one = super().mask(like.take([0], self.axis))
        return None if one is None else np.broadcast_to(one, like.shape)


class SameMasksEveryStep(_Dropping):
    kind = _SharedAlong


class _SharedByRows(_SharedAlong):
    axis = 1


class SameMasksEveryRow(_Dropping):
    kind = _SharedByRows


class _InFours(reference.Dropout):
    def mask(self, like: np.ndarray) -> np.ndarray | None:
        one = super().mask(like[..., : like.shape[-1] // 4])
        return None if one is None else np.repeat(one, 4, axis=-1)


class DropsUnitsTogether(_Dropping):
    """Units beside each other share their fate, which no mask alone tells."""

    kind = _InFours


class _Layer(NumpyBackend):
    """Passes through the layers alone, open to mistakes."""

    def layer_pass(self, index: int) -> None:
        inputs, slopes = self._staged
        self._result = self.passed(inputs[index], None if slopes is None else slopes[index])

    def passed(self, inputs: np.ndarray, slopes: np.ndarray | None) -> LayerResult:
        return layer_pass(self._parameters.layers, inputs, slopes)


class LayerCarriesState(_Layer):
    """Goes on from where the pass before has ended."""

    def passed(self, inputs: np.ndarray, slopes: np.ndarray | None) -> LayerResult:
        before = getattr(self, "_before", inputs[:0])
        self._before = inputs
        if before.shape != inputs.shape:
            return super().passed(inputs, slopes)
        both = super().passed(np.concatenate([before, inputs]), None)
        own = super().passed(inputs, slopes)
        return replace(own, outputs=both.outputs[len(inputs) :])


class LayerAlwaysTheFirst(_Layer):
    """Computes one pass of those that were staged."""

    def layer_pass(self, index: int) -> None:
        super().layer_pass(0)


class LayerOfOldParameters(_Layer):
    """Goes on with the parameters that it saw first."""

    def passed(self, inputs: np.ndarray, slopes: np.ndarray | None) -> LayerResult:
        self._first = getattr(self, "_first", self._parameters)
        return layer_pass(self._first.layers, inputs, slopes)


class LayerAddsUp(_Layer):
    """Gradients pile up from pass to pass, as PyTorch's ``.grad`` does."""

    def passed(self, inputs: np.ndarray, slopes: np.ndarray | None) -> LayerResult:
        found = super().passed(inputs, slopes)
        if slopes is None:
            return found
        own = self._own(found)
        self._sum = [a + b for a, b in zip(getattr(self, "_sum", [0] * 6), own, strict=True)]
        layers = tuple(LayerParameters(*self._sum[i : i + 3]) for i in range(0, 6, 3))
        return replace(found, layers=layers)

    @staticmethod
    def _own(found: LayerResult) -> list[np.ndarray]:
        return [array for layer in found.layers for array in layer.tensors().values()]


class LayerDoublesBias(_Layer):
    """Counts two biases."""

    def passed(self, inputs: np.ndarray, slopes: np.ndarray | None) -> LayerResult:
        found = super().passed(inputs, slopes)
        layers = tuple(replace(layer, bias=2 * layer.bias) for layer in found.layers)
        return replace(found, layers=layers)


class LayerOnlyLastSlope(_Layer):
    """Of the slopes only those of the last step go back."""

    def passed(self, inputs: np.ndarray, slopes: np.ndarray | None) -> LayerResult:
        if slopes is not None:
            slopes = np.concatenate([np.zeros_like(slopes[:-1]), slopes[-1:]])
        return super().passed(inputs, slopes)


class LayerNoGradientOfInputs(_Layer):
    """Spares itself the matmul that gives the gradient by the inputs."""

    def passed(self, inputs: np.ndarray, slopes: np.ndarray | None) -> LayerResult:
        found = super().passed(inputs, slopes)
        return found if slopes is None else replace(found, inputs=np.zeros_like(inputs))


class LayerTrains(_Layer):
    """Updates the parameters."""

    def passed(self, inputs: np.ndarray, slopes: np.ndarray | None) -> LayerResult:
        found = super().passed(inputs, slopes)
        if slopes is not None:
            self._parameters.layers[0].bias[:] -= found.layers[0].bias
        return found


class LayerLater(_Layer):
    """Computes when the result is asked for."""

    def layer_pass(self, index: int) -> None:
        self._asked: int | None = index

    def layer_result(self) -> LayerResult:
        if self._asked is not None:
            super().layer_pass(self._asked)
            self._asked = None
        return super().layer_result()


#: The mistake, and the check that is meant for it.
MEANT: dict[type[NumpyBackend], str] = {
    EmbeddingOverwritten: "embedding",
    EmbeddingOutsideTheNorm: "embedding_clipping",
    TiedInputOnly: "tied_weights",
    TiedOutputOnly: "tied_weights",
    TiedCountedTwice: "tied_clipping",
    MeanForSumLoss: "sum_loss",
    ClipsTheNormToTheValue: "clip_value",
    ClipsAnyway: "unclipped",
    AdamUncorrected: "adam_first_step",
    AdamForgetsEveryEpoch: "adam_ten_steps",
    AdamClipsLast: "adam_ten_steps",
    AdamEpsilonHat: "adam_first_step",
    AdamNeverForgets: "adam_starts_anew",
    AdamTrainsInPrepare: "adam_starts_anew",
    RmspropOtherDecay: "rmsprop_first_step",
    RmspropForgetsEveryEpoch: "rmsprop_ten_steps",
    RmspropClipsLast: "rmsprop_ten_steps",
    RmspropEpsilonInside: "rmsprop_first_step",
    RmspropNeverForgets: "rmsprop_starts_anew",
    IgnoresTheRate: "schedule",
    RateAnEpochLate: "schedule",
    DropsInEvaluation: "dropout_evaluation",
    DropsNothing: "dropout_masks",
    DropsTooLittle: "dropout_masks",
    NeverScales: "dropout_masks",
    NoDropoutOfTheEmbedding: "dropout_masks",
    NoDropoutBeforeTheOutput: "dropout_masks",
    DropsWhatIsCarried: "dropout_masks",
    SameMasksEveryFewEpochs: "dropout_masks_are_new",
    SameMasksEveryWindow: "dropout_masks_are_new",
    SameMasksEveryStep: "dropout_masks_are_new",
    SameMasksEveryRow: "dropout_masks_are_new",
    DropsUnitsTogether: "dropout_loss",
    LayerCarriesState: "layer_forward",
    LayerAlwaysTheFirst: "layer_forward",
    LayerOfOldParameters: "layer_forward",
    LayerAddsUp: "layer_gradients",
    LayerDoublesBias: "layer_gradients",
    LayerOnlyLastSlope: "layer_gradients",
    LayerNoGradientOfInputs: "layer_gradients",
    LayerTrains: "layer_gradients",
    LayerLater: "layer_finished",
}
