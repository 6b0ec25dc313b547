"""Drop from scans what nothing reads: results of single steps, carries, and their operands.

    graph(%0: float32[], %1: float32[], %2: float32[5], %3: float32[5]) {
      %4, %5, %6, %7, %8 = scan(%0, %1, %2, %3) body=graph(
          %0: float32[], %1: float32[], %2: float32[], %3: float32[]) {
        %4 = add(%0, %2)
        %5 = mul(%1, %3)
        %6 = neg(%4)
        return %4, %5, %6
      } length=5 num_carry=2 num_xs=2 reverse=False
      return %4
    }

becomes

    graph(%0: float32[], %1: float32[], %2: float32[5], %3: float32[5]) {
      %4, %5 = scan(%0, %2) body=graph(%0: float32[], %1: float32[]) {
        %2 = add(%0, %1)
        return %2
      } length=5 num_carry=1 num_xs=1 reverse=False
      return %4
    }

A carry stays if its last value or its values before each step are read, or if a step needs it to
compute what is read; of results that are one value, one stack stays. What the gradient of a scan
keeps for itself goes with it once the backward pass turns out not to need it. A scan that keeps a
carry keeps its stack too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.graph import Graph
from ..ir.node import Node, Value, topological
from ..ops.control import Scan


@dataclass(frozen=True)
class _Live:
    """Positions, among the operands or results of their group, that a scan must keep."""

    carries: tuple[int, ...]
    xs: tuple[int, ...]
    consts: tuple[int, ...]
    ys: tuple[int, ...]


def prune_scans(graph: Graph) -> Graph:
    """The graph with each scan reduced to what its readers need."""
    if not any(node.op is Scan for node in graph.nodes):
        return graph
    needed = set(graph.outputs)
    live: dict[Node, _Live] = {}
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        if node.op is Scan:
            live[node] = _live(node, needed)
            needed.update(node.inputs[i] for i in _operands(node, live[node]))
        else:
            needed.update(node.inputs)
    new: dict[Value, Value] = {v: v for v in graph.inputs}
    for node in graph.nodes:
        if needed.isdisjoint(node.outputs):
            continue
        if node.op is Scan:
            _rebuild(node, live[node], new)
        else:
            inputs = tuple(new[v] for v in node.inputs)
            kept = node
            if inputs != node.inputs:
                kept = node.moved(inputs)
            new.update(zip(node.outputs, kept.outputs))
    return Graph(graph.inputs, [new[v] for v in graph.outputs])


def _groups(node: Node) -> tuple[int, int, int]:
    """How many carries, xs and ys a scan has."""
    carries, xs = node.attrs["num_carry"], node.attrs["num_xs"]
    return carries, xs, len(node.attrs["body"].outputs) - carries


def _live(node: Node, needed: set[Value]) -> _Live:
    body: Graph = node.attrs["body"]
    count, num_xs, num_ys = _groups(node)
    first: dict[Value, int] = {}  # of results of the step that are one value, one is stacked
    for j in range(num_ys):
        if node.outputs[count + j] in needed:
            first.setdefault(body.outputs[count + j], j)
    ys = list(first.values())
    carries = {
        k
        for k in range(count)
        if node.outputs[k] in needed or node.outputs[count + num_ys + k] in needed
    }
    while True:
        ends = [body.outputs[k] for k in sorted(carries)] + [body.outputs[count + j] for j in ys]
        reached = {v for n in topological(ends) for v in n.outputs}
        more = {k for k in range(count) if body.inputs[k] in reached} - carries
        if not more:
            break
        carries |= more
    read = [i for i, v in enumerate(body.inputs) if i >= count and v in reached]
    return _Live(
        tuple(sorted(carries)),
        tuple(i - count for i in read if i < count + num_xs),
        tuple(i - count - num_xs for i in read if i >= count + num_xs),
        tuple(ys),
    )


def _operands(node: Node, live: _Live) -> list[int]:
    count, num_xs, _ = _groups(node)
    return [
        *live.carries,
        *(count + i for i in live.xs),
        *(count + num_xs + i for i in live.consts),
    ]


def _rebuild(node: Node, live: _Live, new: dict[Value, Value]) -> None:
    """Record in ``new`` the results of the scan that keeps only what is ``live``."""
    body: Graph = node.attrs["body"]
    count, _, num_ys = _groups(node)
    chosen = _operands(node, live)
    kept = [
        *live.carries,
        *(count + j for j in live.ys),
        *(count + num_ys + k for k in live.carries),
    ]
    inputs = tuple(new[node.inputs[i]] for i in chosen)
    if len(chosen) == len(node.inputs) and len(kept) == len(node.outputs):
        made = node
        if inputs != node.inputs:
            made = node.moved(inputs)
    else:
        made = _smaller(node, inputs, live, chosen, kept, body)
    new.update((node.outputs[i], value) for i, value in zip(kept, made.outputs))
    stacks = {body.outputs[count + j]: new[node.outputs[count + j]] for j in live.ys}
    for inner, outer in zip(body.outputs[count:], node.outputs[count:]):
        if inner in stacks:
            new[outer] = stacks[inner]


def _smaller(
    node: Node,
    inputs: tuple[Value, ...],
    live: _Live,
    chosen: Sequence[int],
    kept: Sequence[int],
    body: Graph,
) -> Node:
    attrs = {
        **node.attrs,
        "body": Graph(
            [body.inputs[i] for i in chosen],
            [body.outputs[i] for i in kept[: len(live.carries) + len(live.ys)]],
        ),
        "num_carry": len(live.carries),
        "num_xs": len(live.xs),
    }
    return Node(node.op, inputs, attrs, tuple(node.types[i] for i in kept), node.location)
