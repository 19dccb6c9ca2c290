"""Lists in the documentation are those of the code; ``LSTMBENCH_REWRITE=1`` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lstmbench.analysis import flags
from lstmbench.analysis.metrics import METRICS, Metric, Summary

PAGE = Path(__file__).parents[1] / "docs" / "result-format.md"
SUMMARIES = {
    Summary.GEOMETRIC_MEAN: "geometric mean",
    Summary.MEAN_OVER_SEEDS: "of each seed the median, of these the geometric mean",
    Summary.MEDIAN: "median",
    Summary.MAXIMUM: "largest",
}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(metric: Metric) -> str:
    over = "all epochs together" if metric.pooled else SUMMARIES[metric.summary]
    return f"{over}, with the bounds of its interval" if metric.bounds else over


def figures() -> str:
    rows = [
        (", ".join(f"`{key}`" for key in m.keys), m.unit, summary(m), m.meaning) for m in METRICS
    ]
    return table(("figure", "unit", "over processes", "what it is"), rows)


def raised_flags() -> str:
    def more(flag: flags.FlagRule) -> str:
        return "; a row with it is not ranked and stands last" if flag.disqualifies else ""

    rows = [(f"`{flag.name}`", f"{flag.meaning}{more(flag)}") for flag in flags.RULES]
    return table(("flag", "what it says"), rows)


@pytest.mark.parametrize(
    ("name", "content"), [("figures", figures()), ("flags", raised_flags())], ids=lambda x: x[:7]
)
def test_the_list_is_that_of_the_code(
    golden: Callable[[Path, str], None], name: str, content: str
) -> None:
    block = f"<!-- {name} -->\n{content}\n<!-- /{name} -->"
    text = PAGE.read_text(encoding="utf-8")
    written, count = re.subn(
        rf"<!-- {name} -->\n.*?<!-- /{name} -->", lambda _: block, text, flags=re.DOTALL
    )
    assert count == 1
    golden(PAGE, written)
