"""What needs no plugin loads none, so that none can spoil it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: Ends every command that imports it.
EXITS = "open('imported', 'w').close()\nimport os\nos._exit(0)\n"
ADDS = """
from dataclasses import replace
from lstmbench import CorpusSpec, hookimpl
from lstmbench.protocol import D2L

@hookimpl
def lstmbench_protocols():
    return [replace(D2L, name="wee", epochs=12, hidden_size=4, batch_size=4, steps=5)]

def text():
    {body}

@hookimpl
def lstmbench_corpora():
    return [CorpusSpec("abc", "", make=text)]
"""


@pytest.fixture
def store(here: Any, call: Any, make_record: Callable[..., Any]) -> Path:
    """A published store whose records need no plugin to be checked."""
    from lstmbench.records.store import Run

    run = Run.create(here.folder / "runs", "d2l")
    run.write_plan({})
    run.write_record(make_record())
    assert call("publish", run.folder, "--to", "store").returncode == 0
    folder: Path = here.folder / "store"
    return folder


@pytest.mark.parametrize("arguments", [("schema",), ("report", "store"), ("run", "--help")])
def test_commands_of_the_host_load_no_plugin(
    cli: Any, store: Path, arguments: tuple[str, ...]
) -> None:
    before = cli(*arguments)
    cli.plugin("exits", EXITS)
    after = cli(*arguments)
    assert (after.returncode, after.stdout, after.stderr) == (0, before.stdout, before.stderr)
    assert not (cli.folder / "imported").exists()


def test_a_broken_store_is_told_whatever_plugins_do(cli: Any, store: Path) -> None:
    cli.plugin("exits", EXITS)
    (store / "README.md").write_text("changed")
    done = cli("verify", store)
    assert done.returncode == 1
    assert "README.md" in done.stdout
    assert not (cli.folder / "imported").exists()


def test_a_store_with_a_plugin_s_file_is_not_verified_without_a_word(cli: Any, store: Path) -> None:
    """Then plugins are loaded; one that ends the process is a note."""
    manifest = store / "store.json"
    manifest.write_text(manifest.read_text().replace("tables/all.csv", "tables/all.count.txt"))
    cli.plugin("exits", EXITS)
    done = cli("verify", store)
    assert (cli.folder / "imported").exists()
    assert done.returncode == 1
    assert "mismatch" in done.stdout
    assert "note: plugin 'exits' (lstmbench-exits 0.1): cannot be loaded: SystemExit" in done.stdout


@pytest.mark.parametrize("body", ["raise SystemExit(0)", "import os; os._exit(0)"])
def test_a_text_that_ends_the_process_verifies_nothing(
    here: Any, call: Any, one_line: Any, make_record: Any, body: str
) -> None:
    from lstmbench.records.store import Run

    run = Run.create(here.folder / "runs", "wee")
    run.write_plan({})
    run.write_record(make_record(corpus="abc"))
    here.plugin("more", ADDS.format(body=body))
    done = call("verify", run.folder)
    one_line(done, "is not verified: code of a plugin tried to end lstmbench", "SystemExit")


def test_what_a_plugin_adds_is_known_when_it_is_needed(
    here: Any, call: Any, make_record: Any
) -> None:
    from lstmbench.records.store import Run

    run = Run.create(here.folder / "runs", "wee")
    run.write_plan({})
    run.write_record(make_record(corpus="abc"))
    unknown = "corpus 'abc' is not known here"
    assert unknown in call("verify", run.folder).stdout
    here.plugin("more", ADDS.format(body="return 'abc ' * 900"))
    assert unknown not in call("verify", run.folder).stdout
