"""Rebuilding a graph with some of its nodes replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir.graph import Graph
from ..ir.node import Node, Value

Replace = Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]


def rebuilt(graph: Graph, replace: Replace) -> Graph:
    """The graph in which ``replace(node, inputs)`` gives a node's results from its new operands;
    None keeps the node. Nodes that nothing reads any more are gone. Where all is kept, it is the
    same graph."""
    new: dict[Value, Value] = {}  # what replaces a value, where anything does
    for node in graph.nodes:
        inputs = node.inputs
        if new and not new.keys().isdisjoint(inputs):
            inputs = tuple([new.get(v, v) for v in inputs])
        made = replace(node, inputs)
        if made is None:
            if inputs is node.inputs:
                continue
            made = node.moved(inputs).outputs
        new.update(zip(node.outputs, made))
    if not new:
        return graph
    return Graph(graph.inputs, [new.get(v, v) for v in graph.outputs])
