"""One trial inside a worker process, one method per request."""

from __future__ import annotations

import gc
import importlib
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from lstmbench import reference
from lstmbench.backend import Backend, ModelConfig, Task, TrainingConfig
from lstmbench.batches import Batches, partition
from lstmbench.errors import Unavailable
from lstmbench.worker import parity
from lstmbench.worker.answers import InvalidAnswer, check_ids, check_loss, check_parameters
from lstmbench.worker.loop import Answer, set_cpus
from lstmbench.worker.memory import peak_memory, resident, restart_peak
from lstmbench.worker.timing import Stopwatch, time_products


class Session:
    """One trial's life, one method per verb."""

    task: Task
    backend: Backend
    memory: dict[str, int] | None = None

    def load(self, request: dict[str, Any]) -> Answer:
        """Import the plugin (phase ``import``) and read the tokens."""
        set_cpus(request["cpus"])
        task = request["task"]
        self.task = Task(
            **{
                **task,
                "model": ModelConfig(**task["model"]),
                "training": TrainingConfig(**task["training"]),
            }
        )
        self.init = request["init"]
        ids = np.load(request["tokens"], allow_pickle=False)
        self.splits = {k: ids[start:stop] for k, (start, stop) in request["splits"].items()}
        begin = time.perf_counter()
        self.factory = import_factory(request)
        seconds = time.perf_counter() - begin
        return {"phases": {"import": seconds}, "memory": {"imported": resident()}}

    def prepare(self, request: dict[str, Any]) -> Answer:
        """Prove parity on a throw-away instance, then build the one that is timed.

        Phases ``build`` and ``prepare`` are the first instance's, when nothing is compiled yet;
        ``rebuild`` is all of the second's.
        """
        batches = self._batches("train", 0)
        clock = Stopwatch()
        setting = parity.choose_setting(self.task, batches)
        clock.lap("parity")
        throw_away = self.factory(setting.task)
        if not isinstance(throw_away, Backend):
            raise InvalidAnswer(
                "protocol", f"factory made a {type(throw_away).__name__}, not a Backend"
            )
        clock.lap("build")
        throw_away.prepare(batches)
        clock.lap("prepare")
        result = parity.check(throw_away, setting)
        clock.lap("parity")
        proof = {
            "worst": result.worst,
            "tolerance": result.tolerance,
            "errors": result.errors,
            "allowed": result.allowed,
            "shape": result.shape,
            "cut": result.cut,
        }
        if name := result.worst_difference:
            raise InvalidAnswer(
                "parity",
                f"{name} differs from the reference by {result.errors[name]:.1e}, "
                f"allowed is {result.allowance(name):.0e}",
                parity=proof,
                phases=clock.laps,
            )
        del throw_away, setting
        gc.collect()
        self.peak_name = "peak" if restart_peak() else "peak_with_parity"
        clock = Stopwatch(clock.laps)
        self.backend = self.factory(self.task)
        if self.init == "shared":
            initial = reference.draw_parameters(self.task.model, self.task.seed)
            self.backend.load_parameters(initial.astype(self.task.dtype))
        self.backend.prepare(batches)
        clock.lap("rebuild")
        digest = check_parameters(self.backend.parameters()).digest()
        return {"phases": clock.laps, "parity": proof, "parameters_digest": digest}

    def epoch(self, request: dict[str, Any]) -> Answer:
        """Train one epoch at ``offset``."""
        batches = self._batches("train", request["offset"])
        begin = time.perf_counter()
        loss = self.backend.train_epoch(batches)
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, **asdict(check_loss(loss, batches))}

    def product(self, request: dict[str, Any]) -> Answer:
        """Seconds of ``count`` matrix products; ``None`` if the backend offers none that works.

        Their operands are not the trial's: what memory it took is read before.
        """
        self.memory = self.memory or self._memory()
        try:
            return {"seconds": time_products(self.backend.matrix_product, request)}
        except NotImplementedError:
            pass
        except Exception:  # what is not asked of a backend cannot fail its trial
            traceback.print_exc()
        return {"seconds": None}

    def evaluate(self, request: dict[str, Any]) -> Answer:
        """The loss on a split, from zero state at offset 0."""
        batches = self._batches(request["split"], 0)
        return asdict(check_loss(self.backend.evaluate(batches), batches))

    def generate(self, request: dict[str, Any]) -> Answer:
        """Greedy continuations of each prefix (phase ``generate``)."""
        clock = Stopwatch()
        length, size = request["length"], self.task.model.vocabulary_size
        continuations = [
            check_ids(self.backend.generate(prefix, length), length, size)
            for prefix in request["prefixes"]
        ]
        clock.lap("generate")
        return {"continuations": continuations, "phases": clock.laps}

    def finish(self, request: dict[str, Any]) -> Answer:
        """Facts about the run that only this process knows."""
        facts = {str(k): str(v) for k, v in self.backend.runtime().items()}
        return {"runtime": facts, "memory": self.memory or self._memory()}

    def _memory(self) -> dict[str, int]:
        """Peaks in bytes, of this process and of a device with memory of its own."""
        memory = {self.peak_name: peak_memory()}
        on_device = self.backend.device_memory()
        if on_device is not None:
            memory["device_peak"] = int(on_device)
        return memory

    def _batches(self, split: str, offset: int) -> Batches:
        training = self.task.training
        return partition(self.splits[split], training.batch_size, training.steps, offset)


def import_factory(request: dict[str, Any]) -> Callable[[Task], Backend]:
    """The factory ``module:attribute``; :class:`Unavailable` if its framework is missing."""
    module, _, attribute = request["factory"].partition(":")
    try:
        factory: Callable[[Task], Backend] = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in request["imports"]:
            raise
        raise Unavailable(f"{error.name} is not installed: {request['install']}") from error
    return factory
