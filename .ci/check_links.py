"""Check that every relative link of Markdown files leads to a file, and to a heading where it says.

    python .ci/check_links.py [FILE.md ...]

Without files: all Markdown files of the checkout. Addresses with a scheme are not looked up, so
that no network is needed.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str]) -> int:
    """Print a line for each broken link. Returns the exit status."""
    files = [Path(name) for name in arguments] or list(tracked())
    broken = [line for file in files for line in check(file)]
    for line in broken:
        print(line)
    return 1 if broken else 0


def tracked() -> Iterator[Path]:
    """Markdown files that git has, or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in names.splitlines():
        if (ROOT / name).is_file():
            yield ROOT / name


def check(file: Path) -> Iterator[str]:
    """A line for each link of ``file`` that leads nowhere."""
    for target in links(file):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        goal = file.parent / unquote(parts.path) if parts.path else file
        if not goal.exists():
            yield f"{file}: {target}: no such file"
        elif parts.fragment and goal.suffix == ".md" and parts.fragment not in anchors(goal):
            yield f"{file}: {target}: no such heading"


def links(file: Path) -> Iterator[str]:
    """The targets of links and images."""
    for block in parse(file):
        for token in block.children or ():
            target = token.attrGet("href") or token.attrGet("src")
            if target:
                yield str(target)


def anchors(file: Path) -> set[str]:
    """Names that a page gives to its headings (GitHub's rule)."""
    found: set[str] = set()
    tokens = parse(file)
    for before, token in itertools.pairwise(tokens):
        if before.type == "heading_open":
            name = slug = re.sub(r"[^\w\- ]", "", token.content.lower()).replace(" ", "-")
            numbers = itertools.count(1)
            while name in found:
                name = f"{slug}-{next(numbers)}"
            found.add(name)
    return found


def parse(file: Path) -> list[Token]:
    """The blocks of a page."""
    return MarkdownIt("gfm-like", {"linkify": False}).parse(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
