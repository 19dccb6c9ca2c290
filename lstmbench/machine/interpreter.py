"""Where this interpreter looks for modules, so that another one can look there, too."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from itertools import takewhile


def search_paths() -> dict[str, str]:
    """Variables with which a plain start of this interpreter finds what this process finds.

    Folders ahead of the standard library come from ``PYTHONPATH``, from ``python -m`` (the current
    folder), or from code that put them there; those behind it the new process finds by itself, the
    user's own packages only if this process does. Options such as ``-I`` and ``-s`` are heeded.
    """
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    library = sysconfig.get_path("stdlib")
    ahead = takewhile(lambda p: p != library and os.path.basename(p) != archive, sys.path)  # noqa: PTH119
    found = {"PYTHONPATH": os.pathsep.join(folder or os.curdir for folder in ahead)}
    if site.ENABLE_USER_SITE:
        found["PYTHONUSERBASE"] = site.getuserbase()
    else:
        found["PYTHONNOUSERSITE"] = "1"
    if "PYTHONHOME" in os.environ and not sys.flags.ignore_environment:
        found["PYTHONHOME"] = os.environ["PYTHONHOME"]
    return {name: value for name, value in found.items() if value}
