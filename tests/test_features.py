"""Models of the field from a command line to records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli

PLAIN = """
from lstmbench import BackendSpec, hookimpl


@hookimpl
def lstmbench_backends():
    offered = {"cpu": ("eager",)}
    factory = "lstmbench_numpy.backend:NumpyBackend"
    return [BackendSpec("plain", "of version 1", factory, offered, interface=1)]
"""


@pytest.mark.parametrize(
    "options",
    [
        ("--protocol", "word-lm", "--embedding-size", "8", "--tied", "yes"),
        ("--protocol", "char-rnn"),
        ("--protocol", "ptb-small", "--embedding-size", "6", "--optimizer", "adam"),
    ],
    ids=["word-lm", "char-rnn", "ptb-small"],
)
def test_a_model_of_the_field_is_proven_and_audited(cli: Cli, options: tuple[str, ...]) -> None:
    # few windows of the whole text
    size = ("--epochs", "2", "--batch-size", "8", "--steps", "35")
    done = cli.run("--backends", "numpy", *options, *size)
    assert done.returncode == 0, done.stdout + done.stderr
    record = cli.records()["numpy"]
    assert (record["status"], record["message"]) == ("ok", "")
    assert {part["what"] for part in record["audit"]["parts"]} >= {"segment", "challenge"}
    assert record["evaluations"]


def test_a_plugin_of_version_1_runs_what_it_can(cli: Cli) -> None:
    cli.plugin("plain", PLAIN)
    done = cli.run("--backends", "plain,numpy", "--protocol", "quick", "--dropout", "0.5")
    assert done.returncode != 0  # it was named
    assert "plain has no dropout" in done.stdout
    assert cli.records()["numpy"]["status"] == "ok"
    assert cli.run("--backends", "plain", "--protocol", "quick").returncode == 0
