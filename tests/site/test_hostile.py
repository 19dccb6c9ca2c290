"""Whatever a record says appears as text: never an element, an attribute or code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any

import html5lib
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lstmbench.records.record import Record, Stack
from lstmbench.report import site

#: Whose values are no free text.
FIXED = {"status", "reason", "flags", "schema_version", "dtype", "tokens"}
FIXED |= {"kind", "optimizer", "loss", "schedule", "initialisation"}
#: Whose keys a plugin or a machine may choose.
OPEN = {"environment", "backend_environment", "facts", "versions", "runtime", "errors", "packages"}
SCRIPT = re.compile(
    r"lstmbench\.deliver\((\"[^\"\n]*\"), JSON\.parse\('([^'\n]*(?:\\'[^'\n]*)*)'\)\);\n"
)
PLAIN = "word"


def poisoned(value: Any, evil: str, key: str = "") -> Any:
    """A record's JSON with ``evil`` for every text, and for one more key where keys are free."""
    if isinstance(value, dict):
        changed = {k: poisoned(v, evil, k) for k, v in value.items()}
        free = key in OPEN and key != "errors"
        return changed | ({evil: evil} if free else {evil: 0.5} if key == "errors" else {})
    if isinstance(value, list):
        return [poisoned(part, evil, key) for part in value]
    return evil if isinstance(value, str) and key not in FIXED else value


@pytest.fixture
def ok_records(make_record: Callable[..., Any]) -> dict[str, Any]:
    made = make_record(
        message="m",
        flags=["suspect"],
        log_tail="l",
        stack=Stack(label="s", request="r", python="3", packages={"package" * 9: "1"}, digest="d"),
        continuations=[{"prefix": "p", "text": "t"}],
        evaluations=[{"split": "test", "epoch": 5, "nats": 10.0, "tokens": 10}],
    )
    found: dict[str, Any] = made.model_dump(mode="json")
    return found


def pages(data: dict[str, Any], evil: str) -> dict[str, str]:
    changed = poisoned(data, evil)
    # a model that is named needs its tensors
    changed["own_model"] = {
        "reference": evil,
        "tensors": {evil: [2, 2]},
        "operations_per_token": 1.0,
    }
    failed = {**changed, "status": "failed", "reason": "nan"}
    # names of files, too, are someone's text
    records = {f"a{evil}": changed, f"b{evil}": failed}
    files = site.build({name: Record.model_validate(data) for name, data in records.items()})
    assert all(re.fullmatch(r"(\w[\w.-]*/)*\w[\w.-]*", path, re.ASCII) for path in files)
    return {path: content for path, content in files.items() if isinstance(content, str)}


def shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """Elements in order, with the names of their attributes."""
    tree = html5lib.parse(page, namespaceHTMLElements=False)
    return [(str(element.tag), tuple(element.attrib)) for element in tree.iter()]


def shapes(files: dict[str, str]) -> list[Any]:
    return sorted(shape(page) for path, page in files.items() if path.endswith(".html"))


def test_no_string_makes_an_element_or_ends_a_script(ok_records: dict[str, Any]) -> None:
    expected = shapes(pages(ok_records, PLAIN))

    @settings(max_examples=40)
    @given(st.text(min_size=1, max_size=40))
    @example("<script>alert(1)</script>")
    @example("</script><img src=x onerror=alert(1)>")
    @example("'\"><svg onload=alert(1)>\u2028\u2029")
    @example("\\'); alert(1); ('")
    @example("{{ 7 * 7 }}{% raw %}")
    @example("--></style></title></textarea><!--")
    @example("__proto__")
    @example("../../x")
    @example("javascript:alert(1)//%{x}")
    def check(evil: str) -> None:
        files = pages(ok_records, evil)
        assert shapes(files) == expected
        for path, script in files.items():
            if path.endswith(".js"):
                found = SCRIPT.fullmatch(script)
                assert found, path
                assert script.isascii()
                assert "<" not in script
                # a string of JavaScript with no other escapes than Python has
                inner = ast.literal_eval(f"'{found[2]}'")
                if path.startswith(("trials/", "data/rows")):
                    assert evil in str_values(json.loads(inner))

    check()


def str_values(data: Any) -> set[str]:
    if isinstance(data, str):
        return {data}
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return {text for part in parts for text in str_values(part)}


def test_hostile_text_is_still_there_to_read(ok_records: dict[str, Any]) -> None:
    evil = "</pre><b>bold</b> & \"x\" 'y' {{ z }}"
    for path, page in pages(ok_records, evil).items():
        if path.startswith(("trials/", "machines/")) and path.endswith(".html"):
            tree = html5lib.parse(page, namespaceHTMLElements=False)
            assert "".join(tree.itertext()).count(evil) > 5
