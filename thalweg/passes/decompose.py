"""Replace composites by their bodies, down to primitives, and drop gradient-control identities.

    graph(%0: float32[4]) {
      %1 = stop_gradient(%0)
      %2 = silu(%1)
      return %2
    }

becomes

    graph(%0: float32[4]) {
      %1 = sigmoid(%0)
      %2 = mul(%0, %1)
      return %2
    }
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph
from ..ir.node import INPUT, Node, Value
from ..ops.function import Composite, body_of

_TRANSPARENT = {"stop_gradient": 0, "as_leaf": 0, "replace_value": 1}


def decompose(graph: Graph) -> Graph:
    """The graph in primitives only. Bodies are shared with those that differentiation built, so
    the backward pass reuses the intermediate values of the forward pass."""
    known: dict[Value, Value] = {v: v for v in graph.inputs}
    _fill(graph.outputs, known)
    return Graph(graph.inputs, [known[v] for v in graph.outputs])


def _fill(outputs: Sequence[Value], known: dict[Value, Value]) -> None:
    """Enter into ``known`` what stands for each value behind ``outputs``."""
    # Nodes to visit; None says that what stands for the operands of the next one is known.
    stack: list[Node | None] = [v.node for v in outputs]
    pop, push = stack.pop, stack.append
    while stack:
        node = pop()
        if node is not None:
            if node.outputs[0] in known and all(v in known for v in node.outputs):
                continue
            push(node)
            push(None)
            # A composite's operands are reached through its body, so its own are not walked.
            sources = body_of(node) if isinstance(node.op, Composite) else node.inputs
            for value in sources:
                if value not in known:
                    push(value.node)
            continue
        node = pop()
        assert node is not None
        if isinstance(node.op, Composite):
            known.update(zip(node.outputs, [known[v] for v in body_of(node)]))
        elif node.op is INPUT:
            known[node.out] = node.out
        elif node.op.name in _TRANSPARENT:
            known[node.out] = known[node.inputs[_TRANSPARENT[node.op.name]]]
        else:
            inputs = tuple([known[v] for v in node.inputs])
            made = node if inputs == node.inputs else node.moved(inputs)
            for old, new in zip(node.outputs, made.outputs):
                known[old] = new
