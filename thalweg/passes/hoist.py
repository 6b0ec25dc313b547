"""Take out of scans what does not depend on their carries.

    graph(%0: float32[4], %1: float32[5,3], %2: float32[3,4], %3: float32[4]) {
      %4, %5 = scan(%0, %1, %2, %3) body=graph(
          %0: float32[4], %1: float32[3], %2: float32[3,4], %3: float32[4]) {
        %4 = dot(%1, %2) spec='k,kn->n'
        %5 = exp(%3)
        %6 = mul(%0, %5)
        %7 = add(%6, %4)
        return %7
      } length=5 num_carry=1 num_xs=1 reverse=False
      return %4
    }

becomes

    graph(%0: float32[4], %1: float32[5,3], %2: float32[3,4], %3: float32[4]) {
      %4 = dot(%1, %2) spec='ak,kn->an'
      %5 = exp(%3)
      %6, %7 = scan(%0, %4, %5) body=graph(%0: float32[4], %1: float32[4], %2: float32[4]) {
        %3 = mul(%0, %2)
        %4 = add(%3, %1)
        return %4
      } length=5 num_carry=1 num_xs=1 reverse=False
      return %6
    }

What depends on the constants alone is computed once. What depends on the step's xs is computed
for all steps at once where that contains heavy work (the input projection of all steps is one big
matrix product) or is a result of the step itself. Light work stays in the loop: it fuses there,
and its results need not be kept for all steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..ir.graph import Graph, substitute
from ..ir.node import Node, Value, make_input, topological
from ..ops.contract import Primitive
from ..ops.control import Scan
from ..ops.families import expand_front
from .batching import batch
from .rebuild import rebuilt
from .scan_prune import prune_scans

_FIXED, _OF_STEP, _CARRIED = range(3)


def hoist_from_scans(graph: Graph) -> Graph:
    """The graph with work moved from the bodies of scans to before them."""

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        return _hoisted(node, inputs) if node.op is Scan else None

    return prune_scans(rebuilt(graph, replace))


def _hoisted(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    """The results of the smaller scan; None if nothing is to be moved."""
    body: Graph = node.attrs["body"]
    carries, num_xs = node.attrs["num_carry"], node.attrs["num_xs"]
    length, last = node.attrs["length"], carries + num_xs
    if not length:
        return None
    level = _levels(body, carries, last)
    ys = body.outputs[carries:]
    outside = [v for v in ys if level[v] != _CARRIED]
    inside = [*body.outputs[:carries], *(v for v in ys if level[v] == _CARRIED)]

    stacked = list(dict.fromkeys(_roots(v) for v in _frontier(inside, level, _OF_STEP)))
    stacked = [v for v in stacked if v not in body.inputs and _has_heavy(v, level)]
    steps = {v: make_input(v.type) for v in stacked}
    inside = list(substitute(inside, steps))
    level.update((v, _OF_STEP) for v in steps.values())
    _fill_levels(inside, level)
    once = list(dict.fromkeys(_roots(v) for v in _frontier(inside, level, _FIXED)))
    once = [v for v in once if v.node.inputs and v not in body.inputs]
    fixed = {v: make_input(v.type) for v in once}
    if not (outside or steps or fixed):
        return None
    inside = list(substitute(inside, fixed))

    # Values of all steps, before the loop; what they share is computed once.
    shared = dict(zip(body.inputs[last:], inputs[last:]))
    moved = [*stacked, *outside]
    batched, flags = batch(
        moved, body.inputs[carries:], inputs[carries:],
        [True] * num_xs + [False] * len(shared), length,
    )  # fmt: skip
    full = [v if flag else expand_front(v, length) for v, flag in zip(batched, flags)]
    of_outside = dict(zip(outside, full[len(stacked) :]))
    kept_ys = [v for v in ys if v not in of_outside]
    smaller = Graph(
        [*body.inputs[:last], *steps.values(), *body.inputs[last:], *fixed.values()], inside
    )
    attrs = {**node.attrs, "body": smaller, "num_xs": num_xs + len(steps)}
    operands = (
        *inputs[:last], *full[: len(stacked)], *inputs[last:], *substitute(once, shared)
    )  # fmt: skip
    made = node.op(*operands, **attrs)
    of_kept = iter(made[carries : carries + len(kept_ys)])
    results = [of_outside[v] if v in of_outside else next(of_kept) for v in ys]
    return (*made[:carries], *results, *made[carries + len(kept_ys) :])


def _levels(body: Graph, carries: int, last: int) -> dict[Value, int]:
    """What each value of the body depends on at most: constants, xs or carries."""
    level = {
        v: _CARRIED if i < carries else _OF_STEP if i < last else _FIXED
        for i, v in enumerate(body.inputs)
    }
    _fill_levels(body.outputs, level)
    return level


def _fill_levels(outputs: Sequence[Value], level: dict[Value, int]) -> None:
    for node in topological(outputs, stop=lambda n: all(v in level for v in n.outputs)):
        if node.outputs[0] not in level:
            found = max((level[v] for v in node.inputs), default=_FIXED)
            level.update(dict.fromkeys(node.outputs, found))


def _frontier(outputs: Sequence[Value], level: dict[Value, int], of: int) -> Iterable[Value]:
    """Values of level ``of`` that are results, or that something of a higher level reads."""
    for value in outputs:
        if level[value] == of:
            yield value
    for node in topological(outputs):
        if node.inputs and level[node.outputs[0]] > of:
            yield from (v for v in node.inputs if level[v] == of)


def _roots(value: Value) -> Value:
    """What a chain of views shows: it is moved, and the views stay with their readers."""
    while isinstance(value.node.op, Primitive) and value.node.op.view:
        value = value.node.inputs[0]
    return value


def _has_heavy(value: Value, level: dict[Value, int]) -> bool:
    """Whether work worth moving lies behind a value that depends on the step. Branches and loops
    stay: of a stack of branches both sides would run."""
    nodes = topological([value], stop=lambda n: level[n.outputs[0]] != _OF_STEP)
    mine = [n for n in nodes if n.inputs and level[n.outputs[0]] == _OF_STEP]
    holds_graph = any(isinstance(a, Graph) for n in mine for a in n.attrs.values())
    return not holds_graph and any(isinstance(n.op, Primitive) and n.op.heavy for n in mine)
