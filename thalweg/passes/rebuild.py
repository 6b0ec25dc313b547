"""Rebuilding a graph with some of its nodes replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir.graph import Graph
from ..ir.node import Node, Value

Replace = Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]


def rebuilt(graph: Graph, replace: Replace) -> Graph:
    """The graph in which ``replace(node, inputs)`` gives a node's results from its new operands;
    None keeps the node. Nodes that nothing reads any more are gone."""
    new: dict[Value, Value] = {v: v for v in graph.inputs}
    for node in graph.nodes:
        inputs = tuple(new[v] for v in node.inputs)
        made = replace(node, inputs)
        if made is None:
            same = inputs == node.inputs
            kept = node if same else Node(node.op, inputs, node.attrs, node.types, node.location)
            made = kept.outputs
        new.update(zip(node.outputs, made))
    return Graph(graph.inputs, [new[v] for v in graph.outputs])
