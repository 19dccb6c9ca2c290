"""``lstmbench schema``: what a record must look like."""

from __future__ import annotations

import click

from lstmbench.plugin.hookspecs import hookimpl


@click.command(help="Print the JSON Schema of records.")
def schema() -> None:
    from lstmbench.records.schema import schema_text

    click.echo(schema_text(), nl=False)


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [schema]
