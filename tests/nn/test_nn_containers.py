"""Containers behave like lists and dictionaries, and like PyTorch's in names and repr."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nn_parity import message, text

import thalweg
from thalweg import nn


def keys(module: Any) -> list[str]:
    return [name for name, _ in module.named_modules()]


def kinds(modules: Any) -> list[str]:
    return [type(module).__name__ for module in modules]


def sequential(t: Any) -> list[Any]:
    n = t.nn
    s = n.Sequential(n.Linear(2, 3), n.ReLU(), n.Tanh())
    log: list[Any] = [len(s), kinds(s), kinds(s[1:]), keys(s[::2]), type(s[-1]).__name__]
    s[1] = n.GELU()
    s.append(n.Sigmoid()).extend([n.ELU()])
    s.insert(1, n.Identity())
    s.insert(-1, n.Softsign())
    log += [kinds(s), keys(s)]
    log.append(type(s.pop(2)).__name__)
    del s[0]
    del s[-2:]
    log += [kinds(s), keys(s)]
    joined = s + n.Sequential(n.ReLU())
    joined += n.Sequential(n.SiLU())
    log += [kinds(joined), kinds(s * 2), kinds(2 * s)]
    s *= 2
    log += [len(s), s[0] is s[len(s) // 2], len(list(s.children()))]
    named = n.Sequential(OrderedDict(first=n.ReLU(), second=n.Tanh()))
    log += [keys(named), type(named.second).__name__, text(named), keys(named[1:])]
    return log


def module_list(t: Any) -> list[Any]:
    n = t.nn
    m = n.ModuleList(n.Linear(2, 2) for _ in range(3))
    m += [n.ReLU()]
    m.append(n.Linear(2, 2)).extend([n.Linear(2, 2)])
    m.insert(0, n.Tanh())
    log: list[Any] = [text(m), keys(m), len(m), kinds(m[1:3]), type(m[-1]).__name__]
    m[0] = n.ReLU()
    del m[1]
    del m[:2]
    log += [text(m), keys(m), kinds(m + [n.Tanh()]), type(m.pop(0)).__name__, text(n.ModuleList())]
    log.append([name for name, _ in m.named_parameters()])
    return log


def module_dict(t: Any) -> list[Any]:
    n = t.nn
    d = n.ModuleDict({"a": n.ReLU(), "b": n.Linear(1, 1)})
    d.update([("c", n.Tanh()), ("a", n.GELU())])
    d.update(n.ModuleDict({"d": n.ELU()}))
    log: list[Any] = [text(d), list(d), list(d.keys()), kinds(d.values()), "b" in d, len(d)]
    log.append([(key, type(module).__name__) for key, module in d.items()])
    log.append(type(d.pop("a")).__name__)
    del d["c"]
    d["e"] = n.SiLU()
    log += [list(d), type(d["e"]).__name__]
    d.clear()
    return [*log, len(d), text(d)]


def parameter_list(t: Any) -> list[Any]:
    n = t.nn
    p = n.ParameterList([n.Parameter(t.ones(2, 3)), t.zeros(4)])
    p += [n.Parameter(t.ones(1))]
    p.append(5)
    log: list[Any] = [text(p), len(p), [name for name, _ in p.named_parameters()]]
    log += [tuple(p[-2].shape), p[3], type(p[1]).__name__, p[1].requires_grad, len(p[1:3])]
    p[0] = n.Parameter(t.ones(7))
    return [*log, [tuple(x.shape) for x in list(p)[:3]], list(p.state_dict())]


def parameter_dict(t: Any) -> list[Any]:
    n = t.nn
    p = n.ParameterDict({"left": n.Parameter(t.ones(2, 3)), "right": t.zeros(4)})
    p.update({"note": "text"})
    p.update([("more", n.Parameter(t.ones(1)))])
    printed = text(p).replace("torch.FloatTensor", "torch.float32")
    log: list[Any] = [printed, list(p), len(p), "left" in p, p["note"], p.get("none", 3)]
    log += [[name for name, _ in p.named_parameters()], list(reversed(p))]
    log.append(sorted((p | n.ParameterDict({"z": t.ones(1)})).keys()))
    log += [tuple(p.pop("left").shape), p.popitem()[0], list(p.keys()), len(list(p.values()))]
    log += [p.setdefault("note", 1), tuple(p.setdefault("s", t.ones(2)).shape), len(p.copy())]
    log.append(sorted(p.fromkeys(["a", "b"], 1).keys()))
    del p["s"]
    p.clear()
    return [*log, len(p), list(p.state_dict())]


@pytest.mark.parametrize(
    "scenario",
    [sequential, module_list, module_dict, parameter_list, parameter_dict],
    ids=lambda scenario: scenario.__name__,
)
def test_container_gives_torchs_log(scenario: Callable[[Any], list[Any]]) -> None:
    assert scenario(thalweg) == scenario(torch)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "insert a number": lambda n: n.Sequential(n.ReLU()).insert(0, 3),
    "insert far away": lambda n: n.Sequential(n.ReLU()).insert(5, n.ReLU()),
    "add a list": lambda n: n.Sequential(n.ReLU()) + [n.ReLU()],
    "times nothing": lambda n: n.Sequential(n.ReLU()) * 0,
    "times a string": lambda n: n.Sequential(n.ReLU()) * "2",
    "append a number": lambda n: n.Sequential().append(3),
    "no such index": lambda n: n.ModuleList()[0],
    "delete no such index": lambda n: n.ModuleList([n.ReLU()]).__setitem__(3, n.ReLU()),
    "no such key": lambda n: n.ModuleDict()["x"],
    "short pair": lambda n: n.ModuleDict().update([("a",)]),
    "call a list": lambda n: n.ModuleList([n.ReLU()])(3),
    "call parameters": lambda n: n.ParameterList()(3),
    "call a parameter dict": lambda n: n.ParameterDict()(3),
    "number as list": lambda n: n.ParameterList(3),
    "taken key": lambda n: n.ModuleDict({"keys": n.ReLU()}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_raise_torchs_error_types(name: str) -> None:
    with pytest.raises(Exception) as theirs:
        MISTAKES[name](torch.nn)
    with pytest.raises(theirs.type) as ours:
        MISTAKES[name](nn)
    assert message(ours.value)


def test_sequential_runs_in_order() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Threshold(1.5, 0.0))
    assert net(thalweg.tensor([[[1.0, 2.0]]])).numpy().tolist() == [[0.0, 2.0]]
    assert nn.Sequential()(3) == 3
