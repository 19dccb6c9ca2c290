"""The child process: loads one backend, obeys, answers in JSON lines.

``python -m lstmbench.worker COMMANDS ANSWERS`` reads requests from one file descriptor and
writes answers to another; standard output and error belong to the framework and go to the trial's
log. Requests are ``{"do": VERB, ...}`` with the verbs load, prepare, epoch, product, settle,
evaluate, generate and finish; answers ``{"answer": {...}}`` or
``{"error": {"reason", "message", "detail"}}``.
Needs the standard library and NumPy only, so that it can live in a foreign interpreter.

The clock is here: an epoch's seconds start when its NumPy arrays exist and end when
``train_epoch`` returns, so conversion and transfer to the device are inside.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import IO, Any

import numpy as np

from lstmbench import parity, reference
from lstmbench.backend import Backend, ModelConfig, Task, TrainingConfig
from lstmbench.batches import Batches, partition
from lstmbench.contract import Refused, sound_ids, sound_loss, sound_parameters
from lstmbench.errors import Unavailable
from lstmbench.memory import peak_memory, resident, restart_peak
from lstmbench.silence import settle

Answer = dict[str, Any]


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
        throw_away = self.factory(self.task)
        if not isinstance(throw_away, Backend):
            raise Refused("protocol", f"factory made a {type(throw_away).__name__}, not a Backend")
        clock.lap("build")
        throw_away.prepare(batches)
        clock.lap("prepare")
        result = parity.check(throw_away, batches)
        clock.lap("parity")
        proof = {
            "worst": result.worst,
            "tolerance": result.tolerance,
            "errors": result.errors,
            "allowed": result.allowed,
            "shape": result.shape,
            "cut": result.cut,
        }
        if result.first_difference:
            first = result.first_difference
            allowed = result.allowed.get(first, result.tolerance)
            raise Refused(
                "parity",
                f"{first} differs from the reference by {result.errors[first]:.1e}, "
                f"allowed is {allowed:.0e}",
                parity=proof,
                phases=clock.laps,
            )
        del throw_away
        gc.collect()
        self.peak_name = "peak" if restart_peak() else "peak_with_parity"
        clock = Stopwatch(clock.laps)
        self.backend = self.factory(self.task)
        if self.init == "shared":
            initial = reference.draw_parameters(self.task.model, self.task.seed)
            self.backend.load_parameters(initial.astype(self.task.dtype))
        self.backend.prepare(batches)
        clock.lap("rebuild")
        digest = sound_parameters(self.backend.parameters()).digest()
        return {"phases": clock.laps, "parity": proof, "parameters_digest": digest}

    def epoch(self, request: dict[str, Any]) -> Answer:
        """Train one epoch at ``offset``."""
        batches = self._batches("train", request["offset"])
        begin = time.perf_counter()
        loss = self.backend.train_epoch(batches)
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, **asdict(sound_loss(loss, batches))}

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
        return asdict(sound_loss(self.backend.evaluate(batches), batches))

    def generate(self, request: dict[str, Any]) -> Answer:
        """Greedy continuations of each prefix (phase ``generate``)."""
        clock = Stopwatch()
        length, size = request["length"], self.task.model.vocabulary_size
        continuations = [
            sound_ids(self.backend.generate(prefix, length), length, size)
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


class Stopwatch:
    """Seconds between laps, by name."""

    def __init__(self, laps: dict[str, float] | None = None) -> None:
        self.laps = {} if laps is None else laps
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def set_cpus(cpus: list[int] | None) -> None:
    """Keep this process to some processors, where the system can."""
    if cpus:
        os.sched_setaffinity(0, cpus)


def time_products(multiply: Callable[[int], None], request: dict[str, Any]) -> list[float]:
    """Seconds of ``count`` calls with ``side``."""
    clock = Stopwatch()
    for index in range(request["count"]):
        multiply(request["side"])
        clock.lap(str(index))
    return list(clock.laps.values())


def answer(call: Callable[[], Answer]) -> dict[str, Any]:
    """The reply to a request, whatever the backend does short of ending the process."""
    try:
        return {"answer": call()}
    except Refused as error:
        return {"error": {"reason": error.reason, "message": str(error), **error.detail}}
    except Unavailable as error:
        return {"error": {"reason": "unavailable", "message": str(error)}}
    except MemoryError as error:
        return {"error": {"reason": "memory", "message": str(error) or "out of memory"}}
    except Exception as error:
        traceback.print_exc()
        reason = "memory" if "OutOfMemory" in type(error).__name__ else "exception"
        return {"error": {"reason": reason, "message": f"{type(error).__name__}: {error}"}}


def die_with_parent() -> None:
    """Linux: be killed when the parent is, even in the middle of an epoch."""
    if sys.platform == "linux":
        import ctypes
        import signal

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def serve(session: Any, commands: IO[str], answers: IO[str]) -> None:
    """Obey until ``finish`` or the end of ``commands``; a failed request ends it too."""

    def obey(request: dict[str, Any]) -> Answer:
        if request["do"] == "settle":
            return {"silent": settle()}
        done: Answer = getattr(session, request["do"])(request)
        return done

    for line in commands:
        request = json.loads(line)
        reply = answer(partial(obey, request))
        sys.stdout.flush()
        answers.write(json.dumps(reply) + "\n")
        answers.flush()
        if request["do"] == "finish" or "error" in reply:
            return


def main(arguments: list[str], session: Any) -> None:
    """Serve on the two inherited descriptors, then leave without the framework's farewell."""
    commands, answers = (int(argument) for argument in arguments)
    os.set_inheritable(commands, False)
    os.set_inheritable(answers, False)
    die_with_parent()
    with os.fdopen(commands, "r") as reader, os.fdopen(answers, "w") as writer:
        serve(session, reader, writer)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # some frameworks hang or crash in their exit handlers


if __name__ == "__main__":
    main(sys.argv[1:], Session())
