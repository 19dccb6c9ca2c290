"""Flags of a record: what casts doubt on its figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from lstmbench.analysis.metrics import rates
from lstmbench.records.record import Epochs, Evaluation, SystemLoad

#: Processors that others use, and share of time that is stolen, from which on a record is flagged:
#: part of the record format.
INTERFERING_PROCESSORS, STOLEN_SHARE = 0.1, 0.01


def interference(load: SystemLoad | None) -> bool:
    """Whether others took so much of the machine that speeds may be too low."""
    return load is not None and (
        load.others >= INTERFERING_PROCESSORS or load.stolen >= STOLEN_SHARE
    )


#: Nats below the source entropy bound that chance reaches less than once in a million trials.
CHANCE_NATS = math.log(1e6)


#: Values at most between which the slopes of all pairs are looked at.
MAX_SLOPES = 500


def suspect(nats: Sequence[float], evaluations: Sequence[Evaluation]) -> bool:
    """Whether a result is too good to be true.

    No loss is negative. And on text from a known source p, any model q fixed before has
    E[q(text) / p(text)] <= 1, so that by Markov's inequality it spends t nats less than the source
    with a probability of at most exp(-t) (Ville 1939; the spirit of MLPerf's reference
    convergence points).
    """
    too_good = (
        e.source_nats is not None and e.nats < e.source_nats - CHANCE_NATS for e in evaluations
    )
    return min(nats, default=0.0) < 0 or any(too_good)


def drifting(epochs: Epochs) -> bool:
    """Whether the steady epochs still drift: a clear trend that amounts to more than a tenth.

    Trend by Kendall's tau (Mann 1945, p below 0.001), size by the Theil-Sen slope (Sen 1968).
    """
    steady = rates(epochs)
    if len(steady) < 10:
        return False
    from scipy import stats

    if stats.kendalltau(range(len(steady)), steady).pvalue >= 0.001:
        return False
    # a slope looks at all pairs: of a long series those of its blocks' medians
    block = math.ceil(len(steady) / MAX_SLOPES)
    medians = [statistics.median(steady[i : i + block]) for i in range(0, len(steady), block)]
    slope = stats.theilslopes(medians).slope
    return bool(abs(slope) * len(medians) > 0.1 * statistics.median(steady))
