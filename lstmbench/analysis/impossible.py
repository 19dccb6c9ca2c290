"""Figures that no honest trial can have, whatever the machine did meanwhile.

Each rule looks at one record and says in a sentence what cannot be. Noise makes a machine slower,
never faster than it is; where a rule compares two measurements, its margin is what noise on both
can do, and stands beside it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import NamedTuple

from lstmbench.analysis import roofline
from lstmbench.analysis.series import faster_half_mean, warm_up
from lstmbench.records.record import Record, SystemLoad

#: Nats below those of the text's own source that chance reaches less than once in a million trials.
CHANCE_NATS = math.log(1e6)
#: Share of the measured peak. Both are means over faster halves, measured between the epochs; the
#: peak is the best of several offers, which a busy machine lowers more than the trial.
MAX_PEAK_SHARE, MAX_PEAK_SHARE_BUSY = 1.2, 4.0
#: The same of one processor second, on a machine that is not busy: on fewer threads a processor's
#: clock may run faster.
MAX_PROCESSOR_SHARE = 2.0
#: Processors that others use, share of time that is stolen, and share of the periods in which a
#: container's limit stops its processes, from which on a machine is busy.
BUSY_PROCESSORS, BUSY_STOLEN, BUSY_THROTTLED = 0.1, 0.01, 0.01
#: Seconds of the shortest call that does anything: starting one takes longer.
MIN_EPOCH_SECONDS = 1e-6
#: Epochs from which on durations are asked to differ: clocks count nanoseconds.
MANY_EPOCHS = 5
#: The second instance finds everything loaded and compiled: times the first one's seconds, and
#: seconds, that it may take all the same.
REBUILD_FACTOR, REBUILD_SECONDS, REBUILD_SECONDS_BUSY = 3.0, 1.0, 10.0
#: Resident sizes may shrink a little when the system takes back pages that hold files.
MIN_MEMORY_SHARE = 0.9
#: dtypes in which every implementation rounds in its own way.
ROUNDED = ("float32", "float16", "bfloat16")
#: Of what the host saw, that a worker may leave out, and seconds: how long a machine lets an answer
#: wait, once the quarter of the epochs that waited least is looked at. Runs judge by what requests
#: were seen to cost.
CLOCK_SHARE, CLOCK_SECONDS, CLOCK_SECONDS_BUSY = 0.25, 0.005, 0.05
#: Processors in use per thread, and seconds, for the system counts what leads to an epoch too.
PROCESSORS_PER_THREAD, PROCESSOR_SECONDS = 1.05, 0.1
#: Processor seconds that showing parameters once may take more than once again, in the challenge.
SHOWING_SECONDS = 0.1
#: Of a worker's own processor seconds, and seconds, that it may spend while others train.
BETWEEN_SHARE, BETWEEN_SECONDS = 0.05, 0.2
#: How many times the seconds, and the processor seconds, of those that were timed an epoch of the
#: challenge may take, and seconds: beyond the first factor it does not show the speed, beyond the
#: second it refutes it. A machine whose processors are shared with others computes at half its
#: speed for seconds, now and then, though no program waits and the system counts nothing as stolen.
CHALLENGE_DOUBT, CHALLENGE_FACTOR, CHALLENGE_SECONDS = 1.5, 3.0, 0.002
SPENT_DOUBT, SPENT_FACTOR, SPENT_FACTOR_BUSY, SPENT_SECONDS = 2.0, 3.0, 5.0, 0.01


def reasons(record: Record) -> list[str]:
    """What is impossible in a record, a sentence each; empty for what can be true."""
    return [reason for rule in RULES for reason in rule(record)]


def _losses(record: Record) -> Iterator[str]:
    """No loss is negative. And on text from a known source p, any model q fixed before has
    E[q(text) / p(text)] <= 1, so that by Markov's inequality it spends t nats less than the source
    with a probability of at most exp(-t) (Ville 1939; the spirit of MLPerf's reference
    convergence points)."""
    if min(record.epochs.nats, default=0.0) < 0:
        yield "a loss is negative"
    for evaluation in record.evaluations:
        source = evaluation.source_nats
        if source is not None and evaluation.nats < source - CHANCE_NATS:
            yield f"knows the {evaluation.split} text better than the source that it comes from"


def _peak(record: Record) -> Iterator[str]:
    share = roofline.peak_share(record)
    most = MAX_PEAK_SHARE_BUSY if is_busy(record.system_load) else MAX_PEAK_SHARE
    if share is not None and share > most:
        yield f"trains at {share:.0%} of the fastest matmul"


def _memory(record: Record) -> Iterator[str]:
    imported, peak = record.memory.imported, record.memory.peak
    if imported and peak is not None and peak < MIN_MEMORY_SHARE * imported:
        yield f"its peak of memory is {peak / imported:.0%} of what it had when it was imported"


def _clock(record: Record) -> Iterator[str]:
    seconds = record.epochs.seconds
    if seconds and min(seconds) < MIN_EPOCH_SECONDS:
        yield f"an epoch took {min(seconds):.1g} s, less than a call takes"
    if len(seconds) >= MANY_EPOCHS and 2 * len(set(seconds)) <= len(seconds):
        yield f"{len(seconds)} epochs took only {len(set(seconds))} different times"


def _rebuild(record: Record) -> Iterator[str]:
    phases = record.phases
    if phases.build is None or phases.prepare is None or phases.rebuild is None:
        return
    first = phases.build + phases.prepare
    more = REBUILD_SECONDS_BUSY if is_busy(record.system_load) else REBUILD_SECONDS
    if phases.rebuild > REBUILD_FACTOR * first + more:
        yield (
            f"building it again took {phases.rebuild:.1f} s, the first time {first:.1f} s: "
            "it may have trained ahead"
        )


def _parity(record: Record) -> Iterator[str]:
    proof = record.parity
    if proof is not None and record.trial.dtype in ROUNDED and proof.errors and proof.worst == 0:
        yield f"differs from float64 by nothing at all, though it computes in {record.trial.dtype}"


def _clocks(record: Record) -> Iterator[str]:
    epochs = record.epochs
    pairs = list(zip(epochs.seconds, epochs.host_seconds, strict=False))
    if not pairs:
        return
    claimed, seen = sorted(pairs, key=lambda pair: pair[1] - pair[0])[len(pairs) // 4]
    wait = CLOCK_SECONDS_BUSY if is_busy(record.system_load) else CLOCK_SECONDS
    if seen - claimed > CLOCK_SHARE * seen + wait:
        yield f"claims {claimed:.2g} s for an epoch where the host saw {seen:.2g} s"
    if any(claimed > seen for claimed, seen in pairs):
        yield "claims more seconds for an epoch than it took to ask for it"


def _processors(record: Record) -> Iterator[str]:
    epochs, threads = record.epochs, record.trial.threads
    spent, seconds = sum(epochs.processor_seconds), sum(epochs.host_seconds)
    if seconds and spent > PROCESSORS_PER_THREAD * threads * seconds + PROCESSOR_SECONDS:
        yield f"computed on {spent / seconds:.2g} processors, with --threads {threads}"


def _challenge_processors(record: Record) -> Iterator[str]:
    """With more of them what could not be known may be trained as fast as what could be."""
    challenge, threads = record.challenge, record.trial.threads
    if challenge is None:
        return
    spent, seconds = sum(challenge.processor_seconds), sum(challenge.seconds)
    least = len(challenge.seconds) * SHOWING_SECONDS
    if spent > PROCESSORS_PER_THREAD * threads * seconds + least:
        yield f"computed for {spent:.2g} s in {seconds:.2g} s of the challenge"


def _work(record: Record) -> Iterator[str]:
    """Of no work at all there is nothing to say: the system may not tell, or count coarsely."""
    epochs, peak = record.epochs, roofline.peak(record)
    spent = sum(epochs.processor_seconds)
    if peak is None or not spent or record.trial.device_kind != "cpu":
        return
    if is_busy(record.system_load):
        return  # matmuls waited too
    rate = sum(epochs.tokens) * roofline.record_cost(record).operations / spent
    share = rate * record.trial.threads / peak
    if share > MAX_PROCESSOR_SHARE:
        yield f"its processor seconds suffice for {1 / share:.0%} of the work"


def _between(record: Record) -> Iterator[str]:
    activity = record.activity
    if activity is None:
        return
    own = sum(record.epochs.processor_seconds)
    if activity.processor_seconds > max(BETWEEN_SECONDS, BETWEEN_SHARE * own):
        yield f"computed for {activity.processor_seconds:.1f} s while others trained"
    yield from activity.remarks


def _challenge(record: Record) -> Iterator[str]:
    """Processor seconds depend little on what others do, seconds much."""
    slower = slower_than_timed(record)
    if slower is None:
        return
    busy = is_busy(record.challenge.load if record.challenge else None)
    if slower.by_clock > CHALLENGE_FACTOR and not busy:
        yield slower.sentence
    elif slower.by_work > (SPENT_FACTOR_BUSY if busy else SPENT_FACTOR):
        yield "computed less in the epochs that were timed than in one that it had never seen"


def is_busy(load: SystemLoad | None) -> bool:
    """Whether others took so much of the machine that durations tell little.

    So it is where nothing is known of others.
    """
    return load is None or takes_much(load)


def takes_much(load: SystemLoad) -> bool:
    """Whether others, or a container's limit, took so much of the machine that all is slower."""
    return (
        load.others >= BUSY_PROCESSORS
        or load.stolen >= BUSY_STOLEN
        or (load.throttled or 0.0) >= BUSY_THROTTLED
    )


class Slower(NamedTuple):
    """How many times the seconds of a timed epoch the fastest one of the challenge took, and how
    many times its processor seconds (0 where they are not known)."""

    by_clock: float
    by_work: float
    sentence: str

    @property
    def is_doubtful(self) -> bool:
        """Whether the challenge does not show the speed of the epochs that were timed."""
        return self.by_clock > CHALLENGE_DOUBT or self.by_work > SPENT_DOUBT


def slower_than_timed(record: Record) -> Slower | None:
    """An epoch that cannot be known shows how long the work takes, unless others slow it down."""
    challenge, epochs = record.challenge, record.epochs
    if challenge is None or not challenge.seconds or not epochs.seconds:
        return None
    steady = slice(warm_up(len(epochs.seconds)), None)
    typical = faster_half_mean(epochs.seconds[steady]) or min(epochs.seconds)
    took = min(challenge.seconds)  # once is enough: noise makes it slower only
    by_clock = (took - CHALLENGE_SECONDS) / typical
    by_work = 0.0
    spent, least = epochs.processor_seconds[steady], challenge.processor_seconds
    if spent and least and record.trial.device_kind == "cpu":
        # threads that wait for each other compute meanwhile, more so on a busy machine
        by_work = min(least) / (statistics.median(spent) + SPENT_SECONDS)
    sentence = (
        f"took {took:.2g} s for an epoch that it had never seen, {typical:.2g} s for those that "
        "were timed"
    )
    return Slower(by_clock, by_work, sentence)


RULES = (
    *(_losses, _peak, _work, _memory, _clock, _clocks, _rebuild, _parity),
    *(_processors, _challenge_processors, _between, _challenge),
)
