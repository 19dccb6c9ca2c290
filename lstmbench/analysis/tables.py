"""Records to rows, rows to tables: the data behind everything that is shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any

from lstmbench.analysis import conditions, flags, impossible, observations, repeats
from lstmbench.analysis.intervals import Interval
from lstmbench.analysis.metrics import METRICS, TOKENS_PER_SECOND, Metric
from lstmbench.errors import UserError
from lstmbench.protocol import identity
from lstmbench.records.record import Flag, Record, Status
from lstmbench.records.trial import Trial

#: Sentences about one row: each of its processes may give rise to others.
MAX_SUSPICIONS = 3
#: Seeds that a title names one by one.
MAX_SEEDS_NAMED = 5


@dataclass(frozen=True)
class Row:
    """The trials that differ only in seed and repeat; their figures are those of :data:`METRICS`.

    ``files`` are the names of the records' files without suffix, in the records' order, where the
    records got with names.
    """

    records: tuple[Record, ...]
    files: tuple[str, ...] = ()

    @property
    def first(self) -> Record:
        return self.records[0]

    @cached_property
    def ok_records(self) -> list[Record]:
        return [record for record in self.records if record.status == Status.OK]

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the trials, rising."""
        return tuple(sorted({record.trial.seed for record in self.records}))

    @cached_property
    def ok_seeds(self) -> tuple[int, ...]:
        """The seeds of the ``ok`` ones."""
        return tuple(sorted({record.trial.seed for record in self.ok_records}))

    @property
    def label(self) -> str:
        """``backend:mode``, and ``backend:mode@stack`` in a stack."""
        return self.first.trial.label

    @cached_property
    def flags(self) -> list[Flag]:
        """Flags of any record, and of all together, sorted; ``suspect`` even where none says so."""
        found = {flag for record in self.records for flag in flags.effective(record)}
        return sorted(found | {Flag.SUSPECT} if repeats.reasons(self.records) else found)

    @property
    def disqualified(self) -> bool:
        """Whether a flag keeps it from being ranked: it stands last, and is never the best."""
        return flags.disqualified(self.flags)

    @cached_property
    def suspicions(self) -> list[str]:
        """What cannot be true in its ``ok`` records, or of them together: a few sentences."""
        own = [reason for record in self.ok_records for reason in impossible.reasons(record)]
        found = dict.fromkeys([*own, *repeats.reasons(self.records)])
        return list(islice(found, MAX_SUSPICIONS))

    @property
    def status(self) -> str:
        """``ok`` only if all are; otherwise the first one that is not, with its reason."""
        bad = next((r for r in self.records if r.status != Status.OK), self.first)
        text = f"{bad.status.value}: {bad.reason}" if bad.reason else bad.status.value
        return ", ".join([text, *self.flags])

    @property
    def message(self) -> str:
        """The first message of a record, or what cannot be true in one, or an empty string."""
        messages = [record.message for record in self.records if record.message]
        return next(iter(messages), "") or "; ".join(self.suspicions)

    def figure(self, metric: Metric) -> Interval | None:
        """A figure over the records, with its interval where it has one."""
        if metric.key not in self._known:
            self._known[metric.key] = metric.of(self.records)
        return self._known[metric.key]

    @cached_property
    def _known(self) -> dict[str, Interval | None]:
        return {}

    def value(self, metric: Metric) -> float | None:
        """A figure without its interval, in the metric's unit."""
        found = self.figure(metric)
        return found.value if found else None

    @property
    def speed(self) -> Interval | None:
        """Tokens/s with the interval over processes."""
        return self.figure(TOKENS_PER_SECOND)

    @cached_property
    def _speeds(self) -> observations.Observations:
        return observations.by_group(self.records, TOKENS_PER_SECOND.value) or {}

    def ratio(self, base: Row) -> Interval | None:
        """Speed relative to ``base``, repeat by repeat where the two were interleaved."""
        if not self._speeds or not base._speeds:
            return None
        return observations.ratio(self._speeds, base._speeds, TOKENS_PER_SECOND.drifts)[0]

    def figures(self) -> dict[str, float | None]:
        """Every figure by each key that it is published under, at full precision."""
        found: dict[str, float | None] = {}
        for metric in METRICS:
            figure = self.figure(metric)
            parts = (figure.value, figure.low, figure.high) if figure else (None, None, None)
            found |= zip(metric.keys, parts, strict=False)
        return found

    def to_json(self) -> dict[str, Any]:
        """What the row is, every figure at full precision, and what got of its processes."""
        trial = self.first.trial
        return {
            "backend": trial.backend,
            "mode": trial.mode,
            **({"stack": trial.stack} if trial.stack else {}),
            "device": trial.device,
            "status": self.status,
            **self.figures(),
            "processes": len(self.records),
            "processes_ok": len(self.ok_records),
            "seeds_ok": len(self.ok_seeds),
            "message": self.message,
        }


@dataclass(frozen=True)
class Table:
    """Rows, fastest first, that share all of ``facts``; two corpora or machines never do.

    ``facts`` hold ``protocol`` (every hyper-parameter), ``init``, ``corpus`` (name and digest),
    ``dtype``, ``seed`` (several in a list), ``threads``, ``environment``, ``machine`` (digest),
    ``versions`` and ``commit``. ``own`` says in words how the table differs from another of the
    same title.
    """

    facts: Mapping[str, Any]
    rows: tuple[Row, ...] = ()
    relative_to: str | None = None
    own: tuple[str, ...] = field(default=())

    @property
    def first(self) -> Record:
        return self.rows[0].first

    @property
    def title(self) -> str:
        """The facts in words."""
        return self.title_without(None, self.seeds)

    def title_without(self, size: str | None, seeds: Sequence[int]) -> str:
        """The title, less one size that a sweep runs over, and with all of its seeds."""
        trial = self.first.trial
        environment = [f"{k}={v}" for k, v in self.facts["environment"].items()]
        model = [f"model {trial.model} by its plugin's own reference"] if trial.own_model else []
        threads = [f"{trial.threads} thread{'s' if trial.threads > 1 else ''}"]
        return ", ".join(
            [
                trial.protocol_title(without=[size] if size else []),
                *_started_from(trial),
                trial.dtype,
                seeds_title(seeds),
                *(threads if size != "threads" else []),
                *model,
                *environment,
                self.first.machine.label,
                f"commit {self.first.source.short_commit}",
                *self.own,
            ]
        )

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all rows, rising."""
        return tuple(sorted({seed for row in self.rows for seed in row.seeds}))

    @property
    def repeated(self) -> bool:
        """Whether some row has several ``ok`` processes."""
        return any(len(row.ok_records) > 1 for row in self.rows)

    def relative(self, row: Row) -> Interval | None:
        """Speed relative to the row of :attr:`relative_to` on the same device.

        ``":MODE"`` stands for that mode of the row's own backend.
        """
        label, own = self.relative_to or "", row.first.trial
        if label.startswith(":"):
            label = own.backend + label
        here = [r for r in self.rows if r.first.trial.device == own.device]
        meant = [r for r in here if label in r.first.trial.names]
        alike = (r for r in meant if r.first.trial.stack == own.stack)
        base = next(alike, meant[0] if meant else None)
        return row.ratio(base) if base else None

    @cached_property
    def ranks(self) -> list[int | None]:
        """The rank of each row, equal for rows that are not significantly slower than the first.

        From the fastest down: a row whose ratio to the first row of the current rank has no
        interval below 1 shares that rank. No rank without an interval of its own, and none for
        rows that a flag disqualifies.
        """
        ranks: list[int | None] = []
        leader: Row | None = None
        rank = 0
        for place, row in enumerate(self.rows, start=1):
            speed = row.speed
            if speed is None or speed.low is None or row.disqualified:
                ranks.append(None)
                continue
            behind = row.ratio(leader) if leader else None
            if behind is None or (behind.high is not None and behind.high < 1):
                leader, rank = row, place
            ranks.append(rank)
        return ranks


def _started_from(trial: Trial) -> list[str]:
    """Parameters and text, in words; the layers alone have random numbers for both."""
    if trial.protocol.is_layer:
        return ["random numbers"]
    return [f"{trial.init} initial parameters", trial.corpus_title]


def fastest_first(row: Row) -> tuple[bool, float, str]:
    """The key that rows are sorted by; after all others those without a speed, and at the very end
    those that a flag disqualifies."""
    return (row.disqualified, -(row.speed.value if row.speed else 0), row.label)


def tables_from(
    records: Iterable[Record] | Mapping[str, Record], relative_to: str | None = None
) -> list[Table]:
    """Group records, or records by the name of their file, into tables.

    ``relative_to`` is the ``backend:mode`` whose speed the others' are divided by; raises
    :class:`UserError` if no row is that.
    """
    named = records.items() if isinstance(records, Mapping) else (("", r) for r in records)
    facts_by_key: dict[str, dict[str, Any]] = {}
    groups: dict[str, dict[str, list[tuple[str, Record]]]] = {}
    for name, record in named:
        facts = _facts(record)
        key = json.dumps(facts, sort_keys=True)
        facts_by_key.setdefault(key, facts)
        rows = groups.setdefault(key, {})
        rows.setdefault(_row_key(record), []).append((name, record))
    tables: list[Table] = []
    for key, facts in facts_by_key.items():
        sorted_rows = sorted(map(_row, groups[key].values()), key=fastest_first)
        table = Table(facts, tuple(sorted_rows), relative_to)
        tables.append(replace(table, facts={**facts, "seed": _one_or_several(table.seeds)}))
    _check_relative(relative_to, [row for table in tables for row in table.rows])
    return _distinguished(tables)


def _row_key(record: Record) -> str:
    """A stack of the same label that holds something else gives another row."""
    return f"{record.trial.row_key()} {(record.stack and record.stack.digest) or ''}"


def _row(named: Sequence[tuple[str, Record]]) -> Row:
    names, records = zip(*sorted(named, key=lambda each: each[1].trial.seed), strict=True)
    return Row(records, names)


def _one_or_several(seeds: Sequence[int]) -> int | list[int]:
    return seeds[0] if len(seeds) == 1 else list(seeds)


def seeds_title(seeds: Sequence[int]) -> str:
    """``seed 0``, ``seeds 0, 1, 2``, or ``seeds 0 to 9`` where none is missing between."""
    if len(seeds) > MAX_SEEDS_NAMED and seeds[-1] - seeds[0] < len(seeds):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    more = len(seeds) - MAX_SEEDS_NAMED
    named = [str(seed) for seed in seeds[: len(seeds) if more <= 1 else MAX_SEEDS_NAMED]]
    named += [f"{more} more"] if more > 1 else []
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(named)}"


def _check_relative(relative_to: str | None, rows: Sequence[Row]) -> None:
    """Raise :class:`UserError` if no row is what speeds shall be relative to."""
    trials = [row.first.trial for row in rows]
    names = {name for t in trials for name in (*t.names, f":{t.mode}")}
    if relative_to and relative_to not in names:
        labels = ", ".join(sorted({row.label for row in rows}))
        raise UserError(f"--relative-to {relative_to}: no row is that; there are {labels}")


def _facts(record: Record) -> dict[str, Any]:
    trial = record.trial
    # not in the facts of the LSTM, so that published tables stay what they are
    own = {"model": (trial.model, record.own_model and record.own_model.reference)}
    return {
        **(own if trial.own_model else {}),
        "protocol": identity(trial.protocol),
        "init": trial.init,
        "corpus": (trial.corpus, trial.corpus_digest, *trial.preparation.words),
        "dtype": trial.dtype,
        "seed": None,  # those of all rows are known later
        "threads": trial.threads,
        "environment": dict(trial.environment),
        "machine": record.machine.digest,
        "versions": conditions.host_versions(record),  # rows of one table may differ by stack
        "commit": record.source.commit,
    }


def _distinguished(tables: Sequence[Table]) -> list[Table]:
    """The same tables; those of equal titles say in which versions, sizes, machines they differ."""
    alike: dict[str, list[Table]] = {}
    titles = [table.title for table in tables]
    for title, table in zip(titles, tables, strict=True):
        alike.setdefault(title, []).append(table)
    return [
        replace(table, own=_own(alike[title], table)) if len(alike[title]) > 1 else table
        for title, table in zip(titles, tables, strict=True)
    ]


def _own(alike: Sequence[Table], table: Table) -> tuple[str, ...]:
    versions = [other.facts["versions"] for other in alike]
    mine = table.facts["versions"]
    names = sorted({n for v in versions for n in v if any(o.get(n) != v[n] for o in versions)})
    words = [f"{name} {mine[name]}" if name in mine else f"without {name}" for name in names]
    protocols, own = [other.facts["protocol"] for other in alike], table.facts["protocol"]
    every = sorted({name for protocol in protocols for name in protocol})
    differing = [n for n in every if any(p.get(n) != own.get(n) for p in protocols)]
    words += [f"{n} {own[n]}" if n in own else f"without {n}" for n in differing]
    if len({other.facts["machine"] for other in alike}) > 1:
        words.append(f"machine {table.facts['machine'][:8]}")
    return tuple(words)
