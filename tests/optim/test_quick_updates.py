"""Optimizer steps that machine code records: the same values, and the long way where it must be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import thalweg
from thalweg.optim import SGD, Adam
from thalweg.tensor import hits, region
from thalweg.tensor.flush import restart

_columns = itertools.count(4)


@pytest.fixture(autouse=True)
def native():
    assert hits.install() == hits.supported()
    restart()
    yield
    hits.remove()


@pytest.fixture
def long_way(monkeypatch):
    """Updates that Python recorded, as the items of the list."""
    seen = []
    run = region.transition
    monkeypatch.setattr(region, "transition", lambda *a: (seen.append(a[2]), run(*a))[1])
    return seen


def parameters(count=3):
    shape = (2, next(_columns))
    return [thalweg.nn.Parameter(thalweg.full(shape, float(i + 1))) for i in range(count)]


def train(optimizer, steps, held=None):
    """Every gradient is the parameter itself."""
    for _ in range(steps):
        optimizer.zero_grad()
        params = optimizer.param_groups[0]["params"]
        sum((p * p).sum() for p in params).mul(0.5).backward()
        optimizer.step()
        if held is not None:
            held.append([p.detach().clone() for p in params])


def first(param):
    values = {float(v) for v in np.asarray(param.detach().clone().tolist()).ravel()}
    assert len(values) == 1
    return values.pop()


def momentum(value, steps, lr, decay):
    speed = 0.0
    for step in range(steps):
        speed = speed * decay + value if step else value
        value -= lr * speed
    return value


def test_steps_that_were_seen_are_recorded_by_machine_code(long_way):
    params = parameters()
    train(SGD(params, lr=0.125, momentum=0.5), 20)
    assert 1 <= len(long_way) <= 4
    for i, param in enumerate(params):
        assert first(param) == pytest.approx(momentum(i + 1.0, 20, 0.125, 0.5), rel=1e-5)


def test_old_values_stay_what_they_were():
    params = parameters(1)
    held = []
    train(SGD(params, lr=0.5), 12, held)
    assert [first(h[0]) for h in held] == [0.5**i for i in range(1, 13)]


def test_changing_numbers_are_no_new_paths(long_way):
    params = parameters()
    optimizer = SGD(params, lr=0.5)
    train(optimizer, 5)
    before = len(long_way)
    value = first(params[0])
    for lr in (0.25, 0.0, -0.0, 0.5, 0.25):
        optimizer.param_groups[0]["lr"] = abs(lr)
        train(optimizer, 2)
        value *= (1 - lr) ** 2
    assert len(long_way) == before
    assert first(params[0]) == pytest.approx(value)


def test_groups_have_numbers_of_their_own(long_way):
    a, b = parameters(1), parameters(1)
    optimizer = SGD([{"params": a, "lr": 0.5}, {"params": b, "lr": 0.25}])
    for lr in (0.5, 0.25, 0.125, 0.5):
        optimizer.param_groups[0]["lr"] = lr
        for _ in range(3):
            optimizer.zero_grad()
            (a[0].sum() + b[0].sum()).backward()
            optimizer.step()
    assert first(a[0]) == 1 - 3 * (0.5 + 0.25 + 0.125 + 0.5)
    assert first(b[0]) == 1 - 12 * 0.25
    assert len(long_way) <= 4


def test_views_and_arrays_see_the_writes():
    array = np.ones((2, 3), np.float32)
    shared = thalweg.from_numpy(array).requires_grad_()
    plain = thalweg.nn.Parameter(thalweg.ones(2, 3))
    row = plain.detach()[0]
    optimizer = SGD([shared, plain], lr=0.5)
    for i in range(1, 8):
        optimizer.zero_grad()
        ((shared * shared).sum() + (plain * plain).sum()).mul(0.5).backward()
        optimizer.step()
        assert shared.tolist() == [[0.5**i] * 3] * 2
        assert row.tolist() == [0.5**i] * 3
    assert array.tolist() == [[0.5**7] * 3] * 2


def test_values_needed_by_a_backward_pass_were_modified():
    params = parameters(1)
    optimizer = SGD(params, lr=0.5)
    train(optimizer, 6)
    loss = (params[0] * params[0]).sum()
    optimizer.zero_grad()
    params[0].sum().backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_parameter_without_gradient_is_left_alone():
    params = parameters(2)
    optimizer = Adam(params, lr=0.1)
    train(optimizer, 5)
    values = [first(p) for p in params]
    optimizer.zero_grad()
    (params[0] * 2).sum().backward()
    optimizer.step()
    assert first(params[0]) < values[0] and first(params[1]) == values[1]
    train(optimizer, 3)
    assert int(optimizer.state[params[0]]["step"]) == 9
    assert int(optimizer.state[params[1]]["step"]) == 8


def test_state_that_was_replaced_is_used():
    params = parameters(1)
    optimizer = SGD(params, lr=0.5, momentum=0.5)
    train(optimizer, 6)
    value = first(params[0])
    state = optimizer.state[params[0]]
    state["momentum_buffer"] = thalweg.zeros_like(state["momentum_buffer"])
    train(optimizer, 1)
    assert first(params[0]) == pytest.approx(value - 0.5 * value)
