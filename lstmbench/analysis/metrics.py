"""Every figure, declared once: what it means, how it is computed, where it is shown.

Tables, JSON, CSV, ``lstmbench compare``, the site and ``lstmbench verify`` read :data:`METRICS`;
nothing else lists figures. A new figure is a new :class:`Metric` there, a test of its value, and a
line in ``docs/result-format.md``, which a test writes (``LSTMBENCH_REWRITE=1``).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from functools import partial

from lstmbench.analysis import intervals, observations, roofline, series
from lstmbench.analysis.intervals import Interval
from lstmbench.analysis.observations import Value
from lstmbench.records.record import Epochs, Record, Status

#: Perplexities whose first passing is timed.
TARGETS = (2.0, 1.5, 1.1)


class Better(StrEnum):
    """Which of two values is better."""

    HIGHER = "higher"
    LOWER = "lower"


class Summary(Enum):
    """How the values of several processes become one figure of a row."""

    #: With Student's t interval; one value for each observation.
    GEOMETRIC_MEAN = auto()
    #: The same over seeds, of each seed's median.
    MEAN_OVER_SEEDS = auto()
    MEDIAN = auto()
    MAXIMUM = auto()


class Place(Enum):
    """The main table, or the one of details below it."""

    MAIN = auto()
    DETAILS = auto()


@dataclass(frozen=True)
class Shown:
    """How tables for readers show a figure.

    ``digits`` are significant ones; ``None``, or where an interval is shown, for as many as it
    leaves meaningful; the value is multiplied by ``factor`` first. ``beside`` is the key of another
    figure in the same cell, which ``form`` joins. ``bounds`` is the heading of a column with the
    interval. A column with nothing to show is left out unless ``always``. The site shows ``minor``
    columns on request.
    """

    heading: str
    place: Place
    digits: int | None = 3
    factor: float = 1.0
    scientific: bool = False
    beside: str = ""
    form: str = "{} to {}"
    bounds: str = ""
    always: bool = False
    minor: bool = False


@dataclass(frozen=True)
class Metric:
    """One figure.

    ``key`` names it in JSON and CSV, ``meaning`` in the documentation, ``label`` in ``compare``
    (without a label it is not compared). ``value`` is that of one process, in ``unit``; ``pooled``,
    where given, is computed from all processes together instead of from their values.

    - ``complete``: there is no figure unless every ``ok`` process has a value;
    - ``any_status``: processes that are not ``ok`` count, too;
    - ``bounds``: the interval is published as ``KEY_low`` and ``KEY_high``;
    - ``drifts``: it changes with the hour, so that between runs, runs are its observations;
    - ``exact``: where all processes agree there is no doubt left;
    - ``scales``: the site plots it against the size of a sweep.
    """

    key: str
    meaning: str
    unit: str
    value: Value
    summary: Summary = Summary.MEDIAN
    better: Better | None = None
    label: str = ""
    shown: Shown | None = None
    pooled: Callable[[Sequence[Record]], float | None] | None = None
    complete: bool = False
    any_status: bool = False
    bounds: bool = False
    drifts: bool = False
    exact: bool = False
    scales: bool = False

    @property
    def by_seed(self) -> bool:
        """Whether the seed decides it, or the epoch at which it is reached: seeds and not processes
        are its observations then."""
        return self.summary is Summary.MEAN_OVER_SEEDS

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys under which it is published."""
        return (self.key, f"{self.key}_low", f"{self.key}_high") if self.bounds else (self.key,)

    def of(self, records: Sequence[Record]) -> Interval | None:
        """The figure of a row's records; ``None`` if there is none."""
        counted = [r for r in records if self.any_status or r.status == Status.OK]
        if self.pooled is not None:
            whole = self.pooled(counted)
            return None if whole is None else Interval(whole, None, None, len(counted))
        if self.summary is Summary.GEOMETRIC_MEAN:
            if not self.complete:
                counted = [record for record in counted if self.value(record)]
            found = observations.by_group(counted, self.value)
            return intervals.interval(list(found.values())) if found else None
        known = [(r, value) for r in counted if (value := self.value(r)) is not None]
        values = [value for _, value in known]
        if not values or (self.complete and len(values) < len(counted)):
            return None
        if self.summary is Summary.MEAN_OVER_SEEDS:
            return _over_seeds(list(observations.medians_by_seed(known).values()))
        pick = max if self.summary is Summary.MAXIMUM else statistics.median
        return Interval(pick(values), None, None, len(values))


def _over_seeds(values: Sequence[float]) -> Interval | None:
    """The geometric mean with its interval; what has no finite logarithm has no interval either."""
    if all(0 < value < math.inf for value in values):
        return intervals.interval(values)
    return Interval(statistics.fmean(values), None, None, len(values))


def start_up(record: Record) -> float | None:
    """Seconds for import, build and prepare, with nothing compiled before."""
    return record.phases.start_up


def seconds_to(record: Record, target: float, with_start_up: bool = False) -> float | None:
    """Training seconds until an epoch's perplexity first is ``target`` or less.

    ``None`` if it never was, or if the seconds of start-up are unknown.
    """
    spent = start_up(record) if with_start_up else 0.0
    if spent is None:
        return None
    values = series.perplexities(record.epochs)
    # the layers alone have no perplexity
    for seconds, value in zip(record.epochs.seconds, values, strict=False):
        spent += seconds
        if value <= target:
            return spent
    return None


def working_memory(record: Record) -> float | None:
    """Peak resident bytes of the worker above those after the framework's import."""
    peak, imported = record.memory.peak, record.memory.imported
    return float(peak - imported) if peak and imported and peak > imported else None


def _last_perplexity(record: Record) -> float | None:
    return next(reversed(series.perplexities(record.epochs)), None)


def _last_median(record: Record) -> float | None:
    return series.last_median(series.perplexities(record.epochs))


def _bits_per_token(records: Sequence[Record]) -> float | None:
    perplexity = LAST_MEDIAN.of(records)
    return math.log2(perplexity.value) if perplexity and perplexity.value else None


def _test(record: Record) -> float | None:
    tests = [e for e in record.evaluations if e.split == "test"]
    return series.perplexity(tests[-1].nats, tests[-1].tokens) if tests else None


def _test_source(record: Record) -> float | None:
    tests = [(e.source_nats, e.tokens) for e in record.evaluations if e.split == "test"]
    known = [series.perplexity(nats, tokens) for nats, tokens in tests if nats is not None]
    return known[-1] if known else None


def _forward_pass(record: Record) -> float | None:
    """Seconds of one pass through the layers alone, forward only."""
    return _pass(record, record.layer.forward) if record.layer else None


def _whole_pass(record: Record) -> float | None:
    """Seconds of one pass through the layers alone, forward and backward."""
    return _pass(record, record.epochs) if record.layer else None


def _pass(record: Record, rounds: Epochs) -> float | None:
    speed = series.speed(rounds)
    protocol = record.trial.protocol
    return protocol.batch_size * protocol.steps / speed if speed else None


def _step(record: Record) -> float | None:
    seconds = _whole_pass(record)
    return seconds / record.trial.protocol.steps if seconds else None


def _quartile(records: Sequence[Record], which: int) -> float | None:
    steady = [rate for record in records for rate in series.rates(record.epochs)]
    return statistics.quantiles(steady, n=4, method="inclusive")[which] if len(steady) > 1 else None


def _worst_error(record: Record) -> float | None:
    return record.parity.worst if record.parity else None


def _time_to(target: float) -> tuple[Metric, Metric]:
    """Seconds until a perplexity, and the same with start-up, which tables show in brackets."""
    key, label = f"seconds_to_perplexity_{target:g}", f"seconds to perplexity {target:g}"
    meaning = f"training time until an epoch's perplexity first is {target:g} or less"
    training = Metric(
        key=key,
        meaning=f"{meaning}, if every process got there",
        unit="s",
        value=partial(seconds_to, target=target),
        summary=Summary.MEAN_OVER_SEEDS,
        better=Better.LOWER,
        label=label,
        shown=Shown(
            f"s to perplexity {target:g}",
            Place.DETAILS,
            beside=f"{key}_with_startup",
            form="{} ({})",
        ),
        complete=True,
    )
    with_start_up = Metric(
        key=f"{key}_with_startup",
        meaning="the same, and `startup_seconds`",
        unit="s",
        value=partial(seconds_to, target=target, with_start_up=True),
        summary=Summary.MEAN_OVER_SEEDS,
        better=Better.LOWER,
        label=f"{label}, start-up included",
        complete=True,
    )
    return training, with_start_up


LAST_MEDIAN = Metric(
    key="perplexity_last_10_median",
    meaning="median of the last ten epochs' training passes",
    unit="perplexity",
    value=_last_median,
    summary=Summary.MEAN_OVER_SEEDS,
    better=Better.LOWER,
    label="perplexity",
    shown=Shown("last-10 median", Place.MAIN, digits=5, bounds="median interval"),
    bounds=True,
)
#: By which rows are sorted, ranked and compared with each other.
TOKENS_PER_SECOND = Metric(
    key="tokens_per_second",
    meaning="training speed: the mean over the faster half of the steady epochs",
    unit="tokens/s",
    value=lambda record: series.speed(record.epochs),
    summary=Summary.GEOMETRIC_MEAN,
    better=Better.HIGHER,
    label="tokens/s",
    shown=Shown("tokens/s", Place.MAIN, digits=None, bounds="95 % interval", always=True),
    complete=True,
    bounds=True,
    drifts=True,
    scales=True,
)
OPERATIONS_PER_SECOND = Metric(
    key="operations_per_second",
    meaning="floating-point operations in training: tokens/s times those of a token",
    unit="FLOP/s",
    value=roofline.achieved,
    summary=Summary.GEOMETRIC_MEAN,
    shown=Shown("GFLOP/s", Place.DETAILS, factor=1e-9),
    complete=True,
    scales=True,
)
SHARE_OF_PEAK = Metric(
    key="share_of_peak",
    meaning="those operations, relative to the fastest matmul that was interleaved with the trials",
    unit="ratio",
    value=roofline.peak_share,
    summary=Summary.GEOMETRIC_MEAN,
    shown=Shown("% of peak", Place.MAIN, digits=2, factor=100),
    scales=True,
)
ENERGY = Metric(
    key="joules_per_million_tokens",
    meaning="energy of the whole device over the steady epochs, where there is a counter",
    unit="J per million tokens",
    value=lambda record: series.joules_per_million_tokens(record.epochs),
    better=Better.LOWER,
    label="joules per million tokens",
    shown=Shown("J / M tokens", Place.DETAILS, always=True),
    drifts=True,
)

#: In the order in which they are published, and stand in tables.
METRICS: tuple[Metric, ...] = (
    Metric(
        key="perplexity",
        meaning="of the last epoch's training pass",
        unit="perplexity",
        value=_last_perplexity,
        summary=Summary.MEAN_OVER_SEEDS,
        shown=Shown("perplexity", Place.MAIN, digits=5, bounds="perplexity interval", always=True),
        bounds=True,
    ),
    LAST_MEDIAN,
    Metric(
        key="bits_per_token",
        meaning="base-2 logarithm of `perplexity_last_10_median`",
        unit="bits",
        value=lambda record: _bits_per_token([record]),
        pooled=_bits_per_token,
    ),
    Metric(
        key="perplexity_test",
        meaning="on the test split, which training never saw",
        unit="perplexity",
        value=_test,
        summary=Summary.MEAN_OVER_SEEDS,
        better=Better.LOWER,
        label="test perplexity",
        shown=Shown("test", Place.MAIN, digits=5, bounds="test interval"),
        bounds=True,
    ),
    Metric(
        key="perplexity_test_source",
        meaning="of the text's own source on the test split, where it is known",
        unit="perplexity",
        value=_test_source,
        shown=Shown("source", Place.MAIN, digits=5, minor=True),
    ),
    TOKENS_PER_SECOND,
    Metric(
        key="tokens_per_second_mean",
        meaning="tokens of all steady epochs over their seconds, interference included",
        unit="tokens/s",
        value=lambda record: series.mean_speed(record.epochs),
        shown=Shown("mean tokens/s", Place.DETAILS),
    ),
    Metric(
        key="tokens_per_second_quartile_1",
        meaning="lower quartile of the steady epochs, all processes together",
        unit="tokens/s",
        value=lambda record: _quartile([record], 0),
        pooled=partial(_quartile, which=0),
        shown=Shown("quartiles", Place.DETAILS, beside="tokens_per_second_quartile_3"),
    ),
    Metric(
        key="tokens_per_second_quartile_3",
        meaning="upper quartile of the same",
        unit="tokens/s",
        value=lambda record: _quartile([record], 2),
        pooled=partial(_quartile, which=2),
    ),
    Metric(
        key="layer_forward_seconds",
        meaning="a pass forward through the recurrent layers alone, by the estimator of speeds",
        unit="s",
        value=_forward_pass,
        summary=Summary.GEOMETRIC_MEAN,
        better=Better.LOWER,
        label="ms forward",
        shown=Shown("ms forward", Place.MAIN, factor=1e3),
        complete=True,
        drifts=True,
        scales=True,
    ),
    Metric(
        key="layer_seconds",
        meaning="a pass forward and backward through the recurrent layers alone",
        unit="s",
        value=_whole_pass,
        summary=Summary.GEOMETRIC_MEAN,
        better=Better.LOWER,
        label="ms forward and backward",
        shown=Shown("ms forward+backward", Place.MAIN, factor=1e3),
        complete=True,
        drifts=True,
        scales=True,
    ),
    Metric(
        key="layer_step_seconds",
        meaning="the same for each time step, all layers together",
        unit="s",
        value=_step,
        summary=Summary.GEOMETRIC_MEAN,
        shown=Shown("us/step", Place.MAIN, factor=1e6),
        complete=True,
        scales=True,
    ),
    OPERATIONS_PER_SECOND,
    SHARE_OF_PEAK,
    *(metric for target in TARGETS for metric in _time_to(target)),
    Metric(
        key="memory_bytes",
        meaning="peak resident size of the worker, less its size after the framework's import",
        unit="bytes",
        value=working_memory,
        better=Better.LOWER,
        label="memory",
        shown=Shown("memory MiB", Place.DETAILS, factor=2**-20),
    ),
    Metric(
        key="device_memory_bytes",
        meaning="peak allocated on a device with memory of its own",
        unit="bytes",
        value=lambda record: record.memory.device_peak,
        better=Better.LOWER,
        label="device memory",
        shown=Shown("device MiB", Place.DETAILS, factor=2**-20),
        exact=True,
    ),
    ENERGY,
    Metric(
        key="startup_seconds",
        meaning="import, build and prepare, with nothing compiled before",
        unit="s",
        value=start_up,
        shown=Shown("start-up s", Place.MAIN, digits=2),
    ),
    Metric(
        key="training_seconds",
        meaning="all epochs together",
        unit="s",
        value=lambda record: sum(record.epochs.seconds),
        shown=Shown("training s", Place.MAIN, minor=True),
    ),
    Metric(
        key="parity_worst",
        meaning="the largest relative error against the float64 reference, of any process",
        unit="ratio",
        value=_worst_error,
        summary=Summary.MAXIMUM,
        shown=Shown("parity", Place.MAIN, digits=2, scientific=True),
        any_status=True,
    ),
)
BY_KEY = {metric.key: metric for metric in METRICS}
