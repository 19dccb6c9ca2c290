"""The command group. Commands come from the hook ``lstmbench_commands``."""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper
from typing import Any

import click

from lstmbench import __version__, messages
from lstmbench.plugin import manager


class Commands(click.Group):
    """Takes its commands from the plugins; the host's own need none of them loaded."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(manager.load().commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return manager.OnDemand(manager.Host.commands).get(cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise manager.load().unknown("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lstmbench")
def cli() -> None:
    """How fast, and how well, an LSTM language model trains on each framework and device."""


def main() -> None:
    """Entry point of ``lstmbench``: every user error is one line and exit code 2."""
    from lstmbench.errors import UserError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names may be in any script, an encoding is not
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(_run())
    except UserError as error:
        _fail(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(2)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "lstmbench"
        _fail(f"{error.format_message()} (see '{command} --help')")
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


def _run() -> int:
    """The command; one whose reader went away, a pager say, ends with 1 and without a word."""
    try:
        code: int | None = cli.main(prog_name="lstmbench", standalone_mode=False)
        sys.stdout.flush()
        return code or 0
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        return 1
    finally:
        for name in ("stdout", "stderr"):
            try:
                getattr(sys, name).flush()
            except (OSError, ValueError, AttributeError):
                # Python would try again at its end, and complain
                setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115


def _fail(message: str) -> None:
    messages.error(message)
    sys.exit(2)
