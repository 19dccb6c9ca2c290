"""Full disks, missing folders, closed streams, few descriptors: a line each, nothing is lost."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench import streams
from lstmbench.errors import UserError
from lstmbench.records.store import Run
from lstmbench.runner import estimate
from lstmbench.runner.show import show

LINUX = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
ROW = r"(?m)^numpy +eager +cpu +ok"
VANDAL = """
import shutil
from pathlib import Path
from lstmbench import BackendSpec, hookimpl
from lstmbench_numpy.backend import NumpyBackend

class Vandal(NumpyBackend):
    def generate(self, prefix, length):
        for folder in Path(STORE).glob("*/records"):
            shutil.rmtree(folder)
        return super().generate(prefix, length)

@hookimpl
def lstmbench_backends():
    return [BackendSpec("vandal", "", "vandal:Vandal", {"cpu": ("eager",)})]
"""


def shell(cli: Any, script: str, *arguments: Any, **more: str) -> subprocess.CompletedProcess[str]:
    """``lstmbench`` as ``"$@"`` of a shell's script."""
    return subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "lstmbench", *map(str, arguments)],
        cwd=cli.folder,
        env=cli.environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def quick(cli: Any) -> list[Any]:
    return [*cli.tiny_run, "--backends", "numpy", "--epochs", "2"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_obstacle(cli: Any, closed: str) -> None:
    done = shell(cli, f'"$@" {closed}', *quick(cli))
    assert done.returncode == 0, done.stderr
    assert cli.records()["numpy"]["status"] == "ok"


@LINUX
@pytest.mark.parametrize("command", ["list", "schema", "--help"])
def test_an_output_that_cannot_be_written_is_a_line(cli: Any, command: str) -> None:
    done = shell(cli, '"$@" >/dev/full', command)
    assert done.returncode in (1, 2)
    line = r"lstmbench: (standard output: )?No space left on device\n"
    assert re.fullmatch(line, done.stderr), done.stderr


@LINUX
def test_a_run_whose_output_cannot_be_written_keeps_all_else(cli: Any) -> None:
    done = shell(cli, '"$@" >/dev/full', *quick(cli))
    assert done.returncode == 1
    assert "lstmbench: standard output: No space left on device\n" in done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = cli.runs()
    assert {"table.md", "perplexity.svg"} <= {path.name for path in folder.iterdir()}


@LINUX
@pytest.mark.parametrize("command", ["report", "verify"])
def test_what_cannot_be_told_of_a_run_is_a_line(
    cli: Any, command: str, make_record: Callable[..., Any]
) -> None:
    run = Run.create(cli.store, "d2l")
    run.write_plan({})
    run.write_record(make_record())
    done = shell(cli, '"$@" >/dev/full', command, run.folder)
    assert done.returncode in (1, 2)
    assert re.fullmatch(r"lstmbench: [^\n]*No space left on device\n", done.stderr), done.stderr


def test_a_reader_that_goes_away_is_no_trouble(cli: Any) -> None:
    done = shell(cli, '"$@" | head -1', *quick(cli))
    assert done.stdout.startswith("d2l with")
    assert "lstmbench: standard output" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (cli.runs()[0] / "table.md").is_file()


def test_what_cannot_be_kept_is_named_beneath_the_table(
    make_record: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = show([make_record()], tmp_path / "gone")
    assert re.search(ROW, capsys.readouterr().out)
    assert problems[0] == f"{tmp_path / 'gone' / 'table.md'}: No such file or directory"
    assert len(problems) == 2


def test_records_that_cannot_be_written_are_named(cli: Any) -> None:
    """The folder is gone, as when a disk is unmounted."""
    cli.plugin("vandal", VANDAL.replace("STORE", repr(str(cli.store))))
    done = cli.run("--backends", "vandal,numpy")
    assert done.returncode == 1
    assert re.search(ROW, done.stdout)
    assert "lstmbench: the record of numpy-eager-cpu" in done.stderr
    assert "is not written: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_room_for_temporary_files_is_found_out_first(
    cli: Any, one_line: Callable[..., None]
) -> None:
    arguments = [sys.executable, "-m", "lstmbench", *quick(cli)]
    done = subprocess.run(
        arguments,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16)),
    )
    lines = [line for line in done.stderr.splitlines() if "TMPDIR" in line]
    assert done.returncode == 2
    assert lines[0].startswith("lstmbench: temporary files cannot be written: ")
    assert cli.runs() == []


def test_a_plan_that_cannot_be_written_is_the_user_s_to_put_right(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be written: No such file.*--store"):
        Run(tmp_path / "gone").write_plan({})


def test_a_current_folder_that_is_gone(cli: Any) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    done = shell(cli, script, *quick(cli))
    assert done.returncode == 0, done.stderr
    assert cli.records()["numpy"]["status"] == "ok"
    done = shell(cli, script, *quick(cli), "--store", "here")
    assert done.returncode == 2
    assert "store here cannot be written: No such file" in done.stderr


def test_a_user_without_home_and_account(cli: Any) -> None:
    """As in a container: neither ``HOME`` nor an entry in the system's list of users."""
    (cli.site / "sitecustomize.py").write_text(
        "import pwd\ndef unknown(uid):\n    raise KeyError(uid)\npwd.getpwuid = unknown\n"
    )
    names = "env -u HOME -u USER -u LOGNAME -u XDG_CACHE_HOME -u MPLCONFIGDIR"
    done = shell(cli, f'{names} "$@"', *quick(cli))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (cli.runs()[0] / "perplexity.svg").exists()
    done = shell(cli, f'{names} "$@"', *quick(cli), "--corpus", "time-machine")
    assert done.returncode == 2
    assert "there is no home folder to keep it in" in done.stderr


@pytest.mark.parametrize("limit", [12, 16, 20, 24])
def test_with_few_descriptors_workers_are_rows(cli: Any, limit: int) -> None:
    cli.plugin("vandal", VANDAL)
    done = shell(cli, f'ulimit -n {limit}; exec "$@"', *quick(cli), "--backends", "numpy,vandal")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    reasons = {record["reason"] for record in cli.records().values()}
    # which of the processes cannot be started is chance: a worker, or the auditor
    assert reasons & {"exit", "exception", "audit"}


def test_names_that_are_too_long_are_refused(call: Any, one_line: Callable[..., None]) -> None:
    for command in ("report", "verify", "publish", "new"):
        one_line(call(command, "a" * 300), "name too long")


def test_help_survives_optimisation(cli: Any) -> None:
    plain, optimised = (cli("--help", **more).stdout for more in ({}, {"PYTHONOPTIMIZE": "2"}))
    assert "Train each backend on each device" in optimised
    assert plain == optimised
    for command in re.findall(r"(?m)^  ([a-z]+) ", plain.partition("Commands:")[2]):
        help_text = cli(command, "--help", PYTHONOPTIMIZE="2").stdout
        assert re.match(r"Usage: [^\n]*\n(?:  +\[?[A-Z][^\n]*\n)?\n  [A-Z]", help_text), command


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_names_that_an_encoding_lacks_are_escaped(cli: Any, encoding: str) -> None:
    done = cli(*quick(cli), "--store", cli.folder / "пример", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "\\u043f\\u0440" in done.stdout


def test_a_sweep_is_refused_before_it_is_crossed(call: Any, one_line: Callable[..., None]) -> None:
    many = ",".join(map(str, range(1, 201)))
    sizes = ("--epochs", many, "--hidden-size", many, "--steps", many, "--layers", many)
    one_line(call("run", "--corpus", "bundled", *sizes), "over 20,000 trials", "--yes")


def test_equal_values_are_one() -> None:
    estimate.check_sweep({"epochs": [1] * 30_000, "steps": None, "layers": [1, 2]})


def test_a_host_called_like_a_word_of_the_command(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cli.site / "sitecustomize.py").write_text(
        "import socket; socket.gethostname = lambda: 'numpy'"
    )
    done = cli.run("--backends", "numpy", "--epochs", "1", USER="eager", LOGNAME="eager")
    assert done.returncode == 0, done.stderr
    command = cli.records()["numpy"]["source"]["command"]
    assert command[command.index("--backends") + 1] == "numpy"
    assert "--epochs" in command
    assert json.dumps(command).count("<") == 0


def test_what_is_shown_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert streams.show("text\n") is None
    assert capsys.readouterr().out == "text\n"
