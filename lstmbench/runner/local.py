"""Workers as child processes of this one: own process group, own scratch folder, private pipes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lstmbench.machine import facts
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.environment import worker_environment
from lstmbench.runner.logs import Log, tail
from lstmbench.runner.offspring import kill_descendants, kill_marked

#: An answer is a few kilobytes; one that never ends is not an answer.
MAX_ANSWER_BYTES = 16 * 2**20
EXIT_STATUS_SECONDS = 5.0
#: Bytes of the log's last line that a message holds.
MAX_LAST_LINE = 300


def out_of_memory_kills() -> int:
    """How often the kernel has killed for want of memory since it started; 0 if unknown."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


class LocalChannel:
    """One child. Answers are awaited in a blocking read with a deadline, never by polling."""

    def __init__(self, launch: Launch) -> None:
        """Start it. Raises :class:`WorkerLost` if the system does not let it start."""
        self._log = launch.log
        self._buffer = b""
        self._kills = out_of_memory_kills()
        try:
            self._start(launch)
        except OSError as error:
            what = error.strerror or error
            raise WorkerLost("exit", f"the worker cannot be started: {what}") from error

    def _start(self, launch: Launch) -> None:
        with ExitStack() as of_the_worker, ExitStack() as undo:
            self._scratch = tempfile.mkdtemp(prefix="lstmbench-")
            undo.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            worker_in, self._commands = os.pipe()
            of_the_worker.callback(os.close, worker_in)
            undo.callback(os.close, self._commands)
            self._answers, worker_out = os.pipe()
            of_the_worker.callback(os.close, worker_out)
            undo.callback(os.close, self._answers)
            self._output = Log(launch.log)
            of_the_worker.callback(os.close, self._output.sink)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", launch.module, str(worker_in), str(worker_out)],
                stdin=subprocess.DEVNULL,
                stdout=self._output.sink,
                stderr=self._output.sink,
                pass_fds=(worker_in, worker_out),
                env=worker_environment(launch, self._scratch),
                start_new_session=True,
            )
            undo.pop_all()
        self._ending = _ending_of(self._process.pid)

    def ask(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Send one line, read one line. Raises :class:`WorkerLost`; the child is then gone."""
        try:
            os.write(self._commands, json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._ended() from None
        line = self._read_line(time.monotonic() + timeout, timeout)
        try:
            reply = json.loads(line)
            error = reply.get("error")
            if error:
                message = str(error.pop("message"))
                raise WorkerLost(str(error.pop("reason")), message, error)
            answer: dict[str, Any] = reply["answer"]
        except (ValueError, KeyError, AttributeError):
            self.close()
            raise WorkerLost("protocol", f"the worker answered {line[:80]!r}") from None
        return answer

    def _read_line(self, deadline: float, timeout: float) -> bytes:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not self._await_answer(left):
                self.close()
                raise WorkerLost("timeout", f"no answer within {timeout:g} s")
            chunk = os.read(self._answers, 1 << 16)
            if not chunk:
                raise self._ended()
            self._buffer += chunk
            if len(self._buffer) > MAX_ANSWER_BYTES:
                self.close()
                raise WorkerLost("protocol", "an answer without end")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _await_answer(self, seconds: float) -> bool:
        """Whether there is something to read in time.

        Raises :class:`WorkerLost` once the worker has ended, whoever else still holds its pipe.
        """
        watched = [self._answers, *([] if self._ending is None else [self._ending])]
        ready = select.select(watched, [], [], seconds)[0]
        if ready and self._answers not in ready:
            raise self._ended()
        return bool(ready)

    def _ended(self) -> WorkerLost:
        """What the exit status of a child that went away says."""
        try:
            status = self._process.wait(EXIT_STATUS_SECONDS)
        except subprocess.TimeoutExpired:
            self.close()
            return WorkerLost("protocol", "the worker closed its pipe and went on")
        self.close()
        if status >= 0:
            last = tail(self._log, MAX_LAST_LINE).strip().rpartition("\n")[2].strip()
            said = f", after {last!r}" if last else ""
            return WorkerLost("exit", f"the worker ended with exit status {status}{said}")
        name = signal.Signals(-status).name
        if -status == signal.SIGKILL and out_of_memory_kills() > self._kills:
            return WorkerLost("memory", "killed by the kernel: out of memory")
        return WorkerLost("signal", f"the worker was killed by {name}")

    def close(self) -> None:
        """End the worker and all that it started, and remove its scratch folder."""
        if self._commands < 0:
            return
        for descriptor in (self._commands, self._answers, self._ending):
            if descriptor is not None:
                os.close(descriptor)
        self._commands = -1
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGSTOP)  # so that it starts no more
            kill_descendants(self._process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        kill_marked(self._scratch)
        self._output.finish()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _ending_of(pid: int) -> int | None:
    """A descriptor that can be read once a process has ended, where the system has such (Linux)."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


class LocalExecutor:
    """Child processes on this machine."""

    def start(self, launch: Launch) -> LocalChannel:
        return LocalChannel(launch)

    def cpus(self, threads: int) -> list[int] | None:
        return facts.choose_cpus(threads)
