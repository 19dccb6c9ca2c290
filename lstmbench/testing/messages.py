"""What the conformance kit and its child process say to each other, on the wire of the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lstmbench.worker.messages import Answer, Request


@dataclass(frozen=True)
class KitLoaded(Answer):
    """Frameworks that the plugin's package imported, before its backend was asked for.

    ``missing`` are the modules of ``imports`` that are not installed, though the backend is there.
    """

    frameworks: list[str]
    missing: list[str]


@dataclass(frozen=True)
class LoadKit(Request[KitLoaded], name="load_kit"):
    """Import a backend for the conformance kit."""

    factory: str
    imports: list[str]
    install: str
    device: str
    mode: str
    dtype: str
    threads: int
    reference: str = ""


@dataclass(frozen=True)
class CheckFailure:
    """What was wrong, what explains it line by line, and advice better than the check's own."""

    message: str
    lines: list[str]
    advice: str | None = None


@dataclass(frozen=True)
class Checked(Answer):
    """How a check failed, or ``None``."""

    failure: CheckFailure | None


@dataclass(frozen=True)
class Check(Request[Checked], name="check"):
    """Run one check of the conformance kit; it logs its stack after ``stack_after`` seconds."""

    which: str
    stack_after: float


@dataclass(frozen=True)
class Quantity:
    """One quantity in words: a number, or the norm of a tensor, and how the two differ.

    ``differs`` says whether by more than rounding explains, ``explanation`` how.
    """

    quantity: str
    expected: str
    got: str
    error: str
    scale: str
    cosine: str
    differs: bool
    explanation: str


@dataclass(frozen=True)
class Step:
    """What was computed, its quantities, and what would explain a difference."""

    title: str
    quantities: list[Quantity]
    lines: list[str]


@dataclass(frozen=True)
class Examined(Answer):
    """Steps until the first that differs, or until one failed."""

    steps: list[Step]
    failure: CheckFailure | None


@dataclass(frozen=True)
class Examine(Request[Examined], name="examine"):
    """Compare one window with the reference, quantity by quantity."""

    hidden_size: int
    layers: int
    batch_size: int
    steps: int
    learning_rate: float
    stack_after: float


#: Every request of the kit.
KIT_REQUESTS: tuple[type[Request[Any]], ...] = (LoadKit, Check, Examine)
