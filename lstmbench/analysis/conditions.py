"""Under which conditions records were made: what was trained and how; where, when, by what code."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields

from lstmbench.protocol import OVERRIDES, SAMPLING, WORDING, Protocol
from lstmbench.records.record import Record

#: What a condition may be for all records of one side.
Conditions = dict[str, set[str]]

#: Which backend trains, how it executes, and in which environment.
LABEL = frozenset({"backend", "mode", "stack"})
#: The same, and what the backend asks for itself.
BACKEND = LABEL | {"backend environment"}
#: What must be equal, too, for the ratio of two rows to say anything of their backends.
WHERE = ("machine", "seed")
#: Settings by which rows are called, those first that say most.
IN_NAMES = (
    *("model", "protocol", *OVERRIDES, "init", "dtype", "threads", "device", "corpus"),
    *(f.name for f in fields(Protocol) if f.name not in ("name", *OVERRIDES)),
    "environment",
)

#: Of the protocol, what decides what is trained and how it is evaluated.
PROTOCOL = tuple(f.name for f in fields(Protocol) if f.name not in (*WORDING, *SAMPLING))

_DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{32,56}\b")
#: Values of one condition that are shown, and characters: a stranger's records may hold any number.
MAX_VALUES, MAX_CHARACTERS = 4, 120


def settings(record: Record) -> dict[str, str]:
    """What decides what is trained and how, but seed and repeat, by the names of ``--only``."""
    trial = record.trial
    protocol = {name: str(getattr(trial.protocol, name)) for name in PROTOCOL}
    return {
        "backend": trial.backend,
        "mode": trial.mode,
        "stack": trial.stack,
        "model": trial.model,
        "device": trial.device,
        "corpus": " ".join([f"{trial.corpus} ({trial.corpus_digest})", *trial.preparation.words]),
        "protocol": protocol.pop("name"),
        **protocol,
        "init": trial.init,
        "dtype": trial.dtype,
        "threads": str(trial.threads),
        "environment": _pairs(trial.environment),
    }


def origin(record: Record) -> dict[str, str]:
    """Where and when a record was made, and by what code."""
    source, stack = record.source, record.stack
    code = [*source.plugins, *(stack.plugins if stack else ())]
    plugins = {f"code of {p.distribution}": p.digest or "unknown" for p in code}
    own = {"reference": record.own_model.reference} if record.own_model else {}
    return {
        "run": source.run,
        "date": source.started[:16].replace("T", " "),
        "commit": f"{source.commit or 'unknown'}{' with changes' if source.dirty else ''}",
        "machine": f"{record.machine.label} ({record.machine.digest})",
        "seed": str(record.trial.seed),
        "backend environment": _pairs(record.trial.backend_environment),
        **{f"version of {name}": version for name, version in versions(record).items()},
        **plugins,
        **({"request": stack.request} if stack else {}),
        **own,
    }


def versions(record: Record) -> dict[str, str]:
    """The versions that were installed; a plugin of a repository of its own has a commit, too."""
    found = host_versions(record)
    return found | record.stack.versions if record.stack else found


def host_versions(record: Record) -> dict[str, str]:
    """The same of the host, whose trials' workers may run in stacks."""
    source, found = record.source, dict(record.machine.versions)
    for plugin in source.plugins:
        if plugin.commit and plugin.commit != source.commit:
            found[plugin.distribution] = f"{plugin.version} (commit {plugin.commit[:8]})"
    return found


def of(records: Iterable[Record]) -> Conditions:
    """Every condition of the records, with the values that it has in them."""
    found: Conditions = {}
    for record in records:
        for name, value in (settings(record) | origin(record)).items():
            found.setdefault(name, set()).add(value)
    return found


def differences(a: Sequence[Record], b: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """What should be equal for a comparison to mean something, where it is not, in both sides.

    Several seeds are no difference if both sides have the same ones.
    """
    ours, theirs = of(a), of(b)
    names = [name for name in settings(a[0]) if name not in LABEL]
    return {
        name: (in_words(ours[name], theirs[name]), in_words(theirs[name], ours[name]))
        for name in (*names, *WHERE)
        if len(ours[name] | theirs[name]) > 1
        and not (name == "seed" and ours[name] == theirs[name])
    }


def in_words(values: Collection[str], others: Collection[str] = ()) -> str:
    """The values of a condition; of digests the first digits, unless those of ``others`` are alike.

    Of many values, or long ones, the beginning.
    """
    everything = {*values, *others}
    cut = {value: _DIGEST.sub(r"\1", value) for value in everything}
    if len(set(cut.values())) < len(everything):
        cut = {value: value for value in everything}
    shown = [clipped(cut[value]) for value in sorted(values, key=in_order)]
    if len(shown) > MAX_VALUES:
        shown[MAX_VALUES - 1 :] = [f"{len(shown) - MAX_VALUES + 1} more"]
    return " or ".join(shown) or "none"


def clipped(text: str) -> str:
    """The beginning of a text that is too long for a table."""
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."


def in_order(text: str) -> tuple[float, str]:
    """The key that sorts numbers by size, and texts behind them by letter."""
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    return (number if math.isfinite(number) else math.inf, text)


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(values.items()))
