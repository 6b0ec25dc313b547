"""`autograd.Function`: custom gradients in the graph, and mistakes in them."""

from __future__ import annotations

from typing import Any

import pytest
from tensor_twins import Body, fail, succeed


def leaf(t: Any, *values: float) -> Any:
    return t.tensor(values or (1.0, -2.0, 3.0), requires_grad=True)


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
