"""Ten steps of every optimizer with every option give PyTorch's parameters and states."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from optim_parity import (
    assert_same_params,
    assert_same_state,
    numbers,
    parameters,
    set_gradients,
    start,
)

import thalweg

BETAS = {"betas": (0.8, 0.95)}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {},
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.1, "weight_decay": 0.05, "maximize": True},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True},
        {"lr": 0},
    ],
    "Adam": [
        {},
        {"lr": 0.1, **BETAS},
        {"lr": 0.1, "weight_decay": 0.1, "eps": 1e-3},
        {"lr": 0.1, "amsgrad": True, "maximize": True},
        {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "AdamW": [
        {},
        {"lr": 0.1, **BETAS, "weight_decay": 0.3},
        {"lr": 0.1, "weight_decay": 0.0, "amsgrad": True},
        {"lr": 0.1, "maximize": True},
    ],
    "Adagrad": [
        {},
        {"lr": 0.1, "lr_decay": 0.2},
        {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
        {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
    ],
    "RMSprop": [
        {},
        {"alpha": 0.8, "eps": 1e-3},
        {"momentum": 0.9},
        {"centered": True},
        {"momentum": 0.5, "centered": True, "weight_decay": 0.1, "maximize": True},
    ],
    "NAdam": [
        {},
        {"lr": 0.1, **BETAS, "momentum_decay": 0.1},
        {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
        {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "RAdam": [
        {},
        {"lr": 0.1, **BETAS},
        {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
        {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "Adamax": [{}, {"lr": 0.1, **BETAS}, {"weight_decay": 0.1, "maximize": True, "eps": 1e-3}],
    "Adadelta": [{}, {"lr": 0.5, "rho": 0.7}, {"weight_decay": 0.1, "maximize": True}],
    "ASGD": [
        {},
        {"lr": 0.1, "lambd": 0.1, "alpha": 0.5},
        {"lr": 0.1, "t0": 3},
        {"weight_decay": 0.1, "maximize": True},
    ],
    "Rprop": [
        {},
        {"lr": 0.1, "etas": (0.3, 1.5)},
        {"lr": 0.1, "step_sizes": (0.05, 0.12), "maximize": True},
    ],
}
CASES = [(name, options) for name, all_options in OPTIONS.items() for options in all_options]


def label(case: Any) -> str:
    if isinstance(case, str):
        return case
    return ",".join(f"{key}={value}" for key, value in case.items()) or "plain"


def train(t: Any, name: str, options: dict[str, Any], dtype: str, steps: int = 10) -> Any:
    params = parameters(t, start(), dtype)
    optimizer = getattr(t.optim, name)(params, **options)
    for step in range(steps):
        # The last parameter joins late, so that step counts differ within the group.
        set_gradients(t, params if step > 2 else params[:-1], step)
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize(("name", "options"), CASES, ids=label)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_steps(name: str, options: dict[str, Any], dtype: str) -> None:
    tolerance = 3e-6 if dtype == "float32" else 1e-12
    if dtype == "float64" and name in ("NAdam", "ASGD"):
        tolerance = 1e-7  # part of their state is in single precision
    ours, our_optimizer = train(thalweg, name, options, dtype)
    theirs, their_optimizer = train(torch, name, options, dtype)
    assert_same_params(ours, theirs, tolerance, name)
    if options.get("lr", 1):
        assert np.abs(numbers(ours[0]) - start()[0]).max() > 1e-4
    assert_same_state(our_optimizer.state_dict(), their_optimizer.state_dict(), 10 * tolerance)
    assert repr(our_optimizer) == repr(their_optimizer)


@pytest.mark.parametrize("name", OPTIONS)
def test_signatures_and_defaults_are_torchs(name: str) -> None:
    ours = inspect.signature(getattr(thalweg.optim, name)).parameters.values()
    theirs = inspect.signature(getattr(torch.optim, name)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in theirs
    ]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(name: str, dtype: str) -> None:
    """Both stay within a few roundings of the trajectory in double precision."""
    options = {"lr": 0.1, "eps": 1e-4} if name not in ("SGD", "ASGD", "Rprop") else {"lr": 0.1}
    exact, _ = train(torch, name, options, "float64")
    ours, optimizer = train(thalweg, name, options, dtype)
    assert all(p.dtype is getattr(thalweg, dtype) for p in ours)
    for state in optimizer.state.values():
        shaped = [v for k, v in state.items() if k not in ("step", "mu_product", "eta", "mu")]
        assert all(v.dtype is getattr(thalweg, dtype) for v in shaped)
    assert_same_params(ours, exact, 0.02 if dtype == "float16" else 0.15, name)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "NAdam", "ASGD", "Rprop"])
def test_complex_parameters_are_pairs(name: str) -> None:
    random = np.random.default_rng(3)
    value = random.standard_normal(5) + 1j * random.standard_normal(5)
    found = []
    for t in (thalweg, torch):
        param = t.nn.Parameter(t.tensor(value))
        extra = {"initial_accumulator_value": 0.3} if name == "Adagrad" else {}
        optimizer = getattr(t.optim, name)([param], lr=0.1, **extra)
        for step in range(5):
            param.grad = t.tensor(value * (step - 1.5) + 0.3)
            optimizer.step()
        found.append((param, optimizer.state_dict()))
    (ours, our_state), (theirs, their_state) = found
    assert_same_params([ours], [theirs], 1e-7, name)
    assert_same_state(our_state, their_state, 1e-6)


def test_small_decay_rates_survive_bfloat16() -> None:
    """1 - 0.999 is nothing in bfloat16, so a step computed in it would never forget."""
    param = thalweg.nn.Parameter(thalweg.ones(4, dtype=thalweg.bfloat16))
    optimizer = thalweg.optim.Adam([param], lr=0.0, betas=(0.9, 0.9))
    param.grad = thalweg.full((4,), 4.0, dtype=thalweg.bfloat16)
    optimizer.step()
    for _ in range(60):
        param.grad = thalweg.zeros(4, dtype=thalweg.bfloat16)
        optimizer.step()
    assert numbers(optimizer.state[param]["exp_avg_sq"]).max() < 0.01


def lion(param: np.ndarray, steps: int, lr: float, betas: Any, decay: float) -> np.ndarray:
    """Algorithm 2 of arXiv 2302.06675."""
    mean = np.zeros_like(param)
    for step in range(steps):
        grad = np.sin(param * (step + 1))
        move = np.sign(betas[0] * mean + (1 - betas[0]) * grad)
        param = param - lr * (move + decay * param)
        mean = betas[1] * mean + (1 - betas[1]) * grad
    return param


@pytest.mark.parametrize("maximize", [False, True])
def test_lion_follows_its_paper(maximize: bool) -> None:
    value = np.linspace(-2, 2, 9)
    param = thalweg.nn.Parameter(thalweg.tensor(value))
    optimizer = thalweg.optim.Lion(
        [param], lr=0.03, betas=(0.8, 0.95), weight_decay=0.1, maximize=maximize
    )
    for step in range(10):
        grad = thalweg.sin(param.detach() * (step + 1))
        param.grad = -grad if maximize else grad
        optimizer.step()
    expected = lion(value, 10, 0.03, (0.8, 0.95), 0.1)
    np.testing.assert_allclose(param.detach().numpy(), expected, rtol=1e-12)
    assert list(optimizer.state[param]) == ["exp_avg"]
