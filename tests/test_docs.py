"""The README's tables come from records, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Above each block stands the command that writes it.
COMMANDS = re.findall(r"^<!-- (lstmbench publish .*) -->$", README, flags=re.MULTILINE)


def test_every_block_says_what_writes_it() -> None:
    assert len(COMMANDS) == len(re.findall("<!-- lstmbench:begin", README)) > 0


@pytest.mark.parametrize("command", COMMANDS)
def test_publishing_again_changes_nothing(cli: Cli, command: str) -> None:
    copy = cli.folder / "README.md"
    shutil.copy(ROOT / "README.md", copy)
    (cli.folder / "results").symlink_to(ROOT / "results")
    done = cli(*shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    assert copy.read_text(encoding="utf-8") == README


def check_links(*pages: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, ROOT / ".ci" / "check_links.py", *pages]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_links_lead_somewhere() -> None:
    done = check_links()
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# Two `words`\n\n# Two words\n")
    good = "[a](other.md) [b](other.md#two-words) [c](other.md#two-words-1) [d](https://x.org/y)"
    bad = ["other.md#two", "#nothing", "absent.md"]
    page.write_text(f"{good} `[e](code.md)`\n\n" + "".join(f"[x]({link})\n" for link in bad))
    done = check_links(page)
    assert done.returncode == 1
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == bad


#: Between these lines stands what a program wrote.
GENERATED = r"<!-- (\w+:begin|flags|figures).*?<!-- (\w+:end|/)"
PAGES = [
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "benchmarks/README.md"),
    *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
    *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("plugins/*/README.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_wrapped_at_one_width(page: str) -> None:
    """Except tables and commands, which cannot be."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for part in (GENERATED, "^```.*?^```$"):
        text = re.sub(part, "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "<!--"))]
    assert [line for line in lines if len(line) > 100] == []


def test_folders_are_described_in_the_order_of_the_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    packages = {path.parent.name for path in (ROOT / "lstmbench").glob("*/__init__.py")}
    expected = [
        names for layer in layers if (names := [n for n in layer.split(" | ") if n in packages])
    ]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Folders")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?`) \|", section, flags=re.MULTILINE)
    assert [re.findall("`(.*?)`", cell) for cell in cells] == expected
    assert {name for names in expected for name in names} == packages


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_paths_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = [p for p in re.findall(r"`([\w./-]*/[\w./-]*)`", text) if "NAME" not in p]
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path


def test_contributing_describes_every_folder() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for package in (ROOT / "lstmbench").glob("*/__init__.py"):
        assert f"| `lstmbench/{package.parent.name}/` |" in text


def test_the_published_store_verifies(cli: Cli) -> None:
    done = cli("verify", ROOT / "results")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_estimators_in_the_protocol_come_from_the_records(tmp_path: Path) -> None:
    copy = tmp_path / "protocol.md"
    shutil.copy(ROOT / "docs" / "protocol.md", copy)
    script = ROOT / "benchmarks" / "estimators.py"
    command: list[str | Path] = [sys.executable, script, ROOT / "results" / "noise", "--into", copy]
    subprocess.run(command, check=True)
    assert copy.read_text() == (ROOT / "docs" / "protocol.md").read_text()


def test_published_records_name_a_clean_commit() -> None:
    from lstmbench.records.store import open_runs

    records = [record for run in open_runs([ROOT / "results"]) for record in run.records()]
    assert records
    for record in records:
        assert record.source.commit, record.trial.name
        assert record.source.dirty is False, record.trial.name
