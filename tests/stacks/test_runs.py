"""Runs whose workers live in other environments than the host."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.records.record import digest_of_stack
from tests.stacks.conftest import numpy_version, told

Environment = Callable[..., Path]

#: A plugin for the interpreter of a stack; the host knows its backend under the same name.
PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    return [BackendSpec("mine", "", "mine:make", {{"cpu": ("eager",)}}, interface={interface})]

def make(task):
    import sys
    from lstmbench_numpy.backend import NumpyBackend
    class Mine(NumpyBackend):
        def runtime(self):
            return {{"place": {place!r}, "lstmbench": sys.modules["lstmbench"].__file__}}
    return Mine(task)
"""


def plugin(place: str, interface: int = 2) -> dict[str, Any]:
    return {
        "entry_points": "mine = mine",
        "modules": {"mine": PLUGIN.format(place=place, interface=interface)},
    }


def copied_numpy_plugin(environment: Path) -> None:
    """What the plugin ``mine`` is derived from."""
    import lstmbench_numpy

    from tests.stacks.small_environments import site

    folder = Path(lstmbench_numpy.__file__).parent
    shutil.copytree(folder, site(environment) / "lstmbench_numpy")


def stacks_of(cli: Any) -> dict[str, Any]:
    found = [json.loads(path.read_text()) for path in cli.store.glob("*/records/*.json")]
    return {record["trial"]["stack"]: record for record in found}


def test_two_stacks_of_a_backend_belong_to_one_group(cli: Any, uv: Path) -> None:
    path = f"{uv}{os.pathsep}{os.environ['PATH']}"
    asked = ("--stack", "thing==1.0", "--stack", "new=thing==2.0", "--stack", "bad=thing==99")
    run = cli.run("--backends", "numpy", *asked, PATH=path)
    assert run.returncode == 1  # one that was named is unavailable
    found = stacks_of(cli)
    old, new, bad = (found[label] for label in ("thing==1.0", "new", "bad"))
    assert old["status"] == new["status"] == "ok", run.stdout
    assert len(old["epochs"]["seconds"]) == 4
    assert old["parity"]["worst"] < 1e-4
    assert len(old["interleaved_with"]) == 1
    assert old["interleaved_with"][0].startswith("numpy-eager-new-cpu")
    assert old["stack"]["packages"] == {"numpy": numpy_version(), "thing": "1.0"}
    assert new["stack"]["packages"]["thing"] == "2.0"
    assert new["stack"]["request"] == "thing==2.0"
    assert "numpy" not in old["machine"]["versions"]
    assert bad["status"] == "unavailable"
    assert "version of thing==99 and you require thing==99, no." in bad["message"]
    assert bad["stack"]["packages"] == {}
    assert len(told(uv)) == 6
    shown = cli("compare", cli.store, "--by", "stack", "--relative-to", "new", "--only", "seed=0")
    assert "version of thing" in shown.stdout, shown.stderr
    assert "numpy:eager@thing==1.0 / numpy:eager@new" in shown.stdout
    verified = cli("verify", next(cli.store.iterdir()))
    assert "mismatch" not in verified.stdout + verified.stderr
    assert verified.returncode == 0, verified.stdout + verified.stderr

    (uv / "fails").write_text("there is no network")
    again = cli.run("--backends", "numpy", "--stack", "thing==1.0", "--stack", "x", PATH=path)
    assert len(told(uv)) == 7  # for x alone
    assert "stack x: uv says: there is no network" in again.stderr
    assert stacks_of(cli)["thing==1.0"]["status"] == "ok"

    listed = cli("stacks")
    assert "thing==1.0" in listed.stdout
    assert "2 stacks" in listed.stdout
    assert "2 stacks" in cli("stacks", "--prune").stdout
    assert "0 stacks" in cli("stacks").stdout
    assert cli("stacks", "--unused-for", "3").returncode == 2


def test_an_interpreter_runs_its_own_plugin_with_the_host_s_worker(
    cli: Any, environment: Environment
) -> None:
    cli.plugin("mine", PLUGIN.format(place="host", interface=2))
    here, older = environment("here", lstmbench_mine=plugin("here")), environment("older")
    newest = environment("newest", lstmbench_mine=plugin("newest", interface=9))
    oldest = environment("oldest", lstmbench_mine=plugin("oldest", interface=0))
    for python in (here, newest, oldest):
        copied_numpy_plugin(python.parents[1])
    names = ("here", "older", "newest", "oldest")
    pythons = (here, older, newest, oldest)
    asked = [f"--stack={name}={python}" for name, python in zip(names, pythons, strict=True)]
    run = cli.run("--backends", "mine", *asked, "--stack=true=/bin/true")
    found = stacks_of(cli)
    assert found["here"]["status"] == "ok", found["here"]
    assert found["here"]["runtime"]["place"] == "here"
    assert found["here"]["runtime"]["lstmbench"].endswith("__init__.py")
    (code,) = found["here"]["stack"]["plugins"]
    assert (code["distribution"], code["version"]) == ("lstmbench-mine", "1.0")
    assert str(cli.folder) not in json.dumps(found["here"])
    messages = {label: record["message"] for label, record in found.items()}
    assert "no plugin with the backend 'mine' is installed there" in messages["older"]
    assert "for interface 9" in messages["newest"]
    assert messages["newest"].endswith("upgrade the lstmbench that is running")
    assert messages["oldest"].endswith("upgrade lstmbench-mine there")
    assert "true cannot be asked what it holds" in messages["true"]
    assert {record["status"] for label, record in found.items() if label != "here"} == {
        "unavailable"
    }
    assert run.returncode == 1


def test_a_stack_that_is_removed_meanwhile_is_a_row(cli: Any, environment: Environment) -> None:
    """The worker of the second repeat finds no interpreter any more."""
    source = PLUGIN.format(place="host", interface=2) + (
        "\n    # the interpreter goes as soon as the worker runs\n"
    )
    removing = source.replace(
        "    return Mine(task)",
        "    import shutil, os\n    shutil.rmtree(os.environ['GOES'], ignore_errors=True)\n"
        "    return Mine(task)",
    )
    cli.plugin("mine", source)
    python = environment(
        "goes", lstmbench_mine={"entry_points": "mine = mine", "modules": {"mine": removing}}
    )
    copied_numpy_plugin(python.parents[1])
    run = cli.run(
        *("--backends", "mine", "--repeats", "2", f"--stack=goes={python}"),
        f"--env=GOES={python.parents[1] / 'bin'}",
    )
    found = [json.loads(path.read_text()) for path in cli.store.glob("*/records/*.json")]
    by_repeat = {record["trial"]["repeat"]: record for record in found}
    assert by_repeat[0]["status"] == "ok", run.stdout
    assert by_repeat[1]["status"] == "unavailable"
    assert by_repeat[1]["message"] == "the stack was removed meanwhile"


def test_a_run_goes_on_with_the_same_stack_only(cli: Any, uv: Path) -> None:
    path = f"{uv}{os.pathsep}{os.environ['PATH']}"
    cli.run("--backends", "numpy", "--repeats", "1", "--stack", "thing==1.0", PATH=path)
    (run,) = cli.runs()
    done = cli("run", "--extend", run, "--repeats", "2", PATH=path)
    assert done.returncode == 0, done.stderr
    files = sorted((run / "records").glob("*.json"))
    assert len(files) == 2
    for file in files:
        data = json.loads(file.read_text())
        data["stack"]["packages"]["thing"] = "1.0.1"
        data["stack"]["digest"] = digest_of_stack(
            data["stack"]["python"], data["stack"]["packages"]
        )
        file.write_text(json.dumps(data))
    refused = cli("run", "--extend", run, "--repeats", "3", PATH=path)
    assert refused.returncode == 2
    assert "the stack thing==1.0 holds other releases" in refused.stderr
    assert sorted((run / "records").glob("*.json")) == files


def test_without_a_stack_everything_is_as_it_was(cli: Any) -> None:
    run = cli.run("--backends", "numpy")
    assert run.returncode == 0, run.stderr
    (record,) = stacks_of(cli).values()
    assert record["stack"] is None
    assert record["trial"]["stack"] == ""
    assert record["machine"]["versions"]["numpy"] == numpy_version()
    assert "mode    device" in run.stdout


@pytest.mark.parametrize(
    ("stack", "message"),
    [("a b=x", "is no label"), ("lstmbench==1", "cannot be replaced"), (".", "give it a label")],
)
def test_a_mistake_is_one_line(cli: Any, stack: str, message: str) -> None:
    run = cli.run("--backends", "numpy", "--stack", stack)
    assert run.returncode == 2
    assert message in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert not cli.store.exists()


def test_the_host_s_own_path_is_not_seen_in_a_stack(cli: Any, environment: Environment) -> None:
    """What PYTHONPATH leads the host to is no part of the stack."""
    cli.plugin("mine", PLUGIN.format(place="host", interface=2))
    python = environment("here")
    run = cli.run("--backends", "mine", f"--stack=here={python}")
    assert "no plugin with the backend 'mine'" in stacks_of(cli)["here"]["message"], run.stderr
    assert sys.executable not in json.dumps(stacks_of(cli)["here"])
