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


class Forward:
    """The forward pass behind some outputs, to tell what gradients read of it.

    ``nodes`` are all its nodes, those inside composite bodies included; ``variable`` those that
    depend on an input at all (the others are constants, which are made again instead of kept).
    """

    def __init__(self, outputs: Iterable[Value]) -> None:
        roots = list(outputs)
        self.nodes = forward_nodes(roots)
        self.variable: set[Node] = set()
        consumers: dict[Node, list[Node]] = {}
        reached: list[Node] = []
        for node in self.nodes:
            for value in (*node.inputs, *(node.body or ())):
                consumers.setdefault(value.node, []).append(node)
            if node.op is INPUT:
                reached.append(node)
        while reached:
            node = reached.pop()
            if node not in self.variable:
                self.variable.add(node)
                reached.extend(consumers.get(node, ()))

    def read(self, results: Iterable[Value], stop: Iterable[Value] = ()) -> list[Value]:
        """Values of the forward pass that ``results`` read directly, constants left out."""
        ends = set(stop)
        found: dict[Value, None] = {}
        seen: set[Value] = set()
        stack = list(results)
        while stack:
            value = stack.pop()
            if value in seen or value in ends:
                continue
            seen.add(value)
            if value.node in self.nodes:
                if value.node in self.variable:
                    found[value] = None
                continue
            stack.extend(value.node.inputs)
            if isinstance(value.node.op, Composite):
                stack.extend(body_of(value.node))
        return list(found)


def residual_values(outputs: Sequence[Value], freed: set[Value]) -> tuple[list[Value], bool]:
    """Forward values that gradients of ``outputs`` will read, and whether a backward pass has
    already freed what they would need."""
    if not outputs:
        return [], False
    if freed and any(v in freed for v in outputs):
        return [], True
    sources = grad_sources(outputs)
    cotangents = [make_input(v.type) for v in outputs]
    grads = [g for g in gradients(outputs, cotangents, sources) if g is not None]
    return Forward(outputs).read(grads, cotangents), False
