"""What the conductor needs of a worker, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from lstmbench.records.record import Reason
from lstmbench.stacks.interpreter import Interpreter
from lstmbench.worker.messages import A, Request


class WorkerLost(Exception):
    """The worker gave no usable answer and will give none.

    ``reason`` is one of the record's, or that the backend cannot run here.
    """

    def __init__(self, reason: Reason | Literal["unavailable"], message: str) -> None:
        super().__init__(message)
        self.reason: Reason | Literal["unavailable"] = reason


@dataclass(frozen=True)
class Launch:
    """All that starts a worker: ``module`` is run, ``log`` takes its standard output and error.

    By the ``interpreter`` of a stack, or the one that runs here. ``memory``: bytes that it may have
    with all that it started.
    """

    log: Path
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)
    module: str = "lstmbench.worker"
    interpreter: Interpreter | None = None
    memory: int | None = None


class Channel(Protocol):
    """One live worker: ask, read, close.

    ``folder`` is the worker's own, for the files that both read and write. ``marker`` is
    ``NAME=value`` of a variable that this worker alone was given.
    """

    pid: int
    folder: Path
    marker: str

    def ask(self, request: Request[A], timeout: float) -> A:
        """Send a request and block until its answer; raises :class:`WorkerLost`."""

    def close(self) -> None:
        """End the worker and all that it started. May be called twice."""


class Executor(Protocol):
    """Starts workers."""

    def start(self, launch: Launch) -> Channel:
        """A new process that waits for its first request; raises :class:`WorkerLost`."""

    def cpus(self, threads: int) -> list[int] | None:
        """The processors that a worker with so many threads is to keep to, if that is possible."""
