"""Reverse-mode differentiation of values: each op's ``vjp`` along the paths that matter.

Reads only the graph, so gradients are ordinary values and can be differentiated again. Stops at
``stop_gradient`` nodes (their op is not differentiable) and at the values asked for.

    y = mul(x, x)            gradients([y], [dy], [x])  =>  dx = add(mul(dy, x), mul(dy, x))
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ..ir.node import INPUT, Node, Value, topological
from ..ops.control import HOOKS
from ..ops.function import Composite, body_of


def differentiable(value: Value) -> bool:
    """Whether a gradient may flow into this value at all."""
    if value.dtype.category not in ("float", "complex"):
        return False
    op = value.node.op
    flag = getattr(op, "differentiable", True)
    return flag[value.index] if isinstance(flag, tuple) else bool(flag)


def requires_grad(value: Value) -> bool:
    """Whether ``value`` depends differentiably on an input or leaf that requires gradients."""
    found = value.node.requires_grad
    if found is None:
        found = _find_requires_grad(value.node)
    return found[value.index]


def _find_requires_grad(end: Node) -> tuple[bool, ...]:
    stack = [end]
    while stack:
        node = stack[-1]
        if node.requires_grad is None:
            if node.op is INPUT or node.op.name == "as_leaf":
                node.requires_grad = (bool(node.attrs.get("requires_grad", node.op is not INPUT)),)
            else:
                reached = waits = False
                for value in node.inputs:
                    known = value.node.requires_grad
                    if known is None:
                        waits = True
                        stack.append(value.node)
                    elif known[value.index]:
                        reached = True
                if waits:
                    continue
                outputs = node.outputs
                node.requires_grad = (
                    tuple([differentiable(v) for v in outputs])
                    if reached
                    else (False,) * len(outputs)
                )
        stack.pop()
    assert end.requires_grad is not None
    return end.requires_grad


def depends_on(
    outputs: Sequence[Value], sources: Collection[Value], ends: Collection[Value]
) -> set[Value]:
    """Values on a differentiable path from ``sources`` to ``outputs`` (sources included); the
    walk does not look behind ``ends``."""
    active = set(sources)
    for node in topological(outputs, stop=lambda n: all(v in ends for v in n.outputs)):
        if node.op is not INPUT and any(v in active for v in node.inputs):
            active.update(v for v in node.outputs if differentiable(v))
    return active


def gradients(
    outputs: Sequence[Value],
    cotangents: Sequence[Value],
    wrt: Sequence[Value],
    through: Collection[Value] = (),
    on_node: Callable[[Node, Sequence[Value | None], Sequence[Value | None]], None] | None = None,
) -> list[Value | None]:
    """The gradients of ``sum(outputs * cotangents)`` with respect to each of ``wrt``.

    None where no differentiable path exists. Values of ``wrt`` are treated as independent of one
    another, except those of ``through``, behind which differentiation goes on. ``on_node(node,
    cotangents, results)`` is told of every rule applied.
    """
    ends = set(wrt).difference(through)
    total: dict[Value, Value] = {}
    for value, cotangent in zip(outputs, cotangents):
        _accumulate(total, value, cotangent)
    active = depends_on(outputs, set(wrt), ends)
    order = topological(outputs, stop=lambda n: all(v in ends for v in n.outputs))
    for node in reversed(order):
        if node.op is INPUT or not any(v in active for v in node.inputs):
            continue
        grads = [None if v in ends else total.get(v) for v in node.outputs]
        if not any(
            g is not None and v in active and differentiable(v) for v, g in zip(node.outputs, grads)
        ):
            continue
        results = [
            r if v in active else None for v, r in zip(node.inputs, node_vjp(node, grads, active))
        ]
        if on_node is not None:
            on_node(node, grads, results)
        for operand, grad in zip(node.inputs, results):
            if grad is not None and operand in active:
                _accumulate(total, operand, grad)
    return [total.get(v) for v in wrt]


def node_vjp(
    node: Node, grads: Sequence[Value | None], active: set[Value] | None = None
) -> Sequence[Value | None]:
    """Gradients for the operands of one node; a composite without a rule uses its body."""
    op = node.op
    if isinstance(op, Composite) and op.vjp is None:
        body = body_of(node)
        pairs = [(v, g) for v, g in zip(body, grads) if g is not None]
        wanted = [v for v in dict.fromkeys(node.inputs) if active is None or v in active]
        found = gradients([v for v, _ in pairs], [g for _, g in pairs], wanted)
        by_value = dict(zip(wanted, found))
        # An operand used in two places has one total; hand it over once.
        return [by_value.pop(v, None) for v in node.inputs]
    single = len(node.outputs) == 1
    return op.vjp(node, grads[0] if single else tuple(grads))  # type: ignore[no-any-return]


def _accumulate(total: dict[Value, Value], value: Value, grad: Value) -> None:
    known = total.get(value)
    total[value] = grad if known is None else known + grad


# Control flow differentiates its sub-graphs through this pass, which lies above it.
HOOKS.differentiate = gradients
