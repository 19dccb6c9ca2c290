"""What the conductor needs of a worker, wherever it lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class WorkerLost(Exception):
    """The worker gave no usable answer and will give none.

    ``reason`` is one of the record's reasons; ``detail`` what else the worker sent with it.
    """

    def __init__(self, reason: str, message: str, detail: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.detail = dict(detail or {})


@dataclass(frozen=True)
class Launch:
    """All that starts a worker: ``module`` is run, ``log`` takes its standard output and error."""

    log: Path
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)
    module: str = "lstmbench.worker"


class Channel(Protocol):
    """One live worker: ask, read, close."""

    def ask(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Send a request and block until its answer; raises :class:`WorkerLost`."""

    def close(self) -> None:
        """End the worker and all that it started. May be called twice."""


class Executor(Protocol):
    """Starts workers."""

    def start(self, launch: Launch) -> Channel:
        """A new process that waits for its first request; raises :class:`WorkerLost`."""

    def cpus(self, threads: int) -> list[int] | None:
        """The processors that a worker with so many threads is to keep to, if that is possible."""
