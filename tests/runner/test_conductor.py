"""The conductor with workers of paper: who is asked what, when, and what is kept of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmbench.backend import BackendSpec
from lstmbench.batches import draw_offsets
from lstmbench.corpora.corpus import Corpus
from lstmbench.corpora.vocabulary import Vocabulary
from lstmbench.protocol import D2L, Protocol
from lstmbench.records.record import Source, SystemLoad
from lstmbench.records.store import Run
from lstmbench.runner import conductor as conducting
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.conductor import Conductor, Limits, interleave_order
from lstmbench.runner.plan import Selection, make_plan
from lstmbench.runner.trial_state import LOG_TAIL

TEXT = "the time traveller smiled round at us " * 300
SMALL = D2L.override({"epochs": 5, "batch_size": 4, "steps": 5, "hidden_size": 3})
PARITY = {"worst": 1e-6, "tolerance": 1e-4, "errors": {}, "shape": [1, 2, 3], "cut": False}
Script = dict[tuple[str, str, int], Exception]


class Stage:
    """Hands out channels that answer at once, and notes every request.

    ``script`` makes the n-th request of a verb to a backend raise instead.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[tuple[str, str]] = []
        self.products: list[tuple[str, str]] = []
        self.turns: list[tuple[str, str]] = []
        self.offers: dict[str, float] = {}
        self.loads: dict[str, Mapping[str, Any]] = {}
        self.offsets: dict[str, list[int]] = {}
        self.timeouts: dict[str, set[float]] = {}
        self.open: list[PaperChannel] = []
        self.most_open = 0

    def start(self, launch: Launch) -> Any:
        if launch.module == "lstmbench.worker.probe":
            return PaperProbe(self)
        launch.log.write_text("a line\n")
        self.open.append(PaperChannel(self, launch.log.name.partition("-")[0]))
        self.most_open = max(self.most_open, len(self.open))
        return self.open[-1]

    def cpus(self, threads: int) -> list[int] | None:
        return list(range(threads))


class PaperChannel:
    def __init__(self, stage: Stage, name: str) -> None:
        self.stage, self.name, self.counts = stage, name, dict[str, int]()

    def ask(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        json.dumps(request)
        verb = request["do"]
        self.counts[verb] = self.counts.get(verb, 0) + 1
        stage = self.stage
        if verb in ("epoch", "product", "wait_until_idle", "evaluate"):
            stage.turns.append((verb, self.name))
        if verb == "product":
            stage.products.append((self.name, verb))
            error = stage.script.get((self.name, verb, self.counts[verb]))
            if error:
                raise error
            offer = stage.offers.get(self.name)
            return {"seconds": None if offer is None else [offer]}
        if verb == "wait_until_idle":
            return {"silent": True}
        stage.asked.append((verb, self.name))
        stage.timeouts.setdefault(verb, set()).add(timeout)
        error = stage.script.get((self.name, verb, self.counts[verb]))
        if error:
            raise error
        if verb == "load":
            stage.loads[self.name] = request
        if verb == "epoch":
            stage.offsets.setdefault(self.name, []).append(request["offset"])
            return {"seconds": 0.5, "nats": 200.0 / self.counts[verb], "tokens": 100}
        return {
            "load": {"phases": {"import": 1.0}, "memory": {"imported": 1}},
            "prepare": {
                "phases": {"build": 1.0, "prepare": 2.0},
                "parity": PARITY,
                "parameters_digest": "d" * 64,
            },
            "evaluate": {"nats": 50.0, "tokens": 100},
            "generate": {"continuations": [[1, 2]] * 2, "phases": {"generate": 0.5}},
            "finish": {"runtime": {"kernel": "paper"}, "memory": {"peak": 2}},
        }[verb]

    def close(self) -> None:
        if self in self.stage.open:
            self.stage.open.remove(self)


class PaperProbe:
    """NumPy's part; ``script`` may lose it under the name ``probe``."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.counts = stage, dict[str, int]()

    def ask(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        verb = request["do"]
        self.counts[verb] = self.counts.get(verb, 0) + 1
        error = self.stage.script.get(("probe", verb, self.counts[verb]))
        if error:
            raise error
        self.stage.turns.append((verb, "probe"))
        if verb == "wait_until_idle":
            return {"silent": True}
        self.stage.products.append(("probe", verb))
        return {"library": "paper", "seconds": [1.0]}

    def close(self) -> None:
        self.stage.products.append(("probe", "close"))


class Silent:
    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def phase(self, trial: Any, name: str) -> None:
        self.seen.append((trial.backend, name))

    def epoch(self, trial: Any, done: int, perplexity: float, rate: float) -> None:
        self.seen.append((trial.backend, done))

    def recorded(self, record: Any) -> None:
        self.seen.append((record.trial.backend, str(record.status)))


@pytest.fixture
def conduct(tmp_path: Path) -> Callable[..., Any]:
    """Conducts backends ``a``, ``b`` and ``c``; returns stage, run, and whether it was finished."""

    def go(
        script: Script | None = None,
        *,
        backends: str = "abc",
        protocol: Protocol = SMALL,
        interleave: bool = True,
        devices: tuple[str, ...] = ("cpu",),
        stage: Stage | None = None,
        sampling: Any = None,
        **changes: Any,
    ) -> Any:
        specs = {n: BackendSpec(n, "", f"{n}:X", {"cpu": ("eager",)}) for n in backends}
        vocabulary = Vocabulary(TEXT)
        corpus = Corpus("paper", "0" * 64, vocabulary, vocabulary.encode(TEXT))
        chosen: dict[str, Any] = {
            "backends": [(spec, None) for spec in specs.values()],
            "devices": devices,
            "modes": ["default"],
            "dtype": "float32",
            "protocols": [(protocol, {})],
            "init": "shared",
            "corpus": "paper",
            "corpus_digest": "0" * 64,
            "seed": 0,
            "threads": [2],
            "environment": {},
        }
        plan = make_plan(Selection(**{**chosen, **changes}), interleave)
        run = Run.create(tmp_path / "store", "d2l")
        source = Source(
            run=run.name,
            started="2022-05-19T12:00:00+00:00",
            command=["lstmbench"],
            commit=None,
            dirty=None,
            interleaved=interleave,
        )
        stage = stage or Stage(script or {})
        observer = Silent()
        limits = Limits(answer=7.0, prepare=70.0)
        conductor = Conductor(
            plan, specs, corpus, run, source, stage, observer, limits, {}, sampling
        )
        finished = conductor.conduct()
        return stage, {r.trial.backend: r for r in run.records()}, finished, observer

    return go


def epochs(stage: Stage) -> list[str]:
    return [name for verb, name in stage.asked if verb == "epoch"]


def test_epochs_take_turns_in_rotating_order(conduct: Any) -> None:
    stage, _, finished, _ = conduct()
    assert finished
    rounds = ["".join(epochs(stage)[i : i + 3]) for i in range(0, 15, 3)]
    assert rounds == ["abc", "cba", "bca", "acb", "cab"]


def test_nobody_s_turn_begins_before_the_last_has_fallen_silent(conduct: Any) -> None:
    stage = Stage({})
    stage.offers = {"a": 0.5, "b": 2.0}
    parts = {"train_fraction": 0.8, "validation_fraction": 0.2, "validate_every": 2}
    conduct(stage=stage, protocol=replace(SMALL, train_tokens=None, **parts))
    turns = [turn for turn in stage.turns if turn != ("load", "probe")]
    assert {verb for verb, _ in turns} == {
        "epoch",
        "product",
        "copy",
        "evaluate",
        "wait_until_idle",
    }
    busy = None
    for verb, name in turns:
        assert busy in (None, name)
        busy = None if verb == "wait_until_idle" else name
    assert busy is None


def test_all_are_ready_before_the_first_epoch_and_none_ends_before_the_last(conduct: Any) -> None:
    stage, _, _, _ = conduct()
    verbs = [verb for verb, _ in stage.asked]
    assert verbs.index("epoch") == 6
    assert verbs.index("generate") == 6 + 15
    assert stage.most_open == 3


def test_without_turns_one_ends_before_the_next_begins(conduct: Any) -> None:
    stage, records, _, _ = conduct(interleave=False)
    assert epochs(stage) == ["a"] * 5 + ["b"] * 5 + ["c"] * 5
    assert stage.most_open == 1
    assert not records["a"].source.interleaved


def test_every_backend_sees_the_same_offsets(conduct: Any) -> None:
    stage, records, _, _ = conduct()
    assert stage.offsets == dict.fromkeys("abc", draw_offsets(0, 5, 5))
    assert len({r.digests["offsets"] for r in records.values()}) == 1
    _, others, _, _ = conduct(seed=1)
    assert others["a"].digests["offsets"] != records["a"].digests["offsets"]


def test_a_worker_is_told_all_it_needs(conduct: Any) -> None:
    stage, _, _, _ = conduct(backends="a")
    load = stage.loads["a"]
    assert load["factory"] == "a:X"
    assert load["task"]["model"] == {"vocabulary_size": 16, "hidden_size": 3, "layers": 1}
    assert load["task"]["training"]["steps"] == 5
    assert load["task"]["threads"] == 2
    assert load["cpus"] == [0, 1]
    assert load["splits"] == {"train": (0, 10_000)}


def test_the_tokens_are_there_while_it_runs_and_gone_after(conduct: Any) -> None:
    seen = []

    class Reading(Stage):
        def start(self, launch: Launch) -> Any:
            channel = super().start(launch)
            ask = channel.ask

            def reading(request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
                if "tokens" in request:
                    seen.append((request["tokens"], np.load(request["tokens"])))
                return ask(request, timeout)

            channel.ask = reading  # type: ignore[method-assign]
            return channel

    conduct(stage=Reading({}))
    path, ids = seen[0]
    assert Vocabulary(TEXT).decode(ids.tolist()) == TEXT
    assert not Path(path).exists()


def test_preparing_has_its_own_limit(conduct: Any) -> None:
    stage, _, _, _ = conduct()
    assert stage.timeouts["load"] == stage.timeouts["prepare"] == {70.0}
    assert stage.timeouts["epoch"] == stage.timeouts["generate"] == {7.0}


def test_a_record_keeps_the_raw_series(conduct: Any) -> None:
    _, records, _, _ = conduct()
    record = records["b"]
    assert record.status == "ok"
    assert record.epochs.seconds == [0.5] * 5
    assert record.epochs.nats == [200.0 / k for k in range(1, 6)]
    assert record.epochs.tokens == [100] * 5
    assert record.phases == {"import": 1.0, "build": 1.0, "prepare": 2.0, "generate": 0.5}
    assert record.memory == {"imported": 1, "peak": 2}
    assert record.parity is not None
    assert record.parity.worst == 1e-6
    assert record.runtime == {"kernel": "paper"}
    assert record.digests["parameters"] == "d" * 64
    assert [c.prefix for c in record.continuations] == ["time traveller", "traveller"]
    assert {len(c.text) for c in record.continuations} == {2}
    assert record.vocabulary_size == 16
    assert record.parameters == 4 * 3 * (16 + 3 + 1) + (3 + 1) * 16
    assert record.log_tail == "a line\n"


@pytest.mark.parametrize(
    ("verb", "count", "done"),
    [("load", 1, 0), ("prepare", 1, 0), ("epoch", 3, 2), ("generate", 1, 5), ("finish", 1, 5)],
)
def test_one_that_is_lost_leaves_the_turns_and_a_record(
    conduct: Any, verb: str, count: int, done: int
) -> None:
    stage, records, finished, _ = conduct({("b", verb, count): WorkerLost("exit", "gone\naway")})
    assert finished
    assert records["b"].status == "failed"
    assert records["b"].reason == "exit"
    assert records["b"].message == "gone away"
    assert len(records["b"].epochs.seconds) == done
    for other in "ac":
        assert records[other].status == "ok"
        assert len(records[other].epochs.seconds) == 5
    assert stage.open == []


def test_the_turns_go_on_when_all_are_lost(conduct: Any) -> None:
    script = {
        (n, "epoch", k): WorkerLost("signal", "SIGKILL") for k, n in enumerate("abc", start=1)
    }
    stage, records, finished, _ = conduct(script)
    assert finished
    assert {r.status for r in records.values()} == {"failed"}
    assert [len(records[n].epochs.nats) for n in "abc"] == [0, 1, 2]
    assert stage.open == []


def test_what_comes_with_an_error_is_kept(conduct: Any) -> None:
    detail = {"parity": {**PARITY, "worst": 0.5}, "phases": {"parity": 3.0}}
    script = {("a", "prepare", 1): WorkerLost("parity", "differs", detail)}
    record = conduct(script)[1]["a"]
    assert record.reason == "parity"
    assert record.message == "differs; see where: lstmbench debug a:eager"
    assert record.parity.worst == 0.5
    assert record.phases == {"import": 1.0, "parity": 3.0}


def test_unavailable_has_no_reason_but_a_message(conduct: Any) -> None:
    record = conduct({("a", "prepare", 1): WorkerLost("unavailable", "no device")})[1]["a"]
    assert (record.status, record.reason, record.message) == ("unavailable", None, "no device")


def test_what_the_plan_rules_out_is_recorded_without_a_worker(conduct: Any) -> None:
    stage, records, _, _ = conduct(devices=("cuda:0",))
    assert stage.asked == []
    assert {r.status for r in records.values()} == {"unavailable"}
    assert "does not run on cuda" in records["a"].message


@pytest.mark.parametrize(("verb", "count", "done"), [("load", 1, 0), ("epoch", 3, 2)])
def test_an_interruption_keeps_what_is_finished(
    conduct: Any, verb: str, count: int, done: int
) -> None:
    script: Any = {("b", verb, count): KeyboardInterrupt()}
    stage, records, finished, observer = conduct(script)
    assert not finished
    assert {r.status for r in records.values()} == {"interrupted"}
    assert len(records["b"].epochs.seconds) == done
    assert len(records["a"].epochs.seconds) in (done, done + 1)
    assert stage.open == []
    assert observer.seen.count(("b", "interrupted")) == 1


def test_what_was_recorded_before_an_interruption_stays(conduct: Any) -> None:
    script: Any = {
        ("a", "epoch", 1): WorkerLost("nan", "the loss is nan"),
        ("b", "epoch", 2): KeyboardInterrupt(),
    }
    _, records, _, _ = conduct(script)
    assert records["a"].status == "failed"
    assert records["b"].status == records["c"].status == "interrupted"


def test_an_interruption_while_a_record_is_written_does_not_spoil_it(
    conduct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial was complete: what it left must not become "interrupted"."""
    write = Run.write_record
    written = []

    def interrupted(self: Run, record: Any) -> None:
        write(self, record)
        written.append(record.trial.backend)
        if written == ["a"]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_record", interrupted)
    _, records, finished, _ = conduct()
    assert not finished
    assert records["a"].status == "ok"
    assert records["c"].status == "interrupted"


def test_validation_and_test_where_the_protocol_has_them(conduct: Any) -> None:
    heldout = replace(
        SMALL,
        train_tokens=None,
        train_fraction=0.8,
        validation_fraction=0.1,
        test_fraction=0.1,
        validate_every=2,
    )
    _, records, _, _ = conduct(backends="a", protocol=heldout)
    seen = [(e.split, e.epoch) for e in records["a"].evaluations]
    assert seen == [("validation", 2), ("validation", 4), ("test", 5)]
    assert records["a"].evaluations[0].floor is None


def test_observers_are_told_in_order(conduct: Any) -> None:
    *_, observer = conduct(backends="a")
    assert observer.seen == [
        *(("a", phase) for phase in ("loading", "preparing", "ready")),
        *(("a", done) for done in range(1, 6)),
        ("a", "ending"),
        ("a", "ok"),
    ]


def test_only_the_tail_of_a_log_is_kept(conduct: Any) -> None:
    class Talkative(Stage):
        def start(self, launch: Launch) -> Any:
            channel = super().start(launch)
            launch.log.write_bytes("é".encode() * 9000 + b"\xff the end")
            return channel

    _, records, _, _ = conduct(backends="a", stage=Talkative({}))
    tail = records["a"].log_tail
    assert tail.endswith("the end")
    assert len(tail) <= LOG_TAIL


def test_products_take_turns_with_the_epochs_and_the_fastest_is_everyone_s_peak(
    conduct: Callable[..., Any],
) -> None:
    stage = Stage({})
    stage.offers = {"a": 0.5, "b": 2.0}
    _, records, _, _ = conduct(backends="abc", stage=stage)
    # after each of five epochs, the first to make operands; who offers nothing is asked once
    asked = [name for name, verb in stage.products if verb == "product"]
    assert {name: asked.count(name) for name in "abc"} == {"a": 5, "b": 5, "c": 1}
    assert asked.count("probe") == 5
    for record in records.values():
        assert record.peak.product.library == "a:eager"
        assert record.peak.product.seconds == [0.5] * 4
        assert record.peak.copies.seconds == [1.0] * 4
    assert stage.products[-1] == ("probe", "close")


def test_numpy_is_the_peak_where_nobody_is_faster(conduct: Callable[..., Any]) -> None:
    stage = Stage({})
    stage.offers = {"a": 2.0}
    _, records, _, _ = conduct(backends="a", stage=stage)
    assert records["a"].peak.product.library == "paper"


@pytest.mark.parametrize("verb", ["load", "product", "copy"])
def test_a_group_goes_on_without_its_probe(conduct: Callable[..., Any], verb: str) -> None:
    stage = Stage({("probe", verb, 1): WorkerLost("exit", "gone")})
    _, records, finished, _ = conduct(backends="a", stage=stage)
    assert finished
    assert records["a"].status == "ok"
    assert records["a"].peak is None


def test_a_worker_lost_in_a_product_is_a_failed_trial(conduct: Callable[..., Any]) -> None:
    stage = Stage({("b", "product", 3): WorkerLost("signal", "killed by SIGSEGV")})
    stage.offers = {"b": 1.0}
    _, records, _, _ = conduct(backends="ab", stage=stage)
    assert (records["b"].status, records["b"].reason) == ("failed", "signal")
    assert records["a"].status == "ok"


def test_companions_are_those_of_the_group(conduct: Callable[..., Any]) -> None:
    _, records, _, _ = conduct(backends="ab")
    names = {name: [c.partition("-")[0] for c in r.companions] for name, r in records.items()}
    assert names == {"a": ["b"], "b": ["a"]}
    _, records, _, _ = conduct(backends="ab", interleave=False)
    assert all(record.companions == [] for record in records.values())


def test_joules_are_counted_around_every_epoch(
    conduct: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    total = iter(range(0, 1000, 3))
    monkeypatch.setattr(conducting.energy, "counter", lambda device: lambda: float(next(total)))
    _, records, _, _ = conduct(backends="a")
    assert records["a"].epochs.joules == [3.0] * 5


class Enough:
    """Content after one repeat."""

    repeat = 0

    def __init__(self) -> None:
        self.asked: list[int] = []

    def content(self, records: Any, repeat: int) -> bool:
        self.repeat = repeat
        self.asked.append(repeat)
        return repeat == 1


def test_what_sampling_does_not_need_is_never_begun(conduct: Callable[..., Any]) -> None:
    sampling = Enough()
    stage, records, finished, _ = conduct(backends="ab", sampling=sampling, repeats=3)
    assert finished
    assert sampling.asked == [0, 1]
    assert [verb for verb, _ in stage.asked].count("load") == 2
    assert {r.trial.repeat for r in records.values()} == {0}


def test_the_sampling_is_told_when_no_repeat_is_left(conduct: Callable[..., Any]) -> None:
    sampling = Enough()
    conduct(backends="ab", sampling=sampling, repeats=1)
    assert sampling.asked == [0, 1]


def test_an_interruption_records_what_sampling_had_begun(conduct: Callable[..., Any]) -> None:
    _, records, finished, _ = conduct(
        {("b", "epoch", 2): KeyboardInterrupt()}, backends="ab", sampling=Enough(), repeats=3
    )
    assert not finished
    assert {r.status for r in records.values()} == {"interrupted"}
    assert {r.trial.repeat for r in records.values()} == {0}


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_turns_are_fair(number: int) -> None:
    """In a whole cycle everyone has every place, and follows each neighbour, equally often."""
    rounds = [interleave_order(range(number), done) for done in range(2 * number)]
    for place in range(number):
        assert sorted(order[place] for order in rounds) == sorted([*range(number)] * 2)
    follows = [(a, b) for order in rounds for a, b in itertools.pairwise(order)]
    assert all(follows.count((a, b)) == follows.count((b, a)) for a, b in follows)
    assert interleave_order([], 3) == []


class Endless:
    """Never content."""

    repeat = 0

    def content(self, records: Any, repeat: int) -> bool:
        self.repeat = repeat
        return False


def test_sampling_goes_on_without_a_row_that_failed_twice(conduct: Callable[..., Any]) -> None:
    script: Script = {("b", "epoch", 2): WorkerLost("exit", "gone")}
    stage, _, _, _ = conduct(script, backends="ab", sampling=Endless(), repeats=4)
    loads = [name for verb, name in stage.asked if verb == "load"]
    assert (loads.count("a"), loads.count("b")) == (4, 2)
    stage, _, _, _ = conduct(script, backends="ab", repeats=4)
    assert [name for verb, name in stage.asked if verb == "load"].count("b") == 4


class PaperWatch:
    """Says the how-manieth watch it is."""

    number = 0

    def __init__(self) -> None:
        type(self).number += 1
        self.own = self.number

    def so_far(self) -> SystemLoad:
        return SystemLoad(others=float(self.own), stolen=0.0)


def test_what_others_took_is_counted_anew_after_a_loss(
    conduct: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed worker's children had computed would be taken for somebody else's."""
    monkeypatch.setattr(conducting, "CpuTimeDelta", PaperWatch)
    monkeypatch.setattr(PaperWatch, "number", 0)
    records = conduct()[1]
    assert {name: r.surroundings.others for name, r in records.items()} == dict.fromkeys("abc", 1)
    monkeypatch.setattr(PaperWatch, "number", 0)
    records = conduct({("b", "epoch", 2): WorkerLost("exit", "gone")})[1]
    assert records["b"].surroundings is None
    assert {records[name].surroundings.others for name in "ac"} == {2.0}
