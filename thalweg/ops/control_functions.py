"""Python functions as sub-graphs: `cond`, `while_loop` and `scan` over values.

A function is traced once, on fresh inputs. Whatever its results use that does not depend on these
inputs but on others is captured: it is computed once, outside, and passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import ArgumentError, ShapeError
from ..ir.graph import Graph, substitute
from ..ir.node import INPUT, Value, make_input, topological
from ..ir.types import TensorType
from .control import check_types
from .link import ops

Traced = tuple[list[Value], tuple[Value, ...]]


def as_tuple(op: str, result: Any) -> tuple[Value, ...]:
    values = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    for value in values:
        if not isinstance(value, Value):
            raise ArgumentError(f"{op}: expected tensors as results, got {type(value).__name__}")
    return values


def captured(inputs: Sequence[Value], outputs: Sequence[Value]) -> list[Value]:
    """Values from outside that ``outputs`` use: they depend on graph inputs, but on none of
    ``inputs``. Constants are not captured; they are part of the function."""
    inner = set(inputs)
    outer: set[Value] = set()
    found: dict[Value, None] = {}
    for node in topological(outputs):
        if any(v in inner for v in node.inputs):
            inner.update(node.outputs)
            found.update((v, None) for v in node.inputs if v in outer)
        elif node.op is INPUT or any(v in outer for v in node.inputs):
            outer.update(v for v in node.outputs if v not in inner)
    found.update((v, None) for v in outputs if v in outer)
    return list(found)


def close(traced: Sequence[Traced]) -> tuple[list[Graph], list[Value]]:
    """Traced functions as graphs that share further inputs, one for each value any captures."""
    consts = list(dict.fromkeys(v for ins, outs in traced for v in captured(ins, outs)))
    graphs = []
    for inputs, outputs in traced:
        extra = [make_input(v.type) for v in consts]
        graphs.append(Graph([*inputs, *extra], substitute(outputs, dict(zip(consts, extra)))))
    return graphs, consts


def trace(op: str, fn: Callable[..., Any], types: Sequence[TensorType]) -> Traced:
    inputs = [make_input(t) for t in types]
    return inputs, as_tuple(op, fn(*inputs))


def cond(
    pred: Value,
    true_fn: Callable[..., Any],
    false_fn: Callable[..., Any],
    operands: Sequence[Value] = (),
) -> tuple[Value, ...]:
    """``true_fn(*operands)`` where the one-element bool ``pred`` holds, else ``false_fn``.

    Both give the same number of tensors of the same types. RuntimeError otherwise.
    """
    types = [v.type for v in operands]
    (true, false), consts = close([trace("cond", fn, types) for fn in (true_fn, false_fn)])
    return ops.cond(pred, *operands, *consts, true=true, false=false)  # type: ignore[no-any-return]


def while_loop(
    cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried: Sequence[Value]
) -> tuple[Value, ...]:
    """``carried = body_fn(*carried)`` while ``cond_fn(*carried)``, a one-element bool, holds.

    The carried tensors keep their types. Has no gradient: the number of steps is not known.
    """
    types = [v.type for v in carried]
    traced = [trace("while_loop", fn, types) for fn in (cond_fn, body_fn)]
    check_types("while_loop", "results of body_fn", [v.type for v in traced[1][1]], types)
    (test, body), consts = close(traced)
    return ops.while_loop(  # type: ignore[no-any-return]
        *carried, *consts, cond=test, body=body, num_carry=len(types)
    )


def scan(
    fn: Callable[..., Any],
    init: Sequence[Value],
    xs: Sequence[Value],
    reverse: bool = False,
    length: int | None = None,
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """``carry, y = fn(carry, x)`` over the slices of ``xs`` along their first dimension.

    ``carry``, ``x`` and ``y`` are tuples of tensors. Returns the last carry and the stacked ys;
    ``reverse`` goes from the last slice to the first. ``length`` is needed if there are no xs.
    """
    extents = {x.shape[0] if x.ndim else None for x in xs} | ({length} - {None})
    if len(extents) != 1 or None in extents:
        raise ShapeError(
            f"scan: expected xs of one length, got shapes {[list(x.shape) for x in xs]} and "
            f"length {length}"
        )
    (steps,) = extents
    carry = [make_input(v.type) for v in init]
    slices = [make_input(x.type.with_shape(x.shape[1:])) for x in xs]
    result = fn(tuple(carry), tuple(slices))
    if not isinstance(result, tuple) or len(result) != 2:
        raise ArgumentError("scan: expected fn to return a pair (carry, y)")
    after, ys = (as_tuple("scan", part) for part in result)
    check_types("scan", "carries from fn", [v.type for v in after], [v.type for v in init])
    (body,), consts = close([([*carry, *slices], (*after, *ys))])
    results = ops.scan(
        *init, *xs, *consts, body=body, num_carry=len(carry), num_xs=len(slices),
        length=steps, reverse=reverse,
    )  # fmt: skip
    return results[: len(carry)], results[len(carry) : len(carry) + len(ys)]
