"""Hooks, custom functions, gradient modes, detaching: the Python side of autograd."""

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


# ---- custom functions


def square_of(t: Any, **extra: Any) -> Any:
    class Square(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 2 * x * g

    for name, value in extra.items():
        setattr(Square, name, staticmethod(value))
    return Square


def function_saves(t: Any) -> Any:
    x = leaf(t)
    y = square_of(t).apply(x)
    y.sum().backward()
    return x.grad, y.requires_grad, y.is_leaf


def function_inside_graph(t: Any) -> Any:
    x = leaf(t)
    y = square_of(t).apply(x.tanh()) * x
    y.sum().backward()
    return x.grad


def function_after_flush(t: Any) -> Any:
    x = leaf(t)
    y = square_of(t).apply(x.tanh()) * x
    y.tolist()
    y.sum().backward()
    return x.grad


def function_reads_values(t: Any) -> Any:
    seen = []

    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        seen.append((g.sum().item(), x.max().item()))
        return g * x if x.max() > 2 else -g

    x = leaf(t)
    (square_of(t, backward=backward).apply(x * 1) * 3).sum().backward()
    return seen, x.grad


def function_double_backward(t: Any) -> Any:
    x = leaf(t)
    (g,) = t.autograd.grad(square_of(t).apply(x).sum(), x, create_graph=True)
    return g, t.autograd.grad(g.sum(), x)


def function_double_backward_cubic(t: Any) -> Any:
    x = leaf(t)
    square = square_of(t)
    (g,) = t.autograd.grad(square.apply(square.apply(x)).sum(), x, create_graph=True)
    (h,) = t.autograd.grad(g.sum(), x, create_graph=True)
    return g, h, t.autograd.grad(h.sum(), x)


def function_of_two(t: Any) -> Any:
    class Product(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any, scale: float) -> Any:
            ctx.save_for_backward(x, y)
            ctx.scale = scale
            return x * y * scale

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, y = ctx.saved_tensors
            seen.append(ctx.needs_input_grad)
            return g * y * ctx.scale, g * x * ctx.scale, None

    seen: list[Any] = []
    x, y = leaf(t), leaf(t)
    Product.apply(x, y, 2.0).sum().backward()
    Product.apply(x, y.detach(), 2.0).sum().backward()
    return x.grad, y.grad, seen


def function_with_two_results(t: Any) -> Any:
    class Parts(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            return 2 * g + 3 * h

    x = leaf(t)
    a, b = Parts.apply(x)
    (a * a).sum().backward(retain_graph=True)
    first = x.grad.tolist()
    (a * b).sum().backward()
    return first, x.grad


def function_without_materialized_grads(t: Any) -> Any:
    seen: list[Any] = []

    class Parts(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            seen.append((g is None, h is None))
            return 2 * g

    x = leaf(t)
    a, _ = Parts.apply(x)
    a.sum().backward()
    return seen, x.grad


def function_with_setup_context(t: Any) -> Any:
    class Exp(t.autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x.exp()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return ctx.saved_tensors[0] * g

    x = leaf(t)
    Exp.apply(x).sum().backward()
    return x.grad


def function_saves_result_twice_differentiable(t: Any) -> Any:
    class Exp(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return ctx.saved_tensors[0] * g

    x = leaf(t, 0.5, -1.0)
    (g,) = t.autograd.grad(Exp.apply(x).sum(), x, create_graph=True)
    return t.autograd.grad(g.sum(), x)


def function_mark_dirty(t: Any) -> Any:
    class Double(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = leaf(t)
    y = x * 1
    z = Double.apply(y)
    (z * z).sum().backward()
    return x.grad, z is y, y._version, y


def function_mark_non_differentiable(t: Any) -> Any:
    class SortIndex(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y, sign = x * 2, (x > 0).float()
            ctx.mark_non_differentiable(sign)
            return y, sign

        @staticmethod
        def backward(ctx: Any, g: Any, unused: Any) -> Any:
            return g * 2

    x = leaf(t)
    y, sign = SortIndex.apply(x)
    y.sum().backward()
    return x.grad, sign


def function_returns_none(t: Any) -> Any:
    x = leaf(t)
    y = square_of(t, backward=lambda ctx, g: None).apply(x)
    (y + x).sum().backward()
    return x.grad


def function_under_no_grad(t: Any) -> Any:
    x = leaf(t)
    with t.no_grad():
        y = square_of(t).apply(x)
    return y


def function_of_constants(t: Any) -> Any:
    return square_of(t).apply(t.ones(3))


def function_in_grad(t: Any) -> Any:
    x = leaf(t)
    y = x * 2
    return t.autograd.grad(square_of(t).apply(y).sum(), [y, x])


def straight_through(t: Any) -> Any:
    class Round(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.round()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g

    x = leaf(t, 0.4, 1.7)
    (Round.apply(x * 3) ** 2).sum().backward()
    return x.grad


def function_twice_in_one_graph(t: Any) -> Any:
    x = leaf(t)
    square = square_of(t)
    (square.apply(x) + square.apply(x * 2)).sum().backward()
    return x.grad


FUNCTIONS = [
    function_saves, function_inside_graph, function_after_flush, function_reads_values,
    function_double_backward, function_double_backward_cubic, function_of_two,
    function_with_two_results, function_without_materialized_grads, function_with_setup_context,
    function_saves_result_twice_differentiable, function_mark_dirty,
    function_mark_non_differentiable, function_returns_none, function_under_no_grad,
    function_of_constants, function_in_grad, straight_through, function_twice_in_one_graph,
]  # fmt: skip


@pytest.mark.parametrize("body", FUNCTIONS, ids=lambda f: f.__name__)
def test_function(body: Body) -> None:
    succeed(body)


def too_many_gradients(t: Any) -> Any:
    square_of(t, backward=lambda ctx, g: (g, g)).apply(leaf(t)).sum().backward()


def gradient_of_wrong_shape(t: Any) -> Any:
    square_of(t, backward=lambda ctx, g: g[:2]).apply(leaf(t)).sum().backward()


def saved_tensor_modified(t: Any) -> Any:
    x = leaf(t) * 1
    y = square_of(t).apply(x)
    x.add_(1)
    y.sum().backward()


def saved_tensors_freed(t: Any) -> Any:
    y = square_of(t).apply(leaf(t)).sum()
    y.backward()
    y.backward()


def once_differentiable_twice(t: Any) -> Any:
    once = t.autograd.function.once_differentiable
    x = leaf(t)
    square = square_of(t, backward=once(lambda ctx, g: 2 * ctx.saved_tensors[0] * g))
    (g,) = t.autograd.grad(square.apply(x).sum(), x, create_graph=True)
    g.sum().backward()


BAD_FUNCTIONS = [
    too_many_gradients, gradient_of_wrong_shape, saved_tensor_modified, saved_tensors_freed,
    once_differentiable_twice,
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_FUNCTIONS, ids=lambda f: f.__name__)
def test_function_mistake(body: Body) -> None:
    fail(body)


def test_function_without_backward() -> None:
    def body(t: Any) -> Any:
        class Half(t.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                return x / 2

        Half.apply(leaf(t)).sum().backward()

    fail(body, NotImplementedError)


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
