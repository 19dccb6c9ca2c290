"""``lstmbench new``: a complete plugin to start from."""

from __future__ import annotations

from pathlib import Path

import click

from lstmbench.plugin.hookspecs import hookimpl


@click.command(
    help="Write a plugin package for a backend called NAME, made from the NumPy example."
)
@click.argument("name")
@click.option(
    "--into", type=click.Path(path_type=Path), default=Path(), help="The folder to make it in."
)
def new(name: str, into: Path) -> None:
    from lstmbench.plugin.scaffold import write_plugin

    folder = write_plugin(name, into)
    click.echo(f"{folder} is a working plugin. Next:")
    click.echo(f"  pip install --editable {folder}")
    click.echo(f"  lstmbench check {name}")
    click.echo(f"  lstmbench run --backends {name},numpy --protocol quick")


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [new]
