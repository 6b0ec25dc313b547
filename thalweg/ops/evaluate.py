"""The reference evaluation of values: each op's NumPy reference, in dependency order.

This is the definition of what a graph computes. The runtime executes the same references from a
plan; tests use this direct form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..ir.graph import Graph
from ..ir.node import INPUT, Value, topological
from .contract import Array, Primitive
from .function import Composite, body_of


def evaluate(outputs: Sequence[Value], bindings: Mapping[Value, Array]) -> list[Array]:
    """Arrays of ``outputs``, given arrays of the inputs they depend on."""
    known: dict[Value, Array] = dict(bindings)
    with np.errstate(all="ignore"):
        _fill(outputs, known)
    return [known[v] for v in outputs]


def _fill(outputs: Sequence[Value], known: dict[Value, Array]) -> None:
    for node in topological(outputs, stop=lambda n: all(v in known for v in n.outputs)):
        if all(v in known for v in node.outputs):
            continue
        if node.op is INPUT:
            raise KeyError(f"no array is bound to graph input of type {node.types[0]}")
        if isinstance(node.op, Composite):
            body = body_of(node)
            _fill(body, known)
            results: Sequence[Array] = [known[v] for v in body]
        else:
            op: Primitive = node.op
            results = op.run([known[v] for v in node.inputs], node.attrs)
        for value, array in zip(node.outputs, results):
            known[value] = array


def run_graph(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """The graph's outputs on ``arrays``, one per graph input."""
    return evaluate(graph.outputs, dict(zip(graph.inputs, arrays)))
