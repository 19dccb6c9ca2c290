"""The command line: commands, and one line for every mistake of the user's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.corpora import named

Call = Callable[..., Any]
COMMANDS = (
    *("check", "compare", "list", "new", "noise", "plugins"),
    *("publish", "report", "run", "schema", "verify"),
)
RUN = (
    *("run", "--backends", "numpy", "--devices", "cpu", "--corpus", "bundled"),
    *("--epochs", "1", "--hidden-size", "8"),
)


def test_help_lists_the_commands(call: Call) -> None:
    done = call("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(call: Call, command: str) -> None:
    done = call(command, "--help")
    assert done.returncode == 0
    assert f"Usage: lstmbench {command}" in done.stdout


def test_the_version(call: Call) -> None:
    from lstmbench import __version__

    assert call("--version").stdout.strip().endswith(__version__)


def test_no_command_shows_the_help_as_help(call: Call) -> None:
    done = call()
    shown = done.stdout + done.stderr
    assert len(shown.splitlines()) > len(COMMANDS)
    assert "\n  run " in shown
    assert done.returncode == 2


@pytest.mark.parametrize(("command", "near"), [("rnu", "run"), ("lst", "list"), ("chek", "check")])
def test_an_unknown_command_names_the_near_match(
    call: Call, one_line: Any, command: str, near: str
) -> None:
    one_line(call(command), f"unknown command {command!r}", f"{near!r}")


def test_a_command_like_no_other_gets_the_list(call: Call, one_line: Any) -> None:
    one_line(call("xyzzy"), "unknown command 'xyzzy'", *COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--backends", "nmpy"), ("unknown backend 'nmpy'", "'numpy'")),
        (("--backends", "numpy,nmpy"), ("unknown backend 'nmpy'", "'numpy'")),
        (("--backends", "toch"), ("unknown backend 'toch'", "'torch'")),
        (
            ("--backends", "tf-scratch"),
            (
                "'tf-scratch' is not installed: it comes with lstmbench-tf-scratch",
                "(from a checkout: pip install ./plugins/tf-scratch)",
            ),
        ),
        (("--backends", ""), ("--backends", "at least one")),
        (("--backends", ","), ("--backends", "at least one")),
        (("--backends", "numpy:eagr"), ("unknown mode of numpy 'eagr'", "'eager'")),
        (("--modes", "egaer"), ("unknown mode 'egaer'", "'eager'")),
        (("--modes", ""), ("--modes", "at least one")),
        (("--devices", "cpuu"), ("unknown device 'cpuu'", "'cpu'")),
        (("--devices", "cuda"), ("unknown device 'cuda'", "'cuda:0'")),
        (("--devices", "cpu,cuda:x"), ("unknown device 'cuda:x'", "'cuda:0'")),
        (("--devices", ""), ("--devices", "at least one")),
        (("--protocol", "qick"), ("unknown protocol 'qick'", "'quick'")),
        (("--protocol", "xyz"), ("unknown protocol 'xyz'", "d2l", "quick")),
        (("--corpus", "time-machin"), ("unknown corpus 'time-machin'", "'time-machine'")),
        (("--dtype", "float23"), ("unknown dtype 'float23'", "'float32'")),
        (("--init", "sharde"), ("--init", "shared", "native")),
        (("--epochs", "0"), ("--epochs 0", "at least 1")),
        (("--epochs", "-5"), ("--epochs -5", "at least 1")),
        (("--epochs", "many"), ("--epochs", "many")),
        (("--epochs", "1.5"), ("--epochs", "1.5")),
        (("--epochs", "1000000000000"), ("--epochs",)),
        (("--hidden-size", "0"), ("--hidden-size 0", "at least 1")),
        (("--layers", "0"), ("--layers 0", "at least 1")),
        (("--steps", "0"), ("--steps 0", "at least 1")),
        (("--batch-size", "0"), ("--batch-size 0", "at least 1")),
        (("--learning-rate", "0"), ("--learning-rate", "positive")),
        (("--learning-rate", "-1"), ("--learning-rate", "positive")),
        (("--learning-rate", "nan"), ("--learning-rate", "positive")),
        (("--learning-rate", "inf"), ("--learning-rate", "positive")),
        (("--dropout", "1"), ("--dropout 1", "below 1")),
        (("--dropout", "-0.1"), ("--dropout -0.1", "at least 0")),
        (("--embedding-size", "0"), ("--embedding-size 0", "at least 1")),
        (("--optimizer", "adagrad"), ("--optimizer adagrad", "one of sgd, adam, rmsprop")),
        (("--tied", "perhaps"), ("--tied", "'perhaps'", "yes or no")),
        (("--tied", "yes"), ("tied weights", "got none and 8")),
        (
            ("--protocol", "word-lm", "--tied", "yes", "--embedding-size", "9"),
            ("tied weights", "got 9 and 8"),
        ),
        (("--batch-size", "20000"), ("too few", "--batch-size 20000")),
        (("--steps", "9999"), ("too few", "--steps 9999")),
        (("--protocol", "heldout", "--batch-size", "60"), ("validation", "too few")),
        (("--repeats", "0"), ("--repeats",)),
        (("--threads", "0"), ("--threads 0",)),
        (("--threads", "100000"), ("--threads 100000",)),
        (("--seed", "-1"), ("--seed -1", "must be 0 to")),
        (("--seed", "0,-1"), ("--seed -1", "must be 0 to")),
        (("--seed", "99999999999999999999"), ("--seed 99999999999999999999", "must be 0 to")),
        (("--seed", "0,1,0"), ("--seed: 0 is given twice", "--repeats")),
        (("--seed", "0,x"), ("--seed", "'0,x'", "a whole number")),
        (("--seed", "1.5"), ("--seed", "'1.5'", "a whole number")),
        (("--seed", ""), ("--seed", "''", "a whole number")),
        (("--seed", "0,1", "--precision", "2%"), ("--seed 0,1", "--precision", "--repeats")),
        (("--seed", "0,1", "--protocol", "speed"), ("--seed 0,1", "precision of speed")),
        (("--timeout", "0"), ("--timeout",)),
        (("--timeout", "-1"), ("--timeout",)),
        (("--timeout", "nan"), ("--timeout",)),
        (("--prepare-timeout", "0"), ("--prepare-timeout",)),
        (("--prepare-timeout", "nan"), ("--prepare-timeout",)),
        (("--env", "NOVALUE"), ("--env", "NAME=VALUE")),
        (("--env", "=x"), ("--env", "NAME=VALUE")),
        (("--env", "A B=x"), ("--env", "NAME=VALUE")),
        (("--corpus-file", "none.txt"), ("--corpus-file", "--corpus none.txt")),
        (("--corpus", "none.txt"), ("--corpus none.txt", "no such file")),
        (("--tokens", "chars"), ("--tokens 'chars'", "'char'")),
        (("--normalise", "letter"), ("'letter'", "letters, none")),
        (("--vocabulary-size", "1"), ("--vocabulary-size 1", "must be 2")),
        (("--min-count", "0"), ("--min-count 0", "must be 1")),
        (("--min-count", "999999"), ("bundled", "one symbol only", "<unk>")),
        (("--prompt", "why?"), ("--prompt 'why?'", "no '?'", "bundled")),
        (("--prompt", ""), ("--prompt ''", "is empty")),
        (("--prompt", "a", "--no-samples"), ("--no-samples", "--prompt")),
        (("--hidden-size", "8,x"), ("--hidden-size", "'8,x'")),
        (("--hidden-size", "8,0"), ("--hidden-size 0", "at least 1")),
        (("--threads", "1,100000"), ("--threads 100000",)),
        (("--precision", "x"), ("--precision", "'x'", "2%")),
        (("--precision", "0"), ("--precision 0", "no machine repeats itself so well")),
        (("--precision", "0.01%"), ("--precision 0.0001", "between 0.2% and 50%")),
        (("--precision", "nan"), ("--precision nan",)),
        (("--precision", "200%"), ("--precision 2",)),
        (("--precision", "2%", "--repeats", "3"), ("--repeats", "--precision", "one of them")),
        (("--precision", "2%", "--budget", "0"), ("--budget", "positive")),
        (("--budget", "60"), ("--budget", "--precision")),
        (
            ("--hidden-size", ",".join(map(str, range(8, 24))), "--repeats", "100"),
            ("1,600 trials", "hours", "--yes"),
        ),
        (("--hidden-size", "8000", "--epochs", "5000"), ("1 trials", "hours", "--yes")),
        (("--nonsense",), ("--nonsense",)),
        (("surplus",), ("surplus",)),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_leaves_nothing(
    call: Call, one_line: Any, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = call(*RUN, "--store", tmp_path / "runs", *arguments)
    one_line(done, *words)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "lstmbench-runs").exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_unwritable_store(call: Call, one_line: Any, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    one_line(call(*RUN, "--store", tmp_path / place), "cannot be written", "--store")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", [("report",), ("publish", "--into", "README.md")])
@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_a_folder_that_is_no_run(
    call: Call, one_line: Any, tmp_path: Path, command: tuple[str, ...], what: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    reason = "is missing" if what == "missing" else "no run and no store"
    one_line(call(*command, tmp_path / what), what, reason)
    assert not (tmp_path / "README.md").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"schema_version": 1}', ("is not a record", "trial")),
        ('{"schema_version": 99}', ("is not a record", "schema version 99", "reads 1 to")),
        ('{"schema_version"', ("is not a record", "JSON")),
    ],
)
def test_damaged_records_are_named_and_the_rest_is_reported(
    call: Call, run_folder: Path, content: str, words: tuple[str, ...]
) -> None:
    whole = call("report", run_folder)
    for name in ("x.json", "a.json"):
        (run_folder / "records" / name).write_text(content)
    done = call("report", run_folder)
    assert done.returncode == 1
    assert done.stdout == whole.stdout
    first, second = done.stderr.splitlines()
    assert "a.json" in first
    assert "x.json" in second
    for word in words:
        assert word in first


def test_report_without_a_run(call: Call, one_line: Any) -> None:
    one_line(call("report"), "RUNS")


def test_an_unknown_format(call: Call, one_line: Any, tmp_path: Path) -> None:
    one_line(call("report", tmp_path, "--format", "docx"), "docx", "github", "latex", "csv")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nmpy",), ("unknown backend 'nmpy'", "'numpy'")),
        (("numpy", "--device", "cuda:0"), ("numpy", "cuda")),
        (("numpy", "--device", "gpu"), ("unknown device 'gpu'",)),
        (("numpy", "--mode", "graph"), ("graph",)),
        (("numpy", "--dtype", "float31"), ("'float32'",)),
        (("numpy", "--dtype", "bfloat16"), ("numpy", "bfloat16")),
        ((), ("BACKEND",)),
    ],
    ids=" ".join,
)
def test_bad_input_to_check(
    call: Call, one_line: Any, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    one_line(call("check", *arguments), *words)


def test_list_shows_all_there_is_to_choose(call: Call) -> None:
    done = call("list")
    assert done.returncode == 0
    assert done.stderr == ""
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert any(line.startswith("numpy cpu: eager installed") for line in lines)
    for name in ("torch", "keras", "tf-scratch", "jax"):
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert f"not installed: it comes with lstmbench-{name} " in line
    for name in ("cpu", "d2l", "quick", "heldout", *(spec.name for spec in named.SPECS)):
        assert any(line.startswith(f"{name} ") for line in lines)
    assert any(line.startswith("penn-treebank your own files") for line in lines)


MARKED = "before\n<!-- lstmbench:begin -->\nold\n<!-- lstmbench:end -->\nafter\n"


@pytest.fixture
def run_folder(tmp_path: Path, make_record: Callable[..., Any]) -> Path:
    from lstmbench.records.store import Run

    run = Run.create(tmp_path / "runs", "d2l")
    run.write_plan({})
    run.write_record(make_record())
    run.write_record(make_record(backend="other", status="failed", reason="nan", message="x | y"))
    return run.folder


@pytest.mark.parametrize("form", ["github", "plain", "latex", "html", "csv", "json"])
def test_report_prints_every_format(call: Call, run_folder: Path, form: str) -> None:
    from lstmbench.analysis.tables import tables_from
    from lstmbench.records.store import Run
    from lstmbench.report.text import render

    done = call("report", run_folder, "--format", form)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == render(tables_from(Run(run_folder).records()), form) + "\n"


def test_report_takes_several_runs_or_their_store(call: Call, run_folder: Path) -> None:
    one = json.loads(call("report", run_folder, "--format", "json").stdout)
    store = json.loads(call("report", run_folder.parent, "--format", "json").stdout)
    twice = json.loads(call("report", run_folder, run_folder, "--format", "json").stdout)
    assert one == store
    assert [row["processes"] for row in twice[0]["rows"]] == [2, 2]


def test_publish_writes_between_the_markers_only(
    call: Call, run_folder: Path, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(MARKED)
    done = call("publish", run_folder, "--into", readme)
    assert (done.returncode, done.stdout) == (0, f"{readme}: 1 table\n")
    first = readme.read_text()
    assert first.startswith("before\n<!-- lstmbench:begin -->\n")
    assert first.endswith("\n<!-- lstmbench:end -->\nafter\n")
    assert "| numpy" in first
    assert "old" not in first
    call("publish", run_folder, "--into", readme)
    assert readme.read_text() == first


@pytest.mark.parametrize("content", ["", "<!-- lstmbench:begin -->", "<!-- lstmbench:end -->"])
def test_publish_without_markers_changes_nothing(
    call: Call, one_line: Any, run_folder: Path, tmp_path: Path, content: str
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(content)
    one_line(call("publish", run_folder, "--into", readme), "README.md", "lstmbench:begin")
    assert readme.read_text() == content


def test_publish_into_no_file(call: Call, one_line: Any, run_folder: Path, tmp_path: Path) -> None:
    one_line(
        call("publish", run_folder, "--into", tmp_path / "none.md"),
        "none.md is missing",
        "lstmbench:begin",
    )


def test_the_module_calls_itself_by_the_name_of_the_program(cli: Any) -> None:
    done = cli("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: lstmbench ")
    assert done.stderr == ""


def test_a_gate_that_is_no_ratio_is_refused(call: Call, one_line: Any) -> None:
    for ratio in ("nan", "inf"):
        one_line(call("compare", "a", "b", "--fail-below", ratio), "--fail-below", "0.97")


def test_relative_to_no_row_names_the_rows(
    call: Call, one_line: Any, tmp_path: Path, make_record: Any
) -> None:
    from lstmbench.records.store import Run

    run = Run.create(tmp_path / "store", "d2l")
    run.write_plan({})
    run.write_record(make_record())
    one_line(call("report", run.folder, "--relative-to", "bogus"), "bogus", "numpy:eager")
    assert call("report", run.folder, "--relative-to", "numpy").returncode == 0
    store = ("--to", tmp_path / "published")
    one_line(call("publish", run.folder, *store, "--only", "protocol=d2l"), "--only", "--into")
    assert not (tmp_path / "published").exists()


NAMED = """
from lstmbench import CorpusSpec, hookimpl

@hookimpl
def lstmbench_corpora():
    return [CorpusSpec("我的", "", make=str)]
"""


def test_a_name_in_any_script_can_be_shown_in_any_encoding(cli: Any) -> None:
    cli.plugin("mine", NAMED)
    done = cli("list", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n\\u6211\\u7684" in done.stdout


def test_an_interruption_while_starting_is_quiet(cli: Any) -> None:
    (cli.site / "click.py").write_text("raise KeyboardInterrupt")
    done = cli("--help")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
