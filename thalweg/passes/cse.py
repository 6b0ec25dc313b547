"""Common subexpression elimination: equal applications of equal values become one.

    graph(%0: float32[4]) {
      %1 = exp(%0)
      %2 = exp(%0)
      %3 = add(%1, %2)
      return %3
    }

becomes

    graph(%0: float32[4]) {
      %1 = exp(%0)
      %2 = add(%1, %1)
      return %2
    }
"""

from __future__ import annotations

from typing import Any

from ..ir.graph import Graph
from ..ir.node import Node, Value


def eliminate_common(graph: Graph) -> Graph:
    """Every op is a pure function of its operands and attributes (random bits included: they
    depend on a key and a counter), so structural equality is semantic equality."""
    known: dict[Value, Value] = {v: v for v in graph.inputs}
    seen: dict[tuple[Any, ...], Node] = {}
    for node in graph.nodes:
        inputs = tuple(known[v] for v in node.inputs)
        if inputs != node.inputs:
            node_new = Node(node.op, inputs, node.attrs, node.types, node.location)
        else:
            node_new = node
        kept = seen.setdefault(node_new.key(), node_new)
        known.update(zip(node.outputs, kept.outputs))
    return Graph(graph.inputs, [known[v] for v in graph.outputs])
