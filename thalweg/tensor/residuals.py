"""What a backward pass reads of the forward pass, found on the graph before it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..ir.node import INPUT, Node, Value, make_input, topological
from ..ops.function import Composite, body_of
from ..passes.autodiff import gradients, requires_grad


def forward_nodes(outputs: Iterable[Value]) -> set[Node]:
    """Every node the outputs stand on, those inside composite bodies included."""
    found: set[Node] = set()
    stack = [v.node for v in outputs]
    while stack:
        node = stack.pop()
        if node in found:
            continue
        found.add(node)
        stack.extend(v.node for v in node.inputs)
        if isinstance(node.op, Composite):
            stack.extend(v.node for v in body_of(node))
    return found


def grad_sources(outputs: Sequence[Value]) -> list[Value]:
    """Leaves that require gradients: graph inputs and `as_leaf` values, in graph order."""
    return [
        n.out
        for n in topological(outputs)
        if (n.op is INPUT or n.op.name == "as_leaf") and requires_grad(n.out)
    ]


def read_forward(
    results: Iterable[Value], forward: set[Node], stop: Iterable[Value] = ()
) -> list[Value]:
    """Forward values that ``results`` read directly; constants are left to be made again."""
    ends = set(stop)
    found: dict[Value, None] = {}
    seen: set[Value] = set()
    stack = list(results)
    while stack:
        value = stack.pop()
        if value in seen or value in ends:
            continue
        seen.add(value)
        if value.node in forward:
            if not is_constant(value):
                found[value] = None
            continue
        stack.extend(value.node.inputs)
        if isinstance(value.node.op, Composite):
            stack.extend(body_of(value.node))
    return list(found)


def is_constant(value: Value) -> bool:
    """Whether the value depends on no input at all."""
    return not any(n.op is INPUT for n in topological([value]))


def residual_values(
    outputs: Sequence[Value], freed: set[Value]
) -> tuple[list[Value], bool]:
    """Forward values that gradients of ``outputs`` will read, and whether a backward pass has
    already freed what they would need."""
    if not outputs:
        return [], False
    if freed and any(v in freed for v in outputs):
        return [], True
    sources = grad_sources(outputs)
    cotangents = [make_input(v.type) for v in outputs]
    grads = [g for g in gradients(outputs, cotangents, sources) if g is not None]
    return read_forward(grads, forward_nodes(outputs), cotangents), False
