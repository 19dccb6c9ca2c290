"""What a browser would execute or load is found; what the host writes itself is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lstmbench.analysis.tables import tables_from
from lstmbench.report import site
from lstmbench.report.text import render
from lstmbench.verify.markup import faults, is_markup

SVG = (
    '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" '
    '"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"><svg xmlns="http://www.w3.org/2000/svg" '
    'xmlns:xlink="http://www.w3.org/1999/xlink"><style type="text/css">*{{stroke: #000}}</style>'
    '<g clip-path="url(#p1)"><use xlink:href="#m1" style="fill: #fff"/></g>{}</svg>'
)
HTML = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>'
    '<link rel="icon" href="data:,"><script src="../static/site.js"></script></head>'
    '<body><p style="text-align: right">See <a href="../index.html#x">it</a>.</p>{}</body></html>'
)
SCRIPTS = ("site/static/site.js",)


def test_what_the_host_writes_is_fine(make_record: Callable[..., Any]) -> None:
    pages = site.build({"a": make_record(), "b": make_record(backend="b", message="<script>")})
    scripts = [f"site/{path}" for path in pages if path.endswith(".js")]
    for path, page in pages.items():
        if is_markup(path):
            content = page.encode() if isinstance(page, str) else page
            assert faults(f"site/{path}", content, scripts) == []
    assert faults("tables/all.htm", render(tables_from([make_record()]), "html").encode()) == []
    assert faults("plots/a.svg", SVG.format("").encode()) == []
    assert faults("site/trials/a.html", HTML.format("").encode(), SCRIPTS) == []


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        '<script xlink:href="#x"/>',
        '<x:script xmlns:x="http://www.w3.org/2000/svg">alert(1)</x:script>',
        '<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script>',
        '<g onload="alert(1)"/>',
        '<g ONCLICK="alert(1)"/>',
        "<foreignObject><p/></foreignObject>",
        '<image href="https://example.org/x.png"/>',
        '<use href="https://example.org/x.svg#a"/>',
        '<use xlink:href="data:image/svg+xml,x"/>',
        '<a href="javascript:alert(1)"><text>x</text></a>',
        '<g style="fill: url(https://example.org/x)"/>',
        '<g style="fill: u\\72l(x)"/>',
        '<g fill="url(https://example.org/x#a)"/>',
        "<style>@import 'x.css';</style>",
        "<style>* {{ background: url(//example.org/x) }}</style>",
        '<animate attributeName="href" to="javascript:alert(1)"/>',
        '<set attributeName="onload" to="alert(1)"/>',
        '<?xml-stylesheet href="https://example.org/x.css"?>',
        "<g",
    ],
)
def test_a_drawing_with_more_than_shapes_is_found(hostile: str) -> None:
    hostile = hostile.replace("{{", "{").replace("}}", "}")
    assert faults("plots/a.svg", SVG.format(hostile).encode())


@pytest.mark.parametrize(
    "content",
    [
        b'<!DOCTYPE svg [<!ENTITY x "y">]><svg xmlns="http://www.w3.org/2000/svg"/>',
        b'<?xml version="1.0" encoding="iso-2022-jp"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "<svg/>".encode("utf-16"),
        b"<svg>\x00</svg>",
        b"\xff",
        b"",
    ],
)
def test_what_is_read_in_another_way_elsewhere_is_found(content: bytes) -> None:
    assert faults("plots/a.svg", content)


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<script src='https://example.org/x.js'></script>",
        "<script src='//example.org/static/site.js'></script>",
        "<script src='../static/other.js'></script>",
        "<script src='../static/site.js'>alert(1)</script>",
        "<SCRIPT>alert(1)</SCRIPT>",
        "<script src='../static/site.js' src='x'></script>",
        "<p onclick='alert(1)'>",
        "<p/onclick=alert(1)>",
        "<svg><path onload=alert(1)></svg>",
        "<svg><foreignObject></foreignObject></svg>",
        "<svg><use href='#a'/></svg>",
        "<math><mi>",
        "<iframe src='x.html'></iframe>",
        "<img src='x.png'>",
        "<object data='x.html'></object>",
        "<embed src='x'>",
        "<base href='https://example.org/'>",
        "<meta http-equiv='refresh' content='0;url=https://example.org'>",
        "<meta charset='utf-7'>",
        "<a href='https://example.org'>x</a>",
        "<a href='//example.org'>x</a>",
        "<a href='/\\example.org'>x</a>",
        "<a href='java\nscript:alert(1)'>x</a>",
        "<a href='&#106;avascript:alert(1)'>x</a>",
        "<form action='https://example.org'></form>",
        "<link rel='stylesheet' href='https://example.org/x.css'>",
        "<link rel='icon' href='data:text/html,x'>",
        "<p style='background: url(x.png)'>",
        "<style>p {}</style>",
        "<!-- a comment --!><script>alert(1)</script>",
        "<!--[if IE]><![endif]-->",
        "<![CDATA[x]]>",
        "<?php x ?>",
        "<!doctype x>",
        "<title><a title='</title><p>'></title>",
        "<textarea><p></textarea>",
        "<template><p></template>",
        "<p",
    ],
)
def test_a_page_with_more_than_words_is_found(hostile: str) -> None:
    assert faults("site/trials/a.html", HTML.replace("{}", hostile).encode(), SCRIPTS)


@pytest.mark.parametrize("path", ["a.SVG", "a.htm", "tables/all.xhtml", "site/x.Html", "a.xml"])
def test_what_browsers_read_as_pages_is_known_by_its_name(path: str) -> None:
    assert is_markup(path)
