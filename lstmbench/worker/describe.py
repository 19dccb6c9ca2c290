"""What an interpreter holds, told by itself: run there as a script, before any worker is.

``python -I describe.py CODE`` prints a JSON object: the version of ``python``, the ``packages`` by
name, and of each plugin's backend the interface and the distribution (``backends``), or what went
wrong (``faults``). ``CODE`` is a folder with the host's package, for interpreters that have none.
``python -I describe.py CODE origins`` prints where the code of each plugin comes from.
Needs the standard library only, and says of an old Python no more than its version.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from typing import Any

OLDEST = (3, 11)


def describe(code: str) -> dict[str, Any]:
    """The first answer."""
    found: dict[str, Any] = {"python": platform.python_version()}
    if sys.version_info < OLDEST:
        return found
    found["packages"] = packages()
    sys.path.append(code)  # last: an own lstmbench says what its plugins are made for
    found["backends"], found["faults"] = backends()
    return found


def packages() -> dict[str, str]:
    """The version of each distribution but pip, as it is found first on the path."""
    from importlib.metadata import distributions

    found: dict[str, str] = {}
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", str(distribution.name or "")).lower()
        if name and name != "pip":
            found.setdefault(name, f"{distribution.version}{_commit(distribution)}")
    return dict(sorted(found.items()))


def _commit(distribution: Any) -> str:
    """Of a distribution that was installed from a repository (PEP 610)."""
    try:
        noted = json.loads(distribution.read_text("direct_url.json") or "{}")
        return f" (commit {noted['vcs_info']['commit_id'][:12]})"
    except (ValueError, LookupError, TypeError, OSError):
        return ""


def backends() -> tuple[dict[str, Any], dict[str, str]]:
    """Of each backend the interface and the distribution, and why an entry point gave none."""
    from importlib.metadata import entry_points

    found: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for entry in entry_points(group="lstmbench"):
        try:
            hook = getattr(entry.load(), "lstmbench_backends", None)
            for spec in hook() if hook else ():
                distribution = entry.dist.name if entry.dist else ""
                found[spec.name] = {"interface": spec.interface, "distribution": distribution}
        except Exception as error:  # it is anybody's code
            faults[entry.name] = f"{type(error).__name__}: {error}"
    return found, faults


def origins(code: str) -> list[dict[str, Any]]:
    """The second answer, in the words of the host's own code."""
    sys.path.insert(0, code)
    from lstmbench.machine import provenance

    return [
        {
            "distribution": origin.distribution,
            "version": origin.version,
            "digest": origin.digest,
            "commit": origin.commit,
            "dirty": origin.dirty,
        }
        for origin in provenance.plugins()
    ]


def main(arguments: list[str]) -> None:
    """Whatever a plugin prints meanwhile goes to standard error."""
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        found = origins(arguments[0]) if arguments[1:] else describe(arguments[0])
        answer.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
