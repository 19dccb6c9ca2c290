"""Whatever a name, a message, a log or a model's text holds, it appears as text."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lstmbench.analysis.tables import tables_from
from lstmbench.publish.merge import publish
from lstmbench.records.record import Continuation, Epochs
from lstmbench.report.plots import perplexity_svg
from lstmbench.report.text import escape_markdown_line, one_line, render
from lstmbench.verify.stores import verify

pytestmark = pytest.mark.usefixtures("no_plots")
PROPERTY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: What formats take for more than text, mixed with ordinary characters.
CONTROL = "<>&\"'`*_{}[]()#!|~\\$%^+-=@:;,./\n\r\t\x00\x1b "
TEXT = st.text(st.sampled_from(CONTROL) | st.characters(codec="utf-8"), max_size=40)
NASTY = [
    "<script>alert(1)</script>",
    "<!-- lstmbench:end -->",
    "](javascript:alert(1)) ![x](y) <http://evil.example> http://evil.example",
    "| a | b |\n|---|---|\n# heading\n- item\n1. one\n> quote\n```\ncode",
    r"\input{/etc/passwd} \end{tabular} $x$ % & # _ ^ ~ {}",
    '=cmd|"/C calc"!A1',
    "@SUM(A1)\t+1-2",
    "&lt;b&gt; &amp;lt;",
    "[1ex] * [",
    "x;=1+1;y",
    'x;"=1+1";\t"=2\n=3',
    "- item",
    "+ item",
    "1. item",
    "12) item",
    "===",
    "---",
    "* * *\n___\n***bold*** ~~gone~~ :smile: @user #1",
]


def nasty_record(make_true: Any, text: str) -> Any:
    """Everywhere that a stranger's text can be in a record."""
    return make_true(
        backend=text or "x",
        mode=text or "x",
        corpus=text or "x",
        environment={"NAME": text},
        command=["lstmbench", text],
        status="failed",
        reason="exception",
        message=text or "x",
        epochs=Epochs(seconds=[1.0], nats=[1.0], tokens=[20]),
        continuations=[Continuation(prefix=text, text=text)],
        log_tail=text,
        runtime={"kernel": text},
    )


def every(test: Any) -> Any:
    for text in NASTY:
        test = example(text=text)(test)
    return PROPERTY(given(text=TEXT)(test))


class Page(HTMLParser):
    """Tags and attributes, and the text of each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.cells: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes} | {
            value or "" for _, value in attributes
        }
        if tag in ("td", "p", "h3"):
            self.cells.append("")

    def handle_comment(self, data: str) -> None:
        self.tags.add("comment")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cells:
            self.cells[-1] += data


def squeezed(text: str) -> str:
    """As pages show it: blanks are one, and ends do not count."""
    return " ".join(one_line(text).split())


def shown(cells: list[str]) -> list[str]:
    return [squeezed(cell) for cell in cells]


@every
def test_html(make_true: Any, text: str) -> None:
    page = Page()
    page.feed(render(tables_from([nasty_record(make_true, text)]), "html"))
    assert page.tags <= {"h3", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert page.attributes <= {"style", "text-align: right;", "text-align: left;"}
    if text:
        assert squeezed(text) in shown(page.cells)


def rendered(markdown: str) -> Page:
    """As GitHub renders it: CommonMark with tables, HTML and bare links."""
    page = Page()
    page.feed(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(markdown))
    return page


@every
def test_github(make_true: Any, text: str) -> None:
    page = rendered(render(tables_from([nasty_record(make_true, text)]), "github"))
    assert page.tags <= {"h3", "p", "table", "thead", "tbody", "tr", "th", "td"}
    if text:
        assert squeezed(text) in shown(page.cells)


#: What escaping itself writes.
COMMANDS = re.compile(
    r"\\text(backslash|asciitilde|asciicircum)\{\}|\\ensuremath\{[<>]\}|\\\^\{\}|\\[&%$#_{}]"
)
LATEX = re.compile(r"\\(toprule|midrule|bottomrule|begin\{tabular\}\{[lr]+\}|end\{tabular\})")


@every
def test_a_line_of_markdown_is_a_paragraph(text: str) -> None:
    """Beneath another, and as an item of a list."""
    line = escape_markdown_line(one_line(text))
    page = rendered(f"before\n{line}\n\n{line}\n")
    assert page.tags <= {"p"}
    page = rendered(f"- {line}\n")
    assert page.tags <= {"ul", "li"}
    assert squeezed(page.text) == squeezed(text)


@every
def test_latex(make_true: Any, text: str) -> None:
    for line in render(tables_from([nasty_record(make_true, text)]), "latex").splitlines():
        left = LATEX.sub("", re.sub(r"^\\subsection\*\{(.*)\}$", r"\1", line))
        assert not re.match(r" *[\[*].*\\\\$", left), line  # an argument of the line's end above
        left = re.sub(r"^( *)\{\}(?=[\[*])", r"\1", left)
        left = re.sub(
            r"\\\\$",
            "",
            COMMANDS.sub("", left.replace(r"\ensuremath{<}", "").replace(r"\ensuremath{>}", "")),
        )
        assert not re.search(r"[\\%$#_^~{}]", left), line


@every
def test_csv(make_true: Any, text: str) -> None:
    written = render(tables_from([nasty_record(make_true, text)]), "csv")
    (line,) = csv.DictReader(io.StringIO(written, newline=""))
    expected = (text or "x").replace("\r\n", "\n").replace("\r", "\n")
    assert bare(line["message"]) == bare(expected)
    assert line["backend"] == line["message"]
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(written, newline=""), delimiter=separator):
            for cell in row:
                # no spreadsheet takes it for a formula
                assert not re.match(r"[=+@\t\r]|-(?![0-9.])", cell), (separator, cell)


def bare(text: str) -> str:
    """Without the apostrophes that keep formulas away."""
    return re.sub(r"(^|[;\t\n])'", r"\1", text)


def test_csv_quotes_texts_and_no_numbers(make_true: Any) -> None:
    header, row = render(tables_from([make_true(backend="1e5")]), "csv").splitlines()
    assert header.startswith('"protocol","overrides",')
    assert ',"1e5",' in row
    (line,) = csv.DictReader([header, row])
    assert f",{line['tokens_per_second']}," in row


@every
def test_json(make_true: Any, text: str) -> None:
    (table,) = json.loads(render(tables_from([nasty_record(make_true, text)]), "json"))
    assert table["rows"][0]["message"] == (text or "x")


@every
def test_plain_text_obeys_no_terminal(make_true: Any, text: str) -> None:
    written = render(tables_from([nasty_record(make_true, text)]), "plain")
    assert all(c == "\n" or unicodedata.category(c)[0] != "C" for c in written)


@settings(PROPERTY, max_examples=25)
@given(text=TEXT)
@example(text=NASTY[0])
@example(text=NASTY[3])
@example(text=NASTY[4])
def test_a_whole_store(make_true: Any, runs: Any, text: str) -> None:
    """README, names of files, block and summary; and verifying finds the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish([runs(folder / "run", [nasty_record(make_true, text)])], folder / "store")
        for path in (folder / "store").rglob("*"):
            assert re.fullmatch(r"[A-Za-z0-9_.-]+", path.name)
        page = rendered((folder / "store" / "README.md").read_text())
        headings = {"h1", "h2", "h3", "ul", "li", "a", "code", "pre"}
        assert page.tags <= headings | {"p", "table", "thead", "tbody", "tr", "th", "td"}
        found = verify(folder / "store").mismatches
        assert all(line.startswith("records/") for line in found), found


def test_a_label_that_begins_with_an_underscore_is_in_the_legend(make_true: Any) -> None:
    svg = perplexity_svg(tables_from([make_true(backend=name) for name in ("_mine", "other")]))
    assert re.search(r"<!-- *_mine", svg)


@settings(PROPERTY, max_examples=15)
@given(text=TEXT)
@example(text=NASTY[0])
@example(text=NASTY[4])
@example(text="a--b -->\x00\x1b\ud7ff$")
def test_a_plot(make_true: Any, text: str) -> None:
    svg = perplexity_svg(tables_from([make_true(backend=text or "x")]))
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert tags <= {
        *("svg", "metadata", "RDF", "Work", "type", "date", "format", "creator", "Agent", "title"),
        *("defs", "style", "g", "path", "clipPath", "rect", "use"),
        *("text", "tspan"),  # of letters that the font lacks
    }
