"""Which plugins are found, found twice, left out by the user, and listed."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lstmbench.plugin import catalogue

SOURCE = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    factory = "lstmbench_numpy.backend:NumpyBackend"
    return [BackendSpec({name!r}, {summary!r}, factory, {{"cpu": ("eager",)}})]
"""


def source(name: str, summary: str = "") -> str:
    return SOURCE.format(name=name, summary=summary)


def listed(call: Any, *arguments: str) -> dict[str, dict[str, Any]]:
    """Plugins by name, as ``lstmbench plugins`` tells of them; the host's own are left out."""
    rows = json.loads(call("plugins", "--format", "json").stdout)
    return {row["name"]: row for row in rows if not row["built_in"]}


def test_what_an_interrupted_pip_leaves_is_found_once(here: Any, call: Any) -> None:
    here.plugin("mine", source("mine"))
    info = here.distribution("lstmbench-mine", "[lstmbench]\nmine = mine\n")
    info.with_name("~stmbench_mine-0.1.dist-info").mkdir()
    for file in info.iterdir():
        (info.with_name("~stmbench_mine-0.1.dist-info") / file.name).write_bytes(file.read_bytes())
    done = call("list")
    assert done.stderr == ""
    assert done.stdout.count("\nmine ") == 1
    assert list(listed(call)) == ["numpy", "mine"]


def test_a_module_with_two_names_is_found_once(here: Any, call: Any) -> None:
    here.plugin("mine", source("mine"))
    here.distribution("lstmbench-mine", "[lstmbench]\nmine = mine\nalias = mine\n")
    assert call("list").stderr == ""


def test_another_installation_behind_the_first_is_told(
    here: Any, call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here.plugin("mine", source("mine", "the first"))
    behind = tmp_path / "behind"
    behind.mkdir()
    info = behind / "lstmbench_mine-0.0.7.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lstmbench-mine\nVersion: 0.0.7\n")
    (info / "entry_points.txt").write_text("[lstmbench]\nmine = mine\nold = old\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(behind)])
    done = call("list")
    rows = listed(call)
    shown = call("plugins").stdout
    assert done.stderr == ""
    assert list(rows) == ["numpy", "mine"]
    assert rows["mine"]["hides"] == [f"0.0.7 in {behind}"]
    assert f"ok; hides 0.0.7 in {behind}" in shown


def test_two_plugins_of_one_name_can_both_be_used(here: Any, call: Any) -> None:
    for module in ("one", "other"):
        here.plugin(module, source(module))
        here.distribution(f"lstmbench-{module}", f"[lstmbench]\nlstm = {module}\n")
    done = call("list")
    assert done.stderr == ""
    assert "\none " in done.stdout
    assert "\nother " in done.stdout


def test_a_stranger_takes_no_name_of_this_project(here: Any, call: Any) -> None:
    here.plugin("aardvark", source("numpy", "a stranger's"))
    here.distribution("lstmbench-aardvark", "[lstmbench]\nnumpy = aardvark\n")
    done = call("list")
    assert "a stranger's" not in done.stdout
    assert "\nnumpy " in done.stdout
    assert "plugin 'numpy' (lstmbench-aardvark 0.1): lstmbench_backends offers 'numpy', which " in (
        done.stderr
    )


@pytest.mark.parametrize("content", [b"[lstmbench]\nx = \xff\n", b"[console_scripts]\nx\n"])
def test_a_damaged_distribution_spoils_no_other(here: Any, call: Any, content: bytes) -> None:
    info = here.distribution("of-another-else", "")
    (info / "entry_points.txt").write_bytes(content)
    done = call("list")
    assert done.returncode == 0
    assert "\nnumpy " in done.stdout
    assert done.stderr.count("\n") == 1
    assert "of_another_else-0.1.dist-info is damaged" in done.stderr
    assert "is damaged" in call("plugins").stderr


@pytest.mark.parametrize("value", ["not a module!", "", "mine:none.such", "none.such:x"])
def test_an_entry_point_that_leads_nowhere_is_named(here: Any, call: Any, value: str) -> None:
    here.plugin("mine", source("mine"))
    here.distribution("lstmbench-mine", f"[lstmbench]\nmine = {value}\n")
    done = call("list")
    assert done.returncode == 0
    assert "plugin 'mine' (lstmbench-mine 0.1): cannot be loaded" in done.stderr


class TestLeavingOut:
    """``LSTMBENCH_DISABLE_PLUGINS``"""

    @pytest.fixture(autouse=True)
    def _mine(self, here: Any) -> None:
        here.plugin("mine", "raise RuntimeError('this one breaks')")

    @pytest.fixture
    def without(self, call: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        def run(names: str, *arguments: Any) -> Any:
            monkeypatch.setenv("LSTMBENCH_DISABLE_PLUGINS", names)
            return call(*arguments)

        return run

    @pytest.mark.parametrize("names", ["mine", " mine ,,", "lstmbench-mine", "LSTMBench_Mine"])
    def test_by_either_name(self, without: Any, call: Any, names: str) -> None:
        done = without(names, "list")
        assert done.stderr == ""
        row = listed(call)["mine"]
        assert (row["disabled"], row["problem"], row["offers"]) == (True, None, {})

    def test_it_stops_nothing_any_more(self, without: Any, here: Any, one_line: Any) -> None:
        one_line(without("", *here.tiny_run, "--backends", "all"), "this one breaks", "DISABLE")
        one_line(
            without("mine", *here.tiny_run, "--backends", "all", "--protocol", "nil"),
            "unknown protocol 'nil'",
            "(and LSTMBENCH_DISABLE_PLUGINS leaves out 'mine')",
        )

    def test_a_backend_that_is_asked_for(self, without: Any, here: Any, one_line: Any) -> None:
        one_line(
            without("mine", *here.tiny_run, "--backends", "mine"),
            "backend 'mine' is not loaded: LSTMBENCH_DISABLE_PLUGINS leaves out plugin 'mine' "
            "(lstmbench-mine 0.1)",
        )
        one_line(
            without("lstmbench-numpy", "check", "numpy"),
            "backend 'numpy' is not loaded: LSTMBENCH_DISABLE_PLUGINS leaves out plugin 'numpy'",
        )

    def test_a_name_that_nothing_has(self, without: Any) -> None:
        done = without("mine,nunpy", "list")
        assert done.returncode == 0
        assert done.stderr == (
            "lstmbench: LSTMBENCH_DISABLE_PLUGINS: unknown plugin 'nunpy': did you mean 'numpy'?\n"
        )

    @pytest.mark.parametrize("name", ["lstmbench", "lstmbench.commands.run"])
    def test_the_host_itself(self, without: Any, name: str) -> None:
        done = without(f"mine,{name}", "list")
        assert done.returncode == 0
        assert "\nbundled " in done.stdout
        assert done.stderr == (
            f"lstmbench: LSTMBENCH_DISABLE_PLUGINS: {name!r} is the host's own and cannot be left "
            "out\n"
        )


def test_plugins_are_listed(here: Any, call: Any) -> None:
    here.plugin("mine", source("mine"))
    here.plugin("broken", "import nothing_such")
    done = call("plugins")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "mine lstmbench-mine 0.1 backends: mine ok" in lines
    assert "lstmbench.commands.run lstmbench 0.1.0 commands: run ok" in lines
    assert any("broken lstmbench-broken 0.1 plugin 'broken'" in line for line in lines)
    row = listed(call)["mine"]
    assert row["hooks"] == ["lstmbench_backends"]
    assert row["offers"] == {"lstmbench_backends": ["mine"]}


class TestTheBackendsOfThisProject:
    """``data/backends.txt`` against ``plugins/``."""

    root = Path(__file__).parents[2] / "plugins"

    def test_all_are_there(self) -> None:
        for name, entry in catalogue.backends().items():
            path, _, extra = entry.checkout.removesuffix("]").partition("[")
            project = tomllib.loads((self.root.parent / path / "pyproject.toml").read_text())
            assert project["project"]["name"] == entry.distribution
            assert entry.module in project["project"]["entry-points"]["lstmbench"].values()
            assert not extra or extra in project["project"]["optional-dependencies"]
            module = self.root.parent / path / entry.module / "__init__.py"
            assert f'name="{name}"' in module.read_text()

    def test_none_is_forgotten(self) -> None:
        modules = self.root.glob("*/lstmbench_*/__init__.py")
        named = [name for m in modules for name in re.findall(r' name="(.*?)"', m.read_text())]
        assert sorted(named) == sorted(catalogue.backends())
