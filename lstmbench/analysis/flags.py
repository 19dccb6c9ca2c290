"""Every flag, declared once: its rule, what it means, whether it keeps a row from being ranked.

Trials are flagged by :data:`RULES` when they end, ``lstmbench verify`` applies them again, notes
beneath tables explain them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lstmbench.analysis import impossible
from lstmbench.analysis.series import rates
from lstmbench.records.record import Epochs, Flag, Record, Status

#: Values at most between which the slopes of all pairs are looked at.
MAX_SLOPES = 500


def interference(record: Record) -> bool:
    """Whether others took so much of the machine, or stopped the trial, that it may be slow."""
    load, activity = record.system_load, record.activity
    busy = load is not None and impossible.takes_much(load)
    return busy or (activity is not None and activity.hindered > 0)


def suspect(record: Record) -> bool:
    """Whether something in it cannot be true: :mod:`lstmbench.analysis.impossible` says what."""
    return bool(impossible.reasons(record))


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


def unaudited(record: Record) -> bool:
    """Whether nothing but the backend itself vouches for what it trained.

    Records of versions that held no audit are not flagged: all of them would be.
    """
    audit = record.audit
    if audit is None or record.status != Status.OK:
        return False
    slower = impossible.slower_than_timed(record)
    if slower is not None and slower.is_doubtful:
        return True
    if record.trial.protocol.is_layer:
        # rounding may hide one quantity, and then the others do not vouch for it
        whole = {part.what for part in audit.parts if part.allowed.keys() == part.errors.keys()}
        return not {"forward", "backward", "challenge"} <= whole
    judged = {part.what for part in audit.parts if part.allowed.keys() & {"parameters", "progress"}}
    return not {"segment", "challenge"} <= judged


#: Whether a record is flagged.
Rule = Callable[[Record], bool]


@dataclass(frozen=True)
class FlagRule:
    """A flag and its ``rule``; ``meaning`` is what notes and documents say of it.

    - ``shared``: of the whole group; notes beneath tables say what was measured instead;
    - ``disqualifies``: a row with it is not ranked, and stands last;
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
        interference,
        "other programs kept a tenth of a processor busy, a hundredth of the time was stolen, or a "
        "container's limit stopped it in a hundredth of the periods",
        shared=True,
    ),
    FlagRule(
        Flag.SUSPECT,
        suspect,
        "something in the record cannot be true",
        disqualifies=True,
    ),
    FlagRule(
        Flag.UNAUDITED,
        unaudited,
        "its training, or its speed, could not be audited",
    ),
    FlagRule(
        Flag.DRIFTING,
        lambda record: drifting(record.epochs),
        "the steady epochs still drift",
        versioned=True,
    ),
)
BY_NAME = {rule.name: rule for rule in RULES}


def raised(record: Record) -> list[Flag]:
    """The flags of a record with these contents, whatever flags it has."""
    return [flag.name for flag in RULES if flag.rule(record)]


def effective(record: Record) -> list[Flag]:
    """The flags that a record has, and ``suspect`` whether an ``ok`` one says so or not.

    What cannot be true is not believed of records that others made, or that an earlier version
    made, which had fewer rules.
    """
    if record.status == Status.OK and Flag.SUSPECT not in record.flags and suspect(record):
        return [*record.flags, Flag.SUSPECT]
    return list(record.flags)


def disqualified(flags: Iterable[Flag]) -> bool:
    """Whether one of these flags keeps a row from being the best."""
    return any(BY_NAME[flag].disqualifies for flag in flags)
