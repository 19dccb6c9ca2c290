"""Backends that go wrong in one way each, most of them once parity is proven.

The worker builds two instances: the first is used up by parity, the second is timed.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import Batches, EpochLoss, Parameters, Task, Unavailable

#: Stands for whatever must not get into a record.
PRIVATE = "/srv/private-folder/of-another/weights.bin"
NASTY = f"| <b>bold</b> & \\ _x_\nsecond line, {PRIVATE}"


class Faulty(NumpyBackend):
    """Valid, but calls :meth:`fault` in the second epoch of the instance that is timed."""

    _built = 0

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        type(self)._built += 1
        self.timed = type(self)._built == 2
        self.epochs = 0

    def train_epoch(self, batches: Batches) -> EpochLoss:
        loss = super().train_epoch(batches)
        self.epochs += 1
        if self.timed and self.epochs == 2:
            wrong: EpochLoss = self.fault(loss)
            return wrong
        return loss

    def fault(self, loss: EpochLoss) -> Any:
        return loss


class RaisesInBuild(NumpyBackend):
    def __init__(self, task: Task) -> None:
        raise RuntimeError("cannot be built")


class RaisesInPrepare(NumpyBackend):
    def prepare(self, batches: Batches) -> None:
        raise RuntimeError("cannot be prepared")


class RaisesInTrain(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        raise RuntimeError(NASTY)


class RaisesInGenerate(NumpyBackend):
    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        raise RuntimeError("speechless")


class RaisesInRuntime(NumpyBackend):
    def runtime(self) -> dict[str, str]:
        raise RuntimeError("knows nothing")


class NoMemory(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        raise MemoryError("no room for 7 TiB")


class NotANumber(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        return EpochLoss(math.nan, loss.tokens)


class NotANumberAtOnce(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        loss = super().train_epoch(batches)
        self._parameters.output_bias[:] = math.nan
        return EpochLoss(math.nan, loss.tokens)


class Prints(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        print('{"error": {"reason": "nan", "message": "garbage"}}\n' * 50)
        print(f"reading {PRIVATE}")
        sys.stderr.write("\x1b[31m red \x00\n")
        sys.stdout.buffer.write(b"\xff\xfe\n")
        os.write(1, b"straight to the descriptor\n")
        return loss


class Exits(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        os._exit(1)


class SystemExits(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        sys.exit(3)


class Killed(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class Crashes(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        os.kill(os.getpid(), signal.SIGSEGV)


class NeverAnswers(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        time.sleep(3600)


class HangsInPrepare(NumpyBackend):
    def prepare(self, batches: Batches) -> None:
        time.sleep(3600)


class WrongType(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        return (loss.nats, loss.tokens)


class NumpyNumber(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        return EpochLoss(np.float32(loss.nats), loss.tokens)  # type: ignore[arg-type]


class WrongCount(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        return EpochLoss(loss.nats, loss.tokens // 2)


class WrongLength(NumpyBackend):
    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        return super().generate(prefix, length + 1)


class TwiceTheRate(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        before = self._parameters
        loss = super().train_epoch(batches)
        pairs = zip(before.items(), self._parameters.items(), strict=True)
        self._parameters = Parameters.from_arrays([2 * new - old for (_, old), (_, new) in pairs])
        return loss


class NoSuchDevice(NumpyBackend):
    def __init__(self, task: Task) -> None:
        raise Unavailable("no such accelerator here")


class NoBackend:
    def __init__(self, task: Task) -> None:
        pass


class LeavesAChild(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        print(f"child {child.pid}", flush=True)
        os._exit(1)


class Slow(NumpyBackend):
    """Valid, and takes a tenth of a second for an epoch."""

    def train_epoch(self, batches: Batches) -> EpochLoss:
        time.sleep(0.1)
        return super().train_epoch(batches)


class SlowToPrepare(NumpyBackend):
    def prepare(self, batches: Batches) -> None:
        time.sleep(30)
