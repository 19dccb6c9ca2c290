"""``lstmbench run``: train the selected backends on the selected devices and print the table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lstmbench.commands.options import (
    Several,
    Share,
    Size,
    corpus_options,
    override_options,
    store_option,
)
from lstmbench.errors import UserError
from lstmbench.messages import storable
from lstmbench.plugin.hookspecs import hookimpl
from lstmbench.runner.options import LIMITS, Options

if TYPE_CHECKING:
    from lstmbench.api import Results


@click.command(help="Train each backend on each device and tabulate perplexity and tokens/s.")
@click.option(
    "--backends",
    default=Options.backends,
    show_default=True,
    help="'all', or NAME or NAME:MODE, comma-separated.",
)
@click.option(
    "--modes",
    default=Options.modes,
    show_default=True,
    help="'default', 'all', or names, comma-separated.",
)
@click.option(
    "--devices",
    default=Options.devices,
    show_default=True,
    help="'all', or cpu, cuda:0, mps.",
)
@click.option(
    "--protocol", default=Options.protocol, show_default=True, help="Named hyper-parameters."
)
@override_options
@click.option(
    "--dtype",
    default=Options.dtype,
    show_default=True,
    help="Of parameters and matmuls.",
)
@click.option(
    "--seed",
    type=Several(int),
    default=",".join(map(str, Options.seed)),
    show_default=True,
    help="Of the initial parameters and the order of the text; several give perplexities an "
    "interval.",
)
@click.option(
    "--init",
    type=click.Choice(["shared", "native"]),
    default=Options.init,
    show_default=True,
    help="Initial parameters: the same for all, or each framework's own.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1, 1000),
    help="Fresh processes for each trial: they give intervals and ranks [default: the protocol's].",
)
@click.option(
    "--precision",
    type=Share(),
    help="Repeat until every ratio is known within this, such as 2% [default: the protocol's].",
)
@click.option(
    "--budget",
    type=float,
    metavar="SECONDS",
    help="Stop repeating after this time, whatever is known [default: the protocol's].",
)
@click.option("--yes", is_flag=True, help="Run a sweep of any size.")
@corpus_options
@click.option(
    "--prompt",
    multiple=True,
    metavar="TEXT",
    help="What the trained model continues; several may be given [default: from the text].",
)
@click.option("--no-samples", is_flag=True, help="Let no model write: records hold no text.")
@click.option(
    "--threads",
    type=Several(int),
    help="For every framework [default: the physical cores, within a container's limit]; "
    "several make a sweep.",
)
@click.option(
    "--stack",
    multiple=True,
    metavar="[NAME=]WHAT",
    help="Run in an environment of its own; several take part side by side: a requirement such as "
    "'jax==0.9.*', or NAME= with a file of requirements, a python, git+URL@REV or a checkout.",
)
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Set for the workers; recorded.")
@click.option(
    "--no-interleave", is_flag=True, help="One trial after the other, epochs not interleaved."
)
@click.option(
    "--timeout",
    type=float,
    default=Options.timeout,
    show_default=True,
    help="Seconds for any answer of a worker.",
)
@click.option(
    "--prepare-timeout",
    type=float,
    default=Options.prepare_timeout,
    show_default=True,
    help="Seconds for import, and for compilation with parity.",
)
@click.option(
    "--memory-limit",
    type=Size(),
    help="Of each worker with all that it starts, such as 8GiB: beyond, the trial fails.",
)
@store_option
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with a run that was interrupted or killed, by its own plan: with no option but "
    "--retry, limits, and what says where the text is.",
)
@click.option(
    "--retry",
    is_flag=True,
    help="With --resume: run again what failed by a signal, an exit, a time limit or for memory.",
)
@click.option(
    "--extend",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Add processes to a complete run, up to --repeats or until --precision is reached.",
)
@click.option(
    "--plan-only",
    is_flag=True,
    help="Run nothing: write the plan into the store and print the file's path.",
)
@click.option(
    "--plan",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Run a part of such a plan, in a folder of its own: with --group or --shard.",
)
@click.option("--group", type=int, metavar="K", help="With --plan: its K-th group.")
@click.option(
    "--shard", metavar="K/N", help="With --plan: every N-th of its groups, from the K-th on."
)
@click.option(
    "--no-wait",
    is_flag=True,
    help="Refuse to run while another run uses a device, instead of waiting for it.",
)
@click.pass_context
def run(context: click.Context, /, **options: Any) -> None:
    from lstmbench import api
    from lstmbench.messages import tell
    from lstmbench.runner.show import exit_code, show

    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    way = _way(given)
    if way == "plan_only":
        click.echo(storable(str(_plan_only(options))))
        return
    finished = True
    try:
        results = _WAYS[way](given, options)
    except api.Interrupted as interrupted:
        finished, results = False, interrupted.results
    problems = [*results.problems, *show(results.records, results.path, results.stopped)]
    tell(problems)
    if not finished:
        again = shlex.join(["lstmbench", "run", "--resume", str(results.path)])
        tell([f"interrupted; this goes on: {again}"])
        sys.exit(130)
    named = {f"named_{name}": options[name] != "all" for name in ("backends", "devices")}
    code = exit_code(results.records, named_stacks=bool(options["stack"]), **named)
    sys.exit(1 if problems else code)


#: What goes with each way to say what is run; without one of them, all that is not in here.
_WITH = {
    "resume": {"retry", *LIMITS},
    "extend": {"repeats", "precision", "budget", *LIMITS},
    "plan": {"group", "shard", "store", *LIMITS},
}
_ONLY_WITH = {"retry": "--resume", "group": "--plan", "shard": "--plan"}


def _way(given: Mapping[str, Any]) -> str:
    """How it was said what is run; raises :class:`UserError` for options that do not go with it."""
    ways = [way for way in (*_WITH, "plan_only") if way in given]
    if len(ways) > 1:
        raise UserError(f"{_flag(ways[0])} and {_flag(ways[1])}: give one of them")
    way = ways[0] if ways else "new"
    for name in given:
        if way in _WITH and name not in {way, "no_wait", *_WITH[way]}:
            raise UserError(f"{_flag(way)} runs what its plan says: leave out {_flag(name)}")
        if way not in _WITH and name in _ONLY_WITH:
            raise UserError(f"{_flag(name)} goes with {_ONLY_WITH[name]}")
    return way


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _new(given: Mapping[str, Any], options: Mapping[str, Any]) -> Results:
    from lstmbench import api

    named = {name: value for name, value in options.items() if name not in _NOT_NEW}
    return api.run(
        **named,
        interleave=not options["no_interleave"],
        samples=not options["no_samples"],
        wait=not options["no_wait"],
        progress=True,
    )


#: Options of the command that :func:`lstmbench.api.run` has not, or says in another way.
_NOT_NEW = {
    *("no_interleave", "no_samples", "no_wait", "plan_only", *_WITH, *_ONLY_WITH),
}


def _resume(given: Mapping[str, Any], options: Mapping[str, Any]) -> Results:
    from lstmbench import api

    return api.resume(
        options["resume"],
        retry=options["retry"],
        wait=not options["no_wait"],
        progress=True,
        **_limits(given),
    )


def _extend(given: Mapping[str, Any], options: Mapping[str, Any]) -> Results:
    from lstmbench import api

    return api.extend(
        options["extend"],
        repeats=given.get("repeats"),
        precision=given.get("precision"),
        budget=given.get("budget"),
        wait=not options["no_wait"],
        progress=True,
        **_limits(given),
    )


def _part(given: Mapping[str, Any], options: Mapping[str, Any]) -> Results:
    from lstmbench import api

    return api.run_part(
        options["plan"],
        group=options["group"],
        shard=options["shard"],
        store=options["store"],
        wait=not options["no_wait"],
        progress=True,
        **_limits(given),
    )


def _limits(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in LIMITS}


def _plan_only(options: Mapping[str, Any]) -> Path:
    from lstmbench.runner.resume import plan_only

    names = {option.name for option in fields(Options)}
    return plan_only(
        Options(**{name: value for name, value in options.items() if name in names}),
        options["store"],
    )


_WAYS = {"new": _new, "resume": _resume, "extend": _extend, "plan": _part}


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [run]
