"""Workers as child processes of this one: own process group, own scratch folder, own sockets."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from lstmbench.machine import facts
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.environment import MARKER, worker_environment
from lstmbench.runner.interrupts import deferred_interrupts
from lstmbench.runner.logs import Log, tail
from lstmbench.runner.memory_limit import MemoryLimit
from lstmbench.runner.offspring import kill_descendants, kill_marked
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
#: Bytes of the log's last line that a message holds.
MAX_LAST_LINE = 300


def out_of_memory_kills() -> int:
    """How often the kernel has killed for want of memory since it started; 0 if unknown."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _line() -> tuple[int, int]:
    """Two connected descriptors.

    Of sockets, for any process of the same user can open another one's pipes and write into them.
    """
    ends = socket.socketpair()
    return ends[0].detach(), ends[1].detach()


class LocalChannel:
    """One child. Replies are awaited in a blocking read with a deadline, never by polling, unless
    its memory is limited."""

    def __init__(self, launch: Launch) -> None:
        """Start it. Raises :class:`WorkerLost` if the system does not let it start."""
        self._log = launch.log
        self._kills = out_of_memory_kills()
        self._buffer = b""
        self._number = 0
        self._requests = -1
        try:
            with deferred_interrupts():
                self._start(launch)
        except OSError as error:
            if launch.interpreter and not Path(launch.interpreter.python).exists():
                raise WorkerLost("unavailable", "the stack was removed meanwhile") from error
            what = error.strerror or error
            raise WorkerLost("exit", f"the worker cannot be started: {what}") from error
        except BaseException:  # an interruption that was deferred
            self.close()
            raise

    def _start(self, launch: Launch) -> None:
        with contextlib.ExitStack() as the_child_s, contextlib.ExitStack() as ours:
            self._scratch = ScratchFolder()
            ours.callback(self._scratch.close)
            self.folder = self._scratch.path
            self.marker = f"{MARKER}={self.folder}"
            worker_in, requests = _line()
            the_child_s.callback(os.close, worker_in)
            ours.callback(os.close, requests)
            self._replies, worker_out = _line()
            the_child_s.callback(os.close, worker_out)
            ours.callback(os.close, self._replies)
            python = launch.interpreter.python if launch.interpreter else sys.executable
            self._output = Log(launch.log)
            the_child_s.callback(os.close, self._output.sink)
            self._process = subprocess.Popen(
                [python, "-P", "-m", launch.module, str(worker_in), str(worker_out)],
                stdin=subprocess.DEVNULL,
                stdout=self._output.sink,
                stderr=self._output.sink,
                pass_fds=(worker_in, worker_out),
                env=worker_environment(launch, str(self.folder)),
                start_new_session=True,
            )
            self.pid = self._process.pid
            self._ending = _ending_of(self.pid)
            self._memory = MemoryLimit(self.pid, launch.memory)
            self._requests = requests
            ours.pop_all()  # kept until close

    def ask(self, request: Request[A], timeout: float) -> A:
        """Send one line, read one line. Raises :class:`WorkerLost`; the child is then gone."""
        self._number += 1
        try:
            os.write(self._requests, encode_request(self._number, request).encode())
        except (BrokenPipeError, ConnectionResetError):
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

    def drain_log(self) -> None:
        """Wait until what the child has printed so far is in its log."""
        self._output.drain()

    def _read_line(self, deadline: float, timeout: float) -> bytes:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                self.close()
                raise WorkerLost("timeout", f"no answer within {timeout:g} s")
            answered = self._await_reply(min(left, self._memory.wait))
            if excess := self._memory.excess():
                self.close()
                raise WorkerLost("memory", excess)
            if not answered:
                continue
            chunk = os.read(self._replies, 1 << 16)
            if not chunk:
                raise self._ended()
            self._buffer += chunk
            if len(self._buffer) > MAX_REPLY_BYTES:
                self.close()
                raise WorkerLost(INTERFACE, "a reply without end")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _await_reply(self, seconds: float) -> bool:
        """Whether there is something to read in time.

        Raises :class:`WorkerLost` once the worker has ended, even if another holds its pipe.
        """
        watched = [self._replies, *([] if self._ending is None else [self._ending])]
        ready = select.select(watched, [], [], seconds)[0]
        if ready and self._replies not in ready:
            raise self._ended()
        return bool(ready)

    def _ended(self) -> WorkerLost:
        """What the exit status of a child that went away says."""
        try:
            status = self._process.wait(EXIT_STATUS_SECONDS)
        except subprocess.TimeoutExpired:
            self.close()
            return WorkerLost(INTERFACE, "the worker closed its pipe and went on")
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
        with deferred_interrupts():
            self._close()

    def _close(self) -> None:
        if self._requests < 0:
            return
        for descriptor in (self._requests, self._replies, self._ending):
            if descriptor is not None:
                os.close(descriptor)
        self._requests = -1
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGSTOP)  # so that it starts no more
            kill_descendants(self._process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        kill_marked(self.folder)
        self._output.finish()
        self._scratch.close()


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
