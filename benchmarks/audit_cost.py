"""What auditing costs: run times with and without it, and the share of a round that is training.

    python benchmarks/audit_cost.py --protocols quick,d2l --pairs 3 --into audit_cost.json

Runs each protocol on numpy and torch in alternating order, with all that makes results trustworthy
and without: no challenge, no questions for parameters, no auditor after training, no requests that
only measure what a request costs. The ratio of the seconds is given by protocol, pair by pair.
Parity is proven in both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lstmbench
from lstmbench.runner.auditing import GroupAudit
from lstmbench.runner.group import Group
from lstmbench.runner.live import LiveTrial


@contextmanager
def unaudited() -> Iterator[None]:
    """No trial is audited; there is no option for it."""
    nothing: list[tuple[Any, str, Callable[..., Any]]] = [
        (GroupAudit, "asks", lambda self, trial, epoch, trained: False),
        (GroupAudit, "judge", lambda self, state: None),
        (Group, "_challenge_all", lambda self: None),
        (LiveTrial, "request_seconds", lambda self: 1.0),
    ]
    with ExitStack() as stack:
        for owner, name, replacement in nothing:
            stack.enter_context(patch.object(owner, name, replacement))
        yield


class Rounds:
    """Seconds of all rounds, and of the epochs in them; matmuls between rounds do not count."""

    def __init__(self) -> None:
        self.whole = self.training = self._matmuls = 0.0

    @property
    def share(self) -> float:
        return self.training / self.whole

    @contextmanager
    def measured(self) -> Iterator[None]:
        train, measure_peak = Group._train, Group._measure_peak

        def timed_train(group: Group) -> None:
            begin, before = time.perf_counter(), self._matmuls
            train(group)
            self.whole += time.perf_counter() - begin - (self._matmuls - before)
            self.training += sum(e.seconds for state in group.states for e in state.series)

        def timed_measure_peak(group: Group, done: int) -> None:
            begin = time.perf_counter()
            measure_peak(group, done)
            self._matmuls += time.perf_counter() - begin

        with (
            patch.object(Group, "_train", timed_train),
            patch.object(Group, "_measure_peak", timed_measure_peak),
        ):
            yield


def seconds(protocol: str, backends: str, epochs: int | None) -> float:
    """Of a whole run."""
    with tempfile.TemporaryDirectory() as store:
        begin = time.perf_counter()
        results = lstmbench.run(
            backends,
            devices="cpu",
            corpus="bundled",
            protocol=protocol,
            epochs=epochs,
            threads=1,
            store=store,
        )
        taken = time.perf_counter() - begin
    for record in results:
        if record.status != "ok":
            raise SystemExit(f"{record.trial.label}: {record.status}: {record.message}")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--protocols", default="quick,d2l")
    parser.add_argument("--backends", default="numpy,torch")
    parser.add_argument("--epochs", type=int, help="instead of those of the protocol")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for protocol in options.protocols.split(","):
        ratios, rounds = [], {True: Rounds(), False: Rounds()}
        for number in range(options.pairs):
            taken = {}
            for audited in (True, False) if number % 2 else (False, True):
                with ExitStack() as stack:
                    if not audited:
                        stack.enter_context(unaudited())
                    stack.enter_context(rounds[audited].measured())
                    taken[audited] = seconds(protocol, options.backends, options.epochs)
            ratios.append(taken[True] / taken[False])
            print(
                f"{protocol}: {taken[True]:.1f} s, without audit {taken[False]:.1f} s", flush=True
            )
        found[protocol] = {
            "ratios": ratios,
            "median": statistics.median(ratios),
            "share_of_a_round_spent_training": rounds[True].share,
            "share_without_audit": rounds[False].share,
        }
        print(f"{protocol}: {json.dumps(found[protocol])}", flush=True)
    if options.into:
        options.into.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
