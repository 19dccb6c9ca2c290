"""lstmbench: how fast, and how well, an LSTM language model trains.

What plugins and Python programs need is importable from here, lazily, so that a worker in an
interpreter with nothing but NumPy can import this package too.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The one list of public names: type checkers read it, and so does __getattr__ below.
if TYPE_CHECKING:
    from lstmbench.analysis.tables import Row as Row
    from lstmbench.analysis.tables import Table as Table
    from lstmbench.api import Interrupted as Interrupted
    from lstmbench.api import Results as Results
    from lstmbench.api import compare as compare
    from lstmbench.api import extend as extend
    from lstmbench.api import load as load
    from lstmbench.api import resume as resume
    from lstmbench.api import run as run
    from lstmbench.api import run_part as run_part
    from lstmbench.backend import Backend as Backend
    from lstmbench.backend import BackendSpec as BackendSpec
    from lstmbench.backend import EpochLoss as EpochLoss
    from lstmbench.backend import LayerParameters as LayerParameters
    from lstmbench.backend import LayerResult as LayerResult
    from lstmbench.backend import ModelConfig as ModelConfig
    from lstmbench.backend import Parameters as Parameters
    from lstmbench.backend import Task as Task
    from lstmbench.backend import TrainingConfig as TrainingConfig
    from lstmbench.batches import Batches as Batches
    from lstmbench.cells import Cell as Cell
    from lstmbench.corpora.spec import CorpusSpec as CorpusSpec
    from lstmbench.corpora.spec import SplitFile as SplitFile
    from lstmbench.errors import Unavailable as Unavailable
    from lstmbench.errors import UserError as UserError
    from lstmbench.plugin.extensions import Format as Format
    from lstmbench.plugin.hookspecs import hookimpl as hookimpl
    from lstmbench.protocol import Protocol as Protocol


@cache
def _homes() -> dict[str, str]:
    """The module of each public name, from the list above (as SPEC 1 of Scientific Python does)."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_homes())
    if name.startswith("_") or name not in _homes():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_homes()[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes()})
