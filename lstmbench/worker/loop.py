"""The child process: loads one backend, obeys, answers in JSON lines.

``python -m lstmbench.worker COMMANDS ANSWERS`` reads requests from one file descriptor and
writes answers to another; standard output and error belong to the framework and go to the trial's
log. Requests are ``{"do": NAME, ...}``: load, prepare, epoch, product, wait_until_idle,
evaluate, generate and finish; answers ``{"answer": {...}}`` or
``{"error": {"reason", "message", "detail"}}``.
Needs the standard library and NumPy only, so that it can live in a foreign interpreter.

The clock is here: an epoch's seconds start when its NumPy arrays exist and end when
``train_epoch`` returns, so conversion and transfer to the device are inside.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import IO, Any

from lstmbench.errors import Unavailable
from lstmbench.worker.answers import InvalidAnswer
from lstmbench.worker.idle import wait_until_idle

Answer = dict[str, Any]


def set_cpus(cpus: list[int] | None) -> None:
    """Keep this process to some processors, where the system can."""
    if cpus:
        os.sched_setaffinity(0, cpus)


def answer(call: Callable[[], Answer]) -> dict[str, Any]:
    """The reply to a request, whatever the backend does short of ending the process."""
    try:
        return {"answer": call()}
    except InvalidAnswer as error:
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


def serve(session: Any, commands: IO[str], answers: IO[str]) -> None:
    """Obey until ``finish`` or the end of ``commands``; a failed request ends it too."""

    def obey(request: dict[str, Any]) -> Answer:
        if request["do"] == "wait_until_idle":
            return {"silent": wait_until_idle()}
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
