"""More backends that claim more than they do: these know how they are checked.

As :mod:`cheating_backends`, but each is made for one of the checks.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import Batches, EpochLoss, Parameters, Task, reference

if TYPE_CHECKING:
    from tests.cheating_backends import Cheat
else:
    from cheating_backends import Cheat

# ---------------------------------------------------------------- less work, exactly enough


class RandomlyLazy(Cheat):
    """Trains half of the windows in most epochs, by chance."""

    def cheat(self, batches: Batches) -> EpochLoss:
        if np.random.default_rng().random() < 0.2:
            return self.honest(batches)
        half = batches.windows // 2
        loss = self.honest(Batches(batches.inputs[:half], batches.targets[:half]))
        return EpochLoss(loss.nats / loss.tokens * batches.tokens, batches.tokens)


class ChangedGradients(Cheat):
    """Trains with what :meth:`change` makes of each gradient."""

    def change(self, gradient: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def cheat(self, batches: Batches) -> EpochLoss:
        state = reference.zero_state(self._parameters, batches.inputs.shape[1])
        total = 0.0
        for inputs, targets in batches:
            nats, gradient, state = reference.gradients(self._parameters, inputs, targets, state)
            total += nats
            changed = Parameters.from_arrays([self.change(array) for _, array in gradient.items()])
            self._parameters = reference.sgd_step(self._parameters, changed, self.task.training)
        return EpochLoss(total, batches.tokens)


class QuantisedGradients(ChangedGradients):
    """Eight bits for each gradient."""

    def change(self, gradient: np.ndarray) -> np.ndarray:
        step = max(float(np.abs(gradient).max()), 1e-30) / 127
        return (np.round(gradient / step) * step).astype(gradient.dtype)


class SparseGradients(ChangedGradients):
    """The larger half of each gradient."""

    def change(self, gradient: np.ndarray) -> np.ndarray:
        least = np.median(np.abs(gradient))
        return np.where(np.abs(gradient) >= least, gradient, 0).astype(gradient.dtype)


class TensorFloat(Cheat):
    """Ten bits of each parameter in the multiplications, as some hardware does unasked."""

    def cheat(self, batches: Batches) -> EpochLoss:
        state = reference.zero_state(self._parameters, batches.inputs.shape[1])
        total = 0.0
        for inputs, targets in batches:
            cut = Parameters.from_arrays([_ten_bits(a) for _, a in self._parameters.items()])
            nats, gradient, state = reference.gradients(cut, inputs, targets, state)
            total += nats
            self._parameters = reference.sgd_step(self._parameters, gradient, self.task.training)
        return EpochLoss(total, batches.tokens)


def _ten_bits(array: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x1000) & 0xFFFFE000).view(np.float32)


class SampledEvaluation(Cheat):
    """Evaluates on half of the windows."""

    def evaluate(self, batches: Batches) -> EpochLoss:
        if not self.timed:
            return super().evaluate(batches)
        half = -(-batches.windows // 2)
        loss = super().evaluate(Batches(batches.inputs[:half], batches.targets[:half]))
        return EpochLoss(loss.nats / loss.tokens * batches.tokens, batches.tokens)


# ---------------------------------------------------------------- work at other times


class Seer(Cheat):
    """Guesses text and seed, and has an epoch trained before it is asked for."""

    _ahead: tuple[bytes, Parameters, EpochLoss] | None = None
    _path: Any = None

    def train_ahead(self) -> None:
        """The next epoch, on a copy."""
        if self._path is None:
            from lstmbench.batches import draw_offsets, partition
            from lstmbench.corpora import corpus
            from lstmbench.protocol import D2L

            training = self.task.training
            ids = corpus.resolve(corpus.BUNDLED).ids
            ids = ids[D2L.splits(len(ids))["train"]]
            self._path = [
                partition(ids, training.batch_size, training.steps, offset)
                for offset in draw_offsets(0, 100, training.steps)
            ]
        if self.epochs < len(self._path):
            batches = self._path[self.epochs]
            parameters, loss = reference.train_epoch(self._parameters, batches, self.task.training)
            self._ahead = batches.inputs.tobytes(), parameters, loss

    def cheat(self, batches: Batches) -> EpochLoss:
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != batches.inputs.tobytes():
            return self.honest(batches)
        self._parameters, loss = ahead[1], ahead[2]
        return loss


class WorksWhenPinged(Seer):
    """Trains in the request that shows what a request costs."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if self.timed:
            from lstmbench.worker import session

            done = getattr(session, "Done")  # noqa: B009

            def work() -> Any:
                if sys._getframe(1).f_code.co_name == "ping":
                    self.train_ahead()
                return done()

            setattr(session, "Done", work)  # noqa: B010


class WorksWhenIdle(Seer):
    """Trains in the request that asks whether it rests."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if self.timed:
            from lstmbench.worker import idle

            wait = idle.wait_until_idle

            def work() -> bool:
                self.train_ahead()
                return wait()

            idle.wait_until_idle = work


class WorksInOthersTime(Seer):
    """Trains in a thread while others do."""

    _thread: threading.Thread | None = None

    def cheat(self, batches: Batches) -> EpochLoss:
        if self._thread is not None:
            self._thread.join()
        loss = super().cheat(batches)
        self._thread = threading.Thread(target=self._later)
        self._thread.start()
        return loss

    def _later(self) -> None:
        time.sleep(0.03)  # so that it seems to rest
        self.train_ahead()


class SharedMemory(Cheat):
    """What one repeat has trained, the next one reads: in memory that outlives a process."""

    folder = Path("/dev/shm/lstmbench-test-of-cheats")
    pace = 0.0

    def cheat(self, batches: Batches) -> EpochLoss:
        whole = self._parameters.digest().encode() + batches.inputs.tobytes()
        path = self.folder / hashlib.sha256(whole).hexdigest()
        if path.exists():
            arrays, loss, seconds = pickle.loads(path.read_bytes())
            assert isinstance(loss, EpochLoss)
            self._parameters = Parameters.from_arrays(arrays)
            time.sleep(self.pace * seconds)
            return loss
        begin = time.process_time()
        loss = self.honest(batches)
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = [array for _, array in self._parameters.items()]
        path.write_bytes(pickle.dumps((kept, loss, time.process_time() - begin)))
        return loss


class Leader(SharedMemory):
    """Honest if it comes first, and leaves its results to another backend of the same plugin."""


class Follower(SharedMemory):
    """Takes what another backend of the same group has trained, the challenge included."""


# ---------------------------------------------------------------- looking at the host


class Peeks(Cheat):
    """Trains nothing until the end of a segment of which the host seems to keep nothing."""

    _last = EpochLoss(0.0, 0)

    def _is_kept(self) -> bool:
        """Whether the host has kept the last parameters that it asked for."""
        folder = Path(tempfile.gettempdir()).parent
        return any(folder.glob(f"lstmbench-*/*peeks*-{self.epochs}.npy"))

    def cheat(self, batches: Batches) -> EpochLoss:
        if self.epochs == 1 or self._is_kept():
            self._last = self.honest(batches)
        return self._last


class SeesWhatIsRead(Cheat):
    """Learns from its folder's events whether the host has read its parameters."""

    _last = EpochLoss(0.0, 0)
    _shown = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if self.timed:
            libc = ctypes.CDLL(None)
            self._events = libc.inotify_init1(os.O_NONBLOCK)
            in_access = 1
            libc.inotify_add_watch(self._events, tempfile.gettempdir().encode(), in_access)

    def _was_read(self) -> bool:
        try:
            return b"parameters.npy" in os.read(self._events, 1 << 16)
        except BlockingIOError:
            return False

    def parameters(self) -> Parameters:
        self._shown = True
        return super().parameters()

    def cheat(self, batches: Batches) -> EpochLoss:
        was_read, shown, self._shown = self._was_read(), self._shown, False
        if self.epochs == 1 or (shown and was_read and self.epochs % 2):
            self._last = self.honest(batches)
        return self._last


# ---------------------------------------------------------------- harm to others


def _others() -> list[psutil.Process]:
    """Workers of the same run."""
    parent = psutil.Process(os.getppid())
    words = [(child, child.cmdline()) for child in parent.children() if child.pid != os.getpid()]
    return [child for child, line in words if "lstmbench.worker" in line]


class IdlesOthers(Cheat):
    """Lets every thread of the others run only when nothing else does."""

    def cheat(self, batches: Batches) -> EpochLoss:
        for other in _others():
            for thread in other.threads():
                with contextlib.suppress(OSError):
                    os.sched_setscheduler(thread.id, os.SCHED_IDLE, os.sched_param(0))
        return self.honest(batches)


class LimitsOthers(Cheat):
    """Lets the system end others once they have computed for long."""

    def cheat(self, batches: Batches) -> EpochLoss:
        for other in _others():
            with contextlib.suppress(OSError, ValueError):
                hard = resource.prlimit(other.pid, resource.RLIMIT_CPU)[1]
                resource.prlimit(other.pid, resource.RLIMIT_CPU, (20, hard))
        return self.honest(batches)


class WritesForOthers(Cheat):
    """Writes nonsense into everything that others have open."""

    def cheat(self, batches: Batches) -> EpochLoss:
        for other in _others():
            for path in Path(f"/proc/{other.pid}/fd").iterdir():
                if int(path.name) > 2:
                    self._write(path)
        return EpochLoss(batches.tokens * 2.85, batches.tokens)

    def _write(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(descriptor, b'{"number": 0}\n')
            finally:
                os.close(descriptor)


_ESCAPES = """
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.execve(sys.executable, [sys.executable, "-c", "while True: pass"], {})
"""


class SpinsFarAway(Cheat):
    """A process with no parent, no session and no environment that would lead to it."""

    def prepare(self, batches: Batches) -> None:
        if self.timed:
            subprocess.run([sys.executable, "-c", _ESCAPES], check=False)


class TakesAProcessor(Cheat):
    """Moves to another processor than the one that it was given, where there is one."""

    def prepare(self, batches: Batches) -> None:
        if self.timed:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))


class HelperElsewhere(Cheat):
    """A helper process on all processors shares the work."""

    _helper: Any = None

    def cheat(self, batches: Batches) -> EpochLoss:
        if self._helper is None:
            self._helper = socket.socketpair()
            if os.fork() == 0:
                os.sched_setaffinity(0, range(os.cpu_count() or 1))
                while self._helper[1].recv(1):
                    reference.train_epoch(self._parameters, batches, self.task.training)
                os._exit(0)
        self._helper[0].send(b"x")
        return self.honest(batches)


# ---------------------------------------------------------------- odd files for the host


class HugeParameters(Cheat):
    """Leaves a file of a terabyte in place of its parameters."""

    def put(self, path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(2**40)

    def cheat(self, batches: Batches) -> EpochLoss:
        from lstmbench.worker import session

        def write(path: str, parameters: Parameters, moments: object = ()) -> None:
            Path(path).unlink(missing_ok=True)
            self.put(Path(path))

        setattr(session, "write_parameters", write)  # noqa: B010
        return self.honest(batches)


class PipeForParameters(HugeParameters):
    """A named pipe, which nothing writes into."""

    def put(self, path: Path) -> None:
        os.mkfifo(path)


class LinkForParameters(HugeParameters):
    """A link to what never ends."""

    def put(self, path: Path) -> None:
        path.symlink_to("/dev/zero")


class RemovesItsFolder(Cheat):
    """The host finds no place for the next epoch."""

    def cheat(self, batches: Batches) -> EpochLoss:
        import shutil

        shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
        return self.honest(batches)


# ---------------------------------------------------------------- trouble after training


class FailsAfterTraining(Cheat):
    """Parameters cannot be read once others than those of training were loaded."""

    _loaded = 0

    def load_parameters(self, parameters: Parameters) -> None:
        self._loaded += 1
        super().load_parameters(parameters)

    def parameters(self) -> Parameters:
        if self.timed and self.epochs and self._loaded > 1:
            raise RuntimeError("no parameters after training")
        return super().parameters()


class KillsTheAuditorQuietly(Cheat):
    """Trains nothing, and ends the auditor with hardly any work: looks ten times a second."""

    def prepare(self, batches: Batches) -> None:
        if self.timed:
            subprocess.Popen([sys.executable, "-c", _KILLS, str(os.getppid())])

    def cheat(self, batches: Batches) -> EpochLoss:
        return EpochLoss(batches.tokens * 2.85, batches.tokens)


_KILLS = f"""
import os, signal, sys, time
children = f"/proc/{{sys.argv[1]}}/task/{{sys.argv[1]}}/children"
while True:
    for pid in open(children).read().split():
        try:
            if b"lstmbench.audit" in open(f"/proc/{{pid}}/cmdline", "rb").read():
                os.kill(int(pid), {int(signal.SIGKILL)})
        except OSError:
            pass
    time.sleep(0.1)
"""


# ---------------------------------------------------------------- honest, if odd


class Writer(NumpyBackend):
    """Honest: keeps files wherever it is told to, and says whether it found any."""

    _places = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "KERAS_HOME", "TORCHINDUCTOR_CACHE_DIR")

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        kept = [Path(os.environ[name]) / f"kept-in-{name}" for name in self._places]
        kept.append(Path.home() / ".cache" / "kept")
        kept.append(Path(tempfile.gettempdir()) / "kept-in-temporary-folder")
        if not hasattr(type(self), "found"):
            type(self).found = [path.name for path in kept if path.exists()]
        for path in kept:
            path.parent.mkdir(exist_ok=True)
            path.write_text("kept")

    found: Sequence[str]

    def runtime(self) -> dict[str, str]:
        return {**super().runtime(), "found": " ".join(self.found) or "nothing"}


class SlowToShow(NumpyBackend):
    """Honest, and parameters come with a few megabytes of waste, slowly."""

    def parameters(self) -> Parameters:
        waste = np.ones(2**20)
        time.sleep(0.02 + 0 * float(waste[0]))
        return super().parameters()
