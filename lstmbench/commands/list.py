"""``lstmbench list``: what there is to choose from, without importing a framework."""

from __future__ import annotations

import importlib.util

import click

from lstmbench.backend import LSTM_MODEL, BackendSpec
from lstmbench.messages import tell
from lstmbench.plugin import catalogue, manager
from lstmbench.plugin.hookspecs import hookimpl


def state(spec: BackendSpec) -> str:
    """Whether a registered backend's framework is there."""
    missing = [name for name in spec.imports if not _present(name)]
    if missing:
        return f"needs {', '.join(missing)}: {spec.install}"
    return "installed"


def _present(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package that is missing or odd
        return False


@click.command("list", help="Show backends, modes, devices, corpora, protocols and formats.")
def list_command() -> None:
    from lstmbench.corpora.files import whereabouts
    from lstmbench.machine import facts
    from lstmbench.report.grid import grid

    host = manager.load()
    host.collect_all()
    specs = host.backends()
    rows = []
    for spec in specs.values():
        own = "" if spec.model == LSTM_MODEL else f"; model {spec.model}, by its own reference"
        modes = "; ".join(f"{kind}: {', '.join(modes)}" for kind, modes in spec.modes.items())
        where = state(spec) + (f"; not in 'all': {spec.out_of_all}" if spec.out_of_all else "")
        rows.append((spec.name, modes, where, spec.summary + own))
    missing = [name for name in catalogue.backends() if name not in specs]
    rows += [(name, "", manager.absence(host, name) or "", "") for name in missing]
    click.echo(grid(("backend", "modes (the default first)", "state", "summary"), rows))
    found = [("cpu", facts.processor()), *facts.gpus().items()]
    click.echo("\n" + grid(("device", "model"), found))
    corpora = [(c.name, whereabouts(c), c.summary) for c in host.corpora().values()]
    click.echo("\n" + grid(("corpus", "where", "text"), corpora))
    protocols = [(p.name, p.summary) for p in host.protocols().values()]
    click.echo("\n" + grid(("protocol", "what it does"), protocols))
    formats = [(f.name, f"*{f.suffix}") for f in host.formats().values()]
    click.echo("\n" + grid(("format", "published as"), formats))
    tell(host.problems)


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [list_command]
