"""Another interpreter finds the modules that this one finds."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

from lstmbench.machine.interpreter import search_paths

SHOW = """
import json, sys
from lstmbench.machine.interpreter import search_paths
print(json.dumps([sys.path, search_paths()]))
"""
CHILD = "import json, sys; print(json.dumps(sys.path))"


def run(*command: str, cwd: Path, **environment: str) -> list:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("options", [(), ("-I",), ("-s",), ("-E",), ("-P",)])
@pytest.mark.parametrize("path", [None, "", "a", ":b:", "/nowhere"])
def test_a_child_has_the_same_path(
    options: tuple[str, ...], path: str | None, tmp_path: Path
) -> None:
    environment = {} if path is None else {"PYTHONPATH": path}
    host, variables = run(*options, "-c", SHOW, cwd=tmp_path, **environment)
    child = run("-P", "-c", CHILD, cwd=tmp_path, **variables)

    def absolute(paths: list[str]) -> list[str]:
        return list(dict.fromkeys(str(tmp_path / path) for path in paths))

    assert absolute(child) == absolute(host)


def test_what_code_put_in_front_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("/srv/mine")
    assert search_paths()["PYTHONPATH"].split(os.pathsep)[0] == "/srv/mine"


@pytest.mark.parametrize("enabled", [True, False, None])
def test_the_user_s_own_packages_are_found_if_they_are_here(
    monkeypatch: pytest.MonkeyPatch, enabled: bool | None
) -> None:
    monkeypatch.setattr(site, "ENABLE_USER_SITE", enabled)
    monkeypatch.setattr(site, "USER_BASE", "/clusters/own")
    found = search_paths()
    if enabled:
        assert found["PYTHONUSERBASE"] == "/clusters/own"
        assert "PYTHONNOUSERSITE" not in found
    else:
        assert found["PYTHONNOUSERSITE"] == "1"
        assert "PYTHONUSERBASE" not in found
