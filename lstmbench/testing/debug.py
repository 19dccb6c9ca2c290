"""One window, quantity by quantity: where a backend first leaves the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lstmbench import reference
from lstmbench.backend import Backend, ModelConfig, Parameters, TrainingConfig
from lstmbench.batches import Batches
from lstmbench.testing.differences import difference
from lstmbench.testing.explain import fitting_mistakes
from lstmbench.testing.lab import VOCABULARY, CheckContext, random_batches
from lstmbench.testing.messages import Examine, Quantity, Step
from lstmbench.worker import parity
from lstmbench.worker.answers import check_loss, check_parameters
from lstmbench.worker.parity_setting import Setting, first_gradient_size, rarest_targets


def examine(context: CheckContext, request: Examine) -> Iterator[Step]:
    """Steps until the first that differs."""
    for step in _steps(context, request):
        yield step
        if any(each.differs for each in step.quantities):
            return


def _steps(context: CheckContext, request: Examine) -> Iterator[Step]:
    batch, steps = request.batch_size, request.steps
    asked = replace(
        context.base,
        model=ModelConfig(VOCABULARY, request.hidden_size, request.layers),
        training=TrainingConfig(request.learning_rate, 1.0, batch, steps),
    )
    one, two = random_batches(1, batch, steps), random_batches(2, batch, steps)
    setting = parity.choose_setting(asked, one, cell=context.cell)
    bench = _Bench(context.fresh(setting.task), setting)
    yield bench.parameters(one)
    yield bench.forward("evaluate(), one window", one)
    idle, acting = sorted((one, rarest_targets(one, VOCABULARY)), key=bench.gradient_norm)
    yield bench.gradients("train_epoch(), one window, clipping idle", idle)
    yield bench.gradients("train_epoch(), one window, clipping at work", acting)
    yield bench.forward("evaluate(), two windows: the state is carried", two)
    yield bench.changes("train_epoch(), two windows: the state is carried", two)


def _quantity(
    name: str, got: np.ndarray, expected: np.ndarray, allowed: float, unit: float = 1
) -> Quantity:
    """How two arrays differ; their norms are shown in units of ``unit``."""
    found = difference(name, got, expected)
    size, own_size = (f"{np.linalg.norm(array) / unit:.6g}" for array in (expected, got))
    return Quantity(
        name,
        size,
        own_size,
        f"{found.error:.1e}",
        "" if found.scale is None else f"{found.scale:.4f}",
        "" if found.cosine is None else f"{found.cosine:.4f}",
        not found.error <= allowed,
        str(found),
    )


class _Bench:
    """A backend at a setting at which its changes can be measured."""

    def __init__(self, backend: Backend, setting: Setting) -> None:
        self._backend = backend
        self._task = setting.task
        self._cell = setting.cell
        self._start = setting.start
        self._exact = setting.start.astype(np.float64)
        self._tolerance = parity.TOLERANCE[setting.task.dtype]

    def gradient_norm(self, batches: Batches) -> float:
        """Of the first window's gradient."""
        return first_gradient_size(self._exact, batches, self._cell)

    def _load(self, batches: Batches) -> None:
        self._backend.prepare(batches)
        self._backend.load_parameters(self._start.astype(self._task.parameter_dtype))

    def parameters(self, batches: Batches) -> Step:
        """Loaded, and read again."""
        self._load(batches)
        got = check_parameters(self._backend.parameters())
        parity.difference(got, self._start)  # refuses other tensors
        pairs = zip(got.items(), self._exact.items(), strict=True)
        rows = [_quantity(name, mine, exact, 0.0) for (name, mine), (_, exact) in pairs]
        return Step("load_parameters(), then parameters()", rows, [])

    def forward(self, title: str, batches: Batches) -> Step:
        """The loss in nats per token."""
        self._load(batches)
        got = check_loss(self._backend.evaluate(batches), batches).nats
        expected = reference.evaluate(self._exact, batches, self._cell).nats
        nats = np.array(got), np.array(expected)
        row = _quantity("loss", *nats, self._tolerance, unit=batches.tokens)
        fits: list[str] = []
        if row.differs and batches.windows == 1:
            fits = fitting_mistakes(self._start, batches, got, self._tolerance, self._cell)
        return Step(title, [row], fits)

    def gradients(self, title: str, batches: Batches) -> Step:
        """The loss, and what one window's change says of each tensor's clipped gradient."""
        training, norm = self._task.training, self.gradient_norm(batches)
        rows, change = self._rows(batches, "gradient of", unit=training.learning_rate)
        expected = min(1.0, training.clip_norm / norm)
        got = reference.global_norm(change) / (norm * training.learning_rate)
        clipping = (
            f"learning rate {training.learning_rate:.4g}, clip norm {training.clip_norm:.4g}; all "
            f"gradients together have norm {norm:.4g}: expected them times {expected:.4g}, "
            f"got times {got:.4g}"
        )
        return Step(title, rows, [clipping])

    def changes(self, title: str, batches: Batches) -> Step:
        """The loss, and the change of every tensor."""
        return Step(title, self._rows(batches, "change of", unit=1)[0], [])

    def _rows(self, batches: Batches, what: str, unit: float) -> tuple[list[Quantity], Parameters]:
        training = self._task.training
        asked = parity.Pass.compute("", batches, self._start, training, self._cell)
        rounding = parity.rounding_errors(asked, training, self._task.dtype)
        self._backend.prepare(batches)
        loss, after = asked.ask(self._backend)
        change = parity.difference(after, self._start)
        mean = np.array(loss.nats / loss.tokens)
        rows = [_quantity("loss", mean, np.array(asked.loss), self._tolerance)]
        for (name, got), (_, expected) in zip(change.items(), asked.change.items(), strict=True):
            explained = parity.ALLOWANCE * rounding.get(f": {name}", 0.0)
            allowed = max(self._tolerance, min(explained, parity.MAX_ALLOWED))
            rows.append(_quantity(f"{what} {name}", got, expected, allowed, unit))
        return rows, change
