"""Two clocks for each epoch: what a worker claims, and what the host has seen."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lstmbench.analysis.series import faster_half_mean, warm_up
from lstmbench.runner.trial_state import EpochResult

#: An epoch may be so many times dearer to ask for than a request that asks for nothing (its worker
#: has slept longer, and its answer holds more), and so much of its own time, besides a little.
REQUEST_FACTOR, SHARE, SECONDS = 5.0, 0.02, 2e-4


def typical_seconds(series: Sequence[EpochResult]) -> float | None:
    """What an epoch took by the worker's clock, by the estimator of every table."""
    return faster_half_mean([epoch.seconds for epoch in series[warm_up(len(series)) :]])


def fault(series: Sequence[EpochResult]) -> str | None:
    """Whether epochs took longer than is claimed: both clocks under the same estimator."""
    claimed = faster_half_mean([epoch.seconds for epoch in series])
    seen = faster_half_mean([epoch.host_seconds for epoch in series])
    if claimed is None or seen is None:
        return None
    request = statistics.median(epoch.request_seconds for epoch in series)
    allowed = REQUEST_FACTOR * request + SHARE * seen + SECONDS
    if seen - claimed <= allowed:
        return None
    return (
        f"claims {claimed:.3g} s for an epoch where the host saw {seen:.3g} s, of which a request "
        f"explains {allowed:.2g} s"
    )
