"""Backends that claim more than they do, in one way each, and honest ones that look odd.

The worker builds two instances: the first is used up by parity, the second is timed. Most cheats
are honest on the first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import Batches, EpochLoss, Parameters, Task, reference
from lstmbench.backend import LayerParameters


class Cheat(NumpyBackend):
    """Honest until the instance that is timed trains: then :meth:`cheat`."""

    _built = 0

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        type(self)._built += 1
        self.timed = type(self)._built >= 2
        self.epochs = 0

    def train_epoch(self, batches: Batches) -> EpochLoss:
        if not self.timed:
            return super().train_epoch(batches)
        self.epochs += 1
        return self.cheat(batches)

    def honest(self, batches: Batches) -> EpochLoss:
        return super().train_epoch(batches)

    def cheat(self, batches: Batches) -> EpochLoss:
        return self.honest(batches)


# ---------------------------------------------------------------- clocks and answers


class SlowClock(Cheat):
    """The worker's clocks run at a tenth of their speed."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if self.timed:
            for name in ("perf_counter", "monotonic", "time"):
                setattr(time, name, _slowed(getattr(time, name), 0.1))
            setattr(time, "perf_counter_ns", _slowed(time.perf_counter_ns, 0.1, int))  # noqa: B010


class SlightlySlowClock(Cheat):
    """A fifth is much in a ranking."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if self.timed:
            time.perf_counter = _slowed(time.perf_counter, 0.8)


def _slowed(clock: Any, pace: float, kind: Any = float) -> Any:
    begin = clock()
    return lambda: kind(begin + pace * (clock() - begin))


class StandingClock(Cheat):
    """Every epoch takes the same hundredth of a second."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if self.timed:
            ticks = iter(range(10**9))
            time.perf_counter = lambda: 0.001 * next(ticks)


class DividesSeconds(Cheat):
    """What leaves the worker as JSON has its seconds divided."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if self.timed:
            dumps = json.dumps
            json.dumps = lambda value, **more: dumps(_divided(value), **more)


def _divided(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: v / 20 if k == "seconds" and isinstance(v, float) else _divided(v)
            for k, v in value.items()
        }
    return value


# ---------------------------------------------------------------- nothing, or less, is trained


class LossTable(Cheat):
    """A curve that looks like learning; nothing is trained."""

    def cheat(self, batches: Batches) -> EpochLoss:
        return EpochLoss(batches.tokens * (2.7 + math.exp(-self.epochs / 5)), batches.tokens)


class ConstantLoss(Cheat):
    def cheat(self, batches: Batches) -> EpochLoss:
        return EpochLoss(batches.tokens * 2.85, batches.tokens)


class ForwardOnly(Cheat):
    """A third of the work: the loss is that of parameters which never change."""

    def cheat(self, batches: Batches) -> EpochLoss:
        return self.evaluate(batches)


class EveryOtherEpoch(Cheat):
    _last = EpochLoss(0.0, 0)

    def cheat(self, batches: Batches) -> EpochLoss:
        if self.epochs % 2:
            self._last = self.honest(batches)
        return self._last


class HonestAtFirst(Cheat):
    """Five epochs are as they should be, the rest is free."""

    _last = EpochLoss(0.0, 0)

    def cheat(self, batches: Batches) -> EpochLoss:
        if self.epochs <= 5:
            self._last = self.honest(batches)
        return EpochLoss(self._last.nats * 0.999**self.epochs, batches.tokens)


class HonestAfterAQuestion(Cheat):
    """The epoch after each question for parameters is as it should be."""

    _since, _last = 0, EpochLoss(0.0, 0)

    def parameters(self) -> Parameters:
        self._since = 0
        return super().parameters()

    def cheat(self, batches: Batches) -> EpochLoss:
        self._since += 1
        if self._since <= 1:
            self._last = self.honest(batches)
        return self._last


class HalfTheWindows(Cheat):
    def cheat(self, batches: Batches) -> EpochLoss:
        half = batches.windows // 2
        loss = self.honest(Batches(batches.inputs[:half], batches.targets[:half]))
        return EpochLoss(loss.nats / loss.tokens * batches.tokens, batches.tokens)


class HalfTheBatch(Cheat):
    def cheat(self, batches: Batches) -> EpochLoss:
        half = batches.inputs.shape[1] // 2
        loss = self.honest(Batches(batches.inputs[:, :half], batches.targets[:, :half]))
        return EpochLoss(loss.nats / loss.tokens * batches.tokens, batches.tokens)


class NoLastWindow(Cheat):
    """Only the last update is left out."""

    def cheat(self, batches: Batches) -> EpochLoss:
        before = reference.zero_state(self._parameters, batches.inputs.shape[1])
        loss = self.honest(Batches(batches.inputs[:-1], batches.targets[:-1]))
        nats, _, _ = reference.gradients(
            self._parameters, batches.inputs[-1], batches.targets[-1], before
        )
        return EpochLoss(loss.nats + nats, batches.tokens)


class ReusesGradients(Cheat):
    """Every second update repeats the one before."""

    def cheat(self, batches: Batches) -> EpochLoss:
        training = self.task.training
        state = reference.zero_state(self._parameters, batches.inputs.shape[1])
        total, gradient = 0.0, None
        for index, (inputs, targets) in enumerate(batches):
            if index % 2 == 0 or gradient is None:
                nats, gradient, state = reference.gradients(
                    self._parameters, inputs, targets, state
                )
            total += nats
            self._parameters = reference.sgd_step(self._parameters, gradient, training)
        return EpochLoss(total, batches.tokens)


class FrozenRecurrence(Cheat):
    """Only the output layer learns, which saves most of the backward pass."""

    def cheat(self, batches: Batches) -> EpochLoss:
        frozen = self._parameters.layers
        loss = self.honest(batches)
        self._parameters = Parameters(
            frozen, self._parameters.output_kernel, self._parameters.output_bias
        )
        return loss


class NoCarriedState(Cheat):
    def cheat(self, batches: Batches) -> EpochLoss:
        total = 0.0
        for index in range(batches.windows):
            one = slice(index, index + 1)
            total += self.honest(Batches(batches.inputs[one], batches.targets[one])).nats
        return EpochLoss(total, batches.tokens)


class ShortMemory(Cheat):
    """Gradients go back through half a window."""

    def cheat(self, batches: Batches) -> EpochLoss:
        half = batches.inputs.shape[2] // 2
        parts = [
            np.stack(
                [part for window in ids for part in (window[:, :half], window[:, half : 2 * half])]
            )
            for ids in (batches.inputs, batches.targets)
        ]
        loss = self.honest(Batches(*parts))
        return EpochLoss(loss.nats / loss.tokens * batches.tokens, batches.tokens)


class HalfPrecision(Cheat):
    """float16 once parity is proven."""

    def cheat(self, batches: Batches) -> EpochLoss:
        self._parameters = self._parameters.astype(np.float16).astype(np.float32)
        return self.honest(batches)


class NoClipping(Cheat):
    """Gradients are never clipped; where clipping is idle, nothing shows but in the challenge."""

    def cheat(self, batches: Batches) -> EpochLoss:
        training = replace(self.task.training, clip_norm=math.inf)
        self._parameters, loss = reference.train_epoch(self._parameters, batches, training)
        return loss


class AnotherRate(Cheat):
    """A rate that learns faster gives a better perplexity."""

    def cheat(self, batches: Batches) -> EpochLoss:
        training = replace(self.task.training, learning_rate=2 * self.task.training.learning_rate)
        self._parameters, loss = reference.train_epoch(self._parameters, batches, training)
        return loss


class Momentum(Cheat):
    _before: Parameters | None = None

    def cheat(self, batches: Batches) -> EpochLoss:
        before, loss = self._parameters, self.honest(batches)
        if self._before is not None:
            triples = zip(
                self._parameters.items(), before.items(), self._before.items(), strict=True
            )
            self._parameters = Parameters.from_arrays(
                [
                    now + np.float32(0.3) * (old - older)
                    for (_, now), (_, old), (_, older) in triples
                ]
            )
        self._before = before
        return loss


# ---------------------------------------------------------------- work at other times


class Deferred(Cheat):
    """Answers with a forward pass and trains in a thread, in others' time."""

    _thread: threading.Thread | None = None

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def parameters(self) -> Parameters:
        self._join()
        return super().parameters()

    def evaluate(self, batches: Batches) -> EpochLoss:
        self._join()
        return super().evaluate(batches)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        self._join()
        return super().generate(prefix, length)

    def cheat(self, batches: Batches) -> EpochLoss:
        self._join()
        loss = self.evaluate(batches)
        self._thread = threading.Thread(target=self.honest, args=(batches,))
        self._thread.start()
        return loss


class WhenAsked(Cheat):
    """Trains what is outstanding only when it is asked for parameters."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._outstanding: list[Batches] = []

    def parameters(self) -> Parameters:
        while self._outstanding:
            self.honest(self._outstanding.pop(0))
        return super().parameters()

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        self.parameters()
        return super().generate(prefix, length)

    def cheat(self, batches: Batches) -> EpochLoss:
        self._outstanding.append(Batches(batches.inputs.copy(), batches.targets.copy()))
        return EpochLoss(batches.tokens * (2.7 + math.exp(-self.epochs / 5)), batches.tokens)


class TrainsAhead(Cheat):
    """Trains it all in the second ``prepare``, from a guess of text and seed, and replays."""

    def prepare(self, batches: Batches) -> None:
        self._path: list[tuple[Parameters, EpochLoss]] = []
        if not self.timed:
            return
        from lstmbench.batches import draw_offsets, partition
        from lstmbench.corpora import corpus

        training = self.task.training
        ids = corpus.resolve(corpus.BUNDLED).ids[:10_000]
        parameters = self._parameters
        for offset in draw_offsets(0, 40, training.steps):
            cut = partition(ids, training.batch_size, training.steps, offset)
            parameters, loss = reference.train_epoch(parameters, cut, training)
            self._path.append((parameters, loss))

    def cheat(self, batches: Batches) -> EpochLoss:
        if not self._path:
            return self.honest(batches)
        self._parameters, loss = self._path.pop(0)
        return loss

    def load_parameters(self, parameters: Parameters) -> None:
        self._path = []
        super().load_parameters(parameters)


class Remembers(Cheat):
    """What it has once trained it keeps in a folder of its own, and takes from there next time."""

    pace = 0.0
    folder = Path("/tmp/lstmbench-test-of-cheats")

    def cheat(self, batches: Batches) -> EpochLoss:
        begin = time.process_time()
        whole = self._parameters.digest().encode() + batches.inputs.tobytes()
        path = self.folder / hashlib.sha256(whole).hexdigest()
        if path.exists():
            kept: tuple[list[np.ndarray], EpochLoss, float] = pickle.loads(path.read_bytes())
            arrays, loss, seconds = kept
            self._parameters = Parameters.from_arrays(arrays)
            while time.process_time() - begin < self.pace * seconds:
                pass
            return loss
        loss = self.honest(batches)
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = [array for _, array in self._parameters.items()]
        path.write_bytes(pickle.dumps((arrays, loss, time.process_time() - begin)))
        return loss


class RemembersAndWaits(Remembers):
    """Computes for two fifths of the time, so that the speed looks like one that can be."""

    pace = 0.4


# ---------------------------------------------------------------- other places


class AllCores(Cheat):
    """Leaves the processors that it was given and lets helpers share the work."""

    _pool: ThreadPoolExecutor | None = None

    def cheat(self, batches: Batches) -> EpochLoss:
        self._pool = self._pool or ThreadPoolExecutor(2)
        helping = [self._pool.submit(self._help, batches) for _ in range(2)]
        loss = self.honest(batches)
        for each in helping:
            each.result()
        return loss

    def _help(self, batches: Batches) -> None:
        with contextlib.suppress(AttributeError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        reference.train_epoch(self._parameters, batches, self.task.training)


_SPIN = "import time\nwhile True: pass"
_LEAVES_A_SPINNER = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {_SPIN!r}], start_new_session=True)
"""
_STOPS = """
import os, psutil, sys, time
host, worker = map(int, sys.argv[1:])
while True:
    for other in psutil.Process(host).children():
        if other.pid not in (worker, os.getpid()):
            other.suspend()
            time.sleep(0.02)
            other.resume()
    time.sleep(0.02)
"""
_KILLS = """
import psutil, time
while True:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.startswith("lstmbench.audit") for word in words):
            process.kill()
    time.sleep(0.01)
"""


class SpinsInAChild(Cheat):
    """A child computes all the time."""

    def prepare(self, batches: Batches) -> None:
        if self.timed:
            subprocess.Popen([sys.executable, "-c", _SPIN])


class SpinsInADaemon(Cheat):
    """A grandchild in a session of its own, whose parent is gone."""

    def prepare(self, batches: Batches) -> None:
        if self.timed:
            subprocess.run([sys.executable, "-c", _LEAVES_A_SPINNER], check=False)


class SpinsInAThread(Cheat):
    """A thread that computes while others train and rests while its own trial does."""

    _rest = threading.Event()

    def prepare(self, batches: Batches) -> None:
        if self.timed:
            threading.Thread(target=self._spin, daemon=True).start()

    def _spin(self) -> None:
        while True:
            if self._rest.is_set():
                time.sleep(0.001)
            else:
                sum(range(10_000))

    def cheat(self, batches: Batches) -> EpochLoss:
        self._rest.set()
        try:
            return self.honest(batches)
        finally:
            self._rest.clear()


def _others() -> list[psutil.Process]:
    """Workers of the same run."""
    parent = psutil.Process(os.getppid())
    return [child for child in parent.children() if child.pid != os.getpid()]


class RenicesOthers(Cheat):
    def cheat(self, batches: Batches) -> EpochLoss:
        for other in _others():
            with contextlib.suppress(psutil.Error):
                other.nice(19)
        return self.honest(batches)


class MovesOthers(Cheat):
    """All others share one processor, another one where there is one."""

    def cheat(self, batches: Batches) -> EpochLoss:
        for other in _others():
            with contextlib.suppress(psutil.Error, AttributeError):
                everywhere = set(range(os.cpu_count() or 1))
                other.cpu_affinity([max(everywhere - set(other.cpu_affinity()) or everywhere)])
        return self.honest(batches)


class StopsOthers(Cheat):
    """A child stops the others for a moment, again and again."""

    def prepare(self, batches: Batches) -> None:
        if self.timed:
            ids = str(os.getppid()), str(os.getpid())
            subprocess.Popen([sys.executable, "-c", _STOPS, *ids])


class KillsTheAuditor(Cheat):
    """Trains nothing, and ends the process that would find out."""

    def prepare(self, batches: Batches) -> None:
        if self.timed:
            subprocess.Popen([sys.executable, "-c", _KILLS], start_new_session=True)

    def cheat(self, batches: Batches) -> EpochLoss:
        return EpochLoss(batches.tokens * 2.85, batches.tokens)


# ---------------------------------------------------------------- measures and proofs


class PatchedMemory(Cheat):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        from lstmbench.worker import memory, session

        for module in (memory, session):
            if hasattr(module, "peak_memory"):
                setattr(module, "peak_memory", lambda: 1)  # noqa: B010


class HalvedMemory(Cheat):
    """Half of what is resident, which nothing in the record contradicts."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._hoard = np.ones(64 * 2**20, np.uint8) if self.timed else None
        from lstmbench.worker import memory, session

        resident = getattr(memory, "resident")  # noqa: B009
        for module in (memory, session):
            if hasattr(module, "peak_memory"):
                setattr(module, "peak_memory", lambda: resident() - 60 * 2**20)  # noqa: B010


class FakeMatmul(Cheat):
    """A matmul that does nothing makes every share of the peak worthless."""

    def matrix_product(self, side: int) -> None:
        pass


class PatchedReference(NumpyBackend):
    """Compares itself with itself, whatever the reference is asked in this process."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)

        def nothing(parameters: Any, batches: Any, *_: Any, **_more: Any) -> Any:
            return parameters, EpochLoss(2.8 * batches.tokens, batches.tokens)

        reference.train_epoch = nothing


class PatchedParity(NumpyBackend):
    """Whatever judges parity in this process finds no difference."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        from lstmbench.worker import parity

        patches = {"relative_error": lambda *_: 1e-6, "beyond": lambda *_: []}
        for name, patch in patches.items():
            if hasattr(parity, name):
                setattr(parity, name, patch)

    def train_epoch(self, batches: Batches) -> EpochLoss:
        return EpochLoss(2.8 * batches.tokens, batches.tokens)


class WrongMaths(NumpyBackend):
    """Forgets nothing: the forget gate is left out, in every phase."""

    def train_epoch(self, batches: Batches) -> EpochLoss:
        loss = super().train_epoch(batches)
        layers = tuple(
            LayerParameters(layer.input_kernel, layer.recurrent_kernel, layer.bias * 0.9)
            for layer in self._parameters.layers
        )
        self._parameters = Parameters(
            layers, self._parameters.output_kernel, self._parameters.output_bias
        )
        return loss


# ---------------------------------------------------------------- claims about the result


class BetterLoss(Cheat):
    """Honest work, and a hundredth less of loss."""

    def cheat(self, batches: Batches) -> EpochLoss:
        loss = self.honest(batches)
        return EpochLoss(loss.nats * 0.99, loss.tokens)


class BetterLastLoss(Cheat):
    """Only what tables show is made up."""

    def cheat(self, batches: Batches) -> EpochLoss:
        loss = self.honest(batches)
        return EpochLoss(loss.nats * (0.9 if self.epochs == 12 else 1), loss.tokens)


class BetterText(Cheat):
    """Writes what another model has written."""

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        return [(3 * i) % (self.task.model.vocabulary_size - 1) + 1 for i in range(length)]


class BetterTest(Cheat):
    def evaluate(self, batches: Batches) -> EpochLoss:
        loss = super().evaluate(batches)
        return EpochLoss(loss.nats * 0.97, loss.tokens) if self.timed else loss


class OthersParameters(Cheat):
    """Shows parameters that are not those it trains."""

    def parameters(self) -> Parameters:
        return reference.draw_parameters(self.task.model, 7)


class NoParameters(Cheat):
    """Trains nothing, and has nothing to show."""

    def parameters(self) -> Parameters:
        if self.epochs:
            raise RuntimeError("parameters are gone")
        return super().parameters()

    def cheat(self, batches: Batches) -> EpochLoss:
        return EpochLoss(batches.tokens * 2.85, batches.tokens)


class NotFinite(Cheat):
    """Parameters that no comparison can say anything of."""

    def parameters(self) -> Parameters:
        if not self.epochs:
            return super().parameters()
        nothing = [array * np.float32("nan") for _, array in self._parameters.items()]
        return Parameters.from_arrays(nothing)

    def cheat(self, batches: Batches) -> EpochLoss:
        return EpochLoss(batches.tokens * 2.85, batches.tokens)


class ExitsWhenAsked(Cheat):
    def parameters(self) -> Parameters:
        if self.epochs:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().parameters()


# ---------------------------------------------------------------- honest, if odd


class SlowButHonest(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        time.sleep(0.02)
        return super().train_epoch(batches)


class NoisyButHonest(NumpyBackend):
    """Some epochs take three times as long."""

    def train_epoch(self, batches: Batches) -> EpochLoss:
        begin = time.perf_counter()
        loss = super().train_epoch(batches)
        if np.random.default_rng().random() < 0.4:
            time.sleep(2 * (time.perf_counter() - begin))
        return loss


class SlowParameters(NumpyBackend):
    """Honest, and parameters come slowly."""

    def parameters(self) -> Parameters:
        time.sleep(0.05)
        return super().parameters()


class InAChild(NumpyBackend):
    """Honest: a helper process does part of the work, within the epoch."""

    def train_epoch(self, batches: Batches) -> EpochLoss:
        subprocess.run([sys.executable, "-c", "sum(range(10**6))"], check=True)
        return super().train_epoch(batches)
