"""Runs that stop anywhere and go on: what they leave is what one uninterrupted run leaves."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmbench.api import Results
from lstmbench.backend import BackendSpec
from lstmbench.corpora.corpus import Corpus
from lstmbench.corpora.vocabulary import Vocabulary
from lstmbench.records.record import Record, Status, StoppingRule
from lstmbench.records.store import Run
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.conductor import Conductor
from lstmbench.runner.context import Limits
from lstmbench.runner.journal import FOLDER, recover
from lstmbench.runner.plan import Plan, Selection, make_plan
from lstmbench.runner.resume import done_by
from lstmbench.runner.run import sampler_of
from lstmbench.runner.schedule import Earlier
from lstmbench.testing import make_record
from lstmbench.worker import messages
from tests.runner.stage import SMALL, TEXT, Noting, Stage

PROTOCOL = SMALL.override({"epochs": 2})
VOCABULARY = Vocabulary(TEXT)
CORPUS = Corpus("fake", "0" * 64, VOCABULARY, VOCABULARY.encode(TEXT))
SPECS = {n: BackendSpec(n, "", f"{n}:X", {"cpu": ("eager",)}) for n in "ab"}
#: By which a run stops, if anything stops it.
RULE = StoppingRule(precision=0.5, seconds=1e6)


class Steady(Stage):
    """Whatever is asked in which order, a trial's epochs take what they take.

    ``before`` is called before every request, with its number.
    """

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        super().__init__({})
        self.before, self.numbers = before, itertools.count(1)
        self.repeats: dict[str, int] = {}

    def start(self, launch: Launch) -> Any:
        if found := re.match(r"(\w)-eager-.*-r(\d+)-", launch.log.name):
            self.repeats[found[1]] = int(found[2])
        return super().start(launch)

    def answer(self, key: tuple[str, str, int], answer: messages.Answer) -> messages.Answer:
        self.before(next(self.numbers))
        if isinstance(answer, messages.EpochTrained):
            backend, repeat = key[0], self.repeats[key[0]]
            seconds = 0.5 + 0.1 * (backend == "b") + 0.01 * repeat + 0.001 * key[2]
            return replace(answer, seconds=seconds)
        return super().answer(key, answer)


class Runs:
    """Runs in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def plan(self, repeats: int, rule: StoppingRule | None = None) -> Plan:
        selection = Selection(
            backends=[(spec, None) for spec in SPECS.values()],
            devices=["cpu"],
            modes=["default"],
            dtype="float32",
            protocols=[(PROTOCOL, {})],
            init="shared",
            corpus="fake",
            corpus_digest="0" * 64,
            seeds=[0],
            threads=[2],
            environment={},
            repeats=repeats,
            stopping_rule=rule,
        )
        return make_plan(selection)

    def begin(self, plan: Plan, stage: Stage) -> tuple[Run, Conductor]:
        run = Run.create(self.folder / "store", "d2l")
        run.write_plan(plan.to_json())
        return run, self.lead(run, run.name, plan, stage, Earlier())

    def lead(
        self, run: Run, name: str, plan: Plan, stage: Stage, earlier: Earlier, when: str = ""
    ) -> Conductor:
        """``when`` the run goes on, if it does."""
        source = make_record(run=name).source
        stage.folder = self.folder / f"workers-{len(list(self.folder.iterdir()))}"
        stage.folder.mkdir()
        conductor = Conductor(
            plan=plan,
            specs=SPECS,
            corpus=CORPUS,
            run=run,
            source=source.model_copy(update={"resumed": when or None}),
            executor=stage,
            observer=Noting(),
            limits=Limits(),
            raw_environment={},
            sampler=sampler_of(plan),
            measure_peak=False,
            earlier=earlier,
        )
        conductor.conduct()
        return conductor

    def go_on(self, run: Run, name: str, plan: Plan, stage: Stage, **how: Any) -> Conductor:
        recover([run.folder])
        assert not (run.folder / FOLDER).exists()
        problems: list[str] = []
        earlier = replace(done_by(run, name, problems), **how)
        assert not problems
        before = contents(run)
        conductor = self.lead(run, name, plan, stage, earlier, f"attempt {next(ATTEMPTS)}")
        after = contents(run)
        for path, content in before.items():
            kept = {content == now for place, now in after.items() if place.name == path.name}
            assert True in kept, f"{path} is lost"
        return conductor


ATTEMPTS = itertools.count(1)


def contents(run: Run) -> dict[Path, bytes]:
    """Every record of a run, those that were replaced, too."""
    return {path: path.read_bytes() for path in run.folder.rglob("*.json") if "-r" in path.name}


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def table(records: Any) -> list[dict[str, Any]]:
    """The figures of every row, but for what the clock of this machine says, as flags do."""
    keys = ("backend", "perplexity", "processes", "rank")
    return [
        {k: v for k, v in row.items() if k.startswith("tokens_per_second") or k in keys}
        | {"status": row["status"].partition(",")[0]}
        for row in Results(records).figures()
    ]


def whole(runs: Runs, plan: Plan) -> Conductor:
    return runs.begin(plan, Steady())[1]


class Stop:
    """Ends what is on its way at a request: by Ctrl-C, or as SIGKILL does, which leaves the folder
    as it is at that moment: in the copy."""

    def __init__(self, store: Path, at: int, killed: bool) -> None:
        self.store, self.at, self.killed = store, at, killed
        self.copy: Path | None = None

    def __call__(self, number: int) -> None:
        if number != self.at:
            return
        if self.killed:
            (run,) = self.store.iterdir()
            self.copy = self.store.parent / f"killed-{next(ATTEMPTS)}" / run.name
            shutil.copytree(run, self.copy)
        raise KeyboardInterrupt


def stopped(runs: Runs, plan: Plan, moments: list[tuple[int, bool]]) -> tuple[Run, str]:
    """A run that is stopped at the first moment, goes on, is stopped at the next, and so on."""
    first = Stop(runs.folder / "store", *moments[0])
    run, _ = runs.begin(plan, Steady(first))
    name = run.name
    for moment in [*moments[1:], None]:
        stop = first
        if stop.copy:
            run = Run(stop.copy)
        if moment is None:
            break
        first = Stop(run.folder.parent, *moment)
        runs.go_on(run, name, plan, Steady(first))
    return run, name


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, list[dict[str, Any]]]:
    """The table of a run that nothing stops, with and without a stopping rule."""
    return {
        ruled: table(whole(Runs(tmp_path_factory.mktemp("whole")), plan_of(ruled)).records)
        for ruled in (False, True)
    }


def plan_of(ruled: bool) -> Plan:
    made = Runs(Path())
    return made.plan(8, RULE) if ruled else made.plan(2)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moments=st.lists(st.tuples(st.integers(1, 130), st.booleans()), min_size=1, max_size=2),
    ruled=st.booleans(),
)
def test_a_run_that_went_on_has_the_table_of_one_that_was_never_stopped(
    expected: Any, tmp_path_factory: Any, moments: list[tuple[int, bool]], ruled: bool
) -> None:
    runs = Runs(tmp_path_factory.mktemp("stopped"))
    plan = plan_of(ruled)
    run, name = stopped(runs, plan, moments)
    conductor = runs.go_on(run, name, plan, Steady())
    assert table(conductor.records) == expected[ruled]
    assert table(run.records()) == expected[ruled]
    assert {record.status for record in run.records()} == {Status.OK}
    check_groups(run.records())
    assert not (run.folder / FOLDER).exists()


def check_groups(records: list[Record]) -> None:
    """No group is mixed from two attempts."""
    attempts: dict[int, set[str | None]] = {}
    for record in records:
        attempts.setdefault(record.trial.repeat, set()).add(record.source.resumed)
    assert all(len(found) == 1 for found in attempts.values()), attempts


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(had=st.integers(1, 3), more=st.integers(1, 2), ruled=st.booleans())
def test_a_run_that_was_extended_has_the_table_of_one_that_was_asked_for_at_once(
    tmp_path_factory: Any, had: int, more: int, ruled: bool
) -> None:
    runs = Runs(tmp_path_factory.mktemp("extended"))
    run, _ = runs.begin(runs.plan(had), Steady())
    plan = runs.plan(8, RULE) if ruled else runs.plan(had + more)
    before = contents(run)
    conductor = runs.go_on(run, run.name, plan, Steady(), extended=True)
    assert before.items() <= contents(run).items()
    other = whole(runs, plan)
    assert table(conductor.records) == table(other.records)
    assert (conductor.stopped is None) == (other.stopped is None) == (not ruled)


def statuses(run: Run) -> dict[str, str]:
    return {f"{r.trial.backend}{r.trial.repeat}": str(r.reason or r.status) for r in run.records()}


def lost(reason: Any) -> Steady:
    stage = Steady()
    stage.script[("b", "epoch", 2)] = WorkerLost(reason, "as it happens")
    return stage


@pytest.mark.parametrize("reason", ["signal", "exit", "timeout", "memory"])
def test_what_failed_by_an_accident_runs_again_only_with_retry(runs: Runs, reason: str) -> None:
    plan = runs.plan(1)
    run, _ = runs.begin(plan, lost(reason))
    assert statuses(run) == {"a0": "ok", "b0": reason}
    before = contents(run)
    stage = Steady()
    runs.go_on(run, run.name, plan, stage)
    assert stage.asked == []
    assert contents(run) == before
    runs.go_on(run, run.name, plan, stage, retry=True)
    assert statuses(run) == {"a0": "ok", "b0": "ok"}
    check_groups(run.records())  # the other too, for they are compared
    assert {path.parent.name for path in contents(run)} == {"records", "1"}


@pytest.mark.parametrize("reason", ["parity", "nan", "interface", "exception", "audit"])
def test_what_failed_by_itself_never_runs_again(runs: Runs, reason: str) -> None:
    plan = runs.plan(1)
    run, _ = runs.begin(plan, lost(reason))
    stage = Steady()
    runs.go_on(run, run.name, plan, stage, retry=True)
    assert stage.asked == []
    assert statuses(run) == {"a0": "ok", "b0": reason}


def test_the_seconds_of_earlier_groups_count(runs: Runs) -> None:
    """A budget that was spent by an earlier attempt ends sampling."""
    plan = runs.plan(8, StoppingRule(precision=0.5, seconds=1e6))
    run, _ = runs.begin(runs.plan(2), Steady())
    names = list(run.seconds())
    assert len(names) == 2
    run.write_seconds(dict.fromkeys(names, 4e5))
    stage = Steady()
    conductor = runs.go_on(run, run.name, plan, stage, extended=True)
    assert stage.asked == []
    assert conductor.stopped is not None
    assert "would not fit" in conductor.stopped


def test_a_row_that_was_given_up_is_not_taken_up_again(runs: Runs) -> None:
    plan = runs.plan(8, RULE)
    stage = Steady()
    stage.script[("b", "load", 1)] = WorkerLost("exception", "never works")
    run, _ = runs.begin(plan, stage)
    assert len([r for r in run.records() if r.trial.backend == "b"]) == 2
    stage = Steady()
    runs.go_on(run, run.name, plan, stage)
    assert stage.asked == []
