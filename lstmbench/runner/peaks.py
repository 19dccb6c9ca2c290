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
from lstmbench.machine.processes import processor_seconds
from lstmbench.records.record import Copy, Matmul, Peak
from lstmbench.records.trial import Trial
from lstmbench.runner.channel import Channel, Executor, Launch
from lstmbench.runner.interrupts import deferred_interrupts
from lstmbench.worker import messages

#: Rounds that every group has, the first of which does not count, and the share of its training
#: that more of them may take.
MIN_ROUNDS, SHARE = 2, 0.1
#: BLAS libraries that are tuned for the processor, and how much less another may compute.
TUNED, MAX_TIMES = ("openblas", "mkl", "blis"), 6.0
#: Of the processor seconds that an offer can hold, how many more may be seen, and seconds: reading
#: a request and making operands take some.
MAX_SPENT, SPENT_SECONDS = 1.25, 0.02


@dataclass
class Peaks:
    """The series of one group; ``offers`` are seconds of matmuls by who made them.

    ``numpy_spent``: the fewest processor seconds of a round of NumPy's, 0 where that tells nothing.
    ``rounds`` were measured so far, in ``seconds``.
    """

    trial: Trial
    offers: dict[str, list[float]] = field(default_factory=dict)
    copies: list[float] = field(default_factory=list)
    numpy_spent: float = 0.0
    rounds: int = 0
    seconds: float = 0.0

    def due(self, epochs: int, trained: float) -> bool:
        """Whether a round is measured after so many epochs, in which the group trained so long.

        At most :data:`MAX_ROUNDS`; more than :data:`MIN_ROUNDS` only where they take little time.
        """
        every = -(-self.trial.protocol.epochs // MAX_ROUNDS)
        if epochs % every:
            return False
        return self.rounds < MIN_ROUNDS or self.seconds <= SHARE * trained

    @property
    def request(self) -> messages.Matmul:
        """What each worker of the group is asked in a round."""
        return messages.Matmul(side=matmul_side(self.trial.device_kind), count=MATMULS)

    def add(self, who: str, seconds: Sequence[float] | None) -> None:
        """Keep an answer to :attr:`request`; ``None`` where there is no such offer."""
        if seconds:
            self.offers.setdefault(who, []).extend(seconds)

    def beyond_belief(self, seconds: Sequence[float], spent: float) -> str | None:
        """Why an offer cannot be true whose worker has computed for ``spent`` seconds meanwhile.

        What is computed, unlike how long it takes, depends little on what else the machine does. On
        Apple's processors some libraries reach matrix units that others do not.
        """
        if self.trial.device_kind != "cpu" or sys.platform == "darwin" or not spent:
            return None
        if self.trial.threads * sum(seconds) * MAX_SPENT + SPENT_SECONDS < spent:
            return f"claims {sum(seconds):.2g} s for matmuls that it computed for {spent:.2g} s"
        if self.numpy_spent and MAX_TIMES * spent + SPENT_SECONDS < self.numpy_spent:
            return (
                f"offers a matmul that takes {spent:.2g} s of a processor where NumPy's takes "
                f"{self.numpy_spent:.2g} s"
            )
        return None

    def end_round(self, seconds: float) -> None:
        """A round took so long. The first one makes operands and compiles: it does not count."""
        if not self.rounds:
            self.offers.clear()
            self.copies.clear()
        self.rounds += 1
        self.seconds += seconds

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
            before = processor_seconds(self._channel.pid)
            answer = self._channel.ask(self._peaks.request, self._timeout)
            self._count(before, processor_seconds(self._channel.pid))
            self._peaks.add(self._library, answer.seconds)
            self._channel.ask(rest, self._timeout)
            self._peaks.copies += self._channel.ask(copies, self._timeout).seconds or ()
            self._channel.ask(rest, self._timeout)
        except Exception:
            self.close()

    def _count(self, before: float | None, after: float | None) -> None:
        if before is None or after is None or not any(name in self._library for name in TUNED):
            return
        spent, known = after - before, self._peaks.numpy_spent
        self._peaks.numpy_spent = min(spent, known) if known else spent

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
