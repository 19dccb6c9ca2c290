"""The journal of a run: what it would lose if it were killed, and how it is made into records."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmbench.records.record import Epochs, Evaluation
from lstmbench.records.store import Run
from lstmbench.runner import journal
from lstmbench.runner.journal import FOLDER, LOCK, SUFFIX, Journal, recover
from lstmbench.runner.scratch import locked
from lstmbench.runner.trial_state import EpochResult

Make = Callable[..., Any]
EPOCHS = [EpochResult(0.5, 100.0 - n, 50, None, 0.5, 0.5, 0.0, 0.0) for n in range(3)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.create(tmp_path / "store", "d2l")
    run.write_plan({})
    return run


@pytest.fixture
def begun(make_record: Make) -> Any:
    """A trial that is ready for its first epoch."""
    return make_record(status="interrupted", message="killed", epochs=Epochs())


def killed(journal: Journal) -> None:
    """What the end of a process does to its journal: the lock is free again."""
    for file in journal._files.values():
        file.close()
    journal._lock.__exit__(None, None, None)


def test_a_killed_run_gets_records_with_every_epoch(run: Run, begun: Any) -> None:
    name = begun.trial.name
    run.log(name).write_text("the end of \x1b[31m its log\n")
    journal = Journal(run)
    journal.known(begun.model_copy(update={"parity": None}))
    journal.known(begun)
    for epoch in EPOCHS[:2]:
        journal.epoch(name, epoch)
    evaluation = Evaluation(split="validation", epoch=2, nats=7.0, tokens=5)
    journal.evaluation(name, evaluation)
    journal.epoch(name, EPOCHS[2])
    killed(journal)
    assert recover([run.folder]) == [
        f"run {run.name} was killed: 1 trial is recorded as interrupted"
    ]
    (record,) = run.records()
    assert record.status == "interrupted"
    assert record.epochs.nats == [100.0, 99.0, 98.0]
    assert record.epochs.joules == []
    assert record.evaluations == [evaluation]
    assert record.parity == begun.parity
    assert record.log_tail == "the end of \\x1b[31m its log\n"
    assert not (run.folder / FOLDER).exists()
    assert recover([run.folder.parent]) == []


def test_what_is_recorded_is_not_recovered(run: Run, begun: Any) -> None:
    journal = Journal(run)
    journal.known(begun)
    finished = begun.model_copy(update={"message": "as it really ended"})
    run.write_record(finished)
    killed(journal)
    assert recover([run.folder]) == []
    assert run.records() == [finished]
    assert not (run.folder / FOLDER).exists()


def test_a_run_that_ends_leaves_no_journal(run: Run, begun: Any) -> None:
    journal = Journal(run)
    journal.known(begun)
    journal.recorded(begun.trial.name)
    journal.close()
    assert not (run.folder / FOLDER).exists()


def test_a_run_that_goes_on_is_left_alone(run: Run, begun: Any) -> None:
    journal = Journal(run)
    journal.known(begun)
    assert recover([run.folder]) == []
    assert run.records() == []
    journal.close()


@pytest.mark.parametrize("left", [[], [LOCK]])
def test_a_journal_that_was_only_begun_goes(run: Run, left: list[str]) -> None:
    folder = run.folder / FOLDER
    folder.mkdir()
    for name in left:
        (folder / name).touch()
    assert recover([run.folder]) == []
    assert not folder.exists()


def test_a_journal_that_another_start_took_for_left_over_is_begun_again(
    run: Run, begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []

    @contextmanager
    def taken_once(path: Path, create: bool = False) -> Iterator[bool]:
        if taken:
            with locked(path, create) as had:
                yield had
        else:
            taken.append(path)
            path.parent.rmdir()
            yield False

    monkeypatch.setattr(journal, "locked", taken_once)
    mine = Journal(run)
    monkeypatch.undo()
    mine.known(begun)
    assert recover([run.folder]) == []  # it is held
    killed(mine)
    assert len(recover([run.folder])) == 1


def test_a_journal_that_cannot_be_written_costs_nothing(run: Run, begun: Any) -> None:
    (run.folder / FOLDER).write_text("in the way")
    journal = Journal(run)
    journal.known(begun)
    journal.epoch(begun.trial.name, EPOCHS[0])
    journal.recorded(begun.trial.name)
    journal.close()
    assert recover([run.folder]) == []


@pytest.mark.parametrize("what", ["/dev/zero", "pipe"])
def test_a_stranger_s_journal_is_no_trap(run: Run, begun: Any, what: str) -> None:
    journal = Journal(run)
    journal.known(begun)
    killed(journal)
    (file,) = (run.folder / FOLDER).glob(f"*{SUFFIX}")
    file.unlink()
    if what == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(what)
    assert recover([run.folder]) == []
    assert run.records() == []


def test_what_could_not_be_written_is_recovered_later(run: Run, begun: Any) -> None:
    """On a disk that was full, say."""
    journal = Journal(run)
    journal.known(begun)
    journal.epoch(begun.trial.name, EPOCHS[0])
    journal.close()
    assert len(recover([run.folder])) == 1
    assert run.records()[0].epochs.nats == [100.0]


@pytest.mark.parametrize("place", ["none", "file"])
def test_what_is_no_run_is_left_to_those_who_read_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    assert recover([tmp_path / place, tmp_path]) == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 10_000), noise=st.binary(max_size=20))
def test_a_journal_cut_anywhere_gives_the_epochs_before_the_cut(
    tmp_path: Path, make_record: Make, cut: int, noise: bytes
) -> None:
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    run = Run.create(tmp_path / "store", "d2l")
    run.write_plan({})
    begun = make_record(status="interrupted", epochs=Epochs())
    journal = Journal(run)
    journal.known(begun)
    file = run.folder / FOLDER / f"{begun.trial.name}{SUFFIX}"
    header = file.stat().st_size
    for epoch in EPOCHS:
        journal.epoch(begun.trial.name, epoch)
    killed(journal)
    content = file.read_bytes()
    kept = content[: min(cut, len(content))]
    file.write_bytes(kept + noise)
    recover([run.folder])
    whole = kept.count(b"\n") - 1
    found = run.records()
    if len(kept) < header:
        assert found == [] or found[0].epochs.nats == []
        return
    assert found[0].epochs.nats[:whole] == [100.0, 99.0, 98.0][:whole]
    assert len(found[0].epochs.nats) <= whole + 1
