"""Work that goes on: a run that stopped, a run that is to have more processes, a part of a plan.

What is asked for is read from ``plan.json``, and planned again: only what gives the same trials,
made by the same code, goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lstmbench.errors import UserError
from lstmbench.records.parse import read_record
from lstmbench.records.record import Record, Shard, Status
from lstmbench.records.store import PLAN, Run, open_runs
from lstmbench.runner import planfile
from lstmbench.runner import run as runs
from lstmbench.runner.journal import FOLDER, is_on_its_way, recover
from lstmbench.runner.options import Options
from lstmbench.runner.plan import Plan
from lstmbench.runner.planfile import PlanFile
from lstmbench.runner.run import Begun, Work
from lstmbench.runner.schedule import OWN_REASONS, Earlier, Schedule

#: What is to be said of a run that cannot go on.
ANEW = "what is the same can go on, anything else is a run of its own"


def resume(folder: Path, *, retry: bool = False, changes: Mapping[str, Any] | None = None) -> Work:
    """What a run has left to do. ``changes`` are options that decide no trial, such as a limit.

    With ``retry``, what failed for a reason that is not the trial's own is done again. Raises
    :class:`UserError` for a folder that is no run, for one that is on its way or complete, and for
    code, versions, machine or text that are not those of the run, naming the first difference.
    """
    begun, stored, problems = _opened(folder)
    work = _same(folder, stored, changes or {})
    earlier = Earlier(records=begun.records, seconds=begun.seconds, retry=retry)
    if _is_complete(work.plan, earlier):
        raise UserError(f"run {folder} is complete: {_what_may_follow(begun, retry)}")
    command = stored.command if not changes else planfile.shown(work.command, work.words)
    written = stored.model_copy(update={"command": command})
    again = Begun(run=Run(folder), plan=written, earlier=earlier)
    return replace(work, begun=again, warnings=[*work.warnings, *problems])


def extend(
    folder: Path,
    *,
    repeats: int | None = None,
    precision: float | None = None,
    budget: float | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Work:
    """More processes for a run that is complete, as if they had been asked for at once.

    Raises :class:`UserError` as :func:`resume` does, for a run that is not complete, and for a
    number of repeats that it has.
    """
    if repeats is None and precision is None:
        raise UserError("--extend: say how far, with --repeats or --precision")
    begun, stored, problems = _opened(folder)
    if stored.shard:
        raise UserError(f"run {folder} is a shard of a plan: plan again with more repeats instead")
    before = _same(folder, stored, {})
    if not _is_complete(before.plan, begun):
        raise UserError(f"run {folder} is not complete: first go on with --resume")
    changed = {"repeats": repeats, "precision": precision, "budget": budget, **(changes or {})}
    work = runs.check(_with(stored, changed))
    earlier = Earlier(records=begun.records, seconds=begun.seconds, extended=True)
    had = 1 + max((r.trial.repeat for r in begun.records.values()), default=0)
    if repeats is not None and repeats <= had:
        raise UserError(f"--repeats {repeats}: run {folder} has {had} already")
    if had > (most := 1 + max(group[0].repeat for group in work.plan.groups)):
        raise UserError(f"run {folder} has {had} repeats, sampling ends after {most}")
    if _is_complete(work.plan, earlier):
        raise UserError(f"run {folder}: every ratio is known as asked for: nothing to add")
    written = runs.plan_of(work, stored.run, stored.started)
    again = Begun(run=Run(folder), plan=written, earlier=earlier)
    return replace(work, begun=again, warnings=[*work.warnings, *problems])


def part(plan: Path, *, group: int | None = None, shard: str | None = None, **changes: Any) -> Work:
    """One part of a plan: a group of it, or ``K/N``, every N-th group from the K-th on.

    Both count from 1. Raises :class:`UserError` for a plan that is none or was changed, for a part
    that it has not, and for code, versions or text that are not those of the plan.
    """
    stored = planfile.read(plan)
    if stored.shard or stored.run:
        raise UserError(f"{plan} is the plan of a run: make one with 'run --plan-only'")
    work = _same(plan, stored, changes, machine=False)
    groups = _numbers(len(work.plan.groups), group, shard)
    return replace(
        work,
        plan=work.plan.part(groups),
        command=stored.command,
        shard=Shard(plan=stored.digest, groups=groups, of=len(work.plan.groups)),
    )


def _numbers(most: int, group: int | None, shard: str | None) -> list[int]:
    if (group is None) == (shard is None):
        raise UserError("--plan: say which part, with --group K or --shard K/N")
    if group is not None:
        if not 1 <= group <= most:
            raise UserError(f"--group {group}: the plan has groups 1 to {most}")
        return [group]
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard or "")
    which, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= which <= of:
        raise UserError(f"--shard {shard}: expected K/N, K from 1 to N")
    if which > most:
        raise UserError(f"--shard {shard}: the plan has {most} groups, so that this part is empty")
    return list(range(which, most + 1, of))


def plan_only(options: Options, store: Path) -> Path:
    """Write what options ask for, for others to run part by part; returns the file.

    Raises :class:`UserError` for a number of processes that only running them decides.
    """
    work = runs.check(options)
    if work.plan.stopping_rule:
        raise UserError(
            "--plan-only: no part can know when all together are precise enough: "
            "fix the number of processes with --repeats"
        )
    if not work.plan.groups:
        raise UserError(f"--plan-only: nothing can run: {work.plan.unavailable[0][1]}")
    content = runs.plan_of(work, "", runs.now())
    return Run.write_plan_only(store, work.plan.protocol, content.sealed())


def _opened(folder: Path) -> tuple[Earlier, PlanFile, list[str]]:
    """What a run has done, its plan, and a line for each record that cannot be read."""
    found = open_runs([folder])
    if found[0].folder != folder or found[0].published:
        raise UserError(f"{folder} is a store: name one of its runs")
    opened = found[0]
    stored = planfile.read(folder / PLAN)
    if not stored.run:
        raise UserError(f"{folder / PLAN} is a plan that was not begun: name it with --plan")
    if is_on_its_way(opened):
        raise UserError(f"run {folder} is on its way in another process")
    problems = recover([folder])
    if (folder / FOLDER).exists():
        raise UserError(f"run {folder} was killed, and {folder / FOLDER} cannot be made records of")
    earlier = done_by(opened, stored.run, problems)
    return earlier, stored, problems


def done_by(run: Run, name: str, problems: list[str]) -> Earlier:
    """What a run has done whose records call it ``name``.

    A line for each record that cannot be read is added to ``problems``.
    """
    records: dict[str, Record] = {}
    for path in run.files():
        try:
            record = read_record(path)
            if record.source.run == name and record.trial.name == path.stem:
                records[path.stem] = record
        except UserError as error:
            problems.append(f"{error}: its group is run again")
    return Earlier(records=records, seconds=run.seconds())


def _same(place: Path, stored: PlanFile, changes: Mapping[str, Any], machine: bool = True) -> Work:
    """The work that a plan asks for, if it is the same here. Raises :class:`UserError`."""
    try:
        options = _with(stored, changes)
        work = runs.check(options)
    except UserError as error:
        # other code may not even know what is asked for
        raise UserError(f"{place} cannot go on: {error}") from error
    here = runs.plan_of(work, stored.run, stored.started)
    found = planfile.differences(stored, here, machine=machine)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UserError(f"{place} cannot go on: {found[0]}{more}; {ANEW}")
    if stored.shard:
        work = replace(work, plan=work.plan.part(stored.shard.groups), shard=stored.shard)
        here = runs.plan_of(work, stored.run, stored.started)
    if changed := planfile.changed_trials(stored, here):
        raise UserError(f"{place} cannot go on: {changed}; {ANEW}")
    return work


def _with(stored: PlanFile, changes: Mapping[str, Any]) -> Options:
    """The options of a plan with some changed; those of ``--env`` replace what was withheld."""
    options = stored.asked_for()
    given = list(changes.get("env", ()))
    names = {each.partition("=")[0] for each in given}
    left = [name for name in stored.withheld if name not in names]
    if left:
        raise UserError(
            f"the value of {left[0]} holds a path or a name and was not kept: give it again with "
            f"--env {left[0]}=..."
        )
    kept = [each for each in options.env if each.partition("=")[0] not in names]
    return replace(options, **{**changes, "env": [*kept, *given], "yes": True})


def _is_complete(plan: Plan, earlier: Earlier) -> bool:
    """Whether nothing is left to do, by the plan's own stopping rule, too."""
    schedule = Schedule(plan, runs.sampler_of(plan), earlier)
    told = all(trial.name in earlier.records for trial, _ in plan.unavailable)
    return told and next(schedule.repeats(), None) is None


def _what_may_follow(earlier: Earlier, retry: bool) -> str:
    failed = [
        record
        for record in earlier.records.values()
        if record.status == Status.FAILED and record.reason not in OWN_REASONS
    ]
    if failed and not retry:
        reasons = ", ".join(sorted({str(record.reason) for record in failed}))
        return f"--retry runs again what failed ({reasons})"
    return "--extend adds processes to it"
