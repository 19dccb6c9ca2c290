"""Benchmarks from Python: run one, open what was recorded, and look at the figures.

``lstmbench.run`` and ``lstmbench.load`` are these functions; the command line is a user of them.
"""

from __future__ import annotations

import numbers
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lstmbench.errors import UserError
from lstmbench.records.record import Record
from lstmbench.runner.options import LIMITS, Options

if TYPE_CHECKING:
    from pandas import DataFrame

    from lstmbench.analysis.compare import Comparison
    from lstmbench.analysis.tables import Row, Table
    from lstmbench.runner.run import Work

T = TypeVar("T")


class Interrupted(KeyboardInterrupt):
    """A run was interrupted; ``results`` holds what was recorded until then."""

    def __init__(self, results: Results) -> None:
        super().__init__("the run was interrupted; what was recorded is kept")
        self.results = results


class Results(Sequence[Record]):
    """Records, and what is computed from them.

    A sequence of :class:`lstmbench.records.record.Record`, one for each trial. ``paths`` are the
    folders and files they are from. ``damaged`` has a line for each file that could not be read.
    ``stopped`` is why sampling ended, where a stopping rule ended it; ``warnings`` are lines about
    the run, and ``problems`` has one for each record that could not be written.
    """

    def __init__(
        self,
        records: Sequence[Record],
        paths: Sequence[Path] = (),
        *,
        damaged: Sequence[str] = (),
        stopped: str | None = None,
        warnings: Sequence[str] = (),
        problems: Sequence[str] = (),
    ) -> None:
        self.records = tuple(records)
        self.paths = tuple(paths)
        self.damaged = tuple(damaged)
        self.stopped = stopped
        self.warnings = tuple(warnings)
        self.problems = tuple(problems)

    @property
    def path(self) -> Path:
        """The folder of a run; raises :class:`UserError` for records of several paths."""
        if len(self.paths) != 1:
            raise UserError(f"these results are from {len(self.paths)} paths: see .paths")
        return self.paths[0]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, index: Any) -> Any:
        return self.records[index]

    def __repr__(self) -> str:
        labels = dict.fromkeys(record.trial.label for record in self.records)
        return f"<Results: {len(self.records)} records of {', '.join(labels) or 'nothing'}>"

    def tables(self, relative_to: str | None = None) -> list[Table]:
        """One table for each set of conditions, as ``lstmbench report`` shows them.

        With ``relative_to``, a backend or ``BACKEND:MODE``, rows know their speed relative to it;
        raises :class:`UserError` if there is no such row.
        """
        from lstmbench.analysis.tables import tables_from

        return tables_from(self.records, relative_to)

    @property
    def rows(self) -> list[Row]:
        """The rows of all tables; a row is the trials that differ only in seed and repeat."""
        return [row for table in self.tables() for row in table.rows]

    def figures(self) -> list[dict[str, Any]]:
        """Every figure of each row at full precision, by the keys of ``--format json``.

        Speeds are tokens per second with their 95 % interval (``tokens_per_second``, ``..._low``,
        ``..._high``); a figure that is not known is ``None``.
        """
        return [
            {**row.to_json(), "rank": rank}
            for table in self.tables()
            for row, rank in zip(table.rows, table.ranks, strict=True)
        ]

    def epochs(self) -> list[dict[str, Any]]:
        """The raw series: one entry for each epoch of each trial, seconds and nats as measured.

        Of the layers alone, for each round of passes forward and backward, without nats.
        """
        return [
            {
                **_identity(record),
                "epoch": number,
                "seconds": seconds,
                "nats": nats,
                "tokens": tokens,
            }
            for record in self.records
            for number, (seconds, tokens, nats) in enumerate(
                zip_longest(record.epochs.seconds, record.epochs.tokens, record.epochs.nats),
                start=1,
            )
        ]

    def to_frame(self, of: str = "figures") -> DataFrame:
        """``figures`` or ``epochs`` as a pandas DataFrame, a line for each of their entries.

        Raises :class:`UserError` where pandas is not installed.
        """
        entries = {"figures": self.figures, "epochs": self.epochs}
        if of not in entries:
            raise UserError(f"to_frame({of!r}): there are: {', '.join(entries)}")
        try:
            import pandas
        except ImportError as error:
            raise UserError("to_frame() needs pandas: pip install pandas") from error
        return pandas.DataFrame(entries[of]())

    def only(self, backend: str) -> Results:
        """The records of a backend, of ``BACKEND:MODE``, or of ``BACKEND:MODE@STACK``.

        Raises :class:`UserError` if there are none.
        """
        from lstmbench.plugin.manager import unknown

        found = [r for r in self if backend in r.trial.names]
        if not found:
            raise unknown("backend", backend, {name for r in self for name in r.trial.names})
        return Results(found, self.paths)

    def compare(self, a: str, b: str) -> list[Comparison]:
        """Each figure of ``a`` relative to ``b``, both a backend or ``BACKEND:MODE``.

        Ratios are ``a``'s value over ``b``'s, with their 95 % interval and a verdict for ``a``.
        Raises :class:`UserError` if one is not there, or if they differ in more than backend and
        mode.
        """
        return compare(self.only(a), self.only(b))


def compare(a: Results, b: Results) -> list[Comparison]:
    """As :meth:`Results.compare`, between any two sets of records, of different runs for example.

    Each set must be of one row: one backend and mode in any number of runs, repeats and seeds.
    Raises :class:`UserError` if it is not, for a record that both have, for a row in which
    something cannot be true, and if they differ in more than backend and mode.
    """
    from lstmbench.analysis.matching import between

    for side in (a, b):
        labels = sorted({record.trial.label for record in side})
        if len(labels) != 1:
            raise UserError(
                f"one backend and mode is compared with another, not {', '.join(labels) or 'none'}"
            )
    pairing = between(a.records, b.records)
    if len(pairing.pairs) > 1 or pairing.alone:
        rows = [pairing.name(pair.a, pair.b) for pair in pairing.pairs]
        rows += [pairing.name(row) for _, row in pairing.alone]
        raise UserError(f"one row is compared with another, not several: {'; '.join(rows)}")
    (pair,) = pairing.pairs
    for row in (pair.a, pair.b):
        if row.disqualified:
            raise UserError(f"{row.label} is {row.status}: {row.message}")
    return pair.comparisons


def run(
    backends: str | Sequence[str] = Options.backends,
    *,
    modes: str | Sequence[str] = Options.modes,
    devices: str | Sequence[str] = Options.devices,
    protocol: str = Options.protocol,
    epochs: int | Sequence[int] | None = None,
    hidden_size: int | Sequence[int] | None = None,
    batch_size: int | Sequence[int] | None = None,
    steps: int | Sequence[int] | None = None,
    learning_rate: float | Sequence[float] | None = None,
    layers: int | Sequence[int] | None = None,
    embedding_size: int | Sequence[int] | None = None,
    dropout: float | Sequence[float] | None = None,
    optimizer: str | Sequence[str] | None = None,
    tied: bool | Sequence[bool] | None = None,
    input_size: int | Sequence[int] | None = None,
    dtype: str = Options.dtype,
    seed: int | Sequence[int] = Options.seed,
    init: str = Options.init,
    repeats: int | None = None,
    precision: float | None = None,
    budget: float | None = None,
    yes: bool = False,
    corpus: str | os.PathLike[str] | None = None,
    tokens: str | None = None,
    normalise: str | None = None,
    vocabulary_size: int | None = None,
    min_count: int | None = None,
    prompt: str | Sequence[str] = (),
    samples: bool = True,
    threads: int | Sequence[int] | None = None,
    stack: str | Sequence[str] = (),
    env: Mapping[str, str] | Sequence[str] = (),
    interleave: bool = True,
    timeout: float = Options.timeout,
    prepare_timeout: float = Options.prepare_timeout,
    memory_limit: int | None = None,
    store: str | os.PathLike[str] = Options.store,
    wait: bool = True,
    progress: bool = False,
) -> Results:
    """Train each backend on each device and return what was recorded.

    The arguments are the options of ``lstmbench run`` with the same defaults; where several names
    or numbers can be given, a sequence gives them; ``samples=False`` is ``--no-samples``, and
    ``wait=False`` ``--no-wait``; ``memory_limit`` is in bytes. Records and logs are in a new folder
    of ``store``, the result's ``path``. With ``progress``, warnings
    and what happens are shown on standard error; nothing is printed otherwise.

    A trial that fails is a record that says so, not an exception. Raises :class:`UserError` for
    what cannot be run at all, with the text of the command line, and :class:`Interrupted` (a
    ``KeyboardInterrupt``) with what was recorded until then.
    """
    from lstmbench.runner.run import check

    options = Options(
        backends=_names(backends),
        modes=_names(modes),
        devices=_names(devices),
        protocol=protocol,
        epochs=_whole("epochs", epochs),
        hidden_size=_whole("hidden_size", hidden_size),
        batch_size=_whole("batch_size", batch_size),
        steps=_whole("steps", steps),
        learning_rate=_numbers("learning_rate", learning_rate),
        layers=_whole("layers", layers),
        embedding_size=_whole("embedding_size", embedding_size),
        dropout=_numbers("dropout", dropout),
        optimizer=None if optimizer is None else _several(optimizer),
        tied=None if tied is None else _several(tied),
        input_size=_whole("input_size", input_size),
        dtype=dtype,
        seed=tuple(_one("seed", number) for number in _several(seed)),
        init=init,
        repeats=_one_or_none("repeats", repeats),
        precision=precision,
        budget=budget,
        yes=yes,
        corpus=None if corpus is None else os.fspath(corpus),
        tokens=tokens,
        normalise=normalise,
        vocabulary_size=_one_or_none("vocabulary_size", vocabulary_size),
        min_count=_one_or_none("min_count", min_count),
        prompt=_several(prompt),
        no_samples=not samples,
        threads=_whole("threads", threads),
        stack=_several(stack),
        env=_assignments(env),
        no_interleave=not interleave,
        timeout=timeout,
        prepare_timeout=prepare_timeout,
        memory_limit=_one_or_none("memory_limit", memory_limit),
        store=Path(store),
    )
    return _conducted(check(options), options.store, wait=wait, progress=progress)


def resume(
    path: str | os.PathLike[str],
    *,
    retry: bool = False,
    wait: bool = True,
    progress: bool = False,
    **limits: Any,
) -> Results:
    """Go on with a run that was interrupted or killed, and return all of its records.

    ``path`` is the run's folder. Trials that were interleaved are run again together, unless each
    has its record; what is replaced stays in the run's folder ``replaced``. With ``retry``, trials
    that failed by a signal, an exit, a time limit or for memory are run again. ``limits`` are
    ``timeout``, ``prepare_timeout``, ``memory_limit``, and ``corpus`` and ``env`` where the plan
    does not say where the text is, or what a variable is. Raises as :func:`run`, and
    :class:`UserError` for a run that is complete or cannot go on here, with the first difference.
    """
    from lstmbench.runner import resume as going_on

    work = going_on.resume(Path(path), retry=retry, changes=_changes(limits))
    return _conducted(work, Path(path).parent, wait=wait, progress=progress)


def extend(
    path: str | os.PathLike[str],
    *,
    repeats: int | None = None,
    precision: float | None = None,
    budget: float | None = None,
    wait: bool = True,
    progress: bool = False,
    **limits: Any,
) -> Results:
    """Add processes to a complete run, as if they had been asked for at once; return all records.

    Up to so many ``repeats``, or until every ratio is known within ``precision`` or ``budget``
    seconds are spent, those of earlier processes included. Otherwise as :func:`resume`.
    """
    from lstmbench.runner import resume as going_on

    work = going_on.extend(
        Path(path),
        repeats=_one_or_none("repeats", repeats),
        precision=precision,
        budget=budget,
        changes=_changes(limits),
    )
    return _conducted(work, Path(path).parent, wait=wait, progress=progress)


def run_part(
    plan: str | os.PathLike[str],
    *,
    group: int | None = None,
    shard: str | None = None,
    store: str | os.PathLike[str] = Options.store,
    wait: bool = True,
    progress: bool = False,
    **limits: Any,
) -> Results:
    """Run one part of a plan that ``lstmbench run --plan-only`` has written.

    Its ``group`` of that number, counted from 1, or a ``shard`` such as ``2/8``: every eighth group
    from the second on. Otherwise as :func:`resume`, in a new folder of ``store``.
    """
    from lstmbench.runner import resume as going_on

    work = going_on.part(
        Path(plan), group=_one_or_none("group", group), shard=shard, **_changes(limits)
    )
    return _conducted(work, Path(store), wait=wait, progress=progress)


def _changes(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Raises :class:`UserError` for an option that decides what is trained."""
    for name in limits:
        if name not in LIMITS:
            raise UserError(f"{name!r} decides what is trained: begin a new run")
    changes = dict(limits)
    if "env" in changes:
        changes["env"] = _assignments(changes["env"])
    if "corpus" in changes:
        changes["corpus"] = os.fspath(changes["corpus"])
    return changes


def _assignments(env: Mapping[str, str] | Sequence[str]) -> list[str]:
    return [f"{k}={v}" for k, v in env.items()] if isinstance(env, Mapping) else list(env)


def _conducted(work: Work, store: Path, *, wait: bool, progress: bool) -> Results:
    from lstmbench.runner.run import conduct

    done = conduct(work, store, wait=wait, progress=progress)
    results = Results(
        done.records,
        [done.run.folder],
        stopped=done.stopped,
        warnings=done.warnings,
        problems=done.problems,
    )
    if not done.finished:
        raise Interrupted(results)
    return results


def load(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Results:
    """The records of runs, stores, published stores and bundles, whichever version wrote them.

    A run that was killed first gets records of the trials that it had begun; ``warnings`` say so.
    Files that cannot be read are left out and named in ``damaged``. Raises :class:`UserError` for
    a path that is none of these.
    """
    from lstmbench.records.store import load as load_records
    from lstmbench.runner.journal import recover

    several = [paths] if isinstance(paths, str) or hasattr(paths, "__fspath__") else list(paths)
    places = [Path(path) for path in several]
    recovered = recover(places)
    loaded = load_records(places)
    return Results(loaded.records, places, damaged=loaded.damaged, warnings=recovered)


def _identity(record: Record) -> dict[str, Any]:
    trial = record.trial
    return {
        "backend": trial.backend,
        "mode": trial.mode,
        **({"stack": trial.stack} if trial.stack else {}),
        "device": trial.device,
        "seed": trial.seed,
        "repeat": trial.repeat,
    }


def _names(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ",".join(value)


def _several(value: T | Iterable[T]) -> list[T]:
    alone = isinstance(value, str) or not isinstance(value, Iterable)
    return [cast(T, value)] if alone else list(cast(Iterable[T], value))


def _one(option: str, value: int) -> int:
    try:
        return operator.index(value)  # NumPy's integers too
    except TypeError:
        raise _wrong(option, value, "a whole number") from None


def _one_or_none(option: str, value: int | None) -> int | None:
    return None if value is None else _one(option, value)


def _whole(option: str, value: int | Sequence[int] | None) -> list[int] | None:
    return None if value is None else [_one(option, number) for number in _several(value)]


def _numbers(option: str, value: float | Sequence[float] | None) -> list[float] | None:
    if value is None:
        return None
    found = _several(value)
    for number in found:
        if not isinstance(number, numbers.Real):
            raise _wrong(option, number, "a number")
    return [float(number) for number in found]


def _wrong(option: str, value: object, expected: str) -> UserError:
    return UserError(f"--{option.replace('_', '-')} {value!r}: expected {expected}")
