"""The reference's embedding, tied weights, losses and optimizers against PyTorch's, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lstmbench import reference
from lstmbench.backend import ModelConfig, TrainingConfig
from lstmbench.batches import Batches

pytestmark = pytest.mark.frameworks


def torch_model(model: ModelConfig) -> Any:
    import torch
    from torch import nn

    lstm = nn.LSTM(model.input_size(0), model.hidden_size, model.layers).double()
    output = nn.Linear(model.hidden_size, model.vocabulary_size).double()
    embedding = nn.Embedding(model.vocabulary_size, model.input_size(0)).double()
    if model.tied:
        output.weight = embedding.weight
    for _, _, _, second in lstm.all_weights:
        torch.nn.init.zeros_(second).requires_grad_(False)
    return lstm, output, embedding


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "learning_rate": 0.5, "clip_norm": 0.3},
        {"optimizer": "sgd", "learning_rate": 0.5, "clip_norm": math.inf, "clip_value": 0.05},
        {"optimizer": "adam", "learning_rate": 0.01, "clip_norm": 0.3},
        {"optimizer": "rmsprop", "learning_rate": 0.01, "clip_norm": math.inf},
    ],
    ids=["sgd", "values", "adam", "rmsprop"],
)
def test_three_epochs_end_where_pytorch_ends(tied: bool, loss: str, changes: Any) -> None:
    import torch
    from torch.nn import functional
    from torch.nn.utils import clip_grad_norm_, clip_grad_value_

    model = ModelConfig(7, 4, 2, embedding_size=4 if tied else 3, tied=tied)
    training = TrainingConfig(batch_size=3, steps=5, loss=loss, **changes)
    start = reference.draw_parameters(model, 0, 0.5, 0.5).astype(np.float64)
    rng = np.random.default_rng(0)
    batches = Batches(*(rng.integers(0, 7, (4, 3, 5)).astype(np.int32) for _ in range(2)))
    ours, optimizer = start, reference.Optimizer(training)
    for _ in range(3):
        ours, _ = reference.train_epoch(ours, batches, training, optimizer=optimizer)

    lstm, output, embedding = torch_model(model)
    with torch.no_grad():
        for (w, r, b, _), layer in zip(lstm.all_weights, start.layers, strict=True):
            w.copy_(torch.tensor(layer.input_kernel.T))
            r.copy_(torch.tensor(layer.recurrent_kernel.T))
            b.copy_(torch.tensor(layer.bias))
        embedding.weight.copy_(torch.tensor(start.embedding))
        output.weight.copy_(torch.tensor(start.output_kernel.T))
        output.bias.copy_(torch.tensor(start.output_bias))
    unique = {id(p): p for m in (embedding, lstm, output) for p in m.parameters()}
    trained = [p for p in unique.values() if p.requires_grad]
    rate = training.learning_rate
    step = {
        "sgd": lambda: torch.optim.SGD(trained, rate),
        "adam": lambda: torch.optim.Adam(trained, rate),
        "rmsprop": lambda: torch.optim.RMSprop(trained, rate, alpha=0.95),
    }[training.optimizer]()
    for _ in range(3):
        state = None
        for inputs, targets in batches:
            hiddens, state = lstm(embedding(torch.tensor(inputs.T)), state)
            logits = output(hiddens).flatten(0, 1)
            wanted = torch.tensor(targets.T.astype(np.int64)).flatten()
            error = functional.cross_entropy(logits, wanted) * (5 if loss == "sum" else 1)
            step.zero_grad()
            error.backward()
            if math.isfinite(training.clip_value):
                clip_grad_value_(trained, training.clip_value)
            elif math.isfinite(training.clip_norm):
                norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in trained]))
                scale = min(1.0, training.clip_norm / norm.item())
                clip_grad_norm_(trained, math.inf)
                for p in trained:
                    p.grad.mul_(scale)
            step.step()
            state = tuple(s.detach() for s in state)
    theirs = [embedding.weight]
    for w, r, b, _ in lstm.all_weights:
        theirs += [w.T, r.T, b]
    theirs += [output.bias] if tied else [output.weight.T, output.bias]
    for (name, mine), other in zip(ours.items(), theirs, strict=True):
        np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-7, err_msg=name)
