"""Tables are aligned by what letters take on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.report.grid import grid

CELLS = st.text(st.sampled_from("ab |我的模型🙂ｆü"), max_size=8).map(str.strip)


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4))
@pytest.mark.parametrize("style", ["github", "simple"])
def test_all_lines_are_equally_wide(style: str, rows: list[tuple[str, str]]) -> None:
    # blanks at the end of a line are not drawn
    ended = [(*row, "x") for row in rows]
    drawn = grid(("名前", "y", "z"), ended, style, ("left", "right", "right"))
    lines = [line for line in drawn.splitlines() if line.strip()]
    assert len({columns(line) for line in lines}) == 1
    assert "\ue000" not in drawn


def test_cells_are_what_they_were() -> None:
    assert "我的模型  1" in grid((), [("我的模型", "1"), ("numpy", "2")])
