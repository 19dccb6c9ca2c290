"""Held-out text: what is evaluated when, and what an oracle looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lstmbench.batches import partition
from lstmbench.corpora import corpus
from lstmbench.protocol import HELDOUT

if TYPE_CHECKING:
    from tests.conftest import Cli

ORACLE = '''
from lstmbench import BackendSpec, EpochLoss, hookimpl
from lstmbench_numpy.backend import NumpyBackend


class Oracle(NumpyBackend):
    """Reports half of what it spends on text that it is evaluated on."""

    def evaluate(self, batches):
        loss = super().evaluate(batches)
        return EpochLoss(loss.nats / 4, loss.tokens)


@hookimpl
def lstmbench_backends():
    return [BackendSpec("oracle", "too good", "oracle:Oracle", {"cpu": ("eager",)})]
'''


def test_splits_follow_each_other() -> None:
    parts = HELDOUT.splits(170_580)
    assert parts["train"] == slice(0, 153_522)
    assert parts["validation"] == slice(153_522, 153_522 + 8_529)
    assert parts["test"] == slice(153_522 + 8_529, 153_522 + 2 * 8_529)


def test_validation_every_fifth_epoch_and_one_test(cli: Cli) -> None:
    cli.plugin("oracle", ORACLE)
    done = cli.run(
        *("--backends", "numpy,oracle", "--protocol", "heldout", "--corpus", "markov"),
        *("--epochs", "10", "--batch-size", "32", "--steps", "35"),
    )
    assert done.returncode == 1, done.stderr
    honest, oracle = cli.records()["numpy"], cli.records()["oracle"]
    assert honest["status"] == "ok", honest["message"]
    # what is said of a text is asked of the reference; and no model can know it that well
    assert (oracle["status"], oracle["reason"]) == ("failed", "audit")
    assert "evaluation after epoch" in oracle["message"]
    seen = [(e["split"], e["epoch"]) for e in honest["evaluations"]]
    assert seen == [("validation", 5), ("validation", 10), ("test", 10)]
    assert "suspect" not in honest["flags"]
    assert "suspect" in oracle["flags"]
    resolved = corpus.resolve(corpus.MARKOV)
    part = HELDOUT.splits(len(resolved.ids))["test"]
    places = partition(np.arange(part.start, part.stop), 32, 35).targets
    assert resolved.surprisal is not None
    test = honest["evaluations"][-1]
    assert test["source_nats"] == pytest.approx(float(resolved.surprisal[places].sum()))
    assert test["tokens"] == places.size
    header = next(line for line in done.stdout.splitlines() if line.startswith("backend"))
    assert "test" in header
    assert "source" in header
    assert any("failed: audit" in line for line in done.stdout.splitlines())
