"""What fusion and lowering both ask of nodes: their form, their cost, the grid they run over."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..ir.loops import FLOAT_UNARY, Binary, Const, Expr, Unary, Var, walk_expr
from ..ir.node import Node
from ..ir.types import Shape
from ..ops.contract import Template

ROW, COLUMN, TOTAL = "row", "column", "total"


def has_elements(node: Node) -> bool:
    """Whether the op's ``lower`` rule gives its result element by element."""
    op: Any = node.op
    if not (getattr(op, "pointwise", False) or getattr(op, "indexed", False)):
        return False
    rule = getattr(op, "lower", None)
    return not isinstance(rule, str) and callable(rule) and not is_complex(node)


def is_complex(node: Node) -> bool:
    return any(v.dtype.is_complex for v in (*node.inputs, *node.outputs))


def is_anchor(node: Node) -> bool:
    """Whether a kernel template computes the node."""
    return isinstance(getattr(node.op, "lower", None), Template) and not is_complex(node)


def covered(shape: Shape, dims: Iterable[int], domain: Shape) -> frozenset[int] | None:
    """The dimensions of ``domain`` that are the dimensions ``dims`` of ``shape``, which orders
    the same elements; None if those are no whole dimensions of it. Extents of 1 never count."""
    if shape == domain:
        return frozenset(d for d in dims if domain[d] != 1)
    if 0 in shape:
        return None
    spans = [(s, s * shape[d]) for d, s in enumerate(_strides(shape)) if d in set(dims)]
    found = frozenset(
        d
        for d, step in enumerate(_strides(domain))
        if domain[d] != 1
        and any(low <= step and step * domain[d] <= high for low, high in _joined(spans))
    )
    size = math.prod(shape[d] for d in dims)
    return found if math.prod(domain[d] for d in found) == size else None


def _strides(shape: Shape) -> list[int]:
    return [math.prod(shape[d + 1 :]) for d in range(len(shape))]


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for low, high in sorted(s for s in spans if s[0] < s[1]):
        if joined and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def is_reduction(node: Node) -> bool:
    """Whether a node sums up elements. One that runs over extents of 1 does not: its result has
    an element for each of the operand."""
    if not getattr(node.op, "reduces", ""):
        return False
    shape = node.inputs[0].shape
    return any(shape[d] != 1 for d in node.attrs["dims"])


_COSTS = {"div": 4, "sqrt": 4, "rsqrt": 4, "neg": 1, "abs": 1, "sign": 1, "not": 1,
          "floor": 1, "ceil": 1, "trunc": 1, "round": 1, "pow": 40, "atan2": 30}  # fmt: skip


_cost_cache: dict[tuple[object, ...], int] = {}


def cost_of(node: Node) -> int:
    """About how many instructions a pointwise op takes: its ``lower`` rule, weighed."""
    key = (node.op.name, tuple(t.dtype.name for t in node.types), str(sorted(node.attrs.items())))
    found = _cost_cache.get(key)
    if found is None:
        scalars = [Var(f"x{k}", v.dtype) for k, v in enumerate(node.inputs)]
        tree: Expr = node.op.lower(*scalars, **node.attrs)
        found = _cost_cache[key] = sum(map(_op_cost, walk_expr(tree)))
    return found


def _op_cost(expr: Expr) -> int:
    match expr:
        case Const() | Var():
            return 0
        case Unary(op, _):
            return _COSTS.get(op, 20 if op in FLOAT_UNARY else 1)
        case Binary(op, _, _):
            return _COSTS.get(op, 1)
        case _:
            return 1
