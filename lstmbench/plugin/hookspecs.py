"""Every hook a plugin may implement. Hook names begin with ``lstmbench_``.

A plugin is a module named by an entry point of the group ``lstmbench``::

    # pyproject.toml
    [project.entry-points.lstmbench]
    mine = "lstmbench_mine"

It is imported whenever lstmbench lists or chooses something, so it must import no framework. The
import, and each call of a hook, may take ten seconds; what is printed meanwhile goes to standard
error. Hooks have no parameters. Each returns a list, or yields what would be in it. The members are
of the very class that is named, not of a subclass; commands may be of a subclass of
:class:`click.Command`. What is not as it should be is one line of ``lstmbench plugins``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click

    from lstmbench.backend import BackendSpec
    from lstmbench.corpora.spec import CorpusSpec
    from lstmbench.plugin.extensions import Format
    from lstmbench.protocol import Protocol

NAME = "lstmbench"


def _unmarked(function: Any = None, **_options: Any) -> Any:
    return _unmarked if function is None else function


try:
    import pluggy

    hookspec, hookimpl = pluggy.HookspecMarker(NAME), pluggy.HookimplMarker(NAME)
except ModuleNotFoundError:  # a worker's interpreter, where no hook is called
    hookspec = hookimpl = _unmarked  # type: ignore[assignment]


@hookspec
def lstmbench_backends() -> Iterable[BackendSpec]:  # type: ignore[empty-body]
    """Called once, before planning or listing: the backends this plugin offers.

    Example::

        from lstmbench import BackendSpec, hookimpl

        @hookimpl
        def lstmbench_backends():
            return [
                BackendSpec(
                    name="mine",
                    summary="my own LSTM",
                    factory="lstmbench_mine.backend:MyBackend",
                    modes={"cpu": ("eager",)},
                )
            ]
    """


@hookspec
def lstmbench_corpora() -> Iterable[CorpusSpec]:  # type: ignore[empty-body]
    """Called once, before a corpus is resolved or listed: texts to train on.

    Example::

        from lstmbench import CorpusSpec, hookimpl

        @hookimpl
        def lstmbench_corpora():
            return [CorpusSpec(name="abc", summary="the alphabet", make=lambda: "abc " * 9999)]

    A text is split into characters, and normalised to letters and blanks, unless its spec has
    other ``tokens`` or another ``normalise``. See :class:`lstmbench.CorpusSpec`.
    """


@hookspec
def lstmbench_protocols() -> Iterable[Protocol]:  # type: ignore[empty-body]
    """Called once, before planning or listing: named sets of hyper-parameters.

    Example::

        from dataclasses import replace
        from lstmbench import hookimpl
        from lstmbench.protocol import D2L

        @hookimpl
        def lstmbench_protocols():
            return [replace(D2L, name="wide", summary="d2l, 1024 units", hidden_size=1024)]
    """


@hookspec
def lstmbench_commands() -> Iterable[click.Command]:  # type: ignore[empty-body]
    """Called for ``--help``, and for a command that is not the host's own: more commands.

    Import heavy modules inside the command.

    Example::

        import click
        from lstmbench import hookimpl

        @click.command()
        def hello():
            "Say hello."
            click.echo("hello")

        @hookimpl
        def lstmbench_commands():
            return [hello]
    """


@hookspec
def lstmbench_formats() -> Iterable[Format]:  # type: ignore[empty-body]
    """Called once, before tables are written: formats for ``report`` and ``publish``.

    ``render(tables)`` gets a list of :class:`lstmbench.Table`, a copy, and returns text; what names
    and messages hold must appear as text in it. A published store gets the result as
    ``tables/all`` with the format's suffix, which must not be one of the host's own formats.

    Example::

        from lstmbench import Format, hookimpl

        def count(tables):
            return "".join(f"{len(table.rows)} rows: {table.title}\\n" for table in tables)

        @hookimpl
        def lstmbench_formats():
            return [Format(name="count", suffix=".count.txt", render=count)]
    """
