"""Figures that others published: only on request, only beside the same protocol and corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis.tables import tables_from
from lstmbench.errors import UserError
from lstmbench.protocol import D2L
from lstmbench.report.published import publications, published_section
from lstmbench.report.styles import STYLES
from lstmbench.report.text import render

Make = Callable[..., Any]


def test_every_publication_states_where_it_comes_from_and_what_it_measured() -> None:
    for publication in publications():
        assert publication["source"]
        assert publication["hardware"]
        assert "date" in publication
        assert publication["protocol"].keys() <= vars(D2L).keys()
        for figure in publication["figures"]:
            assert figure.keys() == {"implementation", "perplexity", "tokens_per_second"}


@pytest.mark.parametrize("form", STYLES)
def test_they_are_shown_on_request_only(make_record: Make, form: str) -> None:
    tables = tables_from([make_record()])
    figure = str(publications()[0]["figures"][0]["tokens_per_second"])
    assert figure not in render(tables, form)
    assert figure in render(tables, form, published=True)


@pytest.mark.parametrize(
    "change", [{"protocol": replace(D2L, hidden_size=512)}, {"corpus": "bundled"}]
)
def test_another_protocol_or_corpus_has_none(make_record: Make, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="--published: no published figure"):
        published_section(tables_from([make_record(**change)]))
    both = tables_from([make_record(), make_record(**change)])
    assert published_section(both).tables


@pytest.fixture
def run(tmp_path: Path, make_record: Make) -> Path:
    from lstmbench.records.store import Run

    made = Run.create(tmp_path / "runs", "d2l")
    made.write_plan({})
    made.write_record(make_record())
    return made.folder


def test_the_command_line(call: Any, one_line: Any, run: Path, tmp_path: Path) -> None:
    page = tmp_path / "PAGE.md"
    page.write_text("<!-- lstmbench:begin -->\n<!-- lstmbench:end -->\n")
    assert "2782.5" in call("report", run, "--published").stdout
    assert "2782.5" not in call("report", run).stdout
    for kind in ("full", "best"):
        done = call("publish", run, "--into", page, "--published", "--table", kind)
        assert done.returncode == 0, done.stderr
        assert page.read_text().count("2782.5") == 1
    one_line(call("report", run, "--published", "--format", "csv"), "--published", "github")
    one_line(call("publish", run, "--to", tmp_path / "store", "--published"), "--published")
    assert not (tmp_path / "store").exists()
