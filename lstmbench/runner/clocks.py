"""Two clocks for each epoch: what a worker claims, and what the host has seen.

On a busy machine a request waits for its worker and an answer for the host, now and then for longer
than the epoch itself. Such waits only ever add to what the host sees, and to some epochs more than
to others: the quarter of the epochs that waited least is looked at. A little of the time in which
the system says that worker or host stood in the queue for a processor need not be claimed: little,
for most of it belongs to the epoch, and a clock that leaves it all out shows a speed that was never
reached. What a worker has computed does not depend on waits at all: half of the epochs may be asked
for that.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lstmbench.analysis.series import faster_half_mean, warm_up
from lstmbench.runner.trial_state import EpochResult

#: An epoch may be so many times dearer to ask for than a request that asks for nothing (its worker
#: has slept longer, and its answer holds more), and so much of its own time, besides a little.
REQUEST_FACTOR, SHARE, SECONDS = 5.0, 0.02, 2e-4
#: The share of an epoch that may have been waited for a processor without being claimed.
QUEUED_SHARE = 0.1
#: Of the processor seconds that an epoch can hold, and seconds of each thread, that reading the
#: epoch and writing the answer may take: threads spin for a while after their work.
PROCESSOR_SHARE, PROCESSOR_SECONDS = 0.05, 2e-3


def typical_seconds(series: Sequence[EpochResult]) -> float | None:
    """What an epoch took by the worker's clock, by the estimator of every table."""
    return faster_half_mean([epoch.seconds for epoch in series[warm_up(len(series)) :]])


def fault(series: Sequence[EpochResult], threads: int) -> str | None:
    """Whether epochs took longer than is claimed."""
    return _unclaimed_time(series) or _unclaimed_work(series, threads)


def _unclaimed_time(series: Sequence[EpochResult]) -> str | None:
    by_wait = sorted(series, key=_unexplained)
    if not by_wait:
        return None
    epoch = by_wait[len(by_wait) // 4]
    request = statistics.median(epoch.request_seconds for epoch in series)
    allowed = REQUEST_FACTOR * request + SHARE * epoch.host_seconds + SECONDS
    if _unexplained(epoch) <= allowed:
        return None
    return (
        f"claims {epoch.seconds:.3g} s for an epoch where the host saw {epoch.host_seconds:.3g} s, "
        f"of which a request explains {allowed:.2g} s, and other programs {_waited(epoch):.2g} s"
    )


def _unexplained(epoch: EpochResult) -> float:
    """Seconds between the two clocks that other programs do not account for."""
    return epoch.host_seconds - epoch.seconds - _waited(epoch)


def _waited(epoch: EpochResult) -> float:
    return min(epoch.queued_seconds, QUEUED_SHARE * epoch.host_seconds)


def _unclaimed_work(series: Sequence[EpochResult], threads: int) -> str | None:
    """The faster half, for it is what counts, and what is claimed decides what belongs to it."""
    faster = sorted(series, key=lambda epoch: epoch.seconds)[: (len(series) + 1) // 2]
    if not faster:
        return None
    by_rest = sorted(faster, key=lambda epoch: epoch.processor_seconds - threads * epoch.seconds)
    epoch = by_rest[len(by_rest) // 2]
    can_hold = threads * epoch.seconds
    if epoch.processor_seconds <= can_hold * (1 + PROCESSOR_SHARE) + threads * PROCESSOR_SECONDS:
        return None
    return (
        f"claims {epoch.seconds:.3g} s for an epoch in which the host saw it compute for "
        f"{epoch.processor_seconds:.3g} s on {threads} thread{'s' if threads > 1 else ''}"
    )
