"""The gradient of a scan: a scan over the steps in the other order.

Its carries are the cotangents of the forward carries. Gradients of constants are sums over the
steps; where such a term ends in linear ops (`dot`, `reduce_sum`, movements), the sum is taken
through them: the operands of the last `dot` are stacked and contracted once, with the steps as one
more summed letter, instead of one product and one addition per step.

    dW = sum over t of dot(dg[t], h[t], "bg,bh->gh")   =>   dW = dot(DG, H, "tbg,tbh->gh")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.graph import Graph
from ..ir.node import Node, Value, make_input, topological
from ..ir.types import TensorType
from .arithmetic import constant
from .contract import Grads
from .dot import parse_spec
from .link import ops

Rebuild = Callable[[dict[Value, Value]], Value]

# Ops of one operand that are linear in it: a sum over steps passes through them.
_LINEAR = {"reshape", "permute", "expand", "neg", "slice", "pad", "flip", "cast"}


def _is_float(type: TensorType) -> bool:
    return type.dtype.category in ("float", "complex")


class _Sum:
    """How to form the sum over steps of values of a body outside the loop.

    ``stacks`` are the per-step values that have to be stacked for it; `build` returns a function
    from their stacks to the sum.
    """

    def __init__(self, per_step: set[Value]) -> None:
        self.per_step = per_step
        self.stacks: dict[Value, None] = {}

    def build(self, value: Value) -> Rebuild:
        node = value.node
        moving = [v in self.per_step for v in node.inputs]
        if node.op.name == "add" and all(moving) and self._ends_in_dot(value):
            return self._of_add(node)
        if node.op.name == "dot" and any(moving):
            return self._of_dot(node, moving)
        if node.op.name in _LINEAR and moving == [True] and not node.attrs.get("value"):
            inner = self.build(node.inputs[0])
            return lambda stacked: node.op(inner(stacked), **node.attrs)
        if node.op.name == "reduce_sum":
            return self._over_steps(node.inputs[0], node.attrs["dims"])
        return self._over_steps(value, ())

    def _ends_in_dot(self, value: Value) -> bool:
        """Whether a product's operands would be stacked; the terms of other sums are not worth
        stacks of their own."""
        node = value.node
        if value not in self.per_step:
            return False
        if node.op.name in _LINEAR or node.op.name == "add":
            return any(map(self._ends_in_dot, node.inputs))
        return bool(node.op.name == "dot")

    def _over_steps(self, value: Value, dims: tuple[int, ...]) -> Rebuild:
        self.stacks[value] = None
        summed = (0, *(d + 1 for d in dims))
        return lambda stacked: ops.reduce_sum(stacked[value], dims=summed)

    def _of_add(self, node: Node) -> Rebuild:
        left, right = map(self.build, node.inputs)
        return lambda stacked: left(stacked) + right(stacked)

    def _of_dot(self, node: Node, moving: list[bool]) -> Rebuild:
        x, y = node.inputs
        spec = node.attrs["spec"]
        if not all(moving):
            inner = self.build(x if moving[0] else y)
            if moving[0]:
                return lambda stacked: ops.dot(inner(stacked), y, spec=spec)
            return lambda stacked: ops.dot(x, inner(stacked), spec=spec)
        left, right, result = parse_spec(spec)
        step = next(c for c in "tuvwxyzabcdefghijklmnopqrs" if c not in left + right)
        self.stacks[x] = self.stacks[y] = None
        stacked_spec = f"{step}{left},{step}{right}->{result}"
        return lambda stacked: ops.dot(stacked[x], stacked[y], spec=stacked_spec)


def _dependents(outputs: Sequence[Value], sources: Sequence[Value]) -> set[Value]:
    """Values that differ from step to step: those that depend on ``sources``."""
    found = set(sources)
    for node in topological(outputs):
        if any(v in found for v in node.inputs):
            found.update(node.outputs)
    return found


def reverse_scan(node: Node, g: Any, differentiate: Callable[..., list[Value | None]]) -> Grads:
    """Gradients of a scan's operands: initial carries, xs, constants."""
    attrs = node.attrs
    body: Graph = attrs["body"]
    length, count, last = attrs["length"], attrs["num_carry"], attrs["num_carry"] + attrs["num_xs"]
    num_ys = len(body.outputs) - count
    grads = g if isinstance(g, tuple) else (g,)
    carried = [i for i in range(count) if _is_float(body.inputs[i].type)]
    ys = [i for i in range(num_ys) if grads[count + i] is not None]
    kept = [i for i in carried if grads[count + num_ys + i] is not None]

    # One step backwards, on fresh inputs: cotangents of the carries after the step, of its ys
    # and (for second derivatives) of the carries before it, which are results of the scan too.
    after = [make_input(body.inputs[i].type) for i in carried]
    of_ys = [make_input(body.outputs[count + i].type) for i in ys]
    of_kept = {i: make_input(body.inputs[i].type) for i in kept}
    wrt = [v for v in body.inputs if _is_float(v.type)]
    seeds = [body.outputs[i] for i in carried] + [body.outputs[count + i] for i in ys]
    found = dict(zip(wrt, differentiate(seeds, [*after, *of_ys], wrt)))

    def grad_of(value: Value) -> Value:
        known = found.get(value)
        return constant(0, value.dtype, value.shape) if known is None else known

    before = []
    for i in carried:
        total = grad_of(body.inputs[i])
        before.append(total + of_kept[i] if i in of_kept else total)
    x_places = [i for i in range(count, last) if found.get(body.inputs[i]) is not None]
    x_grads = [grad_of(body.inputs[i]) for i in x_places]
    const_places = [
        i for i in range(last, len(body.inputs)) if found.get(body.inputs[i]) is not None
    ]
    const_grads = [grad_of(body.inputs[i]) for i in const_places]

    steps = [*after, *of_ys, *of_kept.values(), *body.inputs[:last]]
    sums = _Sum(_dependents(const_grads, steps))
    builders = [sums.build(v) for v in const_grads]
    known_stacks = _stacks_outside(node, body, grads, of_ys, ys)
    emitted = [v for v in sums.stacks if v not in known_stacks]

    inputs = [*after, *body.inputs[:count], *of_ys, *of_kept.values(), *body.inputs[count:]]
    backward = Graph(inputs, [*before, *x_grads, *emitted])
    start = [_or_zeros(grads[i], body.inputs[i]) for i in carried]
    carries_before = node.outputs[count + num_ys :]
    xs = [*carries_before, *(grads[count + i] for i in ys)]
    xs += [*(grads[count + num_ys + i] for i in kept), *node.inputs[count:last]]
    results = ops.scan(
        *start, *xs, *node.inputs[last:], body=backward, num_carry=len(carried), num_xs=len(xs),
        length=length, reverse=not attrs["reverse"],
    )  # fmt: skip
    stacked = dict(known_stacks)
    offset = len(carried) + len(x_grads)
    stacked.update(zip(emitted, results[offset : offset + len(emitted)]))
    gradient: dict[int, Value] = dict(zip(carried, results))
    gradient.update(zip(x_places, results[len(carried) :]))
    gradient.update((i, build(stacked)) for i, build in zip(const_places, builders))
    return tuple(gradient.get(i) for i in range(len(node.inputs)))


def _or_zeros(grad: Value | None, like: Value) -> Value:
    return constant(0, like.dtype, like.shape) if grad is None else grad


def _stacks_outside(
    node: Node,
    body: Graph,
    grads: Sequence[Value | None],
    of_ys: Sequence[Value],
    ys: Sequence[int],
) -> dict[Value, Value]:
    """Per-step values whose stacks exist already: xs, carries before each step, ys' cotangents."""
    count, last = node.attrs["num_carry"], node.attrs["num_carry"] + node.attrs["num_xs"]
    known = dict(zip(body.inputs[count:last], node.inputs[count:last]))
    known.update(zip(body.inputs[:count], node.outputs[len(body.outputs) :]))
    for value, i in zip(of_ys, ys):
        grad = grads[count + i]
        assert grad is not None
        known[value] = grad
    return known
