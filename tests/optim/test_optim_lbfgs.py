"""L-BFGS walks PyTorch's path, with and without line search, also resumed."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch
from optim_parity import assert_same_params, converted, numbers, parameters

import thalweg
from thalweg.optim.line_search import Point, strong_wolfe

FRAMEWORKS = (thalweg, torch)


def rosenbrock(params: Any) -> Any:
    x, y = params[0], params[1]
    return ((1 - x) ** 2).sum() + 5 * ((y - x**2) ** 2).sum()


def train(t: Any, options: dict[str, Any], steps: int, optimizer: Any = None) -> Any:
    unused = np.ones(2)
    params = parameters(t, [np.array([[-1.2, 0.5]]), np.array([[1.0, -0.7]]), unused], "float64")
    optimizer = t.optim.LBFGS(params, **options)
    losses = go_on(params, optimizer, steps)
    return params, optimizer, losses


def go_on(params: Any, optimizer: Any, steps: int) -> list[float]:
    def closure() -> Any:
        optimizer.zero_grad()
        loss = rosenbrock(params)
        loss.backward()
        return loss

    return [optimizer.step(closure).item() for _ in range(steps)]


OPTIONS: list[dict[str, Any]] = [
    {"lr": 0.01},
    {"lr": 0.05, "max_iter": 5},
    {"lr": 0.02, "max_iter": 4, "history_size": 2},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "max_iter": 6, "history_size": 3, "lr": 0.5},
    {"line_search_fn": "strong_wolfe", "max_eval": 4},
    {"line_search_fn": "strong_wolfe", "lr": 60.0},
    {"line_search_fn": "strong_wolfe", "tolerance_grad": 0.1},
    {"line_search_fn": "strong_wolfe", "tolerance_change": 0.05},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_path_is_torchs(options: dict[str, Any]) -> None:
    ours, our_optimizer, our_losses = train(thalweg, options, 4)
    theirs, their_optimizer, their_losses = train(torch, options, 4)
    np.testing.assert_allclose(our_losses, their_losses, rtol=1e-6, atol=1e-12)
    assert our_losses[1] != our_losses[0]
    assert_same_params(ours, theirs, 1e-6, "LBFGS")
    mine = our_optimizer.state_dict()["state"][0]
    expected = their_optimizer.state_dict()["state"][0]
    assert mine.keys() == expected.keys() - {"al"}  # scratch
    for name in ("func_evals", "n_iter"):
        assert mine[name] == expected[name], name
    for name in ("old_dirs", "old_stps", "ro"):
        assert len(mine[name]) == len(expected[name])


@pytest.mark.parametrize("options", [OPTIONS[2], OPTIONS[4]], ids=str)
def test_resuming(options: dict[str, Any]) -> None:
    for here in FRAMEWORKS:
        first, first_optimizer, _ = train(here, options, 2)
        for there in FRAMEWORKS:
            second, second_optimizer, _ = train(there, options, 0)
            with there.no_grad():
                for target, source in zip(second, first):
                    target.copy_(converted(source, there))
            second_optimizer.load_state_dict(converted(first_optimizer.state_dict(), there))
            losses = go_on(second, second_optimizer, 2)
            np.testing.assert_allclose(losses, train(torch, options, 4)[2][2:], rtol=1e-6)


def test_the_minimum_is_found() -> None:
    params, optimizer, _ = train(thalweg, {"line_search_fn": "strong_wolfe", "max_iter": 60}, 2)
    np.testing.assert_allclose(numbers(params[0]), np.ones((1, 2)), atol=1e-4)
    assert go_on(params, optimizer, 1)[0] < 1e-8


def test_errors() -> None:
    for t in FRAMEWORKS:
        (param,) = parameters(t, [np.zeros(2)])
        group = {"params": [t.nn.Parameter(t.ones(1))]}
        with pytest.raises(ValueError, match="doesn't support per-parameter options"):
            t.optim.LBFGS([{"params": [param]}, group])
        with pytest.raises(ValueError, match="Invalid learning rate: -1"):
            t.optim.LBFGS([param], lr=-1)
        optimizer = t.optim.LBFGS([param], line_search_fn="golden")
        with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
            go_on([param, param], optimizer, 1)
        with pytest.raises(TypeError, match="closure"):
            t.optim.LBFGS([param]).step()


def test_signature_is_torchs() -> None:
    ours = inspect.signature(thalweg.optim.LBFGS).parameters.values()
    theirs = inspect.signature(torch.optim.LBFGS).parameters.values()
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


CURVES: list[Any] = [
    (lambda x: (x - 3) ** 2, lambda x: 2 * (x - 3)),
    (lambda x: math.cosh(x - 0.2), lambda x: math.sinh(x - 0.2)),
    (lambda x: -x / (x * x + 2), lambda x: (x * x - 2) / (x * x + 2) ** 2),
    (lambda x: math.sin(5 * x - 2) + 0.1 * x * x, lambda x: 5 * math.cos(5 * x - 2) + 0.2 * x),
]


@pytest.mark.parametrize("curve", range(len(CURVES)))
@pytest.mark.parametrize("first", [1e-3, 0.3, 1.0, 8.0])
def test_the_line_search_keeps_its_promise(curve: int, first: float) -> None:
    value, slope = CURVES[curve]
    sign = -1.0 if slope(0.0) > 0 else 1.0
    nothing = thalweg.zeros(1)
    calls = []

    def evaluate(step: float) -> Point:
        calls.append(step)
        return Point(step, value(sign * step), nothing, sign * slope(sign * step))

    start = Point(0.0, value(0.0), nothing, sign * slope(0.0))
    found, count = strong_wolfe(evaluate, start, first, 1e-9, 25)
    assert count == len(calls)
    assert found.loss <= start.loss + 1e-4 * found.step * start.slope
    assert abs(found.slope) <= 0.9 * abs(start.slope)
