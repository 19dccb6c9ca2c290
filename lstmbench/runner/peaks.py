"""What a device reaches in matmuls and copies, interleaved with a group's epochs.

The peak of a busy machine drifts as everything else on it does. Measured between the epochs, peak
and trials see the same machine, and the share that a trial reaches does not depend on the hour.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from lstmbench.analysis import series
from lstmbench.analysis.roofline import COPIES, COPY_BYTES, MATMULS, MAX_ROUNDS, matmul_side
from lstmbench.records.record import Copy, Matmul, Peak
from lstmbench.records.trial import Trial
from lstmbench.runner.channel import Channel, Executor, Launch
from lstmbench.runner.interrupts import deferred_interrupts
from lstmbench.worker import messages

#: BLAS libraries that are tuned for the processor, and how much faster another may be.
TUNED, MAX_TIMES = ("openblas", "mkl", "blis"), 4.0


@dataclass
class Peaks:
    """The series of one group; ``offers`` are seconds of matmuls by who made them."""

    trial: Trial
    offers: dict[str, list[float]] = field(default_factory=dict)
    copies: list[float] = field(default_factory=list)
    _warm: bool = False

    @property
    def every(self) -> int:
        """Epochs from one round of matmuls to the next."""
        return -(-self.trial.protocol.epochs // MAX_ROUNDS)

    @property
    def request(self) -> messages.Matmul:
        """What each worker of the group is asked in a round."""
        return messages.Matmul(side=matmul_side(self.trial.device_kind), count=MATMULS)

    def add(self, who: str, seconds: Sequence[float] | None) -> None:
        """Keep an answer to :attr:`request`; ``None`` where there is no such offer."""
        if seconds:
            self.offers.setdefault(who, []).extend(seconds)

    def beyond_belief(self, seconds: Sequence[float]) -> float | None:
        """How many times as fast as NumPy's an offer is, where no library can be that much faster.

        On Apple's processors some libraries reach matrix units that others do not.
        """
        numpy = [
            min(times)
            for who, times in self.offers.items()
            if who.startswith("numpy ") and any(blas in who for blas in TUNED)
        ]
        if not numpy or sys.platform == "darwin":
            return None
        times = min(numpy) / min(seconds)
        return times if times > MAX_TIMES else None

    def end_round(self) -> None:
        """The first round makes operands and compiles: it does not count."""
        if not self._warm:
            self.offers.clear()
            self.copies.clear()
        self._warm = True

    def best(self) -> Peak | None:
        """The fastest so far."""
        rates = {who: series.faster_half_mean(times) for who, times in self.offers.items()}
        known = [(seconds, who) for who, seconds in rates.items() if seconds]
        if not known:
            return None
        who = min(known)[1]
        matmul = Matmul(
            library=who,
            side=self.request.side,
            dtype=self.trial.dtype,
            seconds=list(self.offers[who]),
        )
        copies = Copy(size=COPY_BYTES, seconds=list(self.copies)) if self.copies else None
        return Peak(matmul=matmul, copies=copies)


class PeakProbe:
    """NumPy in a worker of its own, beside the trials of a group.

    A probe that is lost, or cannot be started at all, costs the group's peak and nothing else.
    """

    def __init__(self, peaks: Peaks, executor: Executor, launch: Launch, timeout: float) -> None:
        self._peaks, self._executor = peaks, executor
        self._launch, self._timeout = launch, timeout
        self._channel: Channel | None = None
        self._library = ""

    def start(self) -> None:
        """Only the CPU is NumPy's device, and BLAS has two dtypes."""
        trial = self._peaks.trial
        if trial.device_kind != "cpu" or trial.dtype not in ("float32", "float64"):
            return
        try:
            with deferred_interrupts():
                self._channel = self._executor.start(self._launch)
            cpus = self._executor.cpus(trial.threads)
            load = messages.LoadProbe(cpus=cpus, threads=trial.threads, dtype=trial.dtype)
            self._library = self._channel.ask(load, self._timeout).library
        except Exception:
            self.close()

    def measure(self) -> None:
        """One round of matmuls and copies."""
        if self._channel is None:
            return
        rest = messages.WaitUntilIdle()
        copies = messages.Copy(size=COPY_BYTES, count=COPIES)
        try:
            answer = self._channel.ask(self._peaks.request, self._timeout)
            self._peaks.add(self._library, answer.seconds)
            self._channel.ask(rest, self._timeout)
            self._peaks.copies += self._channel.ask(copies, self._timeout).seconds or ()
            self._channel.ask(rest, self._timeout)
        except Exception:
            self.close()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
