"""What the conductor needs of a worker, wherever it lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from lstmbench.records.record import Reason
from lstmbench.worker.messages import A, Detail, Request


class WorkerLost(Exception):
    """The worker gave no usable answer and will give none.

    ``reason`` is one of the record's, or that the backend cannot run here; ``detail`` is what else
    the worker sent with it.
    """

    def __init__(
        self, reason: Reason | Literal["unavailable"], message: str, detail: Detail | None = None
    ) -> None:
        super().__init__(message)
        self.reason: Reason | Literal["unavailable"] = reason
        self.detail = detail or Detail()


@dataclass(frozen=True)
class Launch:
    """All that starts a worker: ``module`` is run, ``log`` takes its standard output and error."""

    log: Path
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)
    module: str = "lstmbench.worker"


class Channel(Protocol):
    """One live worker: ask, read, close."""

    def ask(self, request: Request[A], timeout: float) -> A:
        """Send a request and block until its answer; raises :class:`WorkerLost`."""

    def close(self) -> None:
        """End the worker and all that it started. May be called twice."""


class Executor(Protocol):
    """Starts workers."""

    def start(self, launch: Launch) -> Channel:
        """A new process that waits for its first request."""

    def cpus(self, threads: int) -> list[int] | None:
        """The processors that a worker with so many threads is to keep to, if that is possible."""
