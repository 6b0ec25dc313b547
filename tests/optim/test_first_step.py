"""The first step runs the program of all later ones: nothing is compiled twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg
from thalweg import nn, optim
from thalweg.core import flags
from thalweg.planning import native


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.01, momentum=0.9),
        lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p: optim.AdamW(p, lr=0.01),
    ],
    ids=["sgd", "nesterov", "adamw"],
)
def test_one_program_for_all_steps(
    make: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Any] = []
    original = native.build

    def counted(*args: Any) -> Any:
        built.append(args)
        return original(*args)

    monkeypatch.setattr(native, "build", counted)
    with flags.override(backend="native"):
        model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
        inputs = thalweg.randn(4, 6)
        optimizer = make(model.parameters())
        targets = thalweg.from_numpy(np.arange(4) % 3)
        counts = []
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            thalweg.synchronize()
            counts.append(len(built))
    assert counts[0] == counts[1] == counts[2]
    assert counts[0] >= 1


def test_zero_momentum_at_first_is_the_gradient() -> None:
    """Also where dampening would scale it."""
    for dampening in (0.0, 0.5):
        p = nn.Parameter(thalweg.tensor([1.0, -2.0, 3.0]))
        optimizer = optim.SGD([p], lr=1.0, momentum=0.9, dampening=dampening)
        (p * thalweg.tensor([1.0, 2.0, 4.0])).sum().backward()
        optimizer.step()
        np.testing.assert_array_equal(
            optimizer.state[p]["momentum_buffer"].numpy(), np.float32([1.0, 2.0, 4.0])
        )
        np.testing.assert_array_equal(p.detach().numpy(), np.float32([0.0, -4.0, -1.0]))
