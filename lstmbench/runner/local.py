"""Workers as child processes of this one: own process group, own scratch folder, private pipes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from lstmbench.machine import facts
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.environment import worker_environment
from lstmbench.runner.scratch import ScratchFolder
from lstmbench.worker.messages import (
    INTERFACE,
    A,
    Failure,
    InvalidMessage,
    Request,
    decode_reply,
    encode_request,
)

#: A reply is a few kilobytes; one that never ends is none.
MAX_REPLY_BYTES = 16 * 2**20
EXIT_STATUS_SECONDS = 5.0


def out_of_memory_kills() -> int:
    """How often the kernel has killed for want of memory since it started; 0 if unknown."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


class LocalChannel:
    """One child. Replies are awaited in a blocking read with a deadline, never by polling."""

    def __init__(self, launch: Launch) -> None:
        self._kills = out_of_memory_kills()
        self._buffer = b""
        self._number = 0
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as the_child_s:
            self._scratch = ScratchFolder()
            ours.callback(self._scratch.close)
            self.folder = self._scratch.path
            self.marker = f"HOME={self.folder}"
            worker_in, self._requests = os.pipe()
            the_child_s.callback(os.close, worker_in)
            ours.callback(os.close, self._requests)
            self._replies, worker_out = os.pipe()
            the_child_s.callback(os.close, worker_out)
            ours.callback(os.close, self._replies)
            with launch.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", launch.module, str(worker_in), str(worker_out)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(worker_in, worker_out),
                    env=worker_environment(launch, str(self.folder)),
                    start_new_session=True,
                )
            self.pid = self._process.pid
            ours.pop_all()  # kept until close

    def ask(self, request: Request[A], timeout: float) -> A:
        """Send one line, read one line. Raises :class:`WorkerLost`; the child is then gone."""
        self._number += 1
        try:
            os.write(self._requests, encode_request(self._number, request).encode())
        except BrokenPipeError:
            raise self._ended() from None
        line = self._read_line(time.monotonic() + timeout, timeout)
        try:
            reply = decode_reply(line, self._number, request)
        except InvalidMessage as error:
            self.close()
            message = f"the reply to {request.name!r} cannot be used: {error}"
            raise WorkerLost(INTERFACE, message) from None
        if isinstance(reply, Failure):
            self.close()
            raise WorkerLost(reply.reason, reply.message)
        return reply

    def _read_line(self, deadline: float, timeout: float) -> bytes:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._replies], [], [], left)[0]:
                self.close()
                raise WorkerLost("timeout", f"no answer within {timeout:g} s")
            chunk = os.read(self._replies, 1 << 16)
            if not chunk:
                raise self._ended()
            self._buffer += chunk
            if len(self._buffer) > MAX_REPLY_BYTES:
                self.close()
                raise WorkerLost(INTERFACE, "a reply without end")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _ended(self) -> WorkerLost:
        """What the exit status of a child that went away says."""
        try:
            status = self._process.wait(EXIT_STATUS_SECONDS)
        except subprocess.TimeoutExpired:
            self.close()
            return WorkerLost(INTERFACE, "the worker closed its pipe and went on")
        self.close()
        if status >= 0:
            return WorkerLost("exit", f"the worker ended with exit status {status}")
        name = signal.Signals(-status).name
        if -status == signal.SIGKILL and out_of_memory_kills() > self._kills:
            return WorkerLost("memory", "killed by the kernel: out of memory")
        return WorkerLost("signal", f"the worker was killed by {name}")

    def close(self) -> None:
        """End the process group and remove its scratch folder."""
        if self._requests < 0:
            return
        os.close(self._requests)
        os.close(self._replies)
        self._requests = -1
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._scratch.close()


class LocalExecutor:
    """Child processes on this machine."""

    def start(self, launch: Launch) -> LocalChannel:
        return LocalChannel(launch)

    def cpus(self, threads: int) -> list[int] | None:
        return facts.choose_cpus(threads)
