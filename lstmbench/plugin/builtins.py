"""The host's own protocols and corpora, registered through the same hooks as any plugin's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.corpora.spec import CorpusSpec
    from lstmbench.protocol import Protocol


@hookimpl
def lstmbench_protocols() -> list[Protocol]:
    from lstmbench.protocol import PRESETS

    return list(PRESETS)


@hookimpl
def lstmbench_corpora() -> list[CorpusSpec]:
    from lstmbench.corpora.named import SPECS

    return list(SPECS)
