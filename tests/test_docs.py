"""The README's tables come from records, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
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


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").iterdir())]
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_published_store_verifies(cli: Cli) -> None:
    done = cli("verify", ROOT / "results")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_estimators_in_the_protocol_come_from_the_records(tmp_path: Path) -> None:
    copy = tmp_path / "protocol.md"
    shutil.copy(ROOT / "docs" / "protocol.md", copy)
    script = ROOT / "benchmarks" / "estimators.py"
    command = [sys.executable, script, ROOT / "results" / "noise", "--into", copy]
    subprocess.run(command, check=True)
    assert copy.read_text() == (ROOT / "docs" / "protocol.md").read_text()


def test_published_records_name_a_clean_commit() -> None:
    from lstmbench.records.store import open_runs

    for run in open_runs([ROOT / "results"]):
        for record in run.records():
            assert record.source.commit, run.name
            assert record.source.dirty is False, run.name
