"""Prepare the graphs that loops and branches hold: the first passes, applied inside of them.

    graph(%0: float32[4], %1: float32[5,4]) {
      %2, %3 = scan(%0, %1) body=graph(%0: float32[4], %1: float32[4]) {
        %2: float32[4] = silu(%1)
        %3: float32[4] = silu(%1)
        %4: float32[4] = mul(%2, %3)
        %5: float32[4] = add(%0, %4)
        return %5
      } length=5 num_carry=1 num_xs=1 reverse=False
      return %2
    }

becomes

    graph(%0: float32[4], %1: float32[5,4]) {
      %2, %3 = scan(%0, %1) body=graph(%0: float32[4], %1: float32[4]) {
        %2: float32[4] = sigmoid(%1)
        %3: float32[4] = mul(%1, %2)
        %4: float32[4] = mul(%3, %3)
        %5: float32[4] = add(%0, %4)
        return %5
      } length=5 num_carry=1 num_xs=1 reverse=False
      return %2
    }
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir.graph import Graph
from ..ir.node import Node, Value
from .assemble import assemble_pieces
from .cse import eliminate_common
from .decompose import decompose
from .rebuild import rebuilt
from .scan_prune import prune_scans
from .simplify import simplify

_INSIDE: tuple[Callable[[Graph], Graph], ...] = (
    decompose, simplify, prune_scans, eliminate_common, assemble_pieces,
)  # fmt: skip


def prepare_bodies(graph: Graph) -> Graph:
    """The graph with every graph among its nodes' attributes decomposed and simplified, at any
    depth."""

    def replace(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        for attribute in node.attrs.values():
            if isinstance(attribute, Graph):
                break
        else:
            return None
        attrs = {k: _prepared(v) if isinstance(v, Graph) else v for k, v in node.attrs.items()}
        return Node(node.op, inputs, attrs, node.types, node.location).outputs

    return rebuilt(graph, replace)


def _prepared(body: Graph) -> Graph:
    body = prepare_bodies(body)
    for transform in _INSIDE:
        body = transform(body)
    return body
