"""A trial whose worker is running: what it is asked, and the arrays that go to and fro."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstmbench.audit.messages import File
from lstmbench.backend import ModelConfig, Parameters
from lstmbench.batches import Batches
from lstmbench.records.trial import Trial
from lstmbench.runner.account import Account
from lstmbench.runner.channel import Channel, WorkerLost
from lstmbench.runner.trial_state import TrialState
from lstmbench.worker.arrays import read_parameters, write_batches, write_parameters
from lstmbench.worker.messages import INTERFACE, A, Ping, Request, SaveParameters


@dataclass(eq=False)
class LiveTrial:
    """A trial whose worker is running. ``timeout`` is in seconds, for any answer."""

    state: TrialState
    channel: Channel
    account: Account
    model: ModelConfig
    timeout: float
    offers_matmul: bool = True

    @property
    def trial(self) -> Trial:
        return self.state.trial

    def ask(self, request: Request[A]) -> A:
        return self.channel.ask(request, self.timeout)

    def give(self, batches: Batches) -> str:
        """Hand batches over, in place of those before; for a request to name."""
        path = self.channel.folder / "batches.npy"
        write_batches(path, batches)
        return str(path)

    def give_parameters(self, parameters: Parameters) -> str:
        """Hand parameters over; for a request to name."""
        path = self.channel.folder / "start.npy"
        write_parameters(path, parameters)
        return str(path)

    def request_seconds(self, path: str) -> float:
        """What a request costs that asks for nothing but reading ``path``."""
        begin = time.perf_counter()
        self.ask(Ping())
        np.load(path)
        return time.perf_counter() - begin

    def save(self) -> Path:
        """Have the present parameters written, until they are asked for again."""
        path = self.channel.folder / "parameters.npy"
        self.ask(SaveParameters(str(path)))
        return path

    def keep(self, saved: Path, place: Path) -> File:
        """Take what was saved out of the worker's reach.

        Raises :class:`WorkerLost` if the file holds no parameters of the model.
        """
        try:
            content = saved.read_bytes()
            place.write_bytes(content)
            vector = np.load(place, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise WorkerLost(INTERFACE, f"no parameters were written: {error}") from None
        if vector.shape != (self.model.parameter_count,) or vector.dtype.kind != "f":
            raise WorkerLost(INTERFACE, "what was written are no parameters of the model")
        return File(str(place), hashlib.sha256(content).hexdigest())

    def digest(self, file: File) -> str:
        """Of the parameters in a file."""
        return read_parameters(file.path, self.model).digest()
