"""Vectorization: a computation on one example becomes one on a stack of examples (`vmap`).

Each op's ``batch`` rule is applied along the paths from the stacked inputs, whose extra dimension
always leads. What does not depend on them is computed once, as before.

    y = dot(x, w, "k,kn->n")     x stacked, w shared    =>    y = dot(x, w, "ak,kn->an")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ir.graph import Graph
from ..ir.node import INPUT, Node, Value, make_input, topological
from ..ir.types import TensorType
from ..ops.control import HOOKS
from ..ops.function import Composite, body_of


def batch(
    outputs: Sequence[Value],
    inputs: Sequence[Value],
    values: Sequence[Value],
    batched: Sequence[bool],
    size: int,
) -> tuple[list[Value], list[bool]]:
    """``outputs`` as functions of ``values`` in the place of ``inputs``.

    Where ``batched`` is true the value has an extra first dimension of ``size``. Returns the new
    outputs and, for each, whether it has the extra dimension too (it has not if it depends on no
    batched value). Values that are not among ``inputs`` are shared by all examples.
    """
    known = {old: (new, flag) for old, new, flag in zip(inputs, values, batched)}
    _fill(outputs, known, size)
    found = [known[v] for v in outputs]
    return [v for v, _ in found], [flag for _, flag in found]


def batch_graph(graph: Graph, batched: Sequence[bool], size: int) -> tuple[Graph, list[bool]]:
    """The graph on inputs of which those marked are stacks, and which outputs are stacks then.

    For batch rules of ops that hold graphs as attributes.
    """
    stacked = [
        make_input(_stack_type(v.type, size) if flag else v.type)
        for v, flag in zip(graph.inputs, batched)
    ]
    outputs, flags = batch(graph.outputs, graph.inputs, stacked, batched, size)
    return Graph(stacked, outputs), flags


def _stack_type(type: TensorType, size: int) -> TensorType:
    return type.with_shape((size, *type.shape))


def _fill(outputs: Sequence[Value], known: dict[Value, tuple[Value, bool]], size: int) -> None:
    for node in topological(outputs, stop=lambda n: all(v in known for v in n.outputs)):
        if all(v in known for v in node.outputs):
            continue
        pairs = [known.get(v, (v, False)) for v in node.inputs]
        if any(flag for _, flag in pairs):
            results = _apply(node, pairs, known, size)
        elif any(new is not old for (new, _), old in zip(pairs, node.inputs)):
            shared = node.with_inputs(tuple(new for new, _ in pairs))
            results = [(v, False) for v in shared.outputs]
        else:
            results = [(v, False) for v in node.outputs]
        for old, pair in zip(node.outputs, results):
            known.setdefault(old, pair)


def _apply(
    node: Node,
    pairs: Sequence[tuple[Value, bool]],
    known: Mapping[Value, tuple[Value, bool]],
    size: int,
) -> list[tuple[Value, bool]]:
    """One node with at least one batched operand. A composite is batched through its body."""
    if node.op is INPUT:
        raise TypeError("a graph input has no operands")
    if isinstance(node.op, Composite):
        body = body_of(node)
        inner = dict(known)
        inner.update(zip(node.inputs, pairs))
        _fill(body, inner, size)
        return [inner[v] for v in body]
    inputs, flags = zip(*pairs)
    return [(v, True) for v in node.op.batch(node, inputs, flags, size)]


HOOKS.batch_graph = batch_graph  # loops and branches batch the graphs they hold

__all__ = ["batch", "batch_graph"]
