"""Hooks run in PyTorch's order with PyTorch's arguments, and cost nothing when there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nn_parity import message

import thalweg
from thalweg import nn
from thalweg.nn import hooks


def shape_of(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [shape_of(part) for part in value]
    return tuple(value.shape) if hasattr(value, "shape") else value


def numbers(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [numbers(part) for part in value]
    return None if value is None else np.round(value.detach().numpy(), 4).tolist()


def model(package: Any) -> Any:
    layers = package.nn.Sequential(package.nn.Linear(2, 3), package.nn.Tanh())
    with package.no_grad():
        layers[0].weight.copy_(package.tensor([[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]]))
        layers[0].bias.fill_(0.1)
    return layers


def forward_order(t: Any) -> list[Any]:
    log: list[Any] = []

    def pre(tag: str) -> Callable[..., None]:
        return lambda module, args: log.append((tag, shape_of(args)))

    def post(tag: str) -> Callable[..., None]:
        return lambda module, args, out: log.append((tag, shape_of(args), shape_of(out)))

    net = model(t)
    net[0].register_forward_hook(post("b"))
    net[0].register_forward_hook(post("a"), prepend=True)
    net[0].register_forward_pre_hook(pre("pre b"))
    net[0].register_forward_pre_hook(pre("pre a"), prepend=True)
    net.register_forward_hook(post("outer"))
    net(t.ones(4, 2))
    return log


def forward_changes(t: Any) -> Any:
    net = model(t)
    net[0].register_forward_pre_hook(lambda module, args: args[0] * 2)
    net[0].register_forward_hook(lambda module, args, out: out + args[0].sum())
    handle = net.register_forward_hook(lambda module, args, out: (out, 1))
    first = net(t.ones(1, 2))
    handle.remove()
    handle.remove()
    return [numbers(first[0]), first[1], numbers(net(t.ones(1, 2)))]


def keyword_hooks(t: Any) -> list[Any]:
    log: list[Any] = []

    class Scaled(t.nn.Module):
        def forward(self, x: Any, *, by: float = 1.0) -> Any:
            return x * by

    net = Scaled()
    net.register_forward_pre_hook(
        lambda module, args, kwargs: (args, {"by": kwargs["by"] + 1}), with_kwargs=True
    )
    net.register_forward_hook(
        lambda module, args, kwargs, out: log.append((shape_of(args), dict(kwargs), numbers(out))),
        with_kwargs=True,
    )
    log.append(numbers(net(t.ones(2), by=3.0)))
    return log


def backward_order(t: Any) -> list[Any]:
    log: list[Any] = []
    net = model(t)
    for tag, module in (("net", net), ("linear", net[0]), ("tanh", net[1])):
        module.register_full_backward_pre_hook(
            lambda module, grad_output, tag=tag: log.append((tag, "pre", numbers(grad_output)))
        )
        module.register_full_backward_hook(
            lambda module, grad_input, grad_output, tag=tag: log.append(
                (tag, numbers(grad_input), numbers(grad_output))
            )
        )
    x = t.ones(1, 2).requires_grad_()
    net(x).sum().backward()
    return [log, numbers(x.grad), numbers(net[0].weight.grad)]


def backward_without_input_gradient(t: Any) -> list[Any]:
    log: list[Any] = []
    net = model(t)
    net[0].register_full_backward_hook(
        lambda module, grad_input, grad_output: log.append(
            (numbers(grad_input), numbers(grad_output))
        )
    )
    net(t.ones(1, 2)).sum().backward()
    return [log, numbers(net[0].weight.grad)]


def backward_changes(t: Any) -> Any:
    net = model(t)
    net[1].register_full_backward_hook(lambda module, grad_input, grad_output: (grad_input[0] * 3,))
    net.register_full_backward_pre_hook(lambda module, grad_output: (grad_output[0] * 2,))
    x = t.ones(1, 2).requires_grad_()
    net(x).sum().backward()
    return [numbers(x.grad), numbers(net[0].weight.grad)]


def backward_with_several_inputs(t: Any) -> Any:
    log: list[Any] = []

    class Mix(t.nn.Module):
        def forward(self, x: Any, number: int, y: Any) -> Any:
            return x * number, "text", (x * y).sum()

    net = Mix()
    net.register_full_backward_hook(
        lambda module, grad_input, grad_output: log.append(
            (numbers(grad_input), numbers(grad_output))
        )
    )
    x, y = t.ones(2).requires_grad_(), t.ones(2) * 2
    out = net(x, 3, y)
    (out[0].sum() + out[2]).backward()
    return [log, numbers(x.grad)]


def backward_twice(t: Any) -> Any:
    """One module called twice in a graph: each call has its own pair of gradients."""
    log: list[Any] = []
    layer = model(t)[0]
    layer.register_full_backward_hook(lambda m, gi, go: log.append((numbers(gi), numbers(go))))
    x = t.ones(1, 2).requires_grad_()
    out = layer(layer(x)[:, :2])
    out.sum().backward()
    return [log, numbers(x.grad)]


SCENARIOS = [
    forward_order,
    forward_changes,
    keyword_hooks,
    backward_order,
    backward_without_input_gradient,
    backward_changes,
    backward_with_several_inputs,
    backward_twice,
]


# PyTorch warns where no input needs a gradient; the hook runs in both.
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_scenario_gives_torchs_log(scenario: Callable[[Any], Any]) -> None:
    assert scenario(thalweg) == scenario(torch)


def wrong_pre_hook(t: Any) -> None:
    net = model(t)
    net.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True)
    net(t.ones(1, 2))


def wrong_grad_count(t: Any) -> None:
    net = model(t)
    net.register_full_backward_hook(lambda module, grad_input, grad_output: (None, None))
    net(t.ones(1, 2).requires_grad_()).sum().backward()


@pytest.mark.parametrize("mistake", [wrong_pre_hook, wrong_grad_count])
def test_wrong_hooks_raise_torchs_errors(mistake: Callable[[Any], None]) -> None:
    with pytest.raises(RuntimeError) as theirs:
        mistake(torch)
    with pytest.raises(RuntimeError) as ours:
        mistake(thalweg)
    assert message(theirs.value).split(", got")[0] in message(ours.value)


@pytest.mark.parametrize("package", [thalweg, torch], ids=["thalweg", "torch"])
def test_always_called_hooks_see_a_failed_forward(package: Any) -> None:
    log: list[Any] = []

    class Fails(package.nn.Module):
        def forward(self, x: Any) -> Any:
            raise ArithmeticError("no")

    net = Fails()
    net.register_forward_hook(lambda m, args, out: log.append("ordinary"))
    net.register_forward_hook(lambda m, args, out: log.append(out), always_call=True)
    with pytest.raises(ArithmeticError, match="no"):
        net(package.ones(1))
    assert log == [None]


def test_handles_work_as_context_and_survive_their_module() -> None:
    log: list[int] = []
    net = model(thalweg)
    with net.register_forward_hook(lambda m, args, out: log.append(1)) as handle:
        net(thalweg.ones((1, 2)))
    net(thalweg.ones((1, 2)))
    assert log == [1]
    del net
    handle.remove()


def test_a_hook_may_remove_itself() -> None:
    log: list[int] = []
    net = model(thalweg)

    def once(module: Any, args: Any, out: Any) -> None:
        log.append(1)
        handle.remove()

    handle = net.register_forward_hook(once)
    net(thalweg.ones((1, 2)))
    net(thalweg.ones((1, 2)))
    assert log == [1]


def test_clearing_the_table_by_hand_removes_the_hooks() -> None:
    net = model(thalweg)
    net.register_forward_hook(lambda m, args, out: 1 / 0)
    net._forward_hooks.clear()
    assert tuple(net(thalweg.ones((1, 2))).shape) == (1, 3)
    assert "_hooked" not in net.__dict__


def test_a_call_without_hooks_goes_straight_to_forward() -> None:
    net = model(thalweg)
    assert not net._hooked
    handle = net.register_forward_hook(lambda m, args, out: None)
    assert net._hooked and not net[0]._hooked
    handle.remove()
    net(thalweg.ones((1, 2)))
    assert not net._hooked


def test_global_hooks_see_every_module_and_go_away() -> None:
    log: list[str] = []

    def name(module: Any, *rest: Any) -> None:
        log.append(type(module).__name__)

    net = model(thalweg)
    handles = [
        hooks.register_module_forward_pre_hook(name),
        hooks.register_module_forward_hook(name),
        hooks.register_module_full_backward_hook(name),
    ]
    try:
        net(thalweg.ones((1, 2)).requires_grad_()).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    forward = ["Sequential", "Linear", "Linear", "Tanh", "Tanh", "Sequential"]
    assert log[:6] == forward
    assert sorted(log[6:]) == ["Linear", "Sequential", "Tanh"]
    net(thalweg.ones((1, 2)))
    assert len(log) == 9
    assert not nn.Module._hooked


def test_the_older_name_of_backward_hooks():
    seen = []
    layer = thalweg.nn.Linear(2, 3)
    layer.register_backward_hook(lambda module, given, got: seen.append((given, got)))
    layer(thalweg.ones(1, 2, requires_grad=True)).sum().backward()
    ((given, got),) = seen
    assert given[0].shape == (1, 2) and got[0].tolist() == [[1, 1, 1]]
