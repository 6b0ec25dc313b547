"""Gradient modes, detaching, `.data`, and the rules of in-place operations."""

from __future__ import annotations

from typing import Any

import pytest
from tensor_twins import Body, fail, succeed


def leaf(t: Any, *values: float) -> Any:
    return t.tensor(values or (1.0, -2.0, 3.0), requires_grad=True)


# ---- modes, detaching, data


def modes(t: Any) -> Any:
    x, found = leaf(t), [t.is_grad_enabled()]
    with t.no_grad():
        found += [t.is_grad_enabled(), x * 2, x.sum()]
        with t.enable_grad():
            found += [t.is_grad_enabled(), x * 2]
        with t.set_grad_enabled(True):
            found.append((x * 2).requires_grad)
    with t.set_grad_enabled(False):
        found.append(x * 2)
    with t.inference_mode():
        found += [t.is_inference_mode_enabled(), (x * 2).requires_grad]
    t.set_grad_enabled(False)
    found.append((x * 2).requires_grad)
    t.set_grad_enabled(True)
    return found, t.is_grad_enabled()


def decorators(t: Any) -> Any:
    x = leaf(t)

    @t.no_grad()
    def off(y: Any) -> Any:
        return y * 2

    @t.enable_grad()
    def on(y: Any) -> Any:
        return y * 2

    @t.no_grad
    def plain(y: Any) -> Any:
        return y * 2

    @t.no_grad()
    def numbers(y: Any) -> Any:
        yield (y * 2).requires_grad
        yield t.is_grad_enabled()

    @t.inference_mode()
    def inference(y: Any) -> Any:
        return (y * 2).requires_grad

    with t.no_grad():
        inside = on(x)
    return off(x), plain(x), inside, list(numbers(x)), inference(x), t.is_grad_enabled()


def error_restores_mode(t: Any) -> Any:
    try:
        with t.no_grad():
            raise ValueError
    except ValueError:
        return t.is_grad_enabled()


def detach_shares_memory(t: Any) -> Any:
    x = leaf(t)
    y = x * 2
    d = y.detach()
    d.add_(1)
    return y, d, y._version, d._version


def detach_in_place(t: Any) -> Any:
    x = leaf(t)
    y = x * 2
    z = y * 3
    y.detach_()
    z.sum().backward()
    return y, x.grad, (y * 2).requires_grad


def requires_grad_rules(t: Any) -> Any:
    x = t.ones(3)
    y = x.requires_grad_()
    z = t.ones(2).requires_grad_(False)
    x.requires_grad = False
    w = (leaf(t) * 2).requires_grad_()
    return y is x, x, z, w


def requires_grad_on_pending(t: Any) -> Any:
    x = (t.ones(3) * 2).requires_grad_()
    (x * x).sum().backward()
    return x, x.grad


def data_is_written_freely(t: Any) -> Any:
    x = leaf(t)
    x.data.mul_(2)
    x.data[0] = 7.0
    y = x.exp()
    x.data.zero_()
    y.sum().backward()
    return x, x.grad, x.data


def data_is_replaced(t: Any) -> Any:
    x = leaf(t)
    x.data = t.tensor([4.0, 5.0])
    (x * x).sum().backward()
    return x, x.grad


def no_grad_update(t: Any) -> Any:
    x = leaf(t)
    for _ in range(3):
        (x * x).sum().backward()
        with t.no_grad():
            x -= 0.1 * x.grad
            x.grad.zero_()
    return x, x.grad, x._version


def write_through_view_gets_gradient(t: Any) -> Any:
    x, y = leaf(t), leaf(t, 5.0)
    z = x * 1
    z[1:2].mul_(y)
    z[0] = y.sum()
    (z * z.detach()).sum().backward()
    return z, x.grad, y.grad


def write_into_constant(t: Any) -> Any:
    x = leaf(t)
    z = t.zeros(2, 3)
    z[0] = x * 2
    view = z[0]
    z.mul_(3)
    return z.requires_grad, view, t.autograd.grad(view.sum(), x)


def accumulate_into_buffer(t: Any) -> Any:
    x = leaf(t)
    total = t.zeros(3)
    for i in range(3):
        total += x * i
    total.sum().backward()
    return total, x.grad


def copy_from_other_dtype(t: Any) -> Any:
    x = leaf(t)
    z = t.zeros(3, dtype=t.float64)
    z.copy_(x * 2)
    z.sum().backward()
    return z, x.grad


STATE = [
    modes, decorators, error_restores_mode, detach_shares_memory, detach_in_place,
    requires_grad_rules, requires_grad_on_pending, data_is_written_freely, data_is_replaced,
    no_grad_update, write_through_view_gets_gradient, write_into_constant, accumulate_into_buffer,
    copy_from_other_dtype,
]  # fmt: skip


@pytest.mark.parametrize("body", STATE, ids=lambda f: f.__name__)
def test_state(body: Body) -> None:
    succeed(body)


def leaf_in_place(t: Any) -> Any:
    leaf(t).add_(1)


def leaf_setitem(t: Any) -> Any:
    leaf(t)[0] = 1.0


def leaf_view_in_place(t: Any) -> Any:
    leaf(t)[1:].zero_()


def leaf_augmented(t: Any) -> Any:
    x = leaf(t)
    x += 1


def leaf_out(t: Any) -> Any:
    x = leaf(t)
    t.add(x, 1, out=t.empty(3))


def out_requires_grad(t: Any) -> Any:
    t.add(t.ones(3), 1, out=leaf(t))


def unbind_in_place(t: Any) -> Any:
    (leaf(t) * 1).unbind(0)[0].add_(1)


def detach_view_in_place(t: Any) -> Any:
    (leaf(t) * 1)[1:].detach_()


@pytest.mark.parametrize(
    "body",
    [
        leaf_in_place, leaf_setitem, leaf_view_in_place, leaf_augmented, leaf_out,
        out_requires_grad, unbind_in_place, detach_view_in_place,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_state_mistake(body: Body) -> None:
    fail(body)
