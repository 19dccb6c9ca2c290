"""What is shown while trials run."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from lstmbench.runner.plan import Plan
from lstmbench.runner.progress import Bars, Lines, Quiet, observe

Make = Callable[..., Any]


def terminal() -> tuple[Console, io.StringIO]:
    shown = io.StringIO()
    return Console(file=shown, force_terminal=True, width=200, color_system=None), shown


def test_lines_tell_phases_the_first_epoch_every_tenth_and_the_end(
    make_record: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_record(status="failed", reason="exit", message="gone")
    lines = Lines()
    lines.phase(record.trial, "loading")
    for done in range(1, 501):
        lines.epoch(record.trial, done, 16.7442, 1234.5)
    lines.recorded(record)
    out, err = capsys.readouterr()
    assert out == ""
    said = err.splitlines()
    assert said[0] == "numpy:eager cpu: loading"
    assert len(said) == 13
    assert "epoch 1/500" in said[1]
    assert "epoch 50/500, perplexity 16.744, 1,234 tokens/s" in said[2]
    assert "epoch 500/500" in said[11]
    assert said[12] == "numpy:eager cpu: failed (exit): gone"


def test_a_few_epochs_are_each_told_once(
    make_record: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    from lstmbench.protocol import D2L

    trial = replace(make_record().trial, protocol=D2L.override({"epochs": 4}))
    lines = Lines()
    for done in range(1, 5):
        lines.epoch(trial, done, 1.0, 1.0)
    assert len(capsys.readouterr().err.splitlines()) == 4


def test_no_terminal_means_lines(make_record: Make) -> None:
    with observe(Plan(protocol="d2l", groups=[[make_record().trial]])) as observer:
        assert isinstance(observer, Lines)


def test_what_is_not_to_be_shown_is_not(
    make_record: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = make_record().trial
    with observe(Plan(protocol="d2l", groups=[[trial]]), shown=False) as observer:
        assert isinstance(observer, Quiet)
        observer.phase(trial, "loading")
        observer.epoch(trial, 1, 2.0, 3.0)
        observer.recorded(make_record())
    assert capsys.readouterr() == ("", "")


def test_bars_show_epoch_perplexity_and_speed(make_record: Make) -> None:
    console, shown = terminal()
    trial = make_record().trial
    bars = Bars(Plan(protocol="d2l", groups=[[trial]]), console)
    with bars.progress:
        bars.phase(trial, "preparing")
        bars.epoch(trial, 7, 16.7442, 1234.5)
        bars.recorded(make_record(status="failed", reason="nan", message="the loss is nan"))
    for words in ("numpy:eager cpu", "preparing", "7/500", "failed (nan): the loss is nan"):
        assert words in shown.getvalue()


def test_bars_are_redrawn_at_most_four_times_a_second(
    make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    console, _ = terminal()
    trial = make_record().trial
    bars = Bars(Plan(protocol="d2l", groups=[[trial]]), console)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    drawn = []
    monkeypatch.setattr(bars.progress, "refresh", lambda: drawn.append(clock[0]))
    for done in range(1, 101):
        clock[0] += 0.01
        bars.epoch(trial, done, 2.0, 1000.0)
    assert 2 <= len(drawn) <= 5


def test_bars_show_names_and_messages_as_they_are(make_record: Make) -> None:
    console, shown = terminal()
    record = make_record(
        backend="a[bold]b", mode="[/x]", status="failed", reason="exit", message="[red]gone[/]"
    )
    bars = Bars(Plan(protocol="d2l", groups=[[record.trial]]), console)
    with bars.progress:
        bars.recorded(record)
    assert "a[bold]b:[/x] cpu" in shown.getvalue()
    assert "[red]gone[/]" in shown.getvalue()


def test_a_trial_that_never_runs_has_no_bar_and_breaks_none(make_record: Make) -> None:
    console, _ = terminal()
    bars = Bars(Plan(protocol="d2l", groups=[]), console)
    with bars.progress:
        bars.recorded(make_record(status="unavailable", message="not here"))


def test_members_of_a_sweep_are_named_by_their_sizes(
    make_record: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    from lstmbench.protocol import D2L

    trials = [
        make_record(protocol=D2L.override({"hidden_size": size}), threads=threads).trial
        for size, threads in ((8, 1), (64, 2))
    ]
    with observe(Plan(protocol="d2l", groups=[trials])) as observer:
        for trial in trials:
            observer.phase(trial, "loading")
    assert capsys.readouterr().err.splitlines() == [
        "numpy:eager cpu, hidden-size 8, threads 1: loading",
        "numpy:eager cpu, hidden-size 64, threads 2: loading",
    ]
    console, shown = terminal()
    bars = Bars(Plan(protocol="d2l", groups=[trials]), console)
    with bars.progress:
        bars.phase(trials[0], "loading")
    assert "numpy:eager cpu, hidden-size 64" in shown.getvalue()
