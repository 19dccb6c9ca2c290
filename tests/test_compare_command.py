"""``lstmbench compare``: what it reads, prints and exits with."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lstmbench.commands.options import Share
from lstmbench.protocol import D2L
from lstmbench.records.record import Flag, Record, Status

if TYPE_CHECKING:
    from tests.conftest import Cli

Make = Callable[..., Any]
Call = Callable[..., Any]
DOCS = Path(__file__).parents[1] / "docs"
FAST, SLOW = [0.1, 0.101, 0.1], [0.2, 0.201, 0.2]


@pytest.fixture
def two_runs(cli: Cli) -> tuple[Path, Path]:
    for epochs in ("3", "4"):
        done = cli.run("--backends", "numpy", "--epochs", epochs)
        assert done.returncode == 0, done.stderr
    first, second = cli.runs()
    return first, second


def test_runs_of_other_settings_are_refused_or_labelled(
    cli: Cli, one_line: Any, two_runs: tuple[Path, Path]
) -> None:
    one_line(cli("compare", *two_runs), "epochs: 3 against 4", "--anyway")
    done = cli("compare", *two_runs, "--anyway")
    assert done.returncode == 0
    assert "numpy:eager, epochs 3 / 4" in done.stdout
    lines = done.stdout.splitlines()
    (said,) = [n for n, line in enumerate(lines) if line == "Not the same epochs: 3 against 4."]
    assert said < min(n for n, line in enumerate(lines) if line.startswith("tokens/s"))


def test_a_row_that_is_not_there_has_a_nearest(
    cli: Cli, one_line: Any, two_runs: tuple[Path, Path]
) -> None:
    first, second = two_runs
    one_line(cli("compare", f"{first}@nunpy", second), "did you mean 'numpy'?", str(first))
    one_line(cli("compare", f"{first}@jax", second), "unknown row 'jax'", "numpy:eager")
    one_line(cli("compare", first, first), "both hold the record numpy-eager-cpu")


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        (("--fail-below", "0.97"), 4),
        (("--fail-below", "97%"), 4),
        (("--fail-below", "40%"), 0),
        (("--fail-if-slower", "3%"), 4),
        (("--fail-if-slower", "0.6"), 0),
        (("--fail-below", "0.4", "--fail-if-slower", "3%"), 4),
        ((), 0),
    ],
)
def test_the_gate_fails_what_is_significantly_slower_by_more_than_it_lets_through(
    call: Call, make_run: Make, make_row: Make, gate: Sequence[str], code: int
) -> None:
    folder = make_run(make_row(FAST), make_row(SLOW, "b"))
    done = call("compare", f"{folder}@b", f"{folder}@numpy", *gate)
    assert done.returncode == code
    assert ("Gate: worse (b:eager / numpy:eager)." in done.stdout) is (code == 4)
    assert call("compare", f"{folder}@numpy", f"{folder}@b", *gate).returncode == 0


@pytest.mark.parametrize("gate", [("--fail-below", "2"), ("--fail-if-slower", "3%")])
def test_without_an_interval_a_gate_is_undecided_and_says_what_is_missing(
    call: Call, make_run: Make, make_row: Make, gate: Sequence[str]
) -> None:
    new, old = (make_run(make_row([0.1, 0.101, 0.102], run=run)) for run in ("new", "old"))
    done = call("compare", new, old)
    assert done.returncode == 0
    assert "undecided" in done.stdout
    done = call("compare", new, old, *gate)
    assert done.returncode == 5
    assert "different runs" in done.stdout
    assert "Gate: undecided (numpy:eager)." in done.stdout


def test_whole_runs_give_one_table_and_one_exit_code(
    call: Call, make_run: Make, make_row: Make
) -> None:
    """Of three runs on each side, rows that only one of them has are named."""

    def store(name: str, rows: dict[str, float]) -> Path:
        folders: list[Path] = [
            make_run(*(make_row([s + n / 1000], row, run=f"{name}{n}") for row, s in rows.items()))
            for n in range(3)
        ]
        place = folders[0].parent.parent / name
        place.mkdir()
        for folder in folders:
            folder.rename(place / folder.name)
        return place

    old = store("old", {"numpy": 0.1, "torch": 0.1, "keras": 0.1})
    new = store("new", {"numpy": 0.1, "torch": 0.2, "jax": 0.1})
    done = call("compare", new, old, "--fail-if-slower", "3%")
    assert done.returncode == 4
    speeds = [line.split() for line in done.stdout.splitlines() if line.startswith("tokens/s  ")]
    assert [(words[1], words[8]) for words in speeds] == [
        ("numpy:eager", "undecided"),
        ("torch:eager", "worse"),
    ]
    assert "A is worse in 1, better in 0, undecided in 1." in done.stdout
    assert "Only in A: jax:eager." in done.stdout
    assert "Only in B: keras:eager." in done.stdout
    assert "Gate: worse (torch:eager)." in done.stdout
    names = [line.split()[0] for line in done.stdout.splitlines() if "undecided" in line]
    assert names.index("tokens/s") < names.index("perplexity")


def test_versions_commits_and_dates_are_printed(call: Call, make_run: Make, make_row: Make) -> None:
    """The verdict alone does not say which side is the new one."""

    def side(run: str, version: str, day: int, commit: str) -> Path:
        started = f"2022-05-{day}T12:00:00+00:00"
        row = make_row(FAST, "torch", run=run, started=started, commit=commit * 40)
        machine = row[0].machine
        newer = machine.model_copy(update={"versions": {"python": "3.11.0", "torch": version}})
        return Path(make_run(r.model_copy(update={"machine": newer}) for r in row))

    old, new = side("old", "2.12.0", 19, "a"), side("new", "2.13.0", 20, "b")
    out = call("compare", f"{new}@torch", old).stdout
    table = {line[:16].strip(): line[16:].split("  ") for line in out.splitlines()}
    cells = {name: [c.strip() for c in row if c.strip()] for name, row in table.items()}
    assert cells["version of torch"] == ["2.13.0", "2.12.0"]
    assert cells["commit"] == ["b" * 8, "a" * 8]
    assert cells["date"] == ["2022-05-20 12:00", "2022-05-19 12:00"]
    assert cells["from"] == [f"{new}@torch", str(old)]
    assert "version of python" not in out
    assert "corpus time-machine (8424dbd9)" in out


def test_rows_of_one_run_are_compared_with_each_other(
    call: Call, one_line: Any, make_run: Make, make_row: Make
) -> None:
    folder = make_run(make_row(FAST, "a"), make_row(SLOW, "b"), make_row(FAST, "c"))
    done = call("compare", folder, "--by", "backend", "--relative-to", "a")
    assert done.returncode == 0
    assert "relative to a:eager" in done.stdout
    assert done.stdout.index("c:eager / a:eager") < done.stdout.index("b:eager / a:eager")
    gate = ("--by", "backend", "--fail-if-slower", "3%")
    assert call("compare", folder, *gate, "--relative-to", "a").returncode == 4
    assert call("compare", folder, *gate, "--relative-to", "b").returncode == 0
    one_line(call("compare", folder, *gate), "--relative-to")
    one_line(call("compare", folder, "--by", "mode"), "no two rows differ in mode only")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a",), ("two paths", "--by")),
        (("a", "b", "--by", "mode"), ("two paths",)),
        (("a", "b", "--relative-to", "x"), ("--relative-to",)),
        (("a", "--by", "mode", "--anyway"), ("--anyway",)),
        (("a", "--by", "colour"), ("--by", "threads")),
        *((("a", "b", "--fail-below", r), ("--fail-below",)) for r in ("nan", "inf", "0", "-1")),
        (("a", "b", "--fail-below", "5 percent"), ("5 percent", "97% or 0.97")),
        (("a", "b", "--fail-if-slower", "3"), ("below 100%", "3%")),
        (("a", "b", "--fail-if-slower", "nan"), ("--fail-if-slower",)),
        (("a", "b", "--fail-if-slower", "-1%"), ("--fail-if-slower",)),
        (("a", "b", "--format", "csv"), ("json",)),
    ],
)
def test_a_mistake_is_one_line(
    call: Call, one_line: Any, arguments: Sequence[str], words: Sequence[str]
) -> None:
    one_line(call("compare", *arguments), *words)


@given(st.decimals(-1000, 1000, allow_nan=False, places=3))
def test_per_cent_are_hundredths(number: Any) -> None:
    kind = Share()
    found = kind.convert(f"{number}%", None, None)
    assert found == kind.convert(str(number / 100), None, None) == float(number / 100)


@given(st.text(max_size=8).filter(lambda text: not any(c.isdecimal() for c in text)))
def test_a_text_without_a_digit_is_no_share(text: str) -> None:
    assume(not any(word in text.lower() for word in ("nan", "inf")))
    with pytest.raises(click.UsageError, match="such as 2%"):
        Share().convert(text, None, None)


def test_settings_are_distinguished_and_chosen(
    call: Call, one_line: Any, make_run: Make, make_row: Make
) -> None:
    rows = [
        make_row(seconds, name, init=init)
        for name, seconds in (("numpy", [0.1, 0.11]), ("b", [0.2, 0.21]))
        for init in ("shared", "native")
    ]
    folder = make_run(*rows)
    sides = (f"{folder}@numpy", f"{folder}@b")
    done = call("compare", *sides)
    for init in ("shared", "native"):
        assert f"numpy:eager / b:eager, init {init}" in done.stdout
    done = call("compare", *sides, "--only", "init=native")
    assert done.returncode == 0
    assert "numpy:eager / b:eager  " in done.stdout
    one_line(call("compare", *sides, "--only", "init=other"), "--only")


def test_a_damaged_record_is_named_and_the_rest_is_compared(
    call: Call, make_run: Make, make_row: Make
) -> None:
    fast, slow = make_row([0.1, 0.101, 0.1, 0.1]), make_row([0.2, 0.201, 0.2], "b")
    folder = make_run(fast, slow)
    victim = folder / "records" / f"{fast[0].trial.name}.json"
    victim.write_text(victim.read_text()[:100])
    sides = (f"{folder}@numpy", f"{folder}@b")
    done = call("compare", *sides)
    assert done.returncode == 1
    assert done.stderr.count(victim.name) == 1
    assert "tokens/s" in done.stdout
    # a gate's word counts more, unless it lets A through
    assert call("compare", *sides, "--fail-below", "97%").returncode == 1
    assert call("compare", *reversed(sides), "--fail-below", "97%").returncode == 4


def test_what_failed_and_what_is_flagged_is_told_and_fails_a_gate(
    call: Call, make_run: Make, make_row: Make
) -> None:
    fast = make_row([0.1, 0.101, 0.1, 0.1], "a")
    lost = {"status": Status.FAILED, "reason": "timeout", "message": "no answer"}
    fast[3] = fast[3].model_copy(update=lost)
    fast[0] = fast[0].model_copy(update={"flags": [Flag.DRIFTING]})
    folder = make_run(fast, make_row([0.2, 0.201, 0.2, 0.2], "b"))
    done = call("compare", f"{folder}@a", f"{folder}@b")
    assert done.returncode == 0
    assert "A: 1 of 4 processes failed (timeout)." in done.stdout
    assert f"A: 1 of 4 processes {Flag.DRIFTING}." in done.stdout
    assert call("compare", f"{folder}@a", f"{folder}@b", "--fail-below", "0.9").returncode == 4
    assert call("compare", f"{folder}@b", f"{folder}@a", "--fail-below", "0.1").returncode == 0


def test_where_nothing_was_measured_the_reason_stands_in_its_place(
    call: Call, make_run: Make, make_record: Make, make_row: Make
) -> None:
    lost = make_record(backend="b", status="failed", reason="parity", message="it differs")
    folder = make_run([lost], make_row(FAST))
    done = call("compare", f"{folder}@numpy", f"{folder}@b")
    assert done.returncode == 1
    assert "failed: parity" in done.stdout
    assert "not measured" in done.stdout


class TestJson:
    """For programs."""

    @pytest.fixture
    def found(self, call: Call, make_run: Make, make_row: Make) -> dict[str, Any]:
        a = [make_row(SLOW, "b", protocol=replace(D2L, hidden_size=size)) for size in (8, 16)]
        folder = make_run(*a, make_row(FAST, protocol=replace(D2L, hidden_size=8)))
        sides = (f"{folder}@b", f"{folder}@numpy", "--format", "json")
        done = call("compare", *sides, "--fail-below", "97%")
        assert done.returncode == 4
        return dict(json.loads(done.stdout))

    def test_it_holds_what_the_table_shows(self, found: dict[str, Any]) -> None:
        (pair,) = found["pairs"]
        assert pair["row"] == "b:eager / numpy:eager, hidden_size 8"
        assert list(pair["figures"])[:2] == ["tokens_per_second", "perplexity_last_10_median"]
        speed = pair["figures"]["tokens_per_second"]
        assert speed["ratio_low"] < speed["ratio"] < speed["ratio_high"] < 0.97
        assert speed["a"] / speed["b"] == pytest.approx(speed["ratio"])
        assert (speed["verdict"], speed["measured"]) == ("worse", "interleaved")
        assert pair["gate"] == found["gate"]["outcome"] == "worse"
        assert [row["row"] for row in found["alone"]] == ["b:eager, hidden_size 16"]
        assert found["alone"][0]["side"] == "A"
        assert found["sides"]["B"]["conditions"]["backend"] == ["numpy"]

    def test_every_key_is_documented(self, found: dict[str, Any]) -> None:
        page = (DOCS / "comparing.md").read_text(encoding="utf-8")
        section = page.partition("## For programs")[2].partition("\n## ")[0]
        for part in (found, found["sides"]["A"], found["pairs"][0], found["pairs"][0]["a"]):
            for key in part:
                assert f"`{key}`" in section, key
        for key in (*found["pairs"][0]["figures"]["tokens_per_second"], *found["gate"]):
            assert f"`{key}`" in section, key

    def test_no_control_character_is_in_it(
        self, call: Call, make_run: Make, make_row: Make
    ) -> None:
        def evil(record: Record, run: str) -> Record:
            machine = record.machine.model_copy(update={"versions": {"\x1b[2J\x7f\u202e": run}})
            return record.model_copy(update={"machine": machine})

        a, b = (
            make_run(evil(r, run) for r in make_row(FAST, "n\x1b]0;x\x07\x7f", run=run))
            for run in ("\x1b[31ma", "\x7fb")
        )
        for form in ("plain", "github", "json"):
            done = call("compare", a, b, "--format", form)
            assert done.returncode == 0
            assert all(c.isprintable() or c == "\n" for c in done.stdout + done.stderr)


def test_the_examples_of_the_page_are_what_it_prints(call: Call, golden: Any) -> None:
    """``LSTMBENCH_REWRITE=1`` writes them anew."""
    page = DOCS / "comparing.md"
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n\$ (lstmbench compare [^\n]*)\n.*?^```\n", text, re.M | re.S)
    assert blocks
    Path("results").symlink_to(DOCS.parent / "results")
    for command in blocks:
        out = call(*shlex.split(command)[1:]).stdout.rstrip()
        start = f"```console\n$ {command}\n"
        before, _, after = text.partition(start)
        _, end, rest = after.partition("```\n")
        text = f"{before}{start}{out}\n{end}{rest}"
    golden(page, text)
