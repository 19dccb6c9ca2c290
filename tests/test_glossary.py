"""The glossary's retired words are used nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
FOLDERS = (".ci", ".github", "benchmarks", "docs", "lstmbench", "plugins", "tests")
SUFFIXES = {".cff", ".css", ".html", ".ini", ".js", ".json", ".md", ".py", ".toml", ".yaml"}
#: Not ours, or where the words are listed.
OTHERS = ("lstmbench/report/site/static/vendor", "docs/glossary.md", "tests/test_glossary.py")


@dataclass(frozen=True)
class Retired:
    """A row of the table: words, what replaces them, and texts and places that stay allowed."""

    words: list[str]
    instead: str
    allowed: list[str]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        texts = [rf"\b{re.escape(text)}\b" for text in self.allowed if text not in self.places]
        # an allowed text is found first, and is no hit
        return re.compile("|".join([*texts, f"(?P<hit>{'|'.join(map(expression, self.words))})"]))

    @cached_property
    def places(self) -> tuple[str, ...]:
        return tuple(text for text in self.allowed if (ROOT / text).exists())


def expression(word: str) -> str:
    """What finds ``word``."""
    flags = "" if word.isupper() else "i"
    body = re.escape(word.removesuffix("…")).replace(r"\ ", r"[\s_#*/]+")
    end = r"\w*" if word.endswith("…") else "(?![A-Za-z])"
    return f"(?{flags}:(?<![A-Za-z]){body}{end})"


@cache
def table() -> list[Retired]:
    section = GLOSSARY.read_text(encoding="utf-8").partition("## Retired words")[2]
    rows = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [
        Retired([w.strip() for w in words.split(",")], instead.strip(), re.findall("`(.+?)`", rest))
        for words, instead, rest in ([*row, ""][:3] for row in rows[1:])
    ]


def hits(path: str, text: str) -> Iterator[str]:
    """A line for each retired word in ``text``, which stands in the file ``path``."""
    text = re.sub(
        r"<!-- lstmbench:begin.*?<!-- lstmbench:end",
        lambda block: "\n" * block[0].count("\n"),
        text,
        flags=re.DOTALL,
    )
    lower = text.lower()
    for row in table():
        # most words are in no file: the cheap question first
        if path.startswith(row.places) or not any(
            word.split()[0].strip("…").lower() in lower for word in row.words
        ):
            continue
        for found in row.pattern.finditer(text):
            if found["hit"]:
                line = text.count("\n", 0, found.start()) + 1
                yield f"{path}:{line}: {' '.join(found['hit'].split())!r}: use {row.instead}"


def split(text: str) -> str:
    """``CamelCase`` as ``Camel_Case``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)


def files() -> Iterator[Path]:
    yield from (path for path in ROOT.iterdir() if path.suffix in SUFFIXES)
    for folder in FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES)


def test_retired_words_are_used_nowhere() -> None:
    found: list[str] = []
    for path in sorted(files()):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(OTHERS) and "__pycache__" not in name:
            found += hits(name, split(f"{path.read_text(encoding='utf-8')}\n{name}"))
    assert not found, f"{len(found)} retired words:\n" + "\n".join(found)


@pytest.mark.parametrize("shape", ["a {} b", "{}", "x.{}\ny"])
def test_each_retired_word_is_found(shape: str) -> None:
    for word in (word.replace("…", "this") for row in table() for word in row.words):
        written = [word]
        if "_" not in word:
            written += [word.replace(" ", "\n    # "), word.replace(" ", "_")]
        if not word.isupper():
            written.append(word.capitalize())
        for text in written:
            assert list(hits("file", shape.format(text))), text


def test_other_words_are_not_found() -> None:
    for text in ("return", "max_most", "the most", "Stopwatch", "it is refused", "matrix_product"):
        assert not list(hits("file", text)), text
    assert list(hits("lstmbench/x.py", "unsettled"))
    assert not list(hits("lstmbench/records/migration.py", "unsettled"))


def test_words_are_defined_once_and_what_is_allowed_exists() -> None:
    defined = GLOSSARY.read_text(encoding="utf-8").partition("## Retired words")[0]
    words = re.findall(r"^\| ([^|]+?) \|", defined, flags=re.MULTILINE)
    assert len(words) > 50
    terms = [word for word in words if word != "word"]
    assert len(set(terms)) == len(terms)
    for row in table():
        assert row.instead
        for text in row.allowed:
            if text.endswith(("/", ".py", ".md")):
                assert (ROOT / text).exists(), text
