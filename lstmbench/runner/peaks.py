"""What a device reaches in matrix products and copies, measured in turns with a group's epochs.

The peak of a busy machine drifts as everything else on it does; taking turns, peak and trials see
the same machine, and the share that a trial reaches does not depend on the hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lstmbench.analysis import metrics
from lstmbench.analysis.roofline import COPIES, COPY_BYTES, PRODUCTS, TURNS, product_side
from lstmbench.records.record import Copy, Peak, Product
from lstmbench.records.trial import Trial
from lstmbench.runner.channel import Channel, Executor, Launch, WorkerLost


@dataclass
class Peaks:
    """The series of one group; ``offers`` are seconds of products by who made them."""

    trial: Trial
    launch: Launch
    executor: Executor
    timeout: float
    offers: dict[str, list[float]] = field(default_factory=dict)
    copies: list[float] = field(default_factory=list)
    _probe: Channel | None = None
    _library: str = ""
    _warm: bool = False

    @property
    def side(self) -> int:
        return product_side(self.trial.device_kind)

    @property
    def every(self) -> int:
        """Epochs from one turn of products to the next."""
        return -(-self.trial.protocol.epochs // TURNS)

    def start(self) -> None:
        """NumPy in a worker of its own; only the CPU is its device, and BLAS has two dtypes."""
        if self.trial.device_kind != "cpu" or self.trial.dtype not in ("float32", "float64"):
            return
        try:
            self._probe = self.executor.start(self.launch)
        except WorkerLost:
            return
        load = {
            "do": "load",
            "cpus": self.executor.cpus(self.trial.threads),
            "threads": self.trial.threads,
            "dtype": self.trial.dtype,
        }
        answer = self._ask(load)
        self._library = str(answer["library"]) if answer else ""

    def turn(self) -> None:
        """Products and copies by NumPy."""
        answer = self._ask(self.request())
        if answer:
            self.add(self._library, answer["seconds"])
            self._ask({"do": "wait_until_idle"})
        answer = self._ask({"do": "copy", "size": COPY_BYTES, "count": COPIES})
        if answer:
            self.copies += answer["seconds"]
            self._ask({"do": "wait_until_idle"})

    def request(self) -> Mapping[str, Any]:
        """What everyone is asked in his turn."""
        return {"do": "product", "side": self.side, "count": PRODUCTS}

    def add(self, who: str, seconds: list[float] | None) -> None:
        """Keep an answer to :meth:`request`; ``None`` where there is no such offer."""
        if seconds:
            self.offers.setdefault(who, []).extend(seconds)

    def end_turn(self) -> None:
        """The first turn makes operands and compiles: it does not count."""
        if not self._warm:
            self.offers.clear()
            self.copies.clear()
        self._warm = True

    def best(self) -> Peak | None:
        """The fastest so far."""
        rates = {who: metrics.faster_half_mean(times) for who, times in self.offers.items()}
        known = [(seconds, who) for who, seconds in rates.items() if seconds]
        if not known:
            return None
        who = min(known)[1]
        product = Product(
            library=who, side=self.side, dtype=self.trial.dtype, seconds=list(self.offers[who])
        )
        copies = Copy(size=COPY_BYTES, seconds=list(self.copies)) if self.copies else None
        return Peak(product=product, copies=copies)

    def close(self) -> None:
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """An answer of the probe; once it is lost, the group goes on without."""
        if self._probe is None:
            return None
        try:
            return self._probe.ask(request, self.timeout)
        except WorkerLost:
            self.close()
            return None
