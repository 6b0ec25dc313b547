"""What a backward pass reads of the forward pass, found on the graph before it is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ..ir.graph import substitute
from ..ir.node import INPUT, Node, Value, make_input, topological
from ..ops.function import Composite, body_of
from ..ops.movement import View
from ..passes.autodiff import gradients, requires_grad


def forward_nodes(outputs: Iterable[Value]) -> list[Node]:
    """Every node the outputs stand on, those inside composite bodies included, each after the
    nodes it is made of."""
    order: list[Node] = []
    done: set[Node] = set()
    stack: list[Any] = [v.node for v in outputs]  # None: the next one's operands are in place
    pop, push = stack.pop, stack.append
    while stack:
        node = pop()
        if node is None:
            order.append(pop())
        elif node not in done:
            done.add(node)
            push(node)
            push(None)
            for value in node.inputs:
                if value.node not in done:
                    push(value.node)
            if isinstance(node.op, Composite):
                for value in body_of(node):
                    if value.node not in done:
                        push(value.node)
    return order


def grad_sources(outputs: Sequence[Value]) -> list[Value]:
    """Leaves that require gradients: graph inputs and `as_leaf` values, in graph order."""
    return [
        n.out
        for n in topological(outputs)
        if (n.op is INPUT or n.op.name == "as_leaf") and requires_grad(n.out)
    ]


class Forward:
    """The forward pass behind some outputs, to tell what gradients read of it.

    ``nodes`` are all its nodes, those inside composite bodies included; ``cheap`` those that are
    made again rather than kept: tensors full of one number, index ramps, and views of them.
    """

    def __init__(self, outputs: Iterable[Value]) -> None:
        self.order = forward_nodes(outputs)
        self.nodes = set(self.order)
        self._known: dict[tuple[Any, ...], Node] | None = None
        self._first: dict[Value, Value] = {}

    def cheap(self, value: Value) -> bool:
        """Whether the value is a constant that costs nothing to make again."""
        node = value.node
        while node.inputs and isinstance(node.op, View) and len(node.inputs) == 1:
            node = node.inputs[0].node
        return not node.inputs and node.op is not INPUT

    def merge(self, results: Sequence[Value]) -> tuple[Value, ...]:
        """``results`` with every expression that the forward pass has computed already replaced
        by its value there, as common subexpression elimination would within one program."""
        known = self._number()

        def rebuild(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
            if node in self.nodes or node.op is INPUT:
                return [self.first(v) for v in node.outputs]
            if isinstance(node.op, Composite):
                body = self.merge(node.op.expand(inputs, node.attrs))
                if any(v.node in self.nodes for v in body):
                    return body
            made = node if inputs == node.inputs else Node(
                node.op, inputs, node.attrs, node.types, node.location
            )  # fmt: skip
            found = known.get(made.key())
            return made.outputs if found is None else [self.first(v) for v in found.outputs]

        return substitute(results, {}, rebuild)

    def first(self, value: Value) -> Value:
        """The first forward value that is computed as ``value`` is."""
        value = canonical(value)
        return self._first.get(value, value)

    def _number(self) -> dict[tuple[Any, ...], Node]:
        """Value numbering of the forward pass: the first node of each computation."""
        if self._known is None:
            self._known = {}
            for node in self.order:
                if node.op is INPUT or isinstance(node.op, Composite):
                    continue
                inputs = tuple(map(self.first, node.inputs))
                key = Node(node.op, inputs, node.attrs, node.types).key()
                kept = self._known.setdefault(key, node)
                self._first.update(zip(node.outputs, kept.outputs))
        return self._known

    def read(self, results: Iterable[Value], stop: Iterable[Value] = ()) -> list[Value]:
        """Values of the forward pass that ``results`` read directly, except cheap ones."""
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
                if not self.cheap(value):
                    found[value] = None
                continue
            stack.extend(value.node.inputs)
            if isinstance(value.node.op, Composite):
                stack.extend(body_of(value.node))
        return list(found)


def canonical(value: Value) -> Value:
    """The value itself, or what stands for it in the body of the composite that made it."""
    while isinstance(value.node.op, Composite):
        value = body_of(value.node)[value.index]
    return value


def visits_freed(root: Value, freed: Collection[Value]) -> bool:
    """Whether gradients of ``root`` would pass a result whose saved values were freed."""
    if not freed:
        return False
    seen: set[Node] = set()
    stack = [root]
    while stack:
        value = stack.pop()
        if value.node in seen or not requires_grad(value):
            continue
        seen.add(value.node)
        if any(v in freed for v in value.node.outputs):
            return True
        stack.extend(value.node.inputs)
    return False


def residual_values(
    outputs: Sequence[Value], freed: Collection[Value], forward: Forward
) -> tuple[list[Value], frozenset[Value]]:
    """Forward values that gradients of ``outputs`` will read, and the results whose gradients read
    any. Outputs that a backward pass has already been through need nothing more."""
    roots = [v for v in outputs if not visits_freed(v, freed)]
    if not roots:
        return [], frozenset()
    saved: set[Value] = set()

    def note(node: Node, grads: Sequence[Value | None], results: Sequence[Value | None]) -> None:
        present = [r for r in results if r is not None]
        if forward.read(present, [g for g in grads if g is not None]):
            saved.update(node.outputs)

    cotangents = [make_input(v.type) for v in roots]
    found = gradients(roots, cotangents, grad_sources(roots), on_node=note)
    grads = [g for g in found if g is not None]
    return forward.read(forward.merge(grads), cotangents), frozenset(saved)
