"""``lstmbench plugins``: what is installed, what it offers, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lstmbench.plugin.discovery import DISABLE
from lstmbench.plugin.hookspecs import hookimpl
from lstmbench.plugin.registered import PREFIX

if TYPE_CHECKING:
    from lstmbench.plugin.registered import Plugin


@click.command(
    help="Show every plugin with its version, what it offers, and whether it could be loaded."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("plain", "json")),
    default="plain",
    show_default=True,
    help="A table, or the same as JSON.",
)
def plugins(form: str) -> None:
    import json

    from lstmbench.messages import one_line, tell
    from lstmbench.plugin import manager
    from lstmbench.report.grid import grid

    host = manager.load()
    host.collect_all()
    if form == "json":
        click.echo(json.dumps([facts(plugin) for plugin in host.plugins], indent=2))
    else:
        rows = [[one_line(cell) for cell in cells(plugin)] for plugin in host.plugins]
        click.echo(grid(("plugin", "distribution", "version", "offers", "state"), rows))
    tell(host.damaged)


def facts(plugin: Plugin) -> dict[str, Any]:
    """What there is to say about a plugin, for JSON."""
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "built_in": plugin.built_in,
        "hooks": plugin.hooks,
        "offers": plugin.offers,
        "disabled": plugin.disabled,
        "problem": plugin.problem,
        "hides": plugin.hidden(),
    }


def cells(plugin: Plugin) -> tuple[str, ...]:
    """A row of the table. The hooks are those that stand before the names."""
    offers = [
        f"{hook.removeprefix(PREFIX)}: {', '.join(plugin.offers.get(hook, ())) or 'none'}"
        for hook in plugin.hooks
    ]
    state = plugin.problem or ("disabled by " + DISABLE if plugin.disabled else "ok")
    if hidden := plugin.hidden():
        state += f"; hides {' and '.join(hidden)}"
    return plugin.name, plugin.distribution, plugin.version, "; ".join(offers), state


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [plugins]
