"""Prepared workers for benchmarks: a backend as a trial runs it, without a run around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lstmbench.backend import BackendSpec
from lstmbench.corpora import corpus
from lstmbench.machine import facts
from lstmbench.protocol import Protocol
from lstmbench.runner.channel import Channel, Launch
from lstmbench.runner.local import LocalExecutor
from lstmbench.runner.plan import Selection, make_plan
from lstmbench.runner.requests import load_request
from lstmbench.worker.messages import Prepare

#: Seconds for any answer.
TIMEOUT = 900.0


@contextmanager
def start_worker(
    spec: BackendSpec,
    mode: str,
    device: str,
    protocol: Protocol,
    folder: Path,
    module: str = "lstmbench.worker",
) -> Iterator[Channel]:
    """A worker that has been told its trial on the bundled text."""
    text = corpus.resolve(corpus.BUNDLED)
    selection = Selection(
        backends=[(spec, mode)],
        devices=[device],
        modes=["default"],
        dtype="float32",
        protocols=[(protocol, {})],
        init="shared",
        corpus=text.name,
        corpus_digest=text.digest,
        seed=0,
        threads=[facts.default_threads()],
        environment={},
    )
    (trial,) = make_plan(selection).trials
    tokens = folder / "tokens.npy"
    np.save(tokens, text.ids, allow_pickle=False)
    executor = LocalExecutor()
    launch = Launch(folder / "log", trial.threads, trial.backend_environment, module)
    channel = executor.start(launch)
    try:
        cpus = executor.cpus(trial.threads)
        load = load_request(
            trial,
            spec,
            tokens=tokens,
            splits=text.splits(protocol),
            vocabulary_size=len(text.vocabulary),
            cpus=cpus,
        )
        channel.ask(load, TIMEOUT)
        yield channel
    finally:
        channel.close()


@contextmanager
def prepared_worker(
    spec: BackendSpec, mode: str, device: str, protocol: Protocol, folder: Path
) -> Iterator[Channel]:
    """A worker that has proven parity and compiled; it trains on the bundled text.

    Raises :class:`lstmbench.runner.channel.WorkerLost` if it does not get that far.
    """
    with start_worker(spec, mode, device, protocol, folder) as channel:
        channel.ask(Prepare(), TIMEOUT)
        yield channel
