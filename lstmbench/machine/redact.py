"""What must not be in a record: names of users, hosts and paths."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path


@cache
def _secrets() -> list[tuple[str, str]]:
    """What to replace, longest first, and by what."""
    places = {sys.prefix: "<prefix>", sys.base_prefix: "<prefix>"}
    for find, replacement in ((Path.home, "~"), (Path.cwd, ".")):
        with contextlib.suppress(OSError, RuntimeError):  # neither need exist
            places[str(find())] = replacement
    names = {socket.gethostname(): "<host>"}
    with contextlib.suppress(OSError, KeyError):
        names[getpass.getuser()] = "<user>"
    known = [(k, v) for k, v in places.items() if len(k) > 1]
    known += [(k, v) for k, v in names.items() if len(k) > 2 and k not in ("root", "localhost")]
    return sorted(known, key=lambda pair: -len(pair[0]))


def scrub(text: str, known: Collection[str] = ()) -> str:
    """``text`` without user name, host name, password or absolute paths (file names are kept).

    A name that is one of the ``known`` words is kept: a host may be called ``numpy``.
    """
    for secret, replacement in _secrets():
        if secret in known:
            continue
        pattern = re.escape(secret)
        if "/" not in secret and os.sep not in secret:
            pattern = rf"\b{pattern}\b"
        text = re.sub(pattern, lambda _, r=replacement: r, text)  # type: ignore[misc]
    text = re.sub(r"(?<=://)[^/\s@]+@", "", text)  # who signs in there, with which password
    # addresses of the web are not paths
    return re.sub(
        r"(https?://\S+)|(?<![\w.~>/])(?:file://)?/(?:[\w.@+~%-]+/)+",
        lambda match: match[1] or ".../",
        text,
    )


def scrub_argument(argument: str, known: Collection[str]) -> str:
    """An argument of a command line; the name of an option stays what it is."""
    option, equals, value = argument.partition("=") if argument[:2] == "--" else ("", "", argument)
    return f"{option}{equals}{scrub(value, known)}"
