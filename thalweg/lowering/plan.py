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
from ..ir.node import INPUT, Node, Value
from ..ir.types import Shape
from ..passes.fuse_space import COLUMN, ROW, TOTAL, cost_of, covered, is_reduction


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
    narrow = _repeated(plan, body)
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
            if first < number and plan.is_full(value) and value not in narrow:
                limit = 3 if value in results else KEEP_WEIGHT
                if weight(value, weights) >= limit:
                    plan.kept[value] = first
                    continue
            stack.extend(value.node.inputs)


def _repeated(plan: LoopPlan, body: Graph) -> set[Value]:
    """Values that repeat what has fewer elements: computed once a row, or read again."""
    size = math.prod(plan.domain)
    found: set[Value] = set()
    for node in body.nodes:
        if all(v.type.numel < size or v in found for v in node.inputs):
            found.update(node.outputs)
    return found


KEEP_WEIGHT = 8


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
