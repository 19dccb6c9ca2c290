"""What the host itself registers, through the same hooks as any plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lstmbench.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.corpus import CorpusSpec
    from lstmbench.protocol import Protocol


@hookimpl
def lstmbench_protocols() -> list[Protocol]:
    from lstmbench.protocol import PRESETS

    return list(PRESETS)


@hookimpl
def lstmbench_corpora() -> list[CorpusSpec]:
    from lstmbench.corpus import BUNDLED, MARKOV, TIME_MACHINE

    return [TIME_MACHINE, BUNDLED, MARKOV]
