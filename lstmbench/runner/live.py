"""A trial whose worker is running: what it is asked, and the arrays that both hand over."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from lstmbench.backend import Parameters
from lstmbench.batches import Batches
from lstmbench.cells import Shapes, count
from lstmbench.machine import processes, resident
from lstmbench.records.trial import Trial
from lstmbench.runner.account import Account
from lstmbench.runner.channel import Channel, WorkerLost
from lstmbench.runner.exchange import place, take
from lstmbench.runner.trial_state import TrialState
from lstmbench.worker.arrays import (
    read_layer_result,
    read_trained,
    write_batches,
    write_parameters,
)
from lstmbench.worker.messages import (
    INTERFACE,
    A,
    Finish,
    Ping,
    Request,
    SaveParameters,
    ShowLayer,
    StageLayer,
)

#: What a file of arrays holds besides them, at most.
HEADER_BYTES = 1024
#: Of the memory that the system saw, and bytes: how much less a worker may claim.
MIN_CLAIM, CLAIM_BYTES = 0.9, 4 * 2**20


def _save(array: np.ndarray, file: IO[bytes]) -> None:
    np.save(file, array, allow_pickle=False)


@dataclass(eq=False)
class LiveTrial:
    """A trial whose worker is running. ``timeout`` is in seconds, for any answer.

    ``shapes`` are those of its parameters, once the auditor has said which they are.
    """

    state: TrialState
    channel: Channel
    account: Account
    timeout: float
    shapes: Shapes = field(default_factory=dict)
    offers_matmul: bool = True
    _counts_memory: bool = False
    _own_peak: int | None = None
    _batches_bytes: int = 0

    @property
    def trial(self) -> Trial:
        return self.state.trial

    def ask(self, request: Request[A]) -> A:
        return self.channel.ask(request, self.timeout)

    def restart_peak_memory(self) -> None:
        """What the worker has needed so far is not counted."""
        self._counts_memory = resident.restart_peak(self.channel.pid)

    def read_memory(self) -> None:
        """Keep the largest size of the worker so far, once, and what its children have."""
        if not self._counts_memory or self._own_peak is not None:
            return
        self._own_peak = resident.peak(self.channel.pid)
        if self._own_peak is not None:
            children = resident.shared_out(self.account.tree.alive())
            self.state.memory["peak"] = self._own_peak + children

    def finish(self) -> None:
        """Let the worker say what only it knows, and end."""
        self.read_memory()
        answer = self.ask(Finish())
        seen, claimed = self._own_peak, answer.memory.get("peak")
        if seen and claimed is not None and claimed < MIN_CLAIM * seen - CLAIM_BYTES:
            sizes = f"{claimed / 2**20:,.0f} MiB of memory where the system saw {seen / 2**20:,.0f}"
            self.account.remark(f"claims {sizes}")
        self.state.finished(answer)

    def give(self, batches: Batches) -> str:
        """Hand batches over, in place of those before; for a request to name."""
        self._batches_bytes = 2 * batches.inputs.nbytes + HEADER_BYTES
        return place(self._batches, lambda file: write_batches(file, batches))

    @property
    def _batches(self) -> Path:
        return self.channel.folder / "batches.npy"

    def give_parameters(self, parameters: Parameters) -> str:
        """Hand parameters over; for a request to name."""
        path = self.channel.folder / "start.npy"
        return place(path, lambda file: write_parameters(file, parameters))

    def request_seconds(self) -> float:
        """What a request costs that asks for nothing but reading batches, those before."""
        begin = time.perf_counter()
        self.ask(Ping())
        np.load(take(self._batches, self._batches_bytes), allow_pickle=False)
        return time.perf_counter() - begin

    def queued_seconds(self) -> float:
        """What the worker's main thread and this one have waited for a processor so far."""
        return processes.queued_seconds(self.channel.pid) + processes.queued_seconds()

    def save(self) -> Path:
        """Have the present parameters written, until they are asked for again."""
        path = self.channel.folder / "parameters.npy"
        self.ask(SaveParameters(str(path)))
        return path

    def show(self) -> bytes:
        """The present parameters, as the worker writes them.

        Always read as a whole: a worker may see what is read of its folder. Raises
        :class:`WorkerLost` if they are no parameters of the model.
        """
        return self.saved(self.save())

    def saved(self, saved: Path) -> bytes:
        """What :meth:`save` has left."""
        size = count(self.shapes) * (1 + len(self.trial.protocol.training.moments))
        content = take(saved, 8 * size + HEADER_BYTES)
        try:
            vector = np.load(content, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise WorkerLost(INTERFACE, f"no parameters were written: {error}") from None
        if vector.shape != (size,) or vector.dtype.kind != "f":
            raise WorkerLost(INTERFACE, "what was written are no parameters of the model")
        return content.getvalue()

    def stage(self, inputs: np.ndarray, slopes: np.ndarray | None) -> None:
        """Hand over what passes through the layers alone read."""
        given = {"inputs": inputs} | ({} if slopes is None else {"slopes": slopes})
        paths = {
            name: place(self.channel.folder / f"{name}.npy", partial(_save, array))
            for name, array in given.items()
        }
        self.ask(StageLayer(paths["inputs"], paths.get("slopes")))

    def show_layer(self, shapes: Shapes) -> bytes:
        """What the last pass through the layers alone has given, as the worker writes it.

        Raises :class:`WorkerLost` if that is no result of those ``shapes``.
        """
        path = self.channel.folder / "result.npy"
        self.ask(ShowLayer(str(path)))
        content = take(path, 8 * count(shapes) + HEADER_BYTES)
        try:
            read_layer_result(content, shapes)
        except (ValueError, EOFError) as error:
            raise WorkerLost(INTERFACE, f"no result of a pass was written: {error}") from None
        return content.getvalue()

    def digest(self, content: bytes) -> str:
        """Of parameters that were shown."""
        moments = len(self.trial.protocol.training.moments)
        return read_trained(io.BytesIO(content), self.shapes, moments)[0].digest()
