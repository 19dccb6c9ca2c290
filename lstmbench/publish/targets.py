"""Places that plugins take a published store to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lstmbench.errors import UserError
from lstmbench.plugin import manager
from lstmbench.plugin.extensions import Target

Chosen = tuple[Target, Mapping[str, str]]


def choose(texts: Sequence[str]) -> list[Chosen]:
    """``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE`` each."""
    known = manager.load().targets()
    chosen: list[Chosen] = []
    for text in texts:
        name, _, rest = text.partition(":")
        if name not in known:
            raise manager.unknown("target", name, known)
        pairs = [part.partition("=") for part in rest.split(",") if part]
        if not all(equals for _, equals, _ in pairs):
            raise UserError(f"--target {text!r}: expected NAME:KEY=VALUE,KEY=VALUE")
        chosen.append((known[name], {key: value for key, _, value in pairs}))
    return chosen


def deliver(store: Path, chosen: Sequence[Chosen]) -> list[str]:
    """Take the store to each. Returns a line for each that failed, whichever way."""
    problems = []
    for target, options in chosen:
        try:
            target.publish(store, options)
        except (Exception, SystemExit) as error:
            what = (
                str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            )
            problems.append(f"target {target.name!r} failed: {what}")
    return problems
