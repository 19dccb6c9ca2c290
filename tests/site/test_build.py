"""The site as a whole: it depends on records alone, and everything that it names is there."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from posixpath import dirname, join, normpath
from typing import Any
from urllib.parse import unquote

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.records.record import Machine
from lstmbench.report import site

Make = Callable[..., Any]
#: Of plotly.js-basic-dist-min 4.1.1 in the npm registry.
PLOTLY = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"


@pytest.fixture
def records(make_record: Make) -> dict[str, Any]:
    other = Machine(digest="f" * 64, facts={"processor": "Other"}, versions={})
    made = [
        make_record(),
        make_record(repeat=1),
        make_record(seed=1),
        make_record(backend="torch", machine=other),
        make_record(backend="keras", status="failed", reason="nan", message="nan in epoch 3"),
    ]
    return {record.trial.name: record for record in made}


def text(files: dict[str, str | bytes], path: str) -> str:
    content = files[path]
    return content if isinstance(content, str) else content.decode()


def test_the_same_records_in_any_order_give_the_same_site(records: dict[str, Any]) -> None:
    expected = site.build(records)

    @given(st.permutations(list(records)))
    def check(order: list[str]) -> None:
        assert site.build({name: records[name] for name in order}) == expected

    check()


def test_a_change_in_a_record_changes_its_page_and_the_table(
    records: dict[str, Any], make_record: Make
) -> None:
    before = site.build(records)
    name = make_record().trial.name
    after = site.build({**records, name: make_record(log_tail="other", parameters=7)})
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {f"trials/{name}.html", f"trials/{name}.js"}


def test_every_link_leads_to_a_file_of_the_site_or_to_a_record(records: dict[str, Any]) -> None:
    files = site.build(records)
    raw = set()
    for path in (path for path in files if path.endswith(".html")):
        page = html5lib.parse(text(files, path), namespaceHTMLElements=False)
        links = [e.get(a) for e in page.iter() for a in ("href", "src") if e.get(a)]
        assert len(links) > 5
        for link in links:
            if link.startswith(("#", "data:")):
                continue
            place = normpath(join(dirname(path), unquote(link.partition("#")[0])))
            if place.startswith("../records/"):
                raw.add(place)
            elif place != "../README.md":
                assert place in files, (path, link)
    assert raw == {f"../records/{name}.json" for name in records}


def test_nothing_is_asked_of_any_network(records: dict[str, Any]) -> None:
    for path, content in site.build(records).items():
        if "/vendor/" in path:
            continue
        said = content if isinstance(content, str) else content.decode()
        # a name of XML, not an address
        said = said.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|fetch\(|XMLHttpRequest|@import|url\(", said), path


def test_pages_set_nothing_but_text(records: dict[str, Any]) -> None:
    for path, content in site.build(records).items():
        if path.endswith(".js") and "/vendor/" not in path:
            said = content if isinstance(content, str) else content.decode()
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\.write\(|eval\(", said)


def test_the_plotting_library_is_the_published_one(records: dict[str, Any]) -> None:
    library = site.build(records)["static/vendor/plotly-basic.min.js"]
    assert isinstance(library, bytes)
    assert hashlib.sha256(library).hexdigest() == PLOTLY


def test_there_is_a_site_without_records() -> None:
    assert "0 rows from 0 trials" in text(site.build({}), "index.html")


def test_templates_are_loaded_only_to_build() -> None:
    code = "import sys, lstmbench.report.site; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
