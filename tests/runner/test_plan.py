"""From a selection to ordered groups of trials."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.backend import BackendSpec
from lstmbench.errors import UserError
from lstmbench.preparation import Preparation
from lstmbench.protocol import D2L, LAYER, later_defaults
from lstmbench.records.trial import Trial
from lstmbench.runner.plan import Selection, make_plan

MODES = {"cpu": ("eager", "jit"), "cuda": ("graphs",)}


def spec(name: str, **changes: Any) -> BackendSpec:
    return BackendSpec(**{"name": name, "summary": "", "factory": "a:b", "modes": MODES, **changes})


A, B = spec("a"), spec("b")
ONLY_GPU = spec("gpu-only", modes={"cuda": ("graphs",)})


def selection(**changes: Any) -> Selection:
    chosen: dict[str, Any] = {
        "backends": [(A, None), (B, None)],
        "devices": ["cpu"],
        "modes": ["default"],
        "dtype": "float32",
        "protocols": [(D2L, {})],
        "init": "shared",
        "corpus": "bundled",
        "corpus_digest": "0" * 64,
        "seeds": [0],
        "threads": [1],
        "environment": {},
    }
    return Selection(**{**chosen, **changes})


def labels(plan: Any) -> list[list[str]]:
    return [[f"{t.label} {t.device}" for t in group] for group in plan.groups]


def test_backends_of_one_device_are_interleaved() -> None:
    assert labels(make_plan(selection())) == [["a:eager cpu", "b:eager cpu"]]


def test_without_interleaving_every_trial_is_a_group() -> None:
    plan = make_plan(selection(interleave=False))
    assert labels(plan) == [["a:eager cpu"], ["b:eager cpu"]]


def test_the_first_mode_of_a_device_is_its_default() -> None:
    plan = make_plan(selection(devices=["cpu", "cuda:0"]))
    assert labels(plan) == [["a:eager cpu", "b:eager cpu"], ["a:graphs cuda:0", "b:graphs cuda:0"]]


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (["all"], ["a:eager cpu", "a:jit cpu"]),
        (["jit"], ["a:jit cpu"]),
        (["default", "jit"], ["a:eager cpu", "a:jit cpu"]),
        (["eager", "eager"], ["a:eager cpu"]),
    ],
)
def test_modes_asked_for(modes: list[str], expected: list[str]) -> None:
    assert labels(make_plan(selection(backends=[(A, None)], modes=modes))) == [expected]


def test_a_mode_named_with_its_backend_wins() -> None:
    plan = make_plan(selection(backends=[(A, "jit"), (A, "eager"), (A, "jit")]))
    assert labels(plan) == [["a:jit cpu", "a:eager cpu"]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backends": [(ONLY_GPU, None)]}, "does not run on cpu, only on cuda"),
        ({"backends": [(A, "graphs")]}, "has no mode 'graphs' on cpu"),
        ({"backends": [(A, None)], "dtype": "float64"}, "offers float32 on cpu, not float64"),
    ],
)
def test_what_a_backend_cannot_do_is_a_row_with_the_reason(
    changes: dict[str, Any], words: str
) -> None:
    plan = make_plan(selection(**changes))
    assert plan.groups == []
    ((_, reason),) = plan.unavailable
    assert words in reason


def test_one_that_cannot_leaves_the_others() -> None:
    plan = make_plan(selection(backends=[(ONLY_GPU, None), (A, None)]))
    assert labels(plan) == [["a:eager cpu"]]
    assert len(plan.unavailable) == 1


def test_no_mode_at_all_is_the_user_s_error() -> None:
    with pytest.raises(UserError, match="no backend selected has a mode named graphs"):
        make_plan(selection(modes=["graphs"]))


def test_repeats_run_one_after_the_other() -> None:
    plan = make_plan(selection(repeats=2))
    assert [[t.repeat for t in group] for group in plan.groups] == [[0, 0], [1, 1]]
    first, second = (group[0] for group in plan.groups)
    assert first.row_key() == second.row_key()
    assert first.name != second.name


def test_a_sweep_crosses_sizes_and_threads_into_groups_of_their_own() -> None:
    sizes = [(D2L.override({"hidden_size": n}), {"hidden_size": n}) for n in (8, 16)]
    plan = make_plan(selection(protocols=sizes, threads=[1, 2], repeats=2))
    assert len(plan.groups) == 8
    assert all(len({trial.group_key() for trial in group}) == 1 for group in plan.groups)
    of_one_repeat = [
        (group[0].protocol.hidden_size, group[0].threads)
        for repeat, groups in plan.by_repeat()
        for group in groups
        if repeat == 0
    ]
    assert of_one_repeat == [(8, 1), (8, 2), (16, 1), (16, 2)]


def test_each_seed_is_a_group_of_its_own_and_all_are_of_one_row() -> None:
    plan = make_plan(selection(seeds=[0, 7], repeats=2))
    assert [
        {(trial.repeat, trial.seed, trial.label) for trial in group} for group in plan.groups
    ] == [
        {(repeat, seed, label) for label in ("a:eager", "b:eager")}
        for repeat in (0, 1)
        for seed in (0, 7)
    ]
    assert len({trial.group_key() for trial in plan.trials}) == 4
    assert len({trial.row_key() for trial in plan.trials}) == 2


def test_what_cannot_run_is_said_once_however_often_it_is_repeated() -> None:
    only, several = selection(backends=[(ONLY_GPU, None), (A, None)], repeats=5), [0, 1, 2]
    plan = make_plan(replace(only, seeds=several))
    assert len(plan.unavailable) == 1
    assert len(plan.groups) == 15


def test_what_a_backend_s_spec_sets_does_not_part_it_from_its_group() -> None:
    other = spec("c", environment={"ENGINE": "jax"})
    plan = make_plan(selection(backends=[(A, None), (other, None)], environment={"X": "1"}))
    ((left, right),) = plan.groups
    assert left.environment == right.environment == {"X": "1"}
    assert left.backend_environment == {}
    assert right.backend_environment == {"ENGINE": "jax"}


def test_names_are_unique_and_the_same_for_the_same_plan() -> None:
    many = selection(devices=["cpu", "cuda:0", "cuda:1"], modes=["all"], repeats=2)
    names = [t.name for t in make_plan(many).trials]
    assert len(set(names)) == len(names) == 16
    assert names == [t.name for t in make_plan(many).trials]


def test_every_fact_changes_the_name() -> None:
    changes: list[dict[str, Any]] = [
        {"dtype": "float64"},
        {"init": "native"},
        {"corpus_digest": "1" * 64},
        {"seeds": [1]},
        {"threads": [2]},
        {"environment": {"X": "1"}},
        {"protocols": [(D2L.override({"epochs": 1}), {"epochs": 1})]},
    ]
    wide = spec("a", dtypes={"cpu": ("float32", "float64")})
    plans = [make_plan(selection(backends=[(wide, None)], **change)) for change in [{}, *changes]]
    assert len({plan.trials[0].name for plan in plans}) == len(plans)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_a_name_is_a_file_name_whatever_a_plugin_calls_its_own(
    backend: str, mode: str, device: str
) -> None:
    trial = Trial(
        backend, mode, device, "float32", D2L, {}, "shared", "bundled", "0" * 64, seed=0, threads=1
    )
    assert re.fullmatch(r"[\w.-]+", trial.name)


def test_the_plan_as_json_names_every_trial() -> None:
    plan = make_plan(selection(backends=[(A, None), (ONLY_GPU, None)]))
    written = json.loads(json.dumps(plan.to_json()))
    assert written["groups"][0][0]["name"] == plan.trials[0].name
    assert written["groups"][0][0]["protocol"]["epochs"] == 500
    assert "does not run on cpu" in written["unavailable"][0]["reason"]


def test_the_task_is_the_trial_s() -> None:
    task = make_plan(selection(threads=[3], seeds=[4])).trials[0].task(28)
    assert (task.device, task.mode, task.dtype) == ("cpu", "eager", "float32")
    assert task.threads == 3
    assert task.model.vocabulary_size == 28
    assert task.training.steps == 35


def test_no_task_is_told_the_seed_from_which_the_order_of_the_text_is_drawn() -> None:
    seeds = {
        init: [make_plan(selection(init=init, seeds=[n])).trials[0].task(28).seed for n in (4, 5)]
        for init in ("native", "shared")
    }
    assert len(set(seeds["native"])) == 2
    assert not {4, 5} & {*seeds["native"], *seeds["shared"]}
    assert len(set(seeds["shared"])) == 1


def test_records_show_a_backend_s_environment_without_folders() -> None:
    spec = replace(A, environment={"CACHE": "/srv/of/me/cache", "\udce9": "\x00"})
    (trial,) = make_plan(selection(backends=[(spec, None)])).trials
    assert trial.backend_environment == {"CACHE": ".../cache", "\\udce9": "\\x00"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dropout": 0.5}, "b has no dropout"),
        ({"embedding_size": 8, "optimizer": "adam"}, "b has no embedding and no adam"),
        ({"schedule": "epoch", "clip_norm": None}, "b has no schedule and no unclipped"),
    ],
)
def test_a_backend_that_lacks_a_feature_is_a_row_that_says_so(changes: Any, reason: str) -> None:
    able = spec("a", features=("dropout", "embedding", "adam", "schedule", "unclipped"))
    protocols: Any = [(replace(D2L, **changes), {})]
    plan = make_plan(selection(backends=[(able, None), (B, None)], protocols=protocols))
    assert labels(plan) == [["a:eager cpu"]]
    assert [(trial.backend, why) for trial, why in plan.unavailable] == [("b", reason)]


def test_what_is_as_before_there_was_a_choice_has_no_part_in_a_trial_s_name() -> None:
    (group,) = make_plan(selection()).groups
    trial = group[0]
    facts = asdict(trial)
    for name in later_defaults():
        del facts["protocol"][name]
    assert facts.pop("stack") == ""
    assert facts.pop("preparation") == asdict(Preparation())
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    assert trial.name.endswith(digest[:8])
    changes: dict[str, Any] = {"dropout": 0.5, "tied": True, "forget_bias": 1.0, "loss": "sum"}
    for name, value in changes.items():
        changed = replace(trial, protocol=replace(trial.protocol, **{name: value}))
        assert changed.name != trial.name
        assert changed.group_key() != trial.group_key()


def test_stacks_of_a_backend_are_trials_of_one_group() -> None:
    plan = make_plan(selection(backends=[(B, None)], stacks=["old", "new"], repeats=2))
    assert [[trial.stack for trial in group] for group in plan.groups] == [["old", "new"]] * 2
    assert len({trial.name for trial in plan.trials}) == 4
    assert len({trial.row_key() for trial in plan.trials}) == 2


def test_a_stack_that_cannot_be_had_is_unavailable_once() -> None:
    plan = make_plan(selection(backends=[(B, None)], stacks=["old", "new"], repeats=2))
    left = plan.where(lambda trial: "no such version" if trial.stack == "old" else None)
    assert [[trial.stack for trial in group] for group in left.groups] == [["new"], ["new"]]
    assert [(trial.stack, why) for trial, why in left.unavailable] == [("old", "no such version")]
    assert not plan.where(lambda trial: "no").groups


@pytest.mark.parametrize(
    ("protocol", "dtypes", "why"),
    [
        (LAYER, ("float32", "bfloat16"), "layer is proven in float32 and float64, not in bfloat16"),
        (D2L, ("bfloat16",), "a has no float32 on cpu, in which its program could be proven"),
    ],
)
def test_what_cannot_be_proven_in_sixteen_bits_is_unavailable(
    protocol: Any, dtypes: tuple[str, ...], why: str
) -> None:
    offers = spec("a", dtypes={"cpu": dtypes}, features=("layer",))
    chosen = selection(backends=[(offers, None)], protocols=[(protocol, {})], dtype="bfloat16")
    plan = make_plan(chosen)
    assert not plan.groups
    assert [reason for _, reason in plan.unavailable] == [why]


def test_a_row_of_several_seeds_is_unavailable_once() -> None:
    plan = make_plan(selection(backends=[(A, None)], seeds=[0, 1], repeats=2))
    left = plan.where(lambda trial: "gone")
    assert [(trial.seed, trial.repeat) for trial, _ in left.unavailable] == [(0, 0)]
