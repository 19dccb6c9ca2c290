"""``lstmbench run``: train the selected backends on the selected devices and print the table."""

from __future__ import annotations

import sys
from typing import Any

import click

from lstmbench.commands.options import (
    Several,
    Share,
    corpus_options,
    override_options,
    store_option,
)
from lstmbench.plugin.hookspecs import hookimpl
from lstmbench.runner.options import Options


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
@store_option
def run(**options: Any) -> None:
    from lstmbench import api
    from lstmbench.messages import tell
    from lstmbench.runner.show import exit_code, show

    finished = True
    interleave, samples = (not options.pop(name) for name in ("no_interleave", "no_samples"))
    try:
        results = api.run(**options, interleave=interleave, samples=samples, progress=True)
    except api.Interrupted as interrupted:
        finished, results = False, interrupted.results
    problems = [*results.problems, *show(results.records, results.path, results.stopped)]
    tell(problems)
    if not finished:
        sys.exit(130)
    named = {f"named_{name}": options[name] != "all" for name in ("backends", "devices")}
    code = exit_code(results.records, named_stacks=bool(options["stack"]), **named)
    sys.exit(1 if problems else code)


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [run]
