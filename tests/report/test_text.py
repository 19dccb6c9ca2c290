"""Tables: figures that can be recomputed, and strings that stay strings."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis.tables import Table, tables_from
from lstmbench.protocol import D2L, QUICK
from lstmbench.records.record import Continuation, Epochs, Machine
from lstmbench.report.escape import escape_markdown, escape_markdown_line
from lstmbench.report.numbers import scientific, significant
from lstmbench.report.plots import perplexity_svg
from lstmbench.report.text import FORMATS, render

Make = Callable[..., Any]
TEXTS = [form for form in FORMATS if form not in ("csv", "json")]
NASTY = "a|b <b>bold</b> & \\ _under_ *star* `code` {x} $y$ 50% #1 ^~ \"q\" 'q'"
#: What a name of a plugin may hold: no comma, colon, blank or slash.
NAME = "a|<b>&\\_*`{}$%#^~[x](y)"


def table(record: Any, form: str) -> str:
    return render(tables_from([record]), form)


def figures(records: list[Any]) -> list[dict[str, Any]]:
    tables = json.loads(render(tables_from(records), "json"))
    return [row for table in tables for row in table["rows"]]


def test_tables_that_differ_in_an_untitled_size_say_so(make_record: Make) -> None:
    protocols = (D2L, replace(D2L, clip_norm=0.5))
    titles = [table.title for table in tables_from([make_record(protocol=p) for p in protocols])]
    assert [title.rpartition(", ")[2] for title in titles] == ["clip_norm 1.0", "clip_norm 0.5"]
    assert "clip_norm" not in tables_from([make_record()])[0].title


def test_padding_does_not_depend_on_what_else_is_installed(tmp_path: Path) -> None:
    """tabulate uses wcwidth if it happens to be there."""
    (tmp_path / "wcwidth.py").write_text("def wcswidth(text): return 2 * len(text)")
    draw = "from lstmbench.report.grid import grid; print(grid(['a', 'b'], [['xyz', 'b']]))"
    paths = [str(tmp_path), *sys.path]
    drawn = [
        subprocess.run(
            [sys.executable, "-c", draw],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            check=True,
            capture_output=True,
        ).stdout
        for path in (paths[1:], paths)
    ]
    assert drawn[0] == drawn[1] != b""


@pytest.mark.parametrize("name", ["[2em]", "*", "[", "  *x"])
def test_no_row_of_latex_is_an_argument_of_the_line_s_end(make_record: Make, name: str) -> None:
    r"""``\\`` and ``\midrule`` look for ``[`` and ``*`` beyond blanks and line ends."""
    written = table(make_record(backend=name), "latex")
    assert f"{{}}{name.strip()}" in written
    assert not re.search(r"(\\\\|\\midrule)\s*[\[*]", written)


def test_csv_holds_the_same_figures_as_json(make_record: Make) -> None:
    records = [make_record(), make_record(backend="other", status="failed", reason="nan")]
    lines = list(csv.DictReader(io.StringIO(render(tables_from(records), "csv"))))
    rows = figures(records)
    assert len(lines) == len(rows) == 2
    for line, row in zip(lines, rows, strict=True):
        assert line["backend"] == row["backend"]
        assert line["corpus"] == "time-machine"
        for name in ("perplexity", "tokens_per_second", "training_seconds", "startup_seconds"):
            assert (float(line[name]) if line[name] else None) == row[name]


@pytest.mark.parametrize("form", TEXTS)
def test_texts_show_the_figures_rounded(make_record: Make, form: str) -> None:
    (row,) = figures([make_record()])
    # parameters of a cell: value, digits
    shown = {
        significant(row["perplexity"], 5),
        significant(row["tokens_per_second"], 3),
        significant(row["startup_seconds"], 2),
        significant(row["training_seconds"], 3),
        scientific(row["parity_worst"], 2),
    }
    assert len(shown) == 5
    words = set(re.split(r"[\s|&<>\\]+", table(make_record(), form)))
    assert shown <= words


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 3, ""),
        (0, 3, "0"),
        (1.0, 5, "1.0000"),
        (16.74421, 5, "16.744"),
        (99999.6, 5, "100,000"),
        (81234.0, 3, "81,200"),
        (0.012345, 2, "0.012"),
        (123.456, 3, "123"),
    ],
)
def test_significant_digits(value: float | None, digits: int, text: str) -> None:
    assert significant(value, digits) == text


def test_rounding_up_adds_no_digit() -> None:
    assert significant(9.9996, 3) == "10.0"


@pytest.mark.parametrize("form", FORMATS)
def test_a_perplexity_beyond_a_float_is_shown(make_record: Make, form: str) -> None:
    record = make_record(epochs=Epochs(seconds=[1.0, 1.0], nats=[1e6, 1e6], tokens=[10, 10]))
    shown = render(tables_from([record]), form)
    if form == "json":
        json.loads(shown, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert "<svg" in perplexity_svg(tables_from([record]))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("status", ["failed", "unavailable", "interrupted"])
def test_a_trial_without_an_epoch_is_a_row(make_record: Make, form: str, status: str) -> None:
    reason = "timeout" if status == "failed" else None
    record = make_record(
        status=status, reason=reason, message="because", epochs=Epochs(), phases={}, parity=None
    )
    shown = table(record, form)
    assert status in shown
    assert "because" in shown


def test_no_speed_without_parity(make_record: Make) -> None:
    record = make_record(status="failed", reason="parity", message="text: loss differs")
    (row,) = figures([record])
    assert row["tokens_per_second"] is None
    assert row["perplexity"] is None
    assert row["status"] == "failed: parity"
    assert row["parity_worst"] == 5e-6


def test_flags_stand_in_the_status(make_record: Make) -> None:
    (row,) = figures([make_record(flags=["suspect"])])
    assert row["status"] == "ok, suspect"


def test_rows_are_sorted_by_speed_and_those_without_come_last(make_record: Make) -> None:
    def trained(name: str, seconds: float) -> Any:
        epochs = Epochs(seconds=[seconds] * 3, nats=[10.0] * 3, tokens=[10] * 3)
        return make_record(backend=name, epochs=epochs)

    broken = make_record(backend="a", status="failed", reason="exit")
    rows = figures([trained("slow", 3), broken, trained("fast", 1), trained("middle", 2)])
    assert [row["backend"] for row in rows] == ["fast", "middle", "slow", "a"]


@pytest.mark.parametrize("form", TEXTS)
def test_one_process_per_trial_is_not_ranked(make_record: Make, form: str) -> None:
    assert "rank " not in table(make_record(), form)
    assert [row["rank"] for row in figures([make_record()])] == [None]


@pytest.mark.parametrize(
    "change",
    [
        {"corpus": "bundled"},
        {"corpus_digest": "0" * 64},
        {"protocol": QUICK},
        {"init": "native"},
        {"dtype": "float64"},
        {"threads": 1},
        {"environment": {"OMP_WAIT_POLICY": "PASSIVE"}},
        {"machine": Machine(digest="other", facts={}, versions={})},
    ],
)
def test_what_differs_never_shares_a_table(make_record: Make, change: dict[str, Any]) -> None:
    tables = tables_from([make_record(), make_record(backend="b", **change)])
    assert [len(table.rows) for table in tables] == [1, 1]
    titles = [line for line in render(tables, "github").splitlines() if line.startswith("### ")]
    assert len([title for title in titles if "Scaling" not in title]) == 2


def test_what_rows_share_stands_in_the_title(make_record: Make) -> None:
    record = make_record(corpus="bundled", overrides={"epochs": 4})
    (found,) = tables_from([record])
    for words in (
        "d2l with epochs 4,",
        "shared",
        "corpus bundled (8424dbd9)",
        "float32",
        "2 threads",
    ):
        assert words in found.title


def test_the_same_backend_in_another_mode_or_device_is_another_row(make_record: Make) -> None:
    records = [make_record(), make_record(mode="jit"), make_record(device="cuda:0")]
    (found,) = tables_from(records)
    assert len(found.rows) == 3


def nasty(make_record: Make) -> Any:
    return make_record(
        backend=NAME,
        mode=NAME,
        status="failed",
        reason="exception",
        message=f"{NASTY}\nsecond line",
        continuations=[Continuation(prefix=NASTY, text=f"{NASTY}\n\n# heading")],
        machine=Machine(digest="m", facts={"processor": NASTY, "physical_cores": 2}, versions={}),
    )


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, _: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_shows_strings_as_they_are(make_record: Make) -> None:
    parser = Tags()
    parser.feed(table(nasty(make_record), "html"))
    assert parser.tags <= {"h3", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert NASTY in parser.text
    assert NAME in parser.text


def unescaped(text: str) -> str:
    """What is left of Markdown or LaTeX when every escaped character is taken out."""
    return re.sub(r"\\[\\`*_{}\[\]()#!|~&%$]", "", text)


def test_github_shows_strings_as_they_are(make_record: Make) -> None:
    text = table(nasty(make_record), "github")
    assert "<b>" not in text
    assert "&lt;b&gt;bold" in text
    lines = text.splitlines()
    for line in lines:
        left = unescaped(line)
        assert not re.search(r"[*_`\[\]<]", left), line
    rows = [line for line in lines if line.startswith("|")]
    assert len({unescaped(row).count("|") for row in rows}) <= 3  # one width for each table
    assert escape_markdown(NAME) in text


@pytest.mark.parametrize(
    "text", ["AMD EPYC (2 cores)", "clip_norm 0.5", "a#b", "{x}!", "-1", "2. of 3", "3) of 4"]
)
def test_github_text_is_escaped_only_where_it_must_be(text: str) -> None:
    assert escape_markdown(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("![x](y)", r"!\[x\](y)"),
        ("_a_b_", r"\_a_b\_"),
        ("- item", r"\- item"),
        ("# title", r"\# title"),
        ("3) of 4", r"3\) of 4"),
        ("closing #", r"closing \#"),
    ],
)
def test_github_lines_are_no_markup(text: str, escaped: str) -> None:
    assert escape_markdown_line(text) == escaped


@pytest.mark.parametrize("form", ["github", "plain", "latex"])
def test_a_message_of_several_lines_stays_on_one(make_record: Make, form: str) -> None:
    record = make_record(
        status="failed", reason="exception", message="first\n\n# second\n| third |", phases={}
    )
    (line,) = [line for line in table(record, form).splitlines() if "first" in line]
    assert "second" in line
    assert "third" in line


def test_control_characters_never_reach_a_terminal(make_record: Make) -> None:
    message = "red \x1b[31m alert \x07"
    continuations = [Continuation(prefix="\x1b]0;title\x07", text="x")]
    shown = table(
        make_record(
            status="failed", reason="exception", message=message, continuations=continuations
        ),
        "plain",
    )
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_latex_shows_strings_as_they_are(make_record: Make) -> None:
    text = table(nasty(make_record), "latex")
    for line in text.splitlines():
        left = unescaped(line)
        assert not re.search(r"[_%$#]", left), line
        if not line.endswith(r"\\"):
            assert "&" not in left, line
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({unescaped(row).count("&") for row in rows}) <= 3
    assert r"\textbackslash{}" in text


def test_csv_shows_strings_as_they_are(make_record: Make) -> None:
    (line,) = csv.DictReader(io.StringIO(table(nasty(make_record), "csv")))
    assert line["backend"] == NAME
    assert line["mode"] == NAME
    assert line["message"].startswith(NASTY)


def test_json_shows_strings_as_they_are(make_record: Make) -> None:
    (row,) = figures([nasty(make_record)])
    assert row["backend"] == NAME
    assert row["message"] == f"{NASTY}\nsecond line"


def test_the_plot_holds_strings_as_they_are(make_record: Make) -> None:
    from xml.etree import ElementTree

    svg = perplexity_svg(tables_from([make_record(backend=NAME)]))
    assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_the_plot_takes_no_name_for_a_formula(make_record: Make) -> None:
    assert "<svg" in perplexity_svg(tables_from([make_record(backend="$x^$")]))


def test_the_plot_is_the_same_for_the_same_records(make_record: Make) -> None:
    assert perplexity_svg(tables_from([make_record()])) == perplexity_svg(
        tables_from([make_record()])
    )


def test_nothing_to_plot_is_no_error(make_record: Make) -> None:
    empty = make_record(status="unavailable", epochs=Epochs())
    assert "<svg" in perplexity_svg(tables_from([empty]))


def test_no_record_is_no_table() -> None:
    assert tables_from([]) == []
    assert json.loads(render([], "json")) == []


def test_a_table_shows_its_rows_environment(make_record: Make) -> None:
    """What was set for the workers stands in the record and is visible in the table."""
    record = make_record(environment={"OMP_WAIT_POLICY": "PASSIVE"})
    (found,) = tables_from([record])
    assert isinstance(found, Table)
    assert "OMP_WAIT_POLICY" in render([found], "plain")
