"""``lstmbench run`` from end to end, where everything goes well."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lstmbench.batches import draw_offsets, partition
from lstmbench.corpora.corpus import BUNDLED, resolve
from lstmbench.protocol import D2L, QUICK
from lstmbench.reference import draw_parameters, generate, train_epoch

PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    factory = "lstmbench_numpy.backend:NumpyBackend"
    modes = {"cpu": ("eager", "other")}
    return [BackendSpec("twin", "", factory, modes, environment={"TWIN": "1"})]
"""


@pytest.fixture(scope="module")
def ran(module_cli: Any) -> tuple[Any, Any, Path]:
    """Two valid backends, twice each, interleaved."""
    module_cli.plugin("twins", PLUGIN)
    done = module_cli.run("--backends", "all", "--repeats", "2", "--env", "MINE=1")
    (folder,) = module_cli.runs()
    return module_cli, done, folder


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "records").iterdir())]


def test_it_succeeds_and_keeps_progress_off_the_output(ran: Any) -> None:
    _, done, _ = ran
    assert done.returncode == 0, done.stderr
    assert "twin:eager cpu #2: epoch 4/4, perplexity" in done.stderr
    assert "loading" not in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_busy_machine_is_told_before_and_beneath(cli: Any) -> None:
    code = "while True: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as other:
        try:
            done = cli.run("--backends", "numpy", "--epochs", "30")
        finally:
            other.kill()
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "other processes are busy" in line]
    assert "python" in line
    (record,) = records(*cli.runs())
    assert record["system_load"]["others"] > 0.3
    assert 0 <= record["system_load"]["stolen"] <= 1
    assert record["flags"][0] == "interference"
    assert "ok, interference" in done.stdout


def test_the_folder_holds_plan_records_table_plot_and_logs(ran: Any) -> None:
    _, _, folder = ran
    assert {path.name for path in folder.iterdir()} == {
        *("plan.json", "records", "logs", "table.md", "perplexity.svg", "roofline.svg"),
        "seconds.json",
    }
    plan = json.loads((folder / "plan.json").read_text())
    interleaved = [[(t["backend"], t["repeat"]) for t in group] for group in plan["groups"]]
    assert [sorted(group) for group in interleaved] == [
        [("numpy", repeat), ("twin", repeat)] for repeat in (0, 1)
    ]
    names = {trial["name"] for group in plan["groups"] for trial in group}
    assert names == {path.stem for path in (folder / "records").iterdir()}
    assert {*names, "probe", "audit"} == {path.stem for path in (folder / "logs").iterdir()}
    assert "<svg" in (folder / "perplexity.svg").read_text()


def test_every_trial_trains_as_the_reference_does(ran: Any) -> None:
    """Same text, parameters and offsets for every backend and every repeat."""
    corpus = resolve(BUNDLED)
    protocol = D2L.override({"epochs": 4, "hidden_size": 8, "batch_size": 4, "steps": 5})
    parameters = draw_parameters(protocol.model(28), 0)
    start, losses = parameters.digest(), []
    for offset in draw_offsets(0, 4, 5):
        batches = partition(corpus.ids[:10_000], 4, 5, offset)
        parameters, loss = train_epoch(parameters, batches, protocol.training)
        losses.append(loss.nats)
    prefix = corpus.vocabulary.encode("time traveller").tolist()
    text = corpus.vocabulary.decode(generate(parameters, prefix, 50))
    found = records(ran[2])
    assert len(found) == 4
    for record in found:
        assert record["digests"]["parameters"] == start
        assert record["epochs"]["nats"] == pytest.approx(losses, rel=1e-5)
        assert record["epochs"]["tokens"] == [loss.tokens] * 4
        assert record["continuations"][0] == {"prefix": "time traveller", "text": text}


def test_records_say_what_was_asked_and_in_force(ran: Any) -> None:
    for record in records(ran[2]):
        trial = record["trial"]
        assert trial["overrides"] == {
            "epochs": 4,
            "hidden_size": 8,
            "batch_size": 4,
            "steps": 5,
        }
        assert all(type(value) is int for value in trial["overrides"].values())
        assert trial["environment"] == {"MINE": "1"}
        assert record["parameters"] == int(record["runtime"]["parameters"])
        assert record["runtime"]["threads"] == "1"
        assert record["vocabulary_size"] == 28
        assert record["memory"]["peak"] >= record["memory"]["imported"] > 0
        assert record["source"]["interleaved"]
        assert record["source"]["command"][:2] == ["lstmbench", "run"]
        assert {"import", "build", "prepare", "parity", "rebuild", "generate"} <= set(
            record["phases"]
        )
        assert record["parity"]["worst"] < 1e-4
        assert record["log_tail"] == ""


def test_the_table_shows_overrides_settings_and_both_continuations(ran: Any) -> None:
    _, done, _ = ran
    title = done.stdout.splitlines()[0]
    for words in ("d2l", "epochs 4", "hidden-size 8", "shared", "corpus bundled", "MINE=1"):
        assert words in title
    assert re.search(r"numpy:eager +cpu +time traveller +\S", done.stdout)
    assert re.search(r"numpy:eager +cpu +traveller +\S", done.stdout)


def test_repeats_give_intervals_and_ranks(ran: Any) -> None:
    cli, done, folder = ran
    (setting,) = json.loads(cli("report", folder, "--format", "json").stdout)
    rows = setting["rows"]
    assert [row["processes"] for row in rows] == [2, 2]
    assert [row["tokens_per_second"] for row in rows] == sorted(
        (row["tokens_per_second"] for row in rows), reverse=True
    )
    assert all(row["tokens_per_second_low"] < row["tokens_per_second_high"] for row in rows)
    assert {row["rank"] for row in rows} <= {1, 2}
    assert "not ranked" not in done.stdout


@pytest.mark.parametrize("form", ["plain", "github"])
def test_report_prints_the_same_again(ran: Any, form: str) -> None:
    cli, done, folder = ran
    again = cli("report", folder, "--format", form)
    assert again.returncode == 0
    kept = (folder / "table.md").read_text()
    assert again.stdout == kept if form == "github" else again.stdout.strip() in done.stdout


def test_figures_are_those_of_the_raw_series(ran: Any) -> None:
    cli, _, folder = ran
    (setting,) = json.loads(cli("report", folder, "--format", "json").stdout)
    for row in setting["rows"]:
        mine = [r for r in records(folder) if r["trial"]["backend"] == row["backend"]]
        last = [math.exp(r["epochs"]["nats"][-1] / r["epochs"]["tokens"][-1]) for r in mine]
        speeds = []
        for record in mine:
            fast = sorted(record["epochs"]["seconds"][1:])[:2]
            speeds.append(sum(record["epochs"]["tokens"][:2]) / sum(fast))
        assert row["perplexity"] == pytest.approx(sum(last) / 2)
        assert row["tokens_per_second"] == pytest.approx(math.sqrt(speeds[0] * speeds[1]))


def test_another_seed_changes_parameters_and_text(cli: Any) -> None:
    done = cli.run("--backends", "numpy", "--seed", "0,1", "--repeats", "2", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert "seeds 0, 1" in done.stdout
    (folder,) = cli.runs()
    found = records(folder)
    assert sorted((r["trial"]["seed"], r["trial"]["repeat"]) for r in found) == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    for name in ("parameters", "offsets"):
        digests = {(r["trial"]["seed"], r["digests"][name]) for r in found}
        assert len(digests) == len({digest for _, digest in digests}) == 2
    assert len({r["trial"]["seed"]: r["epochs"]["nats"] for r in found}) == 2
    checked = cli("verify", folder)
    assert checked.returncode == 0, checked.stdout
    (table,) = json.loads(cli("report", cli.store, "--format", "json").stdout)
    (row,) = table["rows"]
    assert (row["processes_ok"], row["seeds_ok"]) == (4, 2)
    assert row["perplexity_low"] < row["perplexity"] < row["perplexity_high"]


def test_two_corpora_never_share_a_table(cli: Any) -> None:
    for corpus in ("bundled", "markov"):
        done = cli.run("--backends", "numpy", "--corpus", corpus, "--epochs", "1")
        assert done.returncode == 0, done.stderr
    report = cli("report", cli.store, "--format", "github")
    assert report.returncode == 0
    assert report.stdout.count("### ") == 2
    assert "corpus bundled" in report.stdout
    assert "corpus markov" in report.stdout


def test_modes_and_trials_without_interleaving(cli: Any) -> None:
    cli.plugin("twins", PLUGIN)
    done = cli.run("--backends", "twin", "--modes", "all", "--no-interleave", "--init", "native")
    assert done.returncode == 0, done.stderr
    (folder,) = cli.runs()
    found = records(folder)
    assert [r["trial"]["mode"] for r in found] == ["eager", "other"]
    assert {r["trial"]["init"] for r in found} == {"native"}
    assert not any(r["source"]["interleaved"] for r in found)
    told = [line for line in done.stderr.splitlines() if "epoch" in line or "loading" in line]
    assert [line.split()[0] for line in told] == ["twin:eager"] * 5 + ["twin:other"] * 5
    assert "not ranked" in done.stdout


def test_one_epoch_and_one_window_are_enough(cli: Any) -> None:
    done = cli.run("--backends", "numpy", "--epochs", "1", "--steps", "1999")
    assert done.returncode == 0, done.stderr
    record = cli.records()["numpy"]
    assert record["epochs"]["tokens"] == [4 * 1999]
    assert record["status"] == "ok"


def test_several_layers_and_double_precision(cli: Any) -> None:
    done = cli.run("--backends", "numpy", "--layers", "2", "--dtype", "float64")
    assert done.returncode == 0, done.stderr
    record = cli.records()["numpy"]
    assert record["trial"]["overrides"]["layers"] == 2
    assert record["parity"]["tolerance"] == 1e-9
    assert "layers 2" in done.stdout
    assert "float64" in done.stdout


def test_a_table_ends_with_what_is_to_know_of_its_protocol(cli: Any) -> None:
    done = cli.run("--backends", "numpy", "--protocol", "quick", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert QUICK.note
    assert QUICK.note in done.stdout


def test_the_numpy_example_learns(cli: Any) -> None:
    done = cli.run(
        *("--backends", "numpy", "--protocol", "quick", "--epochs", "12", "--hidden-size", "16"),
    )
    assert done.returncode == 0, done.stderr
    epochs = cli.records()["numpy"]["epochs"]
    first, last = (math.exp(epochs["nats"][k] / epochs["tokens"][k]) for k in (0, -1))
    assert last < 0.6 * first


def test_a_drawing_library_that_is_broken_takes_nothing_with_it(cli: Any) -> None:
    (cli.site / "matplotlib.py").write_text("raise ImportError('built for another Python')")
    done = cli.run("--backends", "numpy", "--epochs", "2")
    assert done.returncode == 1
    assert re.search(r"(?m)^numpy +eager +cpu +ok", done.stdout)
    assert re.search(
        r"(?m)^lstmbench: perplexity.svg cannot be drawn: ImportError: built for another Python$",
        done.stderr,
    )
    assert "Traceback" not in done.stderr
    (folder,) = cli.runs()
    assert (folder / "table.md").is_file()
    assert len(records(folder)) == 1
