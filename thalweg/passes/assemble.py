"""A sum of pieces, each put into zeros at a place of its own, is their concatenation.

    graph(%0: float32[2,3], %1: float32[2,4]) {
      %2 = full() dtype=float32 shape=(2, 7) value=0
      %3 = slice_update(%2, %1) starts=(0, 3) steps=(1, 1) stops=(2, 7)
      %4 = slice_update(%2, %0) starts=(0, 0) steps=(1, 1) stops=(2, 3)
      %5 = add(%3, %4)
      return %5
    }

becomes

    graph(%0: float32[2,3], %1: float32[2,4]) {
      %2 = concat(%0, %1) dim=1
      return %2
    }

Such sums are the gradients of values that were read in parts (the gates of an LSTM). Adding zeros
turns -0.0 into 0.0, which the concatenation does not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..ir.graph import Graph
from ..ir.node import Node, Value
from ..ir.rewrite import constant_of
from ..ops.link import ops
from .rebuild import rebuilt


@dataclass(frozen=True)
class _Piece:
    """A value that stands at ``start .. stop`` of dimension ``dim``, and fills the others."""

    value: Value
    dim: int
    start: int
    stop: int


def assemble_pieces(graph: Graph) -> Graph:
    """The graph with concatenations for sums of disjoint pieces that leave no gaps."""
    if not any(map(_piece, (v for n in graph.nodes for v in n.outputs))):
        return graph
    uses = Counter(v for n in graph.nodes for v in n.inputs) + Counter(graph.outputs)
    terms: dict[Value, list[Value]] = {}  # of sums, from their operands before rebuilding

    def replace(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.op.name != "add":
            return None
        mine = terms[node.out] = []
        for old, new in zip(node.inputs, inputs):
            parts = terms.get(old, [new])
            # A sum that others read as well is taken apart only if that adds nothing twice.
            free = uses[old] == 1 or all(_piece(term) for term in parts)
            mine.extend(parts if free else [new])
        joined = _joined(mine)
        return None if joined is None else (joined,)

    return rebuilt(graph, replace)


def _joined(terms: list[Value]) -> Value | None:
    """The sum of the terms with its pieces joined; None if they do not fill a tensor."""
    found = [(term, _piece(term)) for term in terms]
    by_dim: dict[int, list[_Piece]] = {}
    for _, piece in found:
        if piece is not None:
            by_dim.setdefault(piece.dim, []).append(piece)
    for dim, pieces in by_dim.items():
        pieces.sort(key=lambda p: p.start)
        bounds = [0, *(p.stop for p in pieces)]
        whole = terms[0].shape[dim]
        if len(pieces) < 2 or bounds[-1] != whole or [p.start for p in pieces] != bounds[:-1]:
            continue
        result: Value = ops.concat(*(p.value for p in pieces), dim=dim)
        for term, piece in found:
            if piece is None or piece.dim != dim:
                result = result + term
        return result
    return None


def _piece(term: Value) -> _Piece | None:
    """What ``term`` puts into zeros, if it covers all but one dimension."""
    node = term.node
    if node.op.name != "slice_update" or constant_of(node.inputs[0]) != 0:
        return None
    starts, stops, steps = (node.attrs[k] for k in ("starts", "stops", "steps"))
    partial = [d for d, n in enumerate(term.shape) if (starts[d], stops[d]) != (0, n)]
    if len(partial) != 1 or any(step != 1 for step in steps) or not term.type.numel:
        return None
    (dim,) = partial
    return _Piece(node.inputs[1], dim, starts[dim], stops[dim])
