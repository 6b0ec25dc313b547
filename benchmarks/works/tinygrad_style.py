"""Small works in tinygrad's words: ``TinyJit`` around a training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tinygrad import Context, Device, Tensor, TinyJit, nn

from . import SIZES, Run


def build(name: str) -> Run:
    step = {"mlp": mlp, "autograd-3x4": autograd}[name]()
    for _ in range(3):  # TinyJit captures on the second call
        step()
    return Run(step, lambda: Device[Device.DEFAULT].synchronize())


def mlp() -> Callable[[], Any]:
    size: Any = SIZES["mlp"]
    rng = np.random.default_rng(0)
    layers = [nn.Linear(a, b) for a, b in zip(size.widths, size.widths[1:])]
    optimizer = nn.optim.AdamW(nn.state.get_parameters(layers), lr=3e-4)
    inputs = Tensor(rng.normal(size=(size.batch, size.widths[0])).astype(np.float32))
    targets = Tensor(rng.integers(0, size.widths[-1], size.batch))

    @TinyJit
    def train() -> Any:
        with Context(TRAINING=1):
            optimizer.zero_grad()
            x = inputs
            for layer in layers[:-1]:
                x = layer(x).relu()
            loss = layers[-1](x).sparse_categorical_crossentropy(targets).backward()
            return loss.realize(*optimizer.schedule_step())

    return train  # type: ignore[no-any-return]


def autograd() -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 4)).astype(np.float32) for _ in range(3)]
    x, y, z = (Tensor(a).realize() for a in arrays)

    @TinyJit
    def run() -> Any:
        return Tensor.realize(*(x * y + z).sum().gradient(x, y, z))

    return run  # type: ignore[no-any-return]
