"""Figures that others published: only on request, only beside the same protocol and corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis.tables import tables_from
from lstmbench.errors import UserError
from lstmbench.protocol import D2L, LAYER, OF_LAYER
from lstmbench.report.published import layer_publications, publications, published_section
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


def test_every_figure_of_layers_states_its_shape_and_source() -> None:
    for publication in layer_publications():
        assert publication["source"]
        assert publication["url"].startswith("https://")
        assert publication["hardware"]
        assert publication["shape"].keys() <= {*OF_LAYER}
        for figure in publication["figures"]:
            assert figure.keys() == {"implementation", "forward_ms", "both_ms"}
            assert figure["forward_ms"] or figure["both_ms"]


def test_layers_are_shown_beside_equal_shapes_only(make_record: Make) -> None:
    shape = layer_publications()[0]["shape"]
    # as wide as the layers, which need not be said
    sizes: dict[str, Any] = {**shape, "input_size": None}
    equal = replace(LAYER, epochs=D2L.epochs, **sizes)

    def tables(protocol: Any) -> Any:
        record = make_record(status="failed", reason="exception", message="no")
        trial = replace(record.trial, protocol=protocol)
        return tables_from([record.model_copy(update={"trial": trial})])

    shown = render(tables(equal), "plain", published=True)
    assert "5.19" in shown
    assert "5.068" in shown  # us/step
    assert "2782.5" not in shown
    changes: list[dict[str, Any]] = [{"steps": 1023}, {"input_size": 40}, {"layers": 2}]
    for change in changes:
        with pytest.raises(UserError, match="--published: no published figure"):
            published_section(tables(replace(equal, **change)))


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
