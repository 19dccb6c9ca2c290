"""What a browser would execute or load in a page or a drawing, which it must not.

Everything is refused that the host's own pages and drawings have no use for. So nothing depends on
knowing all that browsers do.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from html.parser import HTMLParser
from itertools import islice
from pathlib import PurePosixPath
from urllib.parse import urlsplit
from xml.parsers import expat

#: Faults of one file that are named.
MAX_FAULTS = 5
HTML = (".html", ".htm", ".shtml")
#: What browsers read as XML, scripts of any namespace included.
XML = (".svg", ".xml", ".xhtml", ".xht", ".xsl", ".xslt", ".rdf", ".mathml")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ELEMENTS = _words(
    "a blockquote body br button caption circle code dd details div dl dt em fieldset footer form "
    "h1 h2 h3 h4 head header html input label legend li link main meta nav noscript ol option p "
    "path pre script section select span strong sub summary sup svg table tbody td th thead title "
    "tr ul"
)
_ATTRIBUTES = _words(
    "align charset checked class colspan content cx cy d fill for height hidden href http-equiv id "
    "lang name placeholder r rel role rowspan scope selected src stroke stroke-width style "
    "tabindex title type value viewbox width"
)
_DRAWN = _words(
    "Agent RDF Work circle clipPath creator date defs desc ellipse format g line linearGradient "
    "metadata path polygon polyline radialGradient rect source stop style svg symbol text title "
    "tspan type use"
)
#: In styles: whatever loads something, or hides what it is by escapes.
_LOADING = re.compile(
    r"\\|@|/\*|//|url\s*\((?!\s*['\"]?#)|image|expression|behavior|behaviour|binding", re.I
)
#: What browsers skip in an address.
_SKIPPED = re.compile(r"[\x00-\x20]")
#: The only header that a page may hold.
_POLICY = "content-security-policy"
_DOCTYPE = re.compile(r"doctype html", re.I)


def is_markup(path: str) -> bool:
    """Whether a browser would take a file of that name for a page or a drawing."""
    return PurePosixPath(path.lower()).suffix in (*HTML, *XML)


def faults(path: str, content: bytes, scripts: Collection[str] = ()) -> list[str]:
    """What a page or a drawing at ``path`` in a store must not hold, the first few.

    ``scripts`` are the paths of those that pages may name.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return ["is not UTF-8"]
    if "\x00" in text:
        return ["holds a NUL"]
    is_html = PurePosixPath(path.lower()).suffix in HTML
    found = _page(path, text, scripts) if is_html else _drawing(content)
    return list(dict.fromkeys(islice(found, MAX_FAULTS)))


def _page(path: str, text: str, scripts: Collection[str]) -> Iterator[str]:
    page = _Page(posixpath.dirname(path), scripts)
    try:
        page.feed(text)
        page.close()
    except (AssertionError, ValueError) as error:
        page.found.append(f"is no HTML: {error}")
    if page.rawdata:
        page.found.append("ends within a tag")
    yield from page.found


class _Page(HTMLParser):
    """Collects faults; whatever browsers might read in another way is one."""

    def __init__(self, folder: str, scripts: Collection[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.folder = folder
        self.scripts = scripts
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _ELEMENTS:
            self.found.append(f"holds an element <{tag[:30]}>")
        if "<" in (self.get_starttag_text() or "")[1:]:
            self.found.append(f"a tag within <{tag[:30]}>")
        known: dict[str, str] = {}
        for name, value in attrs:
            if name not in _ATTRIBUTES and not re.fullmatch(r"(aria|data)-[a-z-]+", name):
                self.found.append(f"<{tag[:30]}> has an attribute {name[:30]!r}")
            if name in known:
                self.found.append(f"<{tag[:30]}> has two of {name[:30]!r}")
            known[name] = value or ""
        self.found += self._references(tag, known)

    def _references(self, tag: str, known: Mapping[str, str]) -> Iterator[str]:
        if tag == "script" and not self._may_run(known.get("src", "")):
            yield f"runs a script: {known.get('src', 'its own')[:60]!r}"
        if tag == "meta" and known.get("http-equiv", _POLICY).lower() != _POLICY:
            yield f"<meta http-equiv={known['http-equiv'][:30]!r}>"
        if known.get("charset", "utf-8").lower() != "utf-8":
            yield f"declares to be {known['charset'][:30]!r}"
        if _LOADING.search(known.get("style", "")):
            yield f"a style that loads something: {known['style'][:60]!r}"
        for name in ("href", "src"):
            address = known.get(name, "")
            if (tag, known.get("rel"), address) != ("link", "icon", "data:,") and _leads_out(
                address
            ):
                yield f"leads outside: {address[:60]!r}"

    def _may_run(self, address: str) -> bool:
        return posixpath.normpath(posixpath.join(self.folder, address)) in self.scripts

    def handle_data(self, data: str) -> None:
        if self.cdata_elem and data.strip():
            self.found.append(f"text within <{self.cdata_elem}>: {data.strip()[:60]!r}")

    def handle_comment(self, data: str) -> None:
        self.found.append("holds a comment")

    def handle_pi(self, data: str) -> None:
        self.found.append("holds a processing instruction")

    def unknown_decl(self, data: str) -> None:
        self.found.append("holds a declaration")

    def handle_decl(self, decl: str) -> None:
        if not _DOCTYPE.fullmatch(decl):
            self.found.append(f"declares {decl[:60]!r}")


def _leads_out(address: str) -> bool:
    """Whether an address is anything but one of a file beside it."""
    plain = _SKIPPED.sub("", address)
    try:
        parts = urlsplit(plain)
    except ValueError:
        return True
    return bool(parts.scheme or parts.netloc) or plain.startswith("/") or "\\" in plain


def _drawing(content: bytes) -> Iterator[str]:
    drawing = _Drawing()
    try:
        drawing.parser.Parse(content, True)
    except expat.ExpatError as error:
        drawing.found.append(f"is no XML: {error}")
    yield from drawing.found


class _Drawing:
    """Collects faults of XML, by the names of elements in whatever namespace."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._style: list[str] | None = None
        self.parser = parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.ProcessingInstructionHandler = lambda target, _: self.found.append(
            f"holds a processing instruction {target[:30]!r}"
        )
        parser.XmlDeclHandler = self._encoded
        parser.EntityDeclHandler = lambda name, *_: self.found.append(f"declares {name[:30]!r}")
        parser.AttlistDeclHandler = lambda name, *_: self.found.append(f"declares {name[:30]!r}")

    def _encoded(self, version: str, encoding: str | None, standalone: int) -> None:
        if (encoding or "utf-8").lower() != "utf-8":
            self.found.append(f"declares to be {encoding!r:.30}")

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        local = tag.rpartition(":")[2]
        if local not in _DRAWN:
            self.found.append(f"holds an element <{tag[:30]}>")
        if local == "style":
            self._style = []
        for name, value in attributes.items():
            self.found += self._attribute(tag, name, value)

    def _attribute(self, tag: str, name: str, value: str) -> Iterator[str]:
        local = name.rpartition(":")[2].lower()
        if name.startswith("xmlns"):
            return  # a name, which nothing is loaded from
        if local.startswith("on") or local in ("src", "base", "handler", "from", "to", "values"):
            yield f"<{tag[:30]}> has an attribute {name[:30]!r}"
        elif local == "href":
            if not value.startswith("#"):
                yield f"leads outside: {value[:60]!r}"
        elif name != "rdf:resource" and (_LOADING.search(value) or "script:" in value.lower()):
            yield f"<{tag[:30]}> loads something: {value[:60]!r}"

    def _text(self, data: str) -> None:
        if self._style is not None:
            self._style.append(data)

    def _end(self, tag: str) -> None:
        if self._style is not None and tag.rpartition(":")[2] == "style":
            if _LOADING.search("".join(self._style)):
                self.found.append("a style that loads something")
            self._style = None
