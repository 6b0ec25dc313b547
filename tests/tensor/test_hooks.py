"""Hooks on gradients: what they see, change, and when they run."""

from __future__ import annotations

from typing import Any

import pytest
from tensor_twins import Body, fail, succeed


def leaf(t: Any, *values: float) -> Any:
    return t.tensor(values or (1.0, -2.0, 3.0), requires_grad=True)


# ---- hooks


def hook_sees_gradient(t: Any) -> Any:
    x, seen = leaf(t), []
    y = x * 2
    y.register_hook(seen.append)
    (y * y).sum().backward()
    return seen, x.grad


def hook_changes_gradient(t: Any) -> Any:
    x = leaf(t)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    return x.grad


def hooks_in_order(t: Any) -> Any:
    x, order = leaf(t), []
    y = x * 2
    y.register_hook(lambda g: order.append("first") or g + 1)
    y.register_hook(lambda g: order.append(g.tolist()) or g * 3)
    y.sum().backward()
    return order, x.grad


def removed_hook(t: Any) -> Any:
    x, seen = leaf(t), []
    y = x * 2
    y.register_hook(seen.append).remove()
    kept = y.register_hook(lambda g: g * 5)
    y.sum().backward(retain_graph=True)
    kept.remove()
    y.sum().backward()
    return seen, x.grad


def leaf_hook(t: Any) -> Any:
    x, seen = leaf(t), []
    x.register_hook(lambda g: seen.append(g) or g * 2)
    (x * x + x).sum().backward()
    return seen, x.grad


def leaf_hook_with_grad(t: Any) -> Any:
    x = leaf(t)
    x.register_hook(lambda g: g * 2)
    return t.autograd.grad((x * x).sum(), x)


def hook_called_once_for_sums(t: Any) -> Any:
    x, calls = leaf(t), []
    y = x * 2
    y.register_hook(calls.append)
    (y + y * y + y.sum()).sum().backward()
    return calls, x.grad


def hook_reads_values(t: Any) -> Any:
    x, seen = leaf(t), []
    y = x.exp()
    y.register_hook(lambda g: seen.append(g.sum().item()) or (g * 2 if g.sum() > 0 else None))
    (y * y).sum().backward()
    return seen, x.grad


def hooks_from_last_to_first(t: Any) -> Any:
    x, order = leaf(t), []
    a = x * 2
    b = a.tanh()
    c = b * a
    for name, tensor in (("a", a), ("b", b), ("c", c)):
        tensor.register_hook(lambda g, name=name: order.append(name))
    c.sum().backward()
    return order, x.grad


def hook_and_retain_grad(t: Any) -> Any:
    x = leaf(t)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    y.retain_grad()
    y.sum().backward()
    return y.grad, x.grad


def hook_after_flush(t: Any) -> Any:
    x, seen = leaf(t), []
    y = x.exp()
    z = y * y
    z.tolist()
    y.register_hook(lambda g: seen.append(g) or g * 2)
    z.sum().backward()
    return seen, x.grad


def hook_then_flush(t: Any) -> Any:
    x, seen = leaf(t), []
    y = x.exp()
    y.register_hook(lambda g: seen.append(g) or g * 2)
    z = y * y
    z.tolist()
    z.sum().backward()
    return seen, x.grad


def hook_on_other_branch(t: Any) -> Any:
    x, seen = leaf(t), []
    unused = x * 5
    unused.register_hook(seen.append)
    (x * 2).sum().backward()
    return len(seen), x.grad


def hook_with_create_graph(t: Any) -> Any:
    x = leaf(t)
    y = x**2
    y.register_hook(lambda g: g * x)
    (g,) = t.autograd.grad((y * y).sum(), x, create_graph=True)
    return g, t.autograd.grad(g.sum(), x)


def post_accumulate_hook(t: Any) -> Any:
    x, seen = leaf(t), []

    def hook(p: Any) -> None:
        seen.append(p.grad.tolist())
        p.grad = None

    handle = x.register_post_accumulate_grad_hook(hook)
    (x * x).sum().backward()
    first = x.grad
    handle.remove()
    (x * x).sum().backward()
    return seen, first, x.grad


def optimizer_in_hook(t: Any) -> Any:
    x = leaf(t)

    def step(p: Any) -> None:
        with t.no_grad():
            p -= 0.1 * p.grad
        p.grad = None

    x.register_post_accumulate_grad_hook(step)
    for _ in range(3):
        (x * x).sum().backward()
    return x.detach(), x.grad


HOOKS = [
    hook_sees_gradient, hook_changes_gradient, hooks_in_order, removed_hook, leaf_hook,
    leaf_hook_with_grad, hook_called_once_for_sums, hook_reads_values, hooks_from_last_to_first,
    hook_and_retain_grad, hook_after_flush, hook_then_flush, hook_on_other_branch,
    hook_with_create_graph, post_accumulate_hook, optimizer_in_hook,
]  # fmt: skip


@pytest.mark.parametrize("body", HOOKS, ids=lambda f: f.__name__)
def test_hook(body: Body) -> None:
    succeed(body)


def hook_without_grad(t: Any) -> Any:
    t.ones(3).register_hook(lambda g: None)


def post_hook_on_non_leaf(t: Any) -> Any:
    (leaf(t) * 2).register_post_accumulate_grad_hook(lambda p: None)


def hook_changes_shape(t: Any) -> Any:
    y = leaf(t) * 2
    y.register_hook(lambda g: g[:1])
    y.sum().backward()


@pytest.mark.parametrize("body", [hook_without_grad, post_hook_on_non_leaf, hook_changes_shape])
def test_hook_mistake(body: Body) -> None:
    fail(body)


def test_error_in_a_hook_reaches_the_caller() -> None:
    def body(t: Any) -> Any:
        y = leaf(t) * 2
        y.register_hook(lambda g: 1 / 0)
        y.sum().backward()

    fail(body, ZeroDivisionError)
