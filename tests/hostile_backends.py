"""Backends that would spoil more than their own trial, if the host trusted what they say."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from faulty_backends import Faulty
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import EpochLoss


def into_the_pipe(line: bytes) -> None:
    """Write on the descriptor of the replies, as a plugin could."""
    os.write(int(sys.argv[2]), line)


class UndecodableMessage(Faulty):
    """Names a file whose name is not UTF-8."""

    def fault(self, loss: EpochLoss) -> Any:
        raise RuntimeError(f"cannot read {os.fsdecode(b'caf' + bytes([0xE9]))}")


class EscapesAndNul(Faulty):
    """Clears the terminal that shows its message."""

    def fault(self, loss: EpochLoss) -> Any:
        print("\x1b]0;title\x07 \x00 \udce9".encode("utf-8", "surrogateescape"))
        raise RuntimeError("\x1b[2J\x00\x9b31m gone")


class ClockStandsStill(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        time.perf_counter = lambda: 1.0  # type: ignore[assignment]
        return loss


class ClockRunsBackwards(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        now = iter(range(10**6, 0, -1))
        time.perf_counter = lambda: float(next(now))  # type: ignore[assignment]
        return loss


class ClockIsNoNumber(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        time.perf_counter = lambda: float("nan")  # type: ignore[assignment]
        return loss


class BackwardsInMatmulOnly(NumpyBackend):
    """Its epochs are fine; its offers for the group's peak are not."""

    def matrix_product(self, side: int) -> None:
        real = time.perf_counter
        if not hasattr(time, "real_perf_counter"):
            time.real_perf_counter = real  # type: ignore[attr-defined]
        time.perf_counter = lambda: -time.real_perf_counter()  # type: ignore[attr-defined, assignment]


class AnswersAList(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        into_the_pipe(b'{"number": 5, "answer": []}\n')
        return loss


class AnswersText(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        answer = {"seconds": "x", "nats": 1.0, "tokens": loss.tokens}
        for number in range(100):
            into_the_pipe(json.dumps({"number": number, "answer": answer}).encode() + b"\n")
        return loss


class AnswersTwice(Faulty):
    """One line too many: every later answer would be one late."""

    def fault(self, loss: EpochLoss) -> Any:
        answer = {"seconds": 1e-3, "nats": loss.nats, "tokens": loss.tokens}
        into_the_pipe(json.dumps({"answer": answer}).encode() + b"\n")
        return loss


class NegativeMemory(NumpyBackend):
    def device_memory(self) -> int:
        return -1


class HugeMemory(NumpyBackend):
    def device_memory(self) -> int:
        return 2**60


class UndecodableRuntime(NumpyBackend):
    """Stays ok: its facts are stored escaped."""

    def runtime(self) -> dict[str, str]:
        return {"kernel \udce9": "caf\udce9 \x1b[31m \x00"}


class EndlessMessage(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        raise RuntimeError("x" * 10**7)


class EndlessAnswer(Faulty):
    def fault(self, loss: EpochLoss) -> Any:
        for _ in range(20):
            into_the_pipe(b"x" * 2**20)
        return loss
