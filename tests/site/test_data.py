"""What the pages are given: rows, facts, sweeps, commands, names."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.commands.run import run
from lstmbench.protocol import D2L
from lstmbench.records.record import Copy, Epochs, Evaluation, Matmul, Peak
from lstmbench.report import site
from lstmbench.report.site.command import command
from lstmbench.report.site.facts import natural, plain
from lstmbench.report.site.names import slug

Make = Callable[..., Any]


def built(*records: Any, **more: Any) -> dict[str, str]:
    files = site.build({r.trial.name: r for r in records}, **more)
    return {path: content for path, content in files.items() if isinstance(content, str)}


def delivered(script: str) -> Any:
    found = re.fullmatch(r"lstmbench\.deliver\(\"[^\"]*\", JSON\.parse\(('.*')\)\);\n", script)
    assert found
    return json.loads(ast.literal_eval(found[1]))


def columns(files: dict[str, str]) -> dict[str, list[str]]:
    """The index's columns as the page sees them."""
    rows = delivered(files["data/rows.js"])
    return {c["key"]: [c["values"][i] for i in c["at"]] for c in rows["columns"]}


def sized(make: Make, size: int, **more: Any) -> Any:
    protocol = replace(D2L, hidden_size=size)
    return make(protocol=protocol, overrides={"hidden_size": size}, **more)


def repeat(make: Make, number: int, **more: Any) -> Any:
    """One of several processes, each a little faster than the one before."""
    epochs = Epochs(seconds=[0.2 - number / 1000] * 5, nats=[1e4] * 5, tokens=[8960] * 5)
    return make(repeat=number, epochs=epochs, **more)


def test_a_failure_is_a_row_with_its_reason_and_without_figures(make_record: Make) -> None:
    bad = make_record(backend="bad", status="failed", reason="timeout", message="slow", epochs={})
    found = columns(built(make_record(), bad))
    assert found["trial"] == ["numpy:eager", "bad:eager"]
    assert found["status"] == ["ok", "failed: timeout"]
    assert found["message"] == ["", "slow"]
    assert found["tokens_per_second"][1] == found["perplexity"][1] == ""
    assert found["tokens_per_second"][0] != ""


def test_repeats_are_one_row_that_leads_to_all_its_trials(make_record: Make) -> None:
    records = [repeat(make_record, number) for number in range(11)]
    files = built(*reversed(records))
    assert delivered(files["data/rows.js"])["trials"] == [[r.trial.name for r in records]]
    assert " to " in columns(files)["tokens_per_second_bounds"][0]
    assert f"trials/{records[10].trial.name}.html" in files


def test_what_is_the_same_everywhere_is_said_once(make_record: Make) -> None:
    files = built(make_record(), make_record(threads=1))
    rows = delivered(files["data/rows.js"])
    said = dict(rows["in_all"])
    assert said["seed"] == "0"
    assert "threads" not in said
    assert "seed" not in columns(files)
    assert columns(files)["setting"] == ["threads 1", "threads 2"]
    choices = {c["key"] for c in rows["columns"] if c["choice"]}
    assert choices == {"threads"}


def test_seeds_are_one_row_with_a_curve_each(make_record: Make) -> None:
    records = [repeat(make_record, n, seed=seed) for seed in (0, 4, 9) for n in (0, 1)]
    less = [repeat(make_record, n, backend="torch", seed=0) for n in (0, 1)]
    files = built(*reversed(records), *less)
    rows = delivered(files["data/rows.js"])
    assert rows["trials"] == [[r.trial.name for r in own] for own in (records, less)]
    assert rows["curves"] == [[0, 2, 4], [0]]
    assert columns(files)["seed"] == ["0, 4, 9", "0"]
    assert columns(files)["seeds"] == ["3", "1"]
    assert columns(files)["setting"] == ["seed 0, 4, 9", "seed 0"]


def test_details_are_there_but_not_shown_at_first(make_record: Make) -> None:
    records = [repeat(make_record, number, threads=n) for n in (1, 2) for number in (0, 1)]
    rows = delivered(built(*records)["data/rows.js"])
    shown = {column["key"]: column["shown"] for column in rows["columns"]}
    first = ("trial", "status", "setting", "tokens_per_second", "perplexity", "parity_worst")
    assert all(shown[key] for key in first)
    later = ("threads", "backend", "tokens_per_second_mean", "training_seconds")
    assert not any(shown[key] for key in later)


def test_filters_offer_what_rows_differ_in(make_record: Make) -> None:
    other = make_record().machine.model_copy(update={"digest": "e" * 64})
    files = built(
        make_record(),
        make_record(backend="torch", mode="compile", device="cuda:0", machine=other),
        make_record(protocol=replace(D2L, name="mine"), corpus="bundled", status="interrupted"),
    )
    rows = delivered(files["data/rows.js"])
    choices = {c["key"] for c in rows["columns"] if c["choice"]}
    assert choices >= {"backend", "mode", "device", "status", "protocol", "corpus", "machine"}


def test_versions_that_differ_tell_rows_apart(make_record: Make) -> None:
    machine = make_record().machine
    newer = machine.model_copy(update={"versions": {**machine.versions, "torch": "2.0"}})
    found = columns(built(make_record(), make_record(machine=newer, seed=1)))
    assert sorted(found["versions"]) == ["", "torch 2.0"]


def test_relative_speed_is_a_column_where_asked_for(make_record: Make) -> None:
    fast = make_record(epochs=Epochs(seconds=[0.1] * 5, nats=[1e4] * 5, tokens=[8960] * 5))
    slow = make_record(
        backend="slow", epochs=Epochs(seconds=[0.2] * 5, nats=[1e4] * 5, tokens=[8960] * 5)
    )
    found = columns(built(fast, slow, relative_to="numpy:eager"))
    assert found["relative_speed"] == ["1.00", "0.500"]


def test_a_sweep_joins_settings_that_differ_in_one_size(make_record: Make) -> None:
    files = built(
        make_record(),
        sized(make_record, 512),
        sized(make_record, 1024),
        sized(make_record, 512, backend="torch"),
        sized(make_record, 512, seed=1),
        make_record(threads=1),
    )
    sweeps = delivered(files["data/scaling.js"])["sweeps"]
    assert sorted(sweep["size"] for sweep in sweeps) == ["hidden-size", "threads"]
    (sweep,) = (sweep for sweep in sweeps if sweep["size"] == "hidden-size")
    lines = {line["label"]: [p["x"] for p in line["points"]] for line in sweep["series"]}
    assert lines == {"numpy:eager": [256, 512, 1024], "torch:eager": [512]}
    assert all(
        p["shown"]["tokens_per_second"] > 0 for line in sweep["series"] for p in line["points"]
    )
    assert "hidden" not in sweep["about"]


def test_rows_stand_beneath_the_roof_that_was_measured(make_record: Make) -> None:
    # a matmul of 2 * 1000**3 operations in 10 ms, a copy that moves 2 GB in 0.1 s
    peak = Peak(
        matmul=Matmul(library="numpy", side=1000, dtype="float32", seconds=[0.01] * 4),
        copies=Copy(size=10**9, seconds=[0.1] * 4),
    )
    files = built(
        make_record(peak=peak),
        make_record(peak=peak, backend="torch"),
        sized(make_record, 512, peak=peak),
        make_record(backend="unmeasured"),
    )
    (roofline,) = delivered(files["data/scaling.js"])["rooflines"]
    assert (roofline["peak"], roofline["bandwidth"]) == pytest.approx((200, 20))
    points = {(p["label"], p["changed"]): p for p in roofline["points"]}
    assert set(points) == {
        ("numpy:eager", ""),
        ("torch:eager", ""),
        ("numpy:eager", "hidden-size 512"),
    }
    for point in points.values():
        reached = point["shown"]["operations_per_second"]
        assert point["shown"]["share_of_peak"] == pytest.approx(100 * reached / 200)
    assert "numpy:eager" in columns(files)["trial"]
    assert any(columns(files)["share_of_peak"])


def test_series_keep_gaps_where_perplexity_is_beyond_numbers(make_record: Make) -> None:
    record = make_record(
        epochs=Epochs(seconds=[0.5, 0.25], nats=[1e9, 8960.0], tokens=[8960, 8960]),
        evaluations=[Evaluation(split="test", epoch=2, nats=1e9, tokens=10)],
    )
    found = delivered(built(record)[f"trials/{record.trial.name}.js"])
    assert found["perplexity"] == "inf 2.7183"
    assert found["seconds"] == "0.5 0.25"
    assert found["tokens"] == "8960"
    assert found["evaluations"] == [["test", 2, None]]


def test_a_trial_says_how_parity_went(make_record: Make) -> None:
    record = make_record()
    parity = record.parity.model_copy(
        update={"errors": {"held": 1e-6, "broken": 0.5}, "allowed": {"held": 2e-4}}
    )
    page = built(make_record(parity=parity))[f"trials/{record.trial.name}.html"]
    rows = re.findall(r"<th scope=\"row\">(held|broken)</th>(.*)", page)
    assert [name for name, _ in rows] == ["held", "broken"]
    assert "2.0e-04" in rows[0][1]
    assert "yes" in rows[0][1]
    assert "status bad" in rows[1][1]


words = st.text(min_size=1, max_size=12)


@given(words, words, words, st.dictionaries(words.filter(lambda w: "=" not in w), words))
def test_the_command_means_the_same_trial_again(
    backend: str, device: str, corpus: str, environment: dict[str, str]
) -> None:
    from lstmbench.records.trial import Trial

    trial = Trial(
        backend=backend,
        mode="m",
        device=device,
        dtype="float64",
        protocol=replace(D2L, hidden_size=512, learning_rate=0.5),
        overrides={"hidden_size": 512, "learning_rate": 0.5},
        init="native",
        corpus=corpus,
        corpus_digest="0" * 64,
        seed=7,
        threads=3,
        environment=environment,
    )
    program, name, *arguments = shlex.split(" ".join(command(trial)))
    assert (program, name) == ("lstmbench", "run")
    got = run.make_context("run", arguments).params
    assert got["backends"] == f"{backend}:m"
    assert got["devices"] == device
    assert got["protocol"] == "d2l"
    assert (got["dtype"], got["init"]) == ("float64", "native")
    assert (got["corpus"], got["seed"], got["repeats"]) == (corpus, [7], 1)
    assert list(got["hidden_size"]) == [512]
    assert list(got["threads"]) == [3]
    assert got["env"] == tuple(f"{name}={value}" for name, value in environment.items())


@given(st.lists(words, min_size=2, max_size=2, unique=True))
def test_names_of_files_are_harmless_and_do_not_collide(names: list[str]) -> None:
    slugs = [slug(name) for name in names]
    assert slugs[0] != slugs[1]
    for found in slugs:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", found)


@given(words, words)
def test_natural_order_is_an_order(a: str, b: str) -> None:
    assert (natural(a) < natural(b)) + (natural(b) < natural(a)) + (natural(a) == natural(b)) == 1


def test_natural_order_counts() -> None:
    assert sorted(["h 1024", "h 128", "h 256"], key=natural) == ["h 128", "h 256", "h 1024"]


def test_values_as_words() -> None:
    assert plain({"a": [1, True, None], "b": 0.5}) == "a=1, yes, , b=0.5"


def test_two_trials_are_compared_over_all_repeats_of_their_rows(make_record: Make) -> None:
    quick = [repeat(make_record, n, backend="a") for n in range(3)]
    slow = [
        s.model_copy(update={"trial": replace(s.trial, repeat=n)})
        for n, s in enumerate(repeat(make_record, n - 60, backend="b") for n in (0, 2, 1))
    ]
    lonely = repeat(make_record, 0, backend="c", seed=1)
    files = built(*quick, *slow, lonely)
    ratios = [delivered(files[f"trials/{r.trial.name}.js"])["ratios"] for r in quick]
    assert ratios[0].keys() == {r.trial.name for r in slow}
    assert len({json.dumps(r) for r in ratios}) == 1
    (text,) = set(ratios[0].values())
    assert re.fullmatch(r"1\.\d+ \(1\.\d+ to 1\.\d+\)", text)
    assert delivered(files[f"trials/{lonely.trial.name}.js"])["ratios"] == {}
