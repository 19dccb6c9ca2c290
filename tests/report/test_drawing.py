"""Plots under the project's own settings, whatever the user has set, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis.tables import tables_from
from lstmbench.report import images

DRAW = """
import sys
from lstmbench.report.drawing import Figure, own_settings, to_svg

@own_settings()
def draw():
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([1, 2, 3], [10, 200, 3000], label=sys.argv[1])
    axes.set(xlabel="epoch", yscale="log")
    axes.legend()
    return to_svg(figure)

print(draw())
"""
SETTINGS = """
backend: nosuch
text.usetex: True
font.size: 14
font.family: cursive
axes.spines.top: False
savefig.transparent: True
savefig.bbox: tight
svg.fonttype: none
nonsense
"""


def draw(folder: Path, label: str = "numpy", **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", DRAW, label],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    return draw(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "nosuch", "webagg", ""]
)
def test_a_notebook_s_backend_changes_nothing(backend: str, tmp_path: Path, plain: str) -> None:
    assert draw(tmp_path, MPLBACKEND=backend) == plain


def test_the_user_s_settings_change_nothing(tmp_path: Path, plain: str) -> None:
    (tmp_path / "matplotlibrc").write_text(SETTINGS)
    assert draw(tmp_path) == plain
    assert draw(tmp_path.parent, MATPLOTLIBRC=str(tmp_path / "matplotlibrc")) == plain


def test_the_environment_is_as_it_was(tmp_path: Path) -> None:
    code = "import lstmbench.report.drawing, os; assert os.environ['MPLBACKEND'] == 'nosuch'"
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "MPLBACKEND": "nosuch"}, check=True
    )


def test_letters_that_the_font_lacks_stay_text(tmp_path: Path, plain: str) -> None:
    assert "<text" not in plain
    svg = draw(tmp_path, "我的模型 <b>", PYTHONWARNINGS="error")
    assert "我的模型 &lt;b&gt;" in svg


def test_a_plot_that_fails_is_a_line(
    make_record: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstmbench.report import plots

    def fail(_: object) -> str:
        raise RuntimeError("latex could not be found")

    monkeypatch.setattr(plots, "perplexity_svg", fail)
    problems: list[str] = []
    assert images.draw(images.images(tables_from([make_record()])), problems) == {}
    assert problems == ["perplexity.svg cannot be drawn: RuntimeError: latex could not be found"]


def test_the_legend_says_in_what_curves_differ(make_record: Callable[..., Any]) -> None:
    from lstmbench.protocol import D2L
    from lstmbench.report.plots import perplexity_svg

    records = [make_record(protocol=D2L.override({"hidden_size": size})) for size in (8, 64)]
    svg = perplexity_svg(tables_from(records))
    for size in (8, 64):
        assert f"<!-- numpy:eager (hidden-size {size}) -->" in svg
    svg = perplexity_svg(tables_from([make_record(init=init) for init in ("shared", "native")]))
    assert "<!-- numpy:eager (native) -->" in svg
