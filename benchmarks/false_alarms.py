"""How often is an honest trial failed or flagged by the rules against dishonest ones?

    python benchmarks/false_alarms.py --trials 1000 --busy 2 --into false_alarms.json

Trains short trials of the installed backends in the modes that are asked for, group by group, until
there are as many as asked for; in every second run ``--busy`` processes of no trial
compute beside them. Prints every trial that was failed, or is ``suspect``, with the reason, and the
rates. A backend that cannot run here does not count. Exit code 1 if there was a false alarm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import lstmbench
from lstmbench.analysis import impossible, repeats
from lstmbench.analysis.series import faster_half_mean, warm_up
from lstmbench.records.record import Flag, Record, Status

#: Settings that are cycled through; few steps, for an epoch of milliseconds in every mode.
SETTINGS = (
    {"hidden_size": 32, "batch_size": 200, "steps": 12},
    {"hidden_size": 64, "batch_size": 100, "steps": 10, "init": "native"},
    {"hidden_size": 32, "batch_size": 200, "steps": 12, "layers": 2},
    {"hidden_size": 64, "batch_size": 400, "steps": 12, "dtype": "float64"},
)
#: Computes, and now and then does not: as programs of other people do.
OTHER_PROGRAM = """
import random, time
while True:
    end = time.monotonic() + random.uniform(0.01, 1)
    while time.monotonic() < end: sum(range(1000))
    time.sleep(random.uniform(0, 0.5))
"""


@contextmanager
def other_programs(number: int) -> Iterator[None]:
    """So many processes that compute, in sessions of their own."""
    started = [
        subprocess.Popen([sys.executable, "-c", OTHER_PROGRAM], start_new_session=True)
        for _ in range(number)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def trials(
    wanted: int,
    backends: str,
    modes: str,
    epochs: int,
    each: int,
    busy: int,
    threads: Sequence[int],
) -> Iterator[tuple[bool, list[Record]]]:
    """Records of one run after the other, and whether the machine was kept busy."""
    done = 0
    for number in count():
        if done >= wanted:
            return
        beside = busy if number % 2 else 0
        with tempfile.TemporaryDirectory() as store, other_programs(beside):
            results = lstmbench.run(
                backends,
                modes=modes,
                devices="cpu",
                corpus="bundled",
                epochs=epochs,
                repeats=each,
                seed=number,
                threads=threads[number % len(threads)],
                store=store,
                **SETTINGS[number // 2 % len(SETTINGS)],
            )
        ran = [record for record in results if record.status != Status.UNAVAILABLE]
        done += len(ran)
        yield bool(beside), ran


def alarms(records: Sequence[Record]) -> Iterator[tuple[Record, str]]:
    """What honest trials are accused of."""
    rows: dict[str, list[Record]] = {}
    for record in records:
        rows.setdefault(record.trial.row_key(), []).append(record)
        if record.status != Status.OK:
            yield record, f"{record.status.value}: {record.reason}: {record.message}"
        elif Flag.SUSPECT in record.flags:
            yield record, "; ".join(impossible.reasons(record))
    for row in rows.values():
        for reason in repeats.reasons(row):
            yield row[0], reason


def challenge_ratio(record: Record) -> float | None:
    """How much longer an epoch of the challenge took than one that was timed."""
    typical = faster_half_mean(record.epochs.seconds[warm_up(len(record.epochs.seconds)) :])
    took = faster_half_mean(record.challenge.seconds) if record.challenge else None
    return took / typical if took and typical else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--backends", default="all")
    parser.add_argument("--modes", default="all")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=4, help="of each row in a run")
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--threads", default="1,2,2", help="of one run after the other")
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    number: Counter[str] = Counter()
    found: list[dict[str, object]] = []
    ratios: list[dict[str, object]] = []
    begin = time.monotonic()
    for busy, records in trials(
        options.trials,
        options.backends,
        options.modes,
        options.epochs,
        options.repeats,
        options.busy,
        [int(number) for number in options.threads.split(",")],
    ):
        number.update(trials=len(records), beside_others=len(records) if busy else 0)
        number.update(unaudited=sum(Flag.UNAUDITED in record.flags for record in records))
        for record in records:
            ratios.append({"label": record.trial.label, "ratio": challenge_ratio(record)})
        for record, reason in alarms(records):
            number.update(alarms=1)
            found.append({"label": record.trial.label, "busy": busy, "reason": reason})
            print(f"{record.trial.label} (busy: {busy}): {reason}", flush=True)
        print(f"{time.monotonic() - begin:.0f} s: {dict(number)}", flush=True)
    rate = number["alarms"] / number["trials"]
    print(f"false alarms: {number['alarms']} of {number['trials']} trials, {rate:.2%}")
    print(f"unaudited: {number['unaudited']}")
    if options.into:
        content = {**number, "found": found, "challenge_ratios": ratios}
        options.into.write_text(json.dumps(content, indent=1) + "\n")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
