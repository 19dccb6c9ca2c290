"""The command group. Commands come from the hook ``lstmbench_commands``."""

from __future__ import annotations

import sys
from typing import Any

import click

from lstmbench import __version__, streams
from lstmbench.errors import UserError
from lstmbench.messages import tell
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


# texts of help are no docstrings: PYTHONOPTIMIZE=2 takes those away
@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How fast, and how well, an LSTM language model trains on each framework and device.",
)
@click.version_option(__version__, prog_name="lstmbench")
def cli() -> None:
    pass


def main() -> None:
    """Entry point of ``lstmbench``: every user error is one line and exit code 2."""
    streams.prepare()
    code = _run()
    trouble = streams.finish()
    if trouble:
        tell([trouble])
    sys.exit(code or (1 if trouble else 0))


def _run() -> int:
    """The exit code; what is wrong has been said."""
    try:
        return _code(cli.main(prog_name="lstmbench", standalone_mode=False))
    except SystemExit as ended:
        return _code(ended.code)
    except UserError as error:
        tell([str(error)])
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "lstmbench"
        tell([f"{error.format_message()} (see '{command} --help')"])
    except click.ClickException as error:
        tell([error.format_message()])
    except (click.Abort, KeyboardInterrupt):
        return 130
    except OSError as error:  # a full disk, no descriptor left, a name that is too long
        place = f"{error.filename}: " if error.filename else ""
        tell([streams.finish() or f"{place}{error.strerror or error}"])
    return 2


def _code(ended: object) -> int:
    """What :func:`sys.exit` makes of its argument."""
    if isinstance(ended, str):
        tell([ended])
        return 1
    return ended if isinstance(ended, int) else 0
