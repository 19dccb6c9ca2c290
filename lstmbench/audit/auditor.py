"""What an audit asks of the reference: one trial's parameters, losses and text, judged."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from lstmbench import reference
from lstmbench.audit.comparison import (
    SAMPLES,
    Comparison,
    allowances,
    compare,
    compare_with_samples,
    rounding_dtype,
)
from lstmbench.audit.replay import Course, Trained, train
from lstmbench.backend import Parameters, TrainingConfig
from lstmbench.batches import Batches
from lstmbench.cells import LSTM, Cell
from lstmbench.layer import layer_pass
from lstmbench.worker.parity import relative_error

#: Trainings that are remembered: trials of a group share their start, if not their parameters.
REMEMBERED = 3
#: A symbol is as good as the likeliest if its logit is so little less, relative to the largest.
TIE = {"float64": 1e-9, "float32": 1e-3, "float16": 5e-2, "bfloat16": 1e-1}


@dataclass(frozen=True)
class Verdict:
    """A comparison, and with how many trained biases per layer it was made."""

    comparison: Comparison
    bias_copies: int


class Auditor:
    """The reference at one trial's hyper-parameters. Remembers what it has trained."""

    def __init__(self, training: TrainingConfig, dtype: str, cell: Cell = LSTM) -> None:
        self.training = training
        self.dtype = dtype
        self.cell = cell
        self._remembered: OrderedDict[tuple[object, ...], list[Trained]] = OrderedDict()

    def segment(
        self,
        start: Parameters,
        epochs: Sequence[Batches],
        claimed: Trained,
        bias_copies: Sequence[int] = (1,),
        course: Course = Course(),  # noqa: B008 - frozen
    ) -> Verdict:
        """Train ``epochs`` again and compare.

        With the first number of ``bias_copies`` that explains what is claimed, else with the one
        that is nearest.
        """
        verdicts = []
        for copies in bias_copies:
            again = self._train(start, epochs, copies, course)
            verdicts.append(Verdict(self._compare(start, claimed, again), copies))
            if not verdicts[-1].comparison.beyond:
                return verdicts[-1]
        # with dropout only the progress is compared
        what = "progress" if self.training.dropout else "parameters"
        return min(verdicts, key=lambda v: v.comparison.errors[what])

    def _compare(self, start: Parameters, claimed: Trained, again: Sequence[Trained]) -> Comparison:
        if self.training.dropout:
            return compare_with_samples(start, claimed, again)
        exact, rounded = again
        return compare(start, claimed, exact, rounded, self.dtype, self.training.moments)

    def evaluation(self, parameters: Parameters, batches: Batches, nats: float) -> Comparison:
        """The claimed loss of a pass that trains nothing."""
        exact = reference.evaluate(parameters.astype(np.float64), batches, self.cell).nats
        rounded = reference.evaluate(parameters.astype(np.float32), batches, self.cell).nats
        allowed = allowances({"loss": abs(rounded / exact - 1)}, self.dtype)
        return Comparison({"loss": abs(nats / exact - 1)}, allowed)

    def continuation(
        self, parameters: Parameters, prefix: Sequence[int], ids: Sequence[int]
    ) -> Comparison:
        """Whether each of ``ids`` is the likeliest symbol after those before it, or nearly.

        The error is how much less its logit is than the largest, over the spread of the logits.
        """
        exact = parameters.astype(np.float64)
        logits = self._logits(exact, [*prefix, *ids[:-1]])[len(prefix) - 1 :]
        chosen = np.take_along_axis(logits, np.asarray(ids)[:, None], axis=1)[:, 0]
        spread = np.maximum(np.ptp(logits, axis=1), np.finfo(float).tiny)
        worst = float(np.max((logits.max(axis=1) - chosen) / spread, initial=0.0))
        return Comparison({"text": worst}, {"text": TIE[self.dtype]})

    def layer(
        self,
        parameters: Parameters,
        inputs: np.ndarray,
        slopes: np.ndarray | None,
        claimed: Mapping[str, np.ndarray],
    ) -> Comparison:
        """What a pass through the layers alone claims to have given."""

        def passed(dtype: str) -> dict[str, np.ndarray]:
            back = None if slopes is None else slopes.astype(dtype)
            layers = parameters.astype(dtype).layers
            return dict(layer_pass(layers, inputs.astype(dtype), back, self.cell).items())

        with ThreadPoolExecutor(2) as pool:
            exact, rounded = pool.map(passed, ("float64", "float32"))
        honest = {name: relative_error(rounded[name], exact[name]) for name in exact}
        errors = {name: relative_error(claimed[name], exact[name]) for name in exact}
        return Comparison(errors, allowances(honest, self.dtype))

    def _logits(self, parameters: Parameters, ids: Sequence[int]) -> np.ndarray:
        """After each of ``ids``, read from zero state: ``[len(ids), V]``."""
        state = reference.zero_state(parameters, 1, self.cell)
        logits, _, _ = reference.forward(parameters, np.asarray([ids], np.int32), state, self.cell)
        return logits[:, 0]

    def _train(
        self, start: Parameters, epochs: Sequence[Batches], copies: int, course: Course
    ) -> list[Trained]:
        """Exactly and rounded, or with dropout several times with other masks, at the same time:
        NumPy computes on one thread each."""
        kept = (course.rates, course.updates, course.seed, *(m.digest() for m in course.moments))
        key = (start.digest(), copies, kept, *(_digest(batches) for batches in epochs))
        if key not in self._remembered:
            ways = [("float64", course), (rounding_dtype(self.dtype), course)]
            if self.training.dropout:
                seeds = (course.seed + number for number in range(SAMPLES))
                ways = [("float32", replace(course, seed=seed)) for seed in seeds]
            with ThreadPoolExecutor(2) as pool:
                self._remembered[key] = list(
                    pool.map(
                        lambda way: train(
                            start, epochs, self.training, copies, way[0], self.cell, way[1]
                        ),
                        ways,
                    )
                )
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        return self._remembered[key]


def _digest(batches: Batches) -> int:
    return hash((batches.inputs.tobytes(), batches.targets.tobytes()))
