"""Records to rows, rows to settings: the numbers behind every table and plot."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, product
from statistics import quantiles
from typing import Any

from lstmbench.analysis import compare, intervals, metrics, roofline
from lstmbench.errors import UserError
from lstmbench.protocol import identity
from lstmbench.records.record import Record, Status

#: "LSTM by hand and with Keras", the write-up this benchmark grew out of: one CPU, Time Machine.
PUBLISHED_ELSEWHERE = (
    ("TensorFlow by hand", 1.1, 2782.5),
    ("Keras layer", 1.0, 5308.9),
)


@dataclass(frozen=True)
class Row:
    """The trials that differ only in repeat; figures are over its ``ok`` records.

    Speeds, and what follows from them, are geometric means, everything else medians.
    """

    records: Sequence[Record]

    @property
    def first(self) -> Record:
        return self.records[0]

    @cached_property
    def ok_records(self) -> list[Record]:
        return [record for record in self.records if record.status == Status.OK]

    @property
    def label(self) -> str:
        return self.first.trial.label

    @property
    def status(self) -> str:
        """``ok`` only if all are; otherwise the first one that is not, with its reason."""
        bad = next((r for r in self.records if r.status != Status.OK), self.first)
        text = f"{bad.status.value}: {bad.reason}" if bad.reason else bad.status.value
        flags = sorted({flag for record in self.records for flag in record.flags})
        return ", ".join([text, *flags])

    @cached_property
    def perplexity(self) -> float | None:
        """Of the last epoch's training pass."""
        return metrics.median_of(metrics.perplexities(r.epochs)[-1] for r in self.ok_records)

    @cached_property
    def last_median(self) -> float | None:
        """Median perplexity of the last ten epochs."""
        series = (metrics.perplexities(r.epochs) for r in self.ok_records)
        return metrics.median_of(metrics.last_median(values) for values in series)

    def _held_out(self, which: str) -> float | None:
        tests = [e for r in self.ok_records for e in r.evaluations if e.split == "test"]
        values = [(getattr(e, which), e.tokens) for e in tests]
        return metrics.median_of(None if n is None else metrics.perplexity(n, t) for n, t in values)

    @cached_property
    def test(self) -> float | None:
        """Perplexity on the test split, which training never saw."""
        return self._held_out("nats")

    @cached_property
    def floor(self) -> float | None:
        """Perplexity of the text's own source on the test split, where it is known."""
        return self._held_out("floor")

    @cached_property
    def speed(self) -> intervals.Interval | None:
        """Tokens/s with the interval over processes."""
        return intervals.interval(list(self.speeds.values()))

    @cached_property
    def mean_speed(self) -> float | None:
        """Tokens of all steady epochs over their seconds, noise included."""
        return metrics.median_of(metrics.mean_speed(r.epochs) for r in self.ok_records)

    @cached_property
    def quartiles(self) -> tuple[float, float] | None:
        """Of the steady epochs' tokens/s, all processes together."""
        steady = [rate for r in self.ok_records for rate in metrics.rates(r.epochs)]
        if len(steady) < 2:
            return None
        low, _, high = quantiles(steady, n=4, method="inclusive")
        return low, high

    @cached_property
    def speeds(self) -> compare.Turns:
        """Tokens/s of each process by the turn that it took."""
        return compare.by_turn(self.ok_records, lambda r: metrics.speed(r.epochs)) or {}

    def ratio(self, base: Row) -> intervals.Interval | None:
        """Speed relative to ``base``, repeat by repeat where both took turns."""
        if not self.speeds or not base.speeds:
            return None
        return compare.ratio_of_turns(self.speeds, base.speeds)[0]

    @cached_property
    def achieved(self) -> float | None:
        """Floating-point operations per second in training: tokens/s times those of a token."""
        if self.speed is None:
            return None
        return self.speed.value * roofline.record_cost(self.first).operations

    @cached_property
    def peak_share(self) -> float | None:
        """Of the fastest matrix product that took turns with the trials, each with its own."""
        shares = [roofline.peak_share(record) for record in self.ok_records]
        known = intervals.interval([share for share in shares if share])
        return known.value if known else None

    def seconds_to(self, target: float, start_up: bool) -> float | None:
        """Seconds until an epoch's perplexity first is ``target``, if all processes got there."""
        return self._times[target, start_up]

    @cached_property
    def _times(self) -> dict[tuple[float, bool], float | None]:
        times = {}
        for target, start_up in product(compare.TARGETS, (False, True)):
            found = [compare.seconds_to(r, target, start_up) for r in self.ok_records]
            times[target, start_up] = metrics.median_of(found) if None not in found else None
        return times

    @cached_property
    def memory(self) -> float | None:
        """Peak resident bytes of the worker above those after the framework's import."""
        return metrics.median_of(compare.working_memory(r) for r in self.ok_records)

    @cached_property
    def device_memory(self) -> float | None:
        """Peak bytes on a device with memory of its own."""
        return metrics.median_of(r.memory.get("device_peak") for r in self.ok_records)

    @cached_property
    def energy(self) -> float | None:
        """Joules per million tokens; ``None`` without a counter."""
        return metrics.median_of(
            metrics.joules_per_million_tokens(r.epochs) for r in self.ok_records
        )

    @cached_property
    def startup(self) -> float | None:
        """Seconds for import, build and prepare, with nothing compiled before."""
        phases = ("import", "build", "prepare")
        return metrics.median_of(sum(r.phases[name] for name in phases) for r in self.ok_records)

    @cached_property
    def training(self) -> float | None:
        """Seconds of all epochs together."""
        return metrics.median_of(sum(r.epochs.seconds) for r in self.ok_records)

    @cached_property
    def parity(self) -> float | None:
        """The worst relative error against the float64 reference."""
        worst = [r.parity.worst for r in self.records if r.parity]
        return max(worst) if worst else None

    def to_json(self) -> dict[str, Any]:
        """Every figure at full precision."""
        trial = self.first.trial
        return {
            "backend": trial.backend,
            "mode": trial.mode,
            "device": trial.device,
            "status": self.status,
            "perplexity": self.perplexity,
            "perplexity_last_10_median": self.last_median,
            "perplexity_test": self.test,
            "perplexity_test_floor": self.floor,
            "tokens_per_second": self.speed and self.speed.value,
            "tokens_per_second_low": self.speed and self.speed.low,
            "tokens_per_second_high": self.speed and self.speed.high,
            "tokens_per_second_mean": self.mean_speed,
            "tokens_per_second_quartiles": self.quartiles,
            "operations_per_second": self.achieved,
            "share_of_peak": self.peak_share,
            **{
                f"seconds_to_perplexity_{target:g}{'_with_startup' * start_up}": self.seconds_to(
                    target, start_up
                )
                for target in compare.TARGETS
                for start_up in (False, True)
            },
            "memory_bytes": self.memory,
            "device_memory_bytes": self.device_memory,
            "joules_per_million_tokens": self.energy,
            "startup_seconds": self.startup,
            "training_seconds": self.training,
            "parity_worst": self.parity,
            "processes": len(self.records),
            "processes_sound": len(self.ok_records),
            "message": next((r.message for r in self.records if r.message), ""),
        }


@dataclass(frozen=True)
class Table:
    """What all rows of one table share; two corpora or machines never share a table."""

    facts: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    relative_to: str | None = None
    #: What tells it from another table that has all else in common.
    own: Sequence[str] = ()

    def relative(self, row: Row) -> intervals.Interval | None:
        """Speed relative to the row of :attr:`relative_to` on the same device.

        ``":MODE"`` stands for that mode of the row's own backend.
        """
        label = self.relative_to or ""
        if label.startswith(":"):
            label = row.first.trial.backend + label
        here = [r for r in self.rows if r.first.trial.device == row.first.trial.device]
        base = next((r for r in here if label in (r.label, r.first.trial.backend)), None)
        return row.ratio(base) if base else None

    @property
    def first(self) -> Record:
        return self.rows[0].first

    @property
    def title(self) -> str:
        return self.described()

    def described(self, without: str | None = None) -> str:
        """The facts in words, except for one size that a sweep runs over."""
        trial, machine = self.first.trial, self.first.machine.facts
        changed = [
            f"{name.replace('_', '-')} {value}"
            for name, value in trial.overrides.items()
            if name != without
        ]
        environment = [f"{k}={v}" for k, v in self.facts["environment"].items()]
        threads = [f"{trial.threads} thread{'s' if trial.threads > 1 else ''}"]
        return ", ".join(
            [
                " with ".join([trial.protocol.name, *changed]),
                f"{trial.init} initial parameters",
                f"corpus {trial.corpus} ({trial.corpus_digest[:8]})",
                trial.dtype,
                f"seed {trial.seed}",
                *(threads if without != "threads" else []),
                *environment,
                processor_name(machine),
                f"commit {(self.first.source.commit or 'unknown')[:8]}",
                *self.own,
            ]
        )

    @property
    def repeated(self) -> bool:
        return any(len(row.ok_records) > 1 for row in self.rows)

    @cached_property
    def ranks(self) -> list[int | None]:
        """The rank of each row, equal for rows that cannot be told from the first of their rank.

        From the fastest down: a row whose ratio to the leader of the current rank has no interval
        that is below 1 shares its rank. No rank without an interval of its own.
        """
        ranks: list[int | None] = []
        leader: Row | None = None
        rank = 0
        for place, row in enumerate(self.rows, start=1):
            speed = row.speed
            if speed is None or speed.low is None:
                ranks.append(None)
                continue
            behind = row.ratio(leader) if leader else None
            if behind is None or (behind.high is not None and behind.high < 1):
                leader, rank = row, place
            ranks.append(rank)
        return ranks


def processor_name(facts: Mapping[str, Any]) -> str:
    """Processor and cores of a machine's facts, and how many a container may keep busy."""
    limit = f", limited to {facts['cpu_limit']}" if "cpu_limit" in facts else ""
    return f"{facts.get('processor')} ({facts.get('physical_cores')} cores{limit})"


def _facts(record: Record) -> dict[str, Any]:
    trial = record.trial
    return {
        "protocol": identity(trial.protocol),
        "init": trial.init,
        "corpus": (trial.corpus, trial.corpus_digest),
        "dtype": trial.dtype,
        "seed": trial.seed,
        "threads": trial.threads,
        "environment": dict(trial.environment),
        "machine": record.machine.digest,
        "versions": record.machine.versions,
        "commit": record.source.commit,
    }


def widest(setting: Table) -> float | None:
    """Half the width of the widest interval of a ratio between rows of one device.

    A row alone on its device stands for itself; one that was given up does not count. Infinite as
    long as one has no interval; ``None`` without a sound row.
    """
    devices: dict[str, list[Row]] = {}
    for row in setting.rows:
        if row.speed is not None and not metrics.given_up(row.records):
            devices.setdefault(row.first.trial.device, []).append(row)
    known: list[intervals.Interval | None] = []
    for rows in devices.values():
        if len(rows) == 1:
            known.append(rows[0].speed)
        known += [row.ratio(other) for row, other in combinations(rows, 2)]
    widths = [i.half_width if i else None for i in known]
    return max((math.inf if w is None else w for w in widths), default=None)


def widest_of(tables: Iterable[Table]) -> float | None:
    """The widest of all tables."""
    return max((w for w in map(widest, tables) if w is not None), default=None)


def tables_from(records: Iterable[Record], relative_to: str | None = None) -> list[Table]:
    """Group records into tables, rows sorted by tokens/s, those without a figure last.

    ``relative_to`` is the ``backend:mode`` whose speed the others' are divided by; raises
    :class:`UserError` if no row is that.
    """
    tables: dict[str, Table] = {}
    rows: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        facts = _facts(record)
        key = json.dumps(facts, sort_keys=True)
        tables.setdefault(key, Table(facts, relative_to=relative_to))
        rows.setdefault(key, {}).setdefault(record.trial.row_key(), []).append(record)
    for key, setting in tables.items():
        setting.rows.extend(Row(group) for group in rows[key].values())
        setting.rows.sort(key=lambda r: (-(r.speed.value if r.speed else 0), r.label))
    found = _told_apart(list(tables.values()))
    rows_found = [row for table in found for row in table.rows]
    names = {
        n for r in rows_found for n in (r.label, r.first.trial.backend, f":{r.first.trial.mode}")
    }
    if relative_to and relative_to not in names:
        labels = ", ".join(sorted({row.label for row in rows_found}))
        raise UserError(f"--relative-to {relative_to}: no row is that; there are {labels}")
    return found


def _told_apart(tables: Sequence[Table]) -> list[Table]:
    """The same tables; those of equal titles say in which versions, sizes, machines they differ."""
    alike: dict[str, list[Table]] = {}
    titles = [table.title for table in tables]
    for title, table in zip(titles, tables, strict=True):
        alike.setdefault(title, []).append(table)
    return [
        replace(table, own=_own(alike[title], table)) if len(alike[title]) > 1 else table
        for title, table in zip(titles, tables, strict=True)
    ]


def _own(alike: Sequence[Table], table: Table) -> list[str]:
    versions = [other.facts["versions"] for other in alike]
    mine = table.facts["versions"]
    names = sorted({n for v in versions for n in v if any(o.get(n) != v[n] for o in versions)})
    words = [f"{name} {mine[name]}" if name in mine else f"without {name}" for name in names]
    protocols, own = [other.facts["protocol"] for other in alike], table.facts["protocol"]
    words += [f"{n} {own[n]}" for n in sorted(own) if any(p.get(n) != own[n] for p in protocols)]
    if len({other.facts["machine"] for other in alike}) > 1:
        words.append(f"machine {table.facts['machine'][:8]}")
    return words
