"""``plan.json``: what is to be run, by which code and where, so that another process can go on.

It is written once, and again when a run is extended. It is not meant to be changed by hand: its
digest tells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from lstmbench import __version__
from lstmbench.errors import UserError
from lstmbench.machine import provenance
from lstmbench.machine.redact import scrub, scrub_argument
from lstmbench.messages import storable
from lstmbench.records.files import MAX_FILE_BYTES, read_regular
from lstmbench.records.parse import first_fault
from lstmbench.records.record import Machine, PluginCode, Shard
from lstmbench.runner.options import Options
from lstmbench.runner.plan import Plan

#: Version of the file.
FORMAT = 1
#: Options that say nothing of what is run.
NOT_KEPT = ("store", "yes")


class Code(BaseModel):
    """The host's version, commit, whether it was changed, and its digest; all plugins'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    commit: str | None
    dirty: bool | None
    digest: str | None
    plugins: list[PluginCode]


class PlanFile(BaseModel):
    """``options`` are those of ``lstmbench run`` with what this machine decided filled in, or
    ``None`` for another command's run, which cannot go on; of the variables ``withheld`` the values
    are not kept, for they hold a path or a name. ``run`` is the run's name, empty where there is
    none yet. ``groups`` and ``unavailable`` hold trials by their fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    run: str
    started: str
    command: list[str]
    options: dict[str, Any] | None
    withheld: list[str] = []
    code: Code
    machine: Machine
    shard: Shard | None = None
    groups: list[list[dict[str, Any]]]
    unavailable: list[dict[str, Any]]
    digest: str = ""

    @property
    def names(self) -> list[list[str]]:
        """The names of the trials of each group."""
        return [[str(trial.get("name")) for trial in group] for group in self.groups]

    def sealed(self) -> dict[str, Any]:
        """What the file holds, with its digest."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return {**content, "digest": _digest(content)}

    def asked_for(self) -> Options:
        """The options. Raises :class:`UserError` where there are none."""
        if self.options is None:
            raise UserError("only runs of 'lstmbench run' go on")
        return TypeAdapter(Options).validate_python(self.options)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def make(
    *,
    run: str,
    started: str,
    command: list[str],
    options: Options | None,
    plan: Plan,
    machine: Machine,
    shard: Shard | None,
) -> PlanFile:
    """The plan of a run that this process leads."""
    # as a file would give it back: lists for tuples
    content = json.loads(json.dumps(plan.to_json()))
    kept, withheld = _kept(options)
    return PlanFile(
        run=run,
        started=started,
        command=command,
        options=kept,
        withheld=withheld,
        code=this_code(),
        machine=machine,
        shard=shard,
        **content,
    )


def _kept(options: Options | None) -> tuple[dict[str, Any] | None, list[str]]:
    """Options as JSON, and the names of variables whose values are left out."""
    if options is None:
        return None, []
    kept = {
        option.name: value
        for option in fields(options)
        if option.name not in NOT_KEPT
        and (value := getattr(options, option.name)) != option.default
    }
    given = list(options.env)
    kept["env"] = [each for each in given if storable(scrub(each)) == each]
    withheld = [each.partition("=")[0] for each in given if each not in kept["env"]]
    return json.loads(json.dumps(kept)), withheld


def shown(command: Collection[str], words: Collection[str]) -> list[str]:
    """A command line as records show it."""
    return [storable(scrub_argument(word, words)) for word in command]


def this_code() -> Code:
    """The code that runs here."""
    commit, dirty = provenance.commit()
    return Code(
        version=__version__,
        commit=commit,
        dirty=dirty,
        digest=provenance.host().digest,
        plugins=[plugin_code(origin) for origin in provenance.plugins()],
    )


def plugin_code(origin: provenance.Origin) -> PluginCode:
    """What a record says of an installed plugin."""
    return PluginCode(
        distribution=storable(origin.distribution),
        version=storable(origin.version),
        digest=origin.digest,
        commit=storable(origin.commit) if origin.commit else None,
        dirty=origin.dirty,
    )


def read(path: Path) -> PlanFile:
    """A plan. Raises :class:`UserError` for a file that is none, or was changed."""
    try:
        content = json.loads(read_regular(path, MAX_FILE_BYTES))
        if not isinstance(content, dict) or "groups" not in content:
            raise UserError(f"{path} is not a plan: it has no groups")
        if "format" not in content:
            raise UserError(f"{path} was written by an earlier lstmbench, which kept no options")
        if content["format"] != FORMAT:
            raise UserError(f"{path} was written by another lstmbench: its format is not {FORMAT}")
        stated = content.pop("digest", None)
        if stated != _digest(content):
            raise UserError(
                f"{path} was changed since it was written: plan anew with 'run --plan-only'"
            )
        plan = PlanFile(**content, digest=stated)
        if plan.options is not None:
            plan.asked_for()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except ValidationError as error:
        raise UserError(f"{path} is not a plan: {first_fault(error)}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a plan: {error}") from error
    return plan


def differences(before: PlanFile, now: PlanFile, *, machine: bool = True) -> list[str]:
    """In which code, versions and, unless left out, machine two plans differ, in words."""
    lines = [
        f"the {what} of lstmbench was {_short(old)}, here it is {_short(new)}"
        for what in ("version", "commit", "digest")
        if (old := getattr(before.code, what)) != (new := getattr(now.code, what))
    ]
    ours, theirs = (
        {plugin.distribution: plugin for plugin in plan.code.plugins} for plan in (before, now)
    )
    for name in sorted({*ours, *theirs}):
        if name not in theirs:
            lines.append(f"the plugin {name} is not installed here")
        elif name not in ours:
            lines.append(f"the plugin {name} was not installed")
        else:
            a, b = ours[name].model_dump(), theirs[name].model_dump()
            lines += [
                f"the {what} of {name} was {_short(a[what])}, here it is {_short(b[what])}"
                for what in a
                if a[what] != b[what]
            ]
    if before.code.dirty != now.code.dirty and not lines:
        lines.append("the code had other changes since its commit")
    # on another machine its kernel is the machine's, not a version of what is installed
    parts = [("version", before.machine.versions, now.machine.versions)]
    if machine:
        parts.insert(0, ("machine", before.machine.facts, now.machine.facts))
    for part, a, b in parts:
        for name in sorted({*a, *b}):
            if a.get(name) != b.get(name) and (machine or name != "kernel"):
                what = name.replace("_", " ") if part == "machine" else f"version of {name}"
                lines.append(
                    f"the {what} was {_short(a.get(name))}, here it is {_short(b.get(name))}"
                )
    return lines


def _short(value: object) -> str:
    text = str(value)
    return "unknown" if value is None else text[:12] if len(text) == 64 else text[:80]


def changed_trials(before: PlanFile, now: PlanFile) -> str | None:
    """What of the trials differs first in two plans, in words."""
    for old, new in zip(_trials(before), _trials(now), strict=False):
        if old["name"] == new["name"]:
            continue
        for what in ("corpus", "corpus_digest", *old):  # of another text much else differs
            if what != "name" and old[what] != new.get(what):
                what_now = json.dumps(new.get(what))
                return f"{what} was {json.dumps(old[what]):.80}, here it is {what_now:.80}"
    if before.names != now.names or _trials(before) != _trials(now):
        return "the plan has other trials"
    return None


def _trials(plan: PlanFile) -> list[dict[str, Any]]:
    return [trial for group in [*plan.groups, plan.unavailable] for trial in group]


def in_full(options: Options, plan: Plan, corpus: str | None) -> Options:
    """Options with what a machine decides where nothing is said: devices, threads, the text."""
    found = [*plan.trials, *(trial for trial, _ in plan.unavailable)]
    return Options(
        **{
            **{option.name: getattr(options, option.name) for option in fields(options)},
            "devices": ",".join(dict.fromkeys(trial.device for trial in found)),
            "threads": list(dict.fromkeys(trial.threads for trial in found)),
            "corpus": options.corpus or corpus,
        }
    )
