"""A bare loop in a process of its own: `train_epoch_ch8` of the d2l course over `nn.LSTM`.

Answers the first requests of a trial's worker, so that both sides live in the same kind of process:
same environment, same processors, same clock. One-hot input, clip and SGD by hand.
"""

from __future__ import annotations

import sys
import time

import torch
from torch import nn

from lstmbench.backend import Task
from lstmbench.batches import Batches
from lstmbench.worker.arrays import read_batches
from lstmbench.worker.idle import when_idle
from lstmbench.worker.loop import Handlers, OutOfOrder, Session, main, set_cpus
from lstmbench.worker.memory import resident
from lstmbench.worker.messages import (
    Build,
    Built,
    EpochTrained,
    LoadTrial,
    TrainEpoch,
    TrialLoaded,
    WaitUntilIdle,
)


class BareLoop:
    """The model and its training."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self.training = task.training
        self.size, self.hidden = task.model.vocabulary_size, task.model.hidden_size
        self.rnn = nn.LSTM(self.size, self.hidden)
        self.linear = nn.Linear(self.hidden, self.size)
        self.parameters = [*self.rnn.parameters(), *self.linear.parameters()]

    def clip(self, theta: float) -> None:
        norm = torch.sqrt(sum(torch.sum(p.grad**2) for p in self.parameters))
        if norm > theta:
            for p in self.parameters:
                p.grad[:] *= theta / norm

    def train(self, batches: Batches) -> float:
        """The summed loss of all windows."""
        loss, state, nats = nn.CrossEntropyLoss(), None, 0.0
        for inputs, targets in batches:
            x = torch.from_numpy(inputs).long()
            y = torch.from_numpy(targets).long().T.reshape(-1)
            if state is not None:
                for s in state:
                    s.detach_()
            one_hot = nn.functional.one_hot(x.T, self.size).to(torch.float32)
            output, state = self.rnn(one_hot, state)
            value = loss(self.linear(output.reshape(-1, self.hidden)), y).mean()
            for p in self.parameters:
                p.grad = None
            value.backward()
            self.clip(self.training.clip_norm)
            with torch.no_grad():
                for p in self.parameters:
                    p -= self.training.learning_rate * p.grad
            nats += value.item() * targets.size
        return nats


class BareSession(Session):
    """Load, build, then epochs."""

    def __init__(self) -> None:
        self._loop: BareLoop | None = None

    def handlers(self) -> Handlers:
        return {
            LoadTrial: self.load,
            Build: self.build,
            TrainEpoch: self.epoch,
            WaitUntilIdle: when_idle,
        }

    def load(self, request: LoadTrial) -> TrialLoaded:
        set_cpus(request.cpus)
        return TrialLoaded(0.0, resident())

    def build(self, request: Build) -> Built:
        begin = time.perf_counter()
        self._loop = BareLoop(request.task)
        return Built(time.perf_counter() - begin, 0.0)

    def epoch(self, request: TrainEpoch) -> EpochTrained:
        if self._loop is None:
            raise OutOfOrder("the bare loop must be asked to build first")
        batches = read_batches(request.batches)
        begin = time.perf_counter()
        nats = self._loop.train(batches)
        return EpochTrained(time.perf_counter() - begin, nats, batches.tokens)


if __name__ == "__main__":
    main(sys.argv[1:], BareSession())
