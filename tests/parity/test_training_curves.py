"""Training curves equal PyTorch's: 50 steps of an MLP, a CNN, an LSTM and a GPT.

Both libraries start from equal weights and see equal data. float32 sums in another order differ
in the last bits (about 1e-7), and training amplifies that a little every step; the tolerances
say how much was measured, times ten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training import (
    STEPS,
    Job,
    assert_same_curve,
    assert_same_weights,
    assert_state_interchanges,
    module_of,
    train,
)

import thalweg

GPT_SOURCE = Path(thalweg.__file__).parent / "app" / "gpt.py"
TEXT = np.frombuffer(GPT_SOURCE.read_bytes(), np.uint8).astype(np.int64)


def windows(i: int, batch: int, length: int) -> np.ndarray:
    """Batch number `i` of windows of the text, `(batch, length + 1)`."""
    starts = np.random.default_rng(i).integers(len(TEXT) - length, size=(batch, 1))
    return TEXT[starts + np.arange(length + 1)]


def mlp(library: Any) -> Job:
    nn, F = library.nn, library.nn.functional
    model = nn.Sequential(
        nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, 3)
    )
    optimizer = library.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    truth = np.random.default_rng(0).standard_normal((12, 3))

    def step(i: int) -> Any:
        inputs = np.random.default_rng(i).standard_normal((32, 12)).astype(np.float32)
        labels = (inputs @ truth).argmax(axis=1)
        loss = F.cross_entropy(model(library.from_numpy(inputs)), library.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Job(model, optimizer, step)


def cnn(library: Any) -> Job:
    nn, F = library.nn, library.nn.functional

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
            self.norm1 = nn.BatchNorm2d(8)
            self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(16)
            self.head = nn.Linear(16 * 3 * 3, 4)

        def forward(self, x: Any) -> Any:
            x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
            x = F.relu(self.norm2(self.conv2(x)))
            return self.head(x.flatten(1))

    model = Net()
    optimizer = library.optim.Adam(model.parameters(), lr=3e-3)

    def step(i: int) -> Any:
        random = np.random.default_rng(i)
        labels = random.integers(4, size=16)
        images = random.standard_normal((16, 1, 12, 12))
        # The class is the quadrant that is brighter.
        for image, label in zip(images, labels):
            image[0, 6 * (label // 2) :, 6 * (label % 2) :][:6, :6] += 1.0
        scores = model(library.from_numpy(images.astype(np.float32)))
        loss = F.cross_entropy(scores, library.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Job(model, optimizer, step)


def lstm(library: Any) -> Job:
    nn, F = library.nn, library.nn.functional

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(128, 24)
            self.lstm = nn.LSTM(24, 32, num_layers=2, batch_first=True)
            self.head = nn.Linear(32, 128)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.lstm(self.token(tokens))[0])

    model = Model()
    optimizer = library.optim.Adam(model.parameters(), lr=1e-2)

    def step(i: int) -> Any:
        window = library.from_numpy(windows(i, 8, 20) % 128)
        scores = model(window[:, :-1])
        loss = F.cross_entropy(scores.reshape(-1, 128), window[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Job(model, optimizer, step)


def gpt(library: Any) -> Job:
    source = module_of(GPT_SOURCE, library)
    model = source.GPT(source.Shape(layers=2, width=32, heads=2, length=32))
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = library.optim.AdamW(
        [
            {"params": matrices, "weight_decay": 0.1},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=3e-3,
        betas=(0.9, 0.95),
    )
    scheduler = library.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 5, 1 - 0.9 * step / STEPS)
    )

    def step(i: int) -> Any:
        loss = model.loss(library.from_numpy(windows(i, 4, 32)))
        optimizer.zero_grad()
        loss.backward()
        library.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        return loss

    return Job(model, optimizer, step)


# Tolerances: of the loss at the first and the last step, and of the final weights. A parameter
# whose gradient is zero but for rounding (the key bias under softmax) gets full steps of that
# rounding from Adam, without any effect on the loss: hence the GPT's larger one.
@pytest.mark.parametrize(
    ("build", "first", "last", "weights"),
    [
        (mlp, 1e-6, 5e-6, 1e-5),
        (cnn, 1e-6, 1e-5, 1e-4),
        (lstm, 1e-6, 5e-6, 1e-4),
        (gpt, 1e-6, 5e-6, 2e-3),
    ],
)
def test_curve_equals_pytorchs(build: Any, first: float, last: float, weights: float) -> None:
    ours, theirs = train(build)
    assert_same_curve(ours, theirs, first, last)
    assert_same_weights(ours, theirs, weights)
    assert_state_interchanges(ours, theirs, STEPS)
