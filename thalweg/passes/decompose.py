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
from ..ir.node import INPUT, Node, Value, topological
from ..ops.function import Composite, body_of

_TRANSPARENT = {"stop_gradient": 0, "as_leaf": 0, "replace_value": 1}


def decompose(graph: Graph) -> Graph:
    """The graph in primitives only. Bodies are shared with those that differentiation built, so
    the backward pass reuses the intermediate values of the forward pass."""
    known: dict[Value, Value] = {v: v for v in graph.inputs}
    _fill(graph.outputs, known)
    return Graph(graph.inputs, [known[v] for v in graph.outputs])


def _fill(outputs: Sequence[Value], known: dict[Value, Value]) -> None:
    # A composite's operands are reached through its body, so its own inputs are not walked.
    order = topological(
        outputs,
        stop=lambda n: isinstance(n.op, Composite) or all(v in known for v in n.outputs),
    )
    for node in order:
        if all(v in known for v in node.outputs):
            continue
        if node.op is INPUT:
            known[node.out] = node.out
        elif isinstance(node.op, Composite):
            body = body_of(node)
            _fill(body, known)
            for old, new in zip(node.outputs, body):
                known[old] = known[new]
        elif node.op.name in _TRANSPARENT:
            known[node.out] = known[node.inputs[_TRANSPARENT[node.op.name]]]
        else:
            inputs = tuple(known[v] for v in node.inputs)
            same = inputs == node.inputs
            new_node = node if same else Node(
                node.op, inputs, node.attrs, node.types, node.location
            )  # fmt: skip
            for old, value in zip(node.outputs, new_node.outputs):
                known[old] = value
