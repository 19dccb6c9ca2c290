"""A bare loop in a process of its own: `train_epoch_ch8` of the d2l course over `nn.LSTM`.

Speaks the first verbs of `lstmbench.worker`, so that both sides live in the same kind of process:
same environment, same processors, same clock. One-hot input, clip and SGD by hand.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from lstmbench.batches import Batches, partition
from lstmbench.worker.loop import main, set_cpus


class BareLoop:
    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        set_cpus(request["cpus"])
        self.task, training = request["task"], request["task"]["training"]
        torch.set_num_threads(self.task["threads"])
        start, stop = request["splits"]["train"]
        self.ids = np.load(request["tokens"])[start:stop]
        self.shape = training["batch_size"], training["steps"]
        self.size, self.hidden = (self.task["model"][k] for k in ("vocabulary_size", "hidden_size"))
        self.rnn = nn.LSTM(self.size, self.hidden)
        self.linear = nn.Linear(self.hidden, self.size)
        self.parameters = [*self.rnn.parameters(), *self.linear.parameters()]
        return {}

    def epoch(self, request: dict[str, Any]) -> dict[str, Any]:
        batches = partition(self.ids, *self.shape, request["offset"])
        begin = time.perf_counter()
        self.train(batches)
        return {"seconds": time.perf_counter() - begin}

    def clip(self, theta: float) -> None:
        norm = torch.sqrt(sum(torch.sum(p.grad**2) for p in self.parameters))
        if norm > theta:
            for p in self.parameters:
                p.grad[:] *= theta / norm

    def train(self, batches: Batches) -> None:
        training, loss, state = self.task["training"], nn.CrossEntropyLoss(), None
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
            self.clip(training["clip_norm"])
            with torch.no_grad():
                for p in self.parameters:
                    p -= training["learning_rate"] * p.grad
            value.item()


if __name__ == "__main__":
    main(sys.argv[1:], BareLoop())
