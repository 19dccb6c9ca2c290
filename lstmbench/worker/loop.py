"""The loop of a worker process: reads a request, lets its session execute it, writes the reply.

``python -m lstmbench.worker REQUESTS REPLIES`` reads from one inherited file descriptor and
writes to another; standard output and error belong to the framework and go to the trial's log.
What is said on them is in :mod:`lstmbench.worker.messages`.
Needs the standard library and NumPy only, so that it can live in a foreign interpreter.
"""

from __future__ import annotations

import os
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import IO, Any

from lstmbench.errors import Unavailable
from lstmbench.worker.answers import InvalidAnswer
from lstmbench.worker.messages import (
    INTERFACE,
    Answer,
    Failure,
    Finish,
    InvalidMessage,
    Request,
    decode_request,
    encode_answer,
    encode_failure,
)

#: Kinds of requests, each with what answers it.
Handlers = Mapping[type[Request[Any]], Callable[[Any], Answer]]


class OutOfOrder(Exception):
    """A request that needs an earlier one to be answered first."""


class Session(ABC):
    """One process's part of a run: declares which requests it serves, and how."""

    @abstractmethod
    def handlers(self) -> Handlers:
        """A method for each kind of request; it takes the request and returns its answer."""


def serve(session: Session, requests: IO[str], replies: IO[str]) -> None:
    """Execute ``requests`` until :class:`Finish`, their end, or the first one that fails.

    Raises :class:`InvalidMessage` for a line that is no request of this session.
    """
    handlers = session.handlers()
    for line in requests:
        number, request = decode_request(line, handlers)
        reply, failed = _execute(number, request, handlers[type(request)])
        sys.stdout.flush()
        replies.write(reply)
        replies.flush()
        if failed or isinstance(request, Finish):
            return


def _execute(
    number: int, request: Request[Any], handler: Callable[[Any], Answer]
) -> tuple[str, bool]:
    """The line that replies, whatever a backend does short of ending the process."""
    try:
        return encode_answer(number, handler(request)), False
    except Exception as error:
        return encode_failure(number, failure_of(error)), True


def failure_of(error: Exception) -> Failure:
    """What an exception means for the trial; an unexpected one leaves its traceback in the log."""
    if isinstance(error, InvalidAnswer):
        return Failure(error.reason, str(error))
    if isinstance(error, (OutOfOrder, InvalidMessage)):
        return Failure(INTERFACE, str(error))
    if isinstance(error, Unavailable):
        return Failure("unavailable", str(error))
    if isinstance(error, MemoryError):
        return Failure("memory", str(error) or "out of memory")
    traceback.print_exception(error)
    message = f"{type(error).__name__}: {error}"
    return Failure("memory" if "OutOfMemory" in type(error).__name__ else "exception", message)


def set_cpus(cpus: list[int] | None) -> None:
    """Keep this process to some processors, where the system can."""
    if cpus:
        os.sched_setaffinity(0, cpus)


def die_with_parent() -> None:
    """Linux: be killed when the parent is, even in the middle of an epoch.

    And adopt every process below whose parent ends, so that all are found when this one is ended.
    """
    if sys.platform == "linux":
        import ctypes
        import signal

        pr_set_pdeathsig, pr_set_child_subreaper = 1, 36
        system = ctypes.CDLL(None)
        system.prctl(pr_set_pdeathsig, signal.SIGKILL)
        system.prctl(pr_set_child_subreaper, 1)


def main(arguments: list[str], session: Session) -> None:
    """Serve on the two inherited descriptors, then leave without the framework's exit handlers."""
    requests, replies = (int(argument) for argument in arguments)
    os.set_inheritable(requests, False)
    os.set_inheritable(replies, False)
    die_with_parent()
    with os.fdopen(requests, "r") as reader, os.fdopen(replies, "w") as writer:
        serve(session, reader, writer)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # some frameworks hang or crash in their exit handlers
