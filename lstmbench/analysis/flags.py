"""Every flag, declared once: its rule, what it means, whether it keeps a row from being the best.

Trials are flagged by :data:`RULES` when they end, ``lstmbench verify`` applies them again, notes
beneath tables explain them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lstmbench.analysis.series import rates
from lstmbench.records.record import Epochs, Evaluation, Flag, SystemLoad

#: Processors that others use, and share of time that is stolen, from which on a record is flagged:
#: part of the record format.
INTERFERING_PROCESSORS, STOLEN_SHARE = 0.1, 0.01
#: Nats below those of the text's own source that chance reaches less than once in a million trials.
CHANCE_NATS = math.log(1e6)
#: Values at most between which the slopes of all pairs are looked at.
MAX_SLOPES = 500


def interference(load: SystemLoad | None) -> bool:
    """Whether others took so much of the machine that speeds may be too low."""
    return load is not None and (
        load.others >= INTERFERING_PROCESSORS or load.stolen >= STOLEN_SHARE
    )


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


#: What a rule looks at: the epochs, the evaluations, and the load by others.
Rule = Callable[[Epochs, Sequence[Evaluation], SystemLoad | None], bool]


@dataclass(frozen=True)
class FlagRule:
    """A flag and its ``rule``; ``meaning`` is what notes and documents say of it.

    - ``shared``: of the whole group; notes beneath tables say what was measured instead;
    - ``disqualifies``: a row with it is never the best;
    - ``versioned``: versions of lstmbench may judge differently, so that only records of the
      present one can be judged again.
    """

    name: Flag
    rule: Rule
    meaning: str
    shared: bool = False
    disqualifies: bool = False
    versioned: bool = False


#: In the order in which a record lists them.
RULES = (
    FlagRule(
        Flag.INTERFERENCE,
        lambda epochs, evaluations, load: interference(load),
        "other programs kept a tenth of a processor busy, or a hundredth of the time was stolen",
        shared=True,
    ),
    FlagRule(
        Flag.SUSPECT,
        lambda epochs, evaluations, load: suspect(epochs.nats, evaluations),
        "a perplexity is too good to be true",
        disqualifies=True,
    ),
    FlagRule(
        Flag.DRIFTING,
        lambda epochs, evaluations, load: drifting(epochs),
        "the steady epochs still drift",
        versioned=True,
    ),
)
BY_NAME = {rule.name: rule for rule in RULES}


def raised(
    epochs: Epochs, evaluations: Sequence[Evaluation], load: SystemLoad | None
) -> list[Flag]:
    """The flags of a trial with this result."""
    return [flag.name for flag in RULES if flag.rule(epochs, evaluations, load)]


def disqualified(flags: Iterable[Flag]) -> bool:
    """Whether one of these flags keeps a row from being the best."""
    return any(BY_NAME[flag].disqualifies for flag in flags)
