"""The Python API: run, load, figures and comparisons, and the same errors as the command line."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import lstmbench
from lstmbench import api
from lstmbench.records.record import Epochs
from lstmbench.runner.options import Options

Make = Callable[..., Any]
ROOT = Path(__file__).parents[1]
SIZE: dict[str, Any] = {"epochs": 4, "hidden_size": 8, "batch_size": 4, "steps": 5, "threads": 1}
PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    yield BackendSpec("twin", "", "lstmbench_numpy.backend:NumpyBackend", {"cpu": ("eager",)})
    yield BackendSpec("slow", "", "faulty_backends:Slow", {"cpu": ("eager",)})
"""
PANDAS = """
class DataFrame(list):
    def __init__(self, entries):
        super().__init__(entries)
"""


@pytest.fixture
def program(cli: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python code in the environment of the command line's tests."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=cli.folder,
            env=cli.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return run


@pytest.fixture(scope="module")
def ran(module_cli: Any) -> Any:
    """Two backends, twice each, by a program; nothing is printed but what it prints itself."""
    module_cli.plugin("twins", PLUGIN)
    arguments = {"devices": "cpu", "corpus": "bundled", "store": "runs", "repeats": 2, **SIZE}
    code = f"import lstmbench\nprint(lstmbench.run(['numpy', 'twin'], **{arguments}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=module_cli.folder,
        env=module_cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "<Results: 4 records of numpy:eager, twin:eager>\n"
    (folder,) = module_cli.runs()
    return lstmbench.load(folder)


def test_a_run_returns_what_it_recorded(ran: Any) -> None:
    assert len(ran) == 4
    assert {record.trial.label for record in ran} == {"numpy:eager", "twin:eager"}
    assert {record.status for record in ran} == {"ok"}
    assert ran[0].source.command == [
        *("lstmbench", "run", "--backends", "numpy,twin", "--devices", "cpu", "--epochs", "4"),
        *("--hidden-size", "8", "--batch-size", "4", "--steps", "5", "--repeats", "2"),
        *("--corpus", "bundled", "--threads", "1", "--store", "runs"),
    ]
    assert ran.damaged == ()


def test_figures_are_those_of_the_report(ran: Any, module_cli: Any) -> None:
    (shown,) = json.loads(module_cli("report", ran.path, "--format", "json").stdout)
    for figures, expected in zip(ran.figures(), shown["rows"], strict=True):
        assert set(figures) <= set(expected)
        for key, value in figures.items():
            close = isinstance(value, float | tuple)
            assert expected[key] == (pytest.approx(value) if close else value), key
    assert len(ran.rows) == 2
    (table,) = ran.tables()
    assert [row.label for row in table.rows] == [row.label for row in ran.rows]


def test_comparisons_are_those_of_the_command(ran: Any) -> None:
    found = {c.metric.label: c for c in ran.compare("numpy", "twin:eager")}
    speed = found["tokens/s"]
    assert speed.paired
    assert speed.ratio.processes == 2
    assert speed.ratio.low < speed.ratio.value < speed.ratio.high
    same = {c.metric.label: c for c in lstmbench.compare(ran.only("numpy"), ran.only("twin"))}
    assert same["tokens/s"].ratio == speed.ratio


@pytest.fixture
def results(make_record: Make) -> api.Results:
    """Two backends of different speed."""
    fast = Epochs(seconds=[0.1] * 5, nats=[1e4] * 5, tokens=[8960] * 5)
    return api.Results([make_record(), make_record(backend="torch", epochs=fast)])


def test_results_are_a_sequence_of_records(results: api.Results) -> None:
    assert list(results) == [results[0], results[1]]
    assert len(results) == 2
    assert results[0] in results


def test_the_raw_series_are_entries(results: api.Results) -> None:
    epochs = results.epochs()
    assert len(epochs) == 10
    assert epochs[5] == {
        **{"backend": "torch", "mode": "eager", "device": "cpu", "seed": 0, "repeat": 0},
        **{"epoch": 1, "seconds": 0.1, "nats": 1e4, "tokens": 8960},
    }


@pytest.mark.parametrize("of", ["figures", "epochs"])
def test_a_frame_has_a_line_for_each_entry(
    results: api.Results, of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pandas.py").write_text(PANDAS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    frame = results.to_frame(of)
    assert list(frame) == getattr(results, of)()
    monkeypatch.delitem(sys.modules, "pandas")


def test_without_pandas_the_error_says_how_to_get_it(
    results: api.Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(lstmbench.UserError, match="pip install pandas"):
        results.to_frame()


def test_a_frame_of_something_else_is_refused(results: api.Results) -> None:
    with pytest.raises(lstmbench.UserError, match=r"'rows'.*figures, epochs"):
        results.to_frame("rows")


def test_what_differs_in_more_than_the_backend_is_not_compared(make_record: Make) -> None:
    found = api.Results([make_record(), make_record(backend="torch", threads=1)])
    with pytest.raises(lstmbench.UserError, match="differ in threads"):
        found.compare("numpy", "torch")
    with pytest.raises(lstmbench.UserError, match=r"unknown backend 'jax'.*numpy"):
        found.compare("numpy", "jax")
    with pytest.raises(lstmbench.UserError, match="not numpy:eager, torch:eager"):
        lstmbench.compare(found, found.only("numpy"))


def test_a_single_path_is_asked_for_where_there_are_several(results: api.Results) -> None:
    with pytest.raises(lstmbench.UserError, match="0 paths"):
        _ = results.path


@pytest.mark.parametrize(
    "wrong",
    [
        {"backends": ["nmpy"]},
        {"modes": "egaer"},
        {"devices": ["cpuu"]},
        {"protocol": "qick"},
        {"epochs": 0},
        {"hidden_size": [8, 0]},
        {"dtype": "float23"},
        {"seed": -1},
        {"seed": 2**63},
        {"init": "sharde"},
        {"repeats": 0},
        {"precision": 2.0},
        {"threads": 100_000},
        {"timeout": 0.0},
        {"env": ["NOVALUE"]},
        {"corpus": "time-machin"},
    ],
    ids=str,
)
def test_errors_have_the_text_of_the_command_line(
    call: Callable[..., Any], wrong: dict[str, Any]
) -> None:
    chosen = {"backends": "numpy", "devices": "cpu", "corpus": "bundled", **wrong}
    with pytest.raises(lstmbench.UserError) as refused:
        lstmbench.run(**chosen)
    words = []
    for name, value in chosen.items():
        several = isinstance(value, list)
        text = ",".join(map(str, value)) if several else str(value)
        words += [f"--{name.replace('_', '-')}", text]
    done = call("run", *words)
    assert done.returncode == 2
    # click has words of its own for the few options whose bounds it checks
    (option,) = (f"--{name.replace('_', '-')}" for name in wrong)
    said = done.stderr.removeprefix("lstmbench: ").strip()
    assert said == " ".join(str(refused.value).split()) or f"'{option}'" in said
    assert not Path("lstmbench-runs").exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epochs": "5"}, "--epochs '5': expected a whole number"),
        ({"epochs": 1.5}, "--epochs 1.5: expected a whole number"),
        ({"threads": [1, None]}, "--threads None: expected a whole number"),
        ({"learning_rate": "1"}, "--learning-rate '1': expected a number"),
        ({"seed": "0"}, "--seed '0': expected a whole number"),
    ],
)
def test_a_value_of_the_wrong_type_names_its_option(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(lstmbench.UserError, match=re.escape(words)):
        lstmbench.run("numpy", **wrong)


def test_the_arguments_are_the_options_of_the_command() -> None:
    arguments = set(inspect.signature(lstmbench.run).parameters)
    options = {field.name for field in fields(Options)}
    assert arguments == options - {"no_interleave", "no_samples"} | {
        *("interleave", "samples", "progress", "wait")
    }
    defaults = inspect.signature(lstmbench.run).parameters
    for field in fields(Options):
        if field.name in arguments:
            assert defaults[field.name].default == field.default


def test_progress_is_shown_where_it_is_asked_for(cli: Any, program: Any) -> None:
    done = program(
        f"import lstmbench\nlstmbench.run('numpy', devices='cpu', corpus='bundled', progress=True,"
        f" **{SIZE})"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "numpy:eager cpu: epoch 4/4" in done.stderr


def test_an_interrupted_run_keeps_its_records_and_raises(cli: Any) -> None:
    cli.plugin("slow_one", PLUGIN)
    code = f"""
import lstmbench
size = {SIZE | {"epochs": 200}}
try:
    lstmbench.run("slow", devices="cpu", corpus="bundled", store="runs", progress=True, **size)
except KeyboardInterrupt as interrupted:
    (record,) = interrupted.results
    print(record.status.value, len(record.epochs.seconds), interrupted.results.path)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=cli.folder,
        env=cli.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr
        assert any("epoch 20/200" in line for line in process.stderr)
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    status, done, folder = out.split()
    assert status == "interrupted"
    assert int(done) >= 20
    (record,) = (cli.folder / folder / "records").iterdir()
    assert json.loads(record.read_text())["status"] == "interrupted"


def test_a_run_needs_no_main_thread(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals can be handled in the main thread only: notebooks and servers have others."""
    for name in ("PYTHONPATH", "TMPDIR", "HOME"):
        monkeypatch.setenv(name, here.environment()[name])
    found: list[Any] = []

    def run() -> None:
        found.append(
            lstmbench.run("numpy", devices="cpu", corpus="bundled", store=here.store, **SIZE)
        )

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(300)
    assert [record.status for record in found[0]] == ["ok"]


def test_loading_names_what_is_damaged(ran: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(ran.path, tmp_path / "run")
    (first, *_) = sorted((folder / "records").iterdir())
    first.write_text("{")
    again = lstmbench.load([folder])
    assert len(again) == 3
    assert first.name in again.damaged[0]
    with pytest.raises(lstmbench.UserError, match="missing"):
        lstmbench.load(folder / "none")


def test_public_names_are_shown_and_importable() -> None:
    assert {"run", "load", "Results", "Backend", "hookimpl", "UserError"} <= set(dir(lstmbench))
    for name in lstmbench.__all__:
        assert getattr(lstmbench, name) is not None
    namespace: dict[str, Any] = {}
    exec("from lstmbench import *", namespace)
    assert set(lstmbench.__all__) <= set(namespace)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lstmbench.no_such_name


@pytest.mark.slow
def test_the_examples_of_the_documents_run(cli: Any, program: Any) -> None:
    text = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 7
    (cli.site / "pandas.py").write_text(PANDAS)
    done = program("\n".join(blocks))
    assert done.returncode == 0, done.stderr
    assert "<Results: 2 records of numpy:eager>" in done.stdout
    assert "unknown backend 'nmpy': did you mean 'numpy'?" in done.stdout
    assert re.search(r"^tokens/s \d", done.stdout, flags=re.MULTILINE)


def test_the_documents_list_every_public_function() -> None:
    text = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    for name in ("run", "load", "compare", "Results", "Interrupted", "UserError"):
        assert f"`{name}" in text
