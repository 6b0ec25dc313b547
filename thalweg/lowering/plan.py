"""What a loop kernel computes when: the order that its reductions impose.

The elements of a group lie in a *domain*, a grid of outer and inner dimensions. Every reduction
of the group runs over

- the inner dimensions ("row"): its result, one number per row, is known once the loop over the
  row has ended, so a row is walked in several *passes*, or
- the outer dimensions ("column") or all of them ("total"): its result is known when all rows
  have been walked, so only results of the kernel may depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..core.errors import GraphError
from ..ir.graph import Graph
from ..ir.loops import FLOAT_UNARY, Binary, Const, Expr, Unary, Var, walk_expr
from ..ir.node import INPUT, Node, Value
from ..ir.types import Shape

ROW, COLUMN, TOTAL = "row", "column", "total"


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


def reduction_kind(node: Node, domain: Shape, inner: frozenset[int]) -> str | None:
    """Whether a reduction runs over rows, columns or everything; None if it fits in no way."""
    operand, dims = node.inputs[0], node.attrs["dims"]
    every = frozenset(d for d, n in enumerate(domain) if n != 1)
    outer = every - inner
    size = math.prod(domain)
    if operand.type.numel == size:
        found = covered(operand.shape, dims, domain)
        if found == inner:
            return ROW
        if found == every:
            return TOTAL
        return COLUMN if found == outer else None
    rows = math.prod(domain[d] for d in outer)
    if operand.type.numel == rows and math.prod(operand.shape[d] for d in dims) == rows:
        return TOTAL
    return None


@dataclass(slots=True)
class LoopPlan:
    """``depth`` of a value: how many passes over a row must end before it is known in a row.
    ``late`` values depend on column or total reductions. ``kept`` values are computed in one
    pass, the number of which it holds, and read again in later ones."""

    domain: Shape
    inner: frozenset[int]
    kinds: dict[Value, str] = field(default_factory=dict)
    depth: dict[Value, int] = field(default_factory=dict)
    late: dict[Value, str] = field(default_factory=dict)
    passes: list[list[Value]] = field(default_factory=list)
    kept: dict[Value, int] = field(default_factory=dict)

    def is_full(self, value: Value) -> bool:
        return value.type.numel == math.prod(self.domain)


def plan_loops(body: Graph, domain: Shape, inner: Iterable[int]) -> LoopPlan:
    """The passes of a kernel. GraphError if a reduction fits the domain in no way, or a value
    that is not a result depends on one that is known only at the end."""
    plan = LoopPlan(domain, frozenset(d for d in inner if domain[d] != 1))
    for value in body.inputs:
        plan.depth[value] = 0
    for node in body.nodes:
        kind = ""
        if is_reduction(node):
            kind = reduction_kind(node, domain, plan.inner) or ""
            if not kind:
                raise GraphError(f"lowering: {node!r} does not reduce rows or columns of {domain}")
        below = max((plan.depth[v] for v in node.inputs), default=0)
        stages = {plan.late[v] for v in node.inputs if v in plan.late}
        for value in node.outputs:
            plan.depth[value] = below + (kind == ROW)
            if kind:
                plan.kinds[value] = kind
            if kind in (COLUMN, TOTAL):
                plan.late[value] = kind
            elif stages:
                plan.late[value] = TOTAL if TOTAL in stages else COLUMN
    _fill_passes(plan, body)
    return plan


def _fill_passes(plan: LoopPlan, body: Graph) -> None:
    """Pass p computes the row reductions of depth p + 1 and whatever else needs p passes."""
    roots: dict[int, list[Value]] = {}
    for value, kind in plan.kinds.items():
        (operand,) = value.node.inputs
        if kind == ROW or plan.is_full(operand):
            roots.setdefault(plan.depth[operand], []).append(value)
    for value in dict.fromkeys(body.outputs):
        if plan.is_full(value) and value not in plan.kinds and value not in plan.late:
            roots.setdefault(plan.depth[value], []).append(value)
    plan.passes = [roots.get(p, []) for p in range(max(roots, default=-1) + 1)]
    _choose_kept(plan, body)


def _choose_kept(plan: LoopPlan, body: Graph) -> None:
    """Values needed again in a later pass are kept if computing them anew would cost more than
    reading them: those that are results anyway, and those behind expensive functions."""
    results = set(body.outputs)
    seen: dict[Value, int] = {}
    weights: dict[Value, int] = {}
    for number, roots in enumerate(plan.passes):
        stack = [v.node.inputs[0] if v in plan.kinds else v for v in roots]
        visited: set[Value] = set()
        while stack:
            value = stack.pop()
            if value in visited or value.node.op is INPUT or value in plan.kinds:
                continue
            visited.add(value)
            first = seen.setdefault(value, number)
            if first < number and plan.is_full(value):
                limit = 3 if value in results else KEEP_WEIGHT
                if weight(value, weights) >= limit:
                    plan.kept[value] = first
                    continue
            stack.extend(value.node.inputs)


KEEP_WEIGHT = 8
_COSTS = {"div": 4, "sqrt": 4, "rsqrt": 4, "neg": 1, "abs": 1, "sign": 1, "not": 1,
          "floor": 1, "ceil": 1, "trunc": 1, "round": 1, "pow": 40, "atan2": 30}  # fmt: skip


def weight(value: Value, known: dict[Value, int]) -> int:
    """About how many instructions it takes to compute an element of ``value`` from what is in
    memory, reads included."""
    if value in known:
        return known[value]
    node = value.node
    if node.op is INPUT or is_reduction(node):
        found = 1
    elif getattr(node.op, "pointwise", False):
        known[value] = 0  # shared operands count once
        found = cost_of(node) + sum(weight(v, known) for v in dict.fromkeys(node.inputs))
    else:
        found = sum(weight(v, known) for v in dict.fromkeys(node.inputs))
    known[value] = found
    return found


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
