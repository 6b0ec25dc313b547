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
    known: dict[Value, Value] = {}  # of the values that others stand for, or that were rebuilt
    seen: dict[tuple[Any, ...], Node] = {}
    for node in graph.nodes:
        new = node
        if not known.keys().isdisjoint(node.inputs):
            new = node.moved(tuple([known.get(v, v) for v in node.inputs]))
        kept = seen.setdefault(new.key(), new)
        if kept is not node:
            known.update(zip(node.outputs, kept.outputs))
    if not known:
        return graph
    return Graph(graph.inputs, [known.get(v, v) for v in graph.outputs])
