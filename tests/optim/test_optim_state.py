"""State dicts are PyTorch's: each framework continues what the other began."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from optim_parity import (
    assert_same_params,
    assert_same_state,
    converted,
    numbers,
    parameters,
    set_gradients,
    start,
)

import thalweg

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("NAdam", {"lr": 0.1}),
    ("RAdam", {"lr": 0.1}),
    ("Adamax", {"lr": 0.1}),
    ("Adadelta", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "t0": 3}),
    ("Rprop", {"lr": 0.1}),
]


def trained(t: Any, name: str, options: dict[str, Any], steps: int = 4) -> Any:
    """Parameters in two groups, the third without gradients, after some steps."""
    params = parameters(t, start())
    groups = [{"params": params[1:]}, {"params": params[:1], "lr": 0.02, "weight_decay": 0.01}]
    if name == "Rprop":
        del groups[1]["weight_decay"]
    optimizer = getattr(t.optim, name)(groups, **options)
    go_on(t, params, optimizer, range(steps))
    return params, optimizer


def go_on(t: Any, params: list[Any], optimizer: Any, steps: range) -> None:
    for step in steps:
        set_gradients(t, [params[0], params[1], params[3]], step)
        optimizer.step()


def moved(params: list[Any], t: Any) -> list[Any]:
    return [t.nn.Parameter(converted(p, t)) for p in params]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
@pytest.mark.parametrize("direction", ["from torch", "to torch"])
def test_the_other_framework_continues(name: str, options: Any, direction: str) -> None:
    here, there = (torch, thalweg) if direction == "from torch" else (thalweg, torch)
    params, optimizer = trained(here, name, options)
    state = converted(optimizer.state_dict(), there)
    others, other = trained(there, name, options, steps=0)
    with there.no_grad():
        for param, value in zip(others, moved(params, there)):
            param.copy_(value)
    other.load_state_dict(state)
    go_on(here, params, optimizer, range(4, 9))
    go_on(there, others, other, range(4, 9))
    ours, theirs = (others, params) if there is thalweg else (params, others)
    assert_same_params(ours, theirs, 1e-5, name)
    first, second = (other, optimizer) if there is thalweg else (optimizer, other)
    assert_same_state(first.state_dict(), second.state_dict(), 1e-5)


@pytest.fixture
def compiled() -> Iterator[None]:
    """Every graph is compiled at once, so that bits do not depend on how often something ran."""
    thalweg.use_deterministic_algorithms(True)
    yield
    thalweg.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
@pytest.mark.parametrize("how", ["state_dict", "deepcopy", "pickle"])
def test_copies_continue_on_their_own(name: str, options: Any, how: str, compiled: None) -> None:
    params, optimizer = trained(thalweg, name, options)
    if how == "state_dict":
        others, other = trained(thalweg, name, options, steps=2)
        with thalweg.no_grad():
            for target, source in zip(others, params):
                target.copy_(source)
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    elif how == "deepcopy":
        others, other = copy.deepcopy((params, optimizer))
    else:
        others, other = pickle.loads(pickle.dumps((params, optimizer)))
    before = [numbers(p) for p in params]
    go_on(thalweg, others, other, range(4, 9))
    for param, value in zip(params, before):
        assert np.array_equal(numbers(param), value), "the copy must not write to the original"
    go_on(thalweg, params, optimizer, range(4, 9))
    for one, two in zip(params, others):
        assert np.array_equal(numbers(one), numbers(two))
    assert repr(optimizer) == repr(other)


def test_loading_does_not_share_tensors() -> None:
    _, optimizer = trained(thalweg, "Adam", {"lr": thalweg.tensor(0.1)})
    state = optimizer.state_dict()
    kept = numbers(state["state"][0]["exp_avg"]).copy()
    others, other = trained(thalweg, "Adam", {"lr": 0.3}, steps=0)
    other.load_state_dict(state)
    go_on(thalweg, others, other, range(2))
    other.param_groups[0]["lr"].fill_(7.0)
    assert np.array_equal(numbers(state["state"][0]["exp_avg"]), kept)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)


def test_foreign_tensors_and_dtypes_are_taken() -> None:
    """PyTorch's tensors load as they are; floating state takes the parameter's dtype."""
    _, theirs = trained(torch, "Adam", {"lr": 0.1})
    for dtype in ("float32", "float64", "bfloat16"):
        params = parameters(thalweg, start(), dtype)
        ours = thalweg.optim.Adam([{"params": params[1:]}, {"params": params[:1]}])
        ours.load_state_dict(theirs.state_dict())
        entry = ours.state[params[0]]
        assert entry["exp_avg"].dtype is getattr(thalweg, dtype)
        assert entry["step"].dtype is thalweg.float32
        assert entry["step"].item() == 4


def test_groups_that_do_not_fit_change_nothing() -> None:
    for t in (thalweg, torch):
        params, optimizer = trained(t, "Adam", {"lr": 0.1})
        state = copy.deepcopy(optimizer.state_dict())
        single = t.optim.Adam(parameters(t, start()))
        with pytest.raises(ValueError, match="different number of parameter groups"):
            single.load_state_dict(state)
        state["param_groups"][0]["params"].append(9)
        before = copy.deepcopy(optimizer.state_dict())
        with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
            optimizer.load_state_dict(state)
        assert str(optimizer.state_dict()) == str(before)
        go_on(t, params, optimizer, range(1))


def test_options_missing_from_an_old_checkpoint_take_the_defaults() -> None:
    params, optimizer = trained(thalweg, "Adam", {"lr": 0.1})
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        del group["amsgrad"], group["decoupled_weight_decay"]
    optimizer.load_state_dict(state)
    go_on(thalweg, params, optimizer, range(1))
    assert [g["amsgrad"] for g in optimizer.param_groups] == [False, False]


def test_state_hooks() -> None:
    logs = []
    for t in (thalweg, torch):
        _, optimizer = trained(t, "Adam", {"lr": 0.1}, steps=1)
        log: list[str] = []

        def say(word: str, result: Any = None, log: list[str] = log) -> Any:
            def hook(*args: Any) -> Any:
                log.append(f"{word} {len(args)}")
                return result(args[1]) if result else None

            return hook

        def scaled(state: dict[str, Any]) -> dict[str, Any]:
            groups = [{**g, "lr": g["lr"] * 2} for g in state["param_groups"]]
            return {**state, "param_groups": groups}

        optimizer.register_state_dict_pre_hook(say("saving"))
        optimizer.register_state_dict_pre_hook(say("first"), prepend=True)
        optimizer.register_state_dict_post_hook(say("saved", scaled))
        optimizer.register_load_state_dict_pre_hook(say("loading", scaled))
        removed = optimizer.register_load_state_dict_post_hook(say("never"))
        optimizer.register_load_state_dict_post_hook(say("loaded"))
        removed.remove()
        optimizer.load_state_dict(optimizer.state_dict())
        log.append(str([g["lr"] for g in optimizer.param_groups]))
        logs.append(log)
    assert logs[0] == logs[1]


def test_clearing_the_state_starts_over() -> None:
    found = []
    for t in (thalweg, torch):
        params, optimizer = trained(t, "Adam", {"lr": 0.1})
        optimizer.state.clear()
        go_on(t, params, optimizer, range(3))
        found.append((params, optimizer.state_dict()))
    assert_same_params(found[0][0], found[1][0], 1e-5, "Adam")
    assert_same_state(found[0][1], found[1][1], 1e-5)
