"""lstmbench: how fast, and how well, an LSTM language model trains.

What a plugin author needs is importable from here, lazily, so that a worker in an interpreter
with nothing but NumPy can import this package too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstmbench.analysis.tables import Row, Table
    from lstmbench.backend import (
        Backend,
        BackendSpec,
        EpochLoss,
        LayerParameters,
        ModelConfig,
        Parameters,
        Task,
        TrainingConfig,
    )
    from lstmbench.batches import Batches
    from lstmbench.corpora.corpus import CorpusSpec
    from lstmbench.errors import Unavailable, UserError
    from lstmbench.plugin.extensions import Format
    from lstmbench.plugin.hookspecs import hookimpl
    from lstmbench.protocol import Protocol

__version__ = "0.1.0"

_HOME = {
    "Backend": "backend",
    "BackendSpec": "backend",
    "Batches": "batches",
    "CorpusSpec": "corpora.corpus",
    "EpochLoss": "backend",
    "Format": "plugin.extensions",
    "LayerParameters": "backend",
    "ModelConfig": "backend",
    "Parameters": "backend",
    "Protocol": "protocol",
    "Row": "analysis.tables",
    "Table": "analysis.tables",
    "Task": "backend",
    "TrainingConfig": "backend",
    "Unavailable": "errors",
    "UserError": "errors",
    "hookimpl": "plugin.hookspecs",
}
__all__ = [
    "Backend",
    "BackendSpec",
    "Batches",
    "CorpusSpec",
    "EpochLoss",
    "Format",
    "LayerParameters",
    "ModelConfig",
    "Parameters",
    "Protocol",
    "Row",
    "Table",
    "Task",
    "TrainingConfig",
    "Unavailable",
    "UserError",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lstmbench.{_HOME[name]}"), name)
