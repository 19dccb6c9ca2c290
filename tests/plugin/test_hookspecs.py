"""Every hook is documented with an example that runs."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

import click
import pytest

from lstmbench.backend import BackendSpec
from lstmbench.corpora.corpus import CorpusSpec
from lstmbench.plugin import hookspecs
from lstmbench.plugin.extensions import Format
from lstmbench.protocol import Protocol

HOOKS = [name for name in vars(hookspecs) if name.startswith("lstmbench_")]
KINDS = {
    "lstmbench_backends": BackendSpec,
    "lstmbench_corpora": CorpusSpec,
    "lstmbench_protocols": Protocol,
    "lstmbench_commands": click.Command,
    "lstmbench_formats": Format,
}


def example(hook: str) -> str:
    text = inspect.getdoc(getattr(hookspecs, hook)) or ""
    found = re.search(r"Example::\n\n((?: {4}.*\n?|\n)+)", text)
    assert found, f"{hook} has no example"
    return textwrap.dedent(found[1])


def test_every_hook_has_a_kind() -> None:
    assert set(HOOKS) == set(KINDS)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_runs(hook: str) -> None:
    space: dict[str, Any] = {}
    exec(example(hook), space)
    offers = list(space[hook]())
    assert offers
    assert all(isinstance(offer, KINDS[hook]) for offer in offers)


@pytest.mark.parametrize("hook", KINDS)
def test_the_host_can_use_the_example(here: Any, call: Any, hook: str) -> None:
    here.plugin("example", example(hook))
    done = call("list")
    assert done.returncode == 0
    assert done.stderr == ""
    name = {
        "lstmbench_backends": "\nmine ",
        "lstmbench_corpora": "\nabc ",
        "lstmbench_protocols": "\nwide ",
        "lstmbench_formats": "\ncount ",
    }.get(hook)
    if name:
        assert name in done.stdout
    else:
        assert call("hello").stdout == "hello\n"
