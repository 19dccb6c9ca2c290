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
from lstmbench.report.numbers import significant

COLUMNS = (
    ("implementation", "implementation"),
    ("perplexity", "perplexity"),
    ("tokens_per_second", "tokens/s"),
    ("hardware", "hardware"),
    ("source", "source"),
)


LAYER_COLUMNS = (
    ("implementation", "implementation"),
    ("layer_forward", "ms forward"),
    ("layer", "ms forward+backward"),
    ("layer_step", "us/step"),
    ("hardware", "hardware"),
    ("source", "source"),
)


@cache
def publications() -> list[dict[str, Any]]:
    """Each source with its date (where it has one), hardware, corpus, protocol and figures."""
    text = resources.files("lstmbench").joinpath("data/published.json").read_text("utf-8")
    found: list[dict[str, Any]] = json.loads(text)
    return found


@cache
def layer_publications() -> list[dict[str, Any]]:
    """The same of the recurrent layers alone: source with its address, date, hardware, shape, and
    milliseconds of a pass, forward and of both, where they are stated."""
    text = resources.files("lstmbench").joinpath("data/published_layers.json").read_text("utf-8")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def of_equal_shape(publication: Mapping[str, Any], table: Table) -> bool:
    """Whether the table is of the layers alone, in the shape that the publication states."""
    protocol = table.first.trial.protocol
    if not protocol.is_layer:
        return False
    own = {**vars(protocol), "input_size": protocol.model(1).input_size(0)}
    return all(own[name] == value for name, value in publication["shape"].items())


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
    rows = _model_rows(tables)
    of_layers = _layer_rows(tables)
    if not rows and not of_layers:
        raise UserError(
            "--published: no published figure has the protocol and the corpus, or the shape, of "
            "these tables; leave the option out"
        )
    note = "Measured by others on other machines: a point of reference, not a comparison."
    shown = ((COLUMNS, rows), (LAYER_COLUMNS, of_layers))
    parts = [TextTable.from_rows("published", columns, own) for columns, own in shown if own]
    what = "protocol" if rows else "shape"
    return Section(f"Published elsewhere for the same {what}", (*parts, note))


def _layer_rows(tables: Sequence[Table]) -> list[tuple[str, ...]]:
    return [
        (
            figure["implementation"],
            *(_shown(figure[key]) for key in ("forward_ms", "both_ms")),
            _shown(figure["both_ms"], 1000 / publication["shape"]["steps"]),
            publication["hardware"],
            ", ".join(
                filter(None, (publication["source"], publication["date"], publication["url"]))
            ),
        )
        for publication in layer_publications()
        if any(of_equal_shape(publication, table) for table in tables)
        for figure in publication["figures"]
    ]


def _shown(value: float | None, factor: float = 1.0) -> str:
    return "" if value is None else significant(value * factor, 4)


def _model_rows(tables: Sequence[Table]) -> list[tuple[str, ...]]:
    return [
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
