"""git, asked about a folder of the code that runs here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path


class GitRefused(Exception):
    """There is no answer; the message is git's own."""


def git(folder: Path, *arguments: str) -> str:
    """What a command prints. Raises :class:`GitRefused`."""
    # in a hook, and under `git rebase --exec`, these name another repository
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=20,
            check=False,
        )
    except FileNotFoundError:
        raise GitRefused("git is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitRefused(f"git: {error}") from error
    if done.returncode:
        raise GitRefused(f"git says: {' '.join(done.stderr.split()) or done.returncode}")
    return done.stdout.rstrip()


#: Where Python keeps what it has compiled.
COMPILED = "__pycache__"


@dataclass(frozen=True)
class Checkout:
    """A working tree, its commit, and the files changed since.

    Those in ``results/`` do not count, nor what Python compiles as it loads a module. New files are
    not among them: see :meth:`new_files`.
    """

    root: Path
    head: str
    changed: tuple[str, ...]

    def new_files(self, folders: Iterable[Path]) -> list[str]:
        """Files in ``folders`` that no commit holds and no ``.gitignore`` names."""
        names = ("ls-files", "--others", "--exclude-standard", "--", *map(str, folders))
        found = git(self.root, *names).splitlines()
        return [name for name in found if COMPILED not in Path(name).parts]


@cache
def checkout(folder: Path) -> Checkout:
    """The working tree that ``folder`` is in. Raises :class:`GitRefused`."""
    root = Path(git(folder, "rev-parse", "--show-toplevel"))
    head = git(root, "rev-parse", "HEAD")
    status = git(root, "status", "--porcelain", "-uno", "--", ".", ":(exclude)results")
    changed = tuple(line.split(maxsplit=1)[-1] for line in status.splitlines())
    changed = tuple(name for name in changed if COMPILED not in Path(name.strip('"')).parts)
    return Checkout(root, head, changed)
