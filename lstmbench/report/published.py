"""Figures that others published, beside tables of the same protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from lstmbench.analysis.tables import Table
from lstmbench.errors import UserError
from lstmbench.protocol import later_defaults
from lstmbench.report.layout import Section, TextTable

COLUMNS = (
    ("implementation", "implementation"),
    ("perplexity", "perplexity"),
    ("tokens_per_second", "tokens/s"),
    ("hardware", "hardware"),
    ("source", "source"),
)


@cache
def publications() -> list[dict[str, Any]]:
    """Each source with its date (where it has one), hardware, corpus, protocol and figures."""
    text = resources.files("lstmbench").joinpath("data/published.json").read_text("utf-8")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def comparable(publication: Mapping[str, Any], table: Table) -> bool:
    """Whether the table has the publication's corpus and every hyper-parameter that it states, and
    none of the later ones that it does not."""
    protocol, stated = table.facts["protocol"], publication["protocol"]
    same = all(protocol.get(name) == value for name, value in stated.items())
    same = same and not protocol.keys() & later_defaults().keys() - stated.keys()
    return same and table.first.trial.corpus == publication["corpus"]


def published_section(tables: Sequence[Table]) -> Section:
    """The figures of all comparable publications.

    Raises :class:`UserError` if there are none.
    """
    rows = [
        (
            figure["implementation"],
            str(figure["perplexity"]),
            str(figure["tokens_per_second"]),
            publication["hardware"],
            ", ".join(filter(None, (publication["source"], publication["date"]))),
        )
        for publication in publications()
        if any(comparable(publication, table) for table in tables)
        for figure in publication["figures"]
    ]
    if not rows:
        raise UserError(
            "--published: no published figure has the protocol and the corpus of these tables; "
            "leave the option out"
        )
    note = "Measured by others on other machines: a point of reference, not a comparison."
    title = "Published elsewhere for the same protocol"
    return Section(title, (TextTable.from_rows("published", COLUMNS, rows), note))
