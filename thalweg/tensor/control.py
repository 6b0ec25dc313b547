"""Control flow that stays in the graph: `cond`, `while_loop` and `scan` over tensors.

The functions given are traced once (see `tensor.capture`) and become sub-graphs of one op, so a
loop costs the same to record and compile however many steps it takes. Tensors that the functions
use from outside become further operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import ArgumentError, AutogradError, ShapeError
from ..ir.graph import Graph, substitute
from ..ir.node import Value, make_input
from ..ir.types import TensorType
from ..ops.link import ops
from .capture import Traced, record, tensors_only, trace_function, type_of, user_errors
from .random_keys import keys_for_runs, skip_runs
from .tensor import Tensor
from .tree import Structure, flatten, unflatten

Types = Sequence[TensorType]


def _trace(
    name: str, role: str, function: Callable[..., Any], structure: Structure, types: Types
) -> tuple[Structure, Traced]:
    """``function(*arguments)`` as a graph, arguments being the children of ``structure``; with the
    structure of its results."""

    def run(*handles: Tensor) -> tuple[Structure, list[Tensor]]:
        leaves, shape = flatten(function(*unflatten(structure, handles)))
        return shape, tensors_only(name, leaves, f"results of {role}")

    return trace_function(name, run, types)


def _shared(traced: Sequence[Traced]) -> tuple[list[Tensor], tuple[int, ...]]:
    """What any of the functions captured, each once; and, for each capture, its place there."""
    captured = list({id(t): t for one in traced for t in one.captured}.values())
    place = {id(t): i for i, t in enumerate(captured)}
    return captured, tuple(place[id(t)] for one in traced for t in one.captured)


def _closed(
    traced: Sequence[Traced], types: Types, captured: Types, places: Sequence[int]
) -> list[Graph]:
    """The functions as graphs of the same inputs: their arguments, then all that was captured."""
    graphs = []
    rest = iter(places)
    for one in traced:
        inputs, extra = [make_input(t) for t in types], [make_input(t) for t in captured]
        consts = [extra[next(rest)] for _ in one.consts]
        outputs = substitute(one.outputs, dict(zip(one.sources, (*inputs, *consts))))
        graphs.append(Graph([*inputs, *extra], outputs))
    return graphs


def _same_types(name: str, what: str, given: Types, other: str, wanted: Types) -> None:
    if len(given) != len(wanted):
        raise ShapeError(f"{name}: {what} {len(given)} tensors, but {other} {len(wanted)}")
    for i, (one, two) in enumerate(zip(given, wanted)):
        if one != two:
            raise ShapeError(f"{name}: tensor {i}: {what} {one}, but {other} {two}")


def _same_structure(name: str, what: str, given: Structure, other: str, wanted: Structure) -> None:
    if given != wanted:
        raise ShapeError(f"{name}: {what} {given!r}, but {other} {wanted!r} (* is a tensor)")


@user_errors
def cond(
    pred: bool | Tensor,
    true_fn: Callable[..., Any],
    false_fn: Callable[..., Any],
    operands: Sequence[Any] = (),
) -> Any:
    """``true_fn(*operands)`` if ``pred`` holds, else ``false_fn(*operands)``, decided when run.

    ``pred`` is a bool tensor of one element (with a Python bool, the function is simply called);
    ``operands`` a tuple of tensors or nested containers of them. Both functions return tensors
    (nested alike) of the same shapes and dtypes, and have no side effects. Only the one taken is
    computed, gradients included. Raises RuntimeError where the functions do not agree or write to
    tensors from outside, TypeError for operands that are no tensors.
    """
    if not isinstance(operands, (tuple, list)):
        raise ArgumentError(f"cond: expected a tuple of operands, got {type(operands).__name__}")
    if isinstance(pred, bool):
        return (true_fn if pred else false_fn)(*operands)
    if not isinstance(pred, Tensor):
        raise ArgumentError(f"cond: expected pred to be bool or tensor, got {type(pred).__name__}")
    leaves, structure = flatten(tuple(operands))
    given = tensors_only("cond", leaves, "operands")
    types = [type_of(t) for t in given]
    shape, true = _trace("cond", "true_fn", true_fn, structure, types)
    other, false = _trace("cond", "false_fn", false_fn, structure, types)
    _same_structure("cond", "true_fn returns", shape, "false_fn", other)
    _same_types(
        "cond", "true_fn returns", [v.type for v in true.outputs],
        "false_fn", [v.type for v in false.outputs],
    )  # fmt: skip
    captured, places = _shared([true, false])
    extra = [type_of(t) for t in captured]

    def build(values: list[Value]) -> Sequence[Value]:
        graphs = _closed([true, false], types, extra, places)
        return ops.cond(*values, true=graphs[0], false=graphs[1])  # type: ignore[no-any-return]

    results = record("cond", (true.key, false.key, places), [pred, *given, *captured], build)
    return unflatten(shape, results)


@user_errors
def while_loop(
    cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Sequence[Any]
) -> Any:
    """``carried = body_fn(*carried)`` while ``cond_fn(*carried)`` holds; the last ``carried``.

    ``carried_inputs`` is a tuple of tensors or nested containers of them, whose shapes and dtypes
    stay; ``cond_fn`` returns a bool tensor of one element. There is no gradient (the number of
    steps is not known beforehand): results do not require one. RuntimeError where ``body_fn``
    returns other shapes or dtypes, or where a function writes to tensors from outside.
    """
    name = "while_loop"
    if not isinstance(carried_inputs, (tuple, list)):
        raise ArgumentError(
            f"{name}: expected a tuple of carried tensors, got {type(carried_inputs).__name__}"
        )
    leaves, structure = flatten(tuple(carried_inputs))
    given = tensors_only(name, leaves, "carried inputs")
    types = [type_of(t) for t in given]
    _, test = _trace(name, "cond_fn", cond_fn, structure, types)

    def body_tuple(*carried: Any) -> Any:
        after = body_fn(*carried)
        return tuple(after) if isinstance(after, (tuple, list)) else (after,)

    shape, body = _trace(name, "body_fn", body_tuple, structure, types)
    _same_structure(name, "body_fn returns", shape, "it carries", structure)
    _same_types(name, "body_fn returns", [v.type for v in body.outputs], "it carries", types)
    if test.random or body.random:
        raise AutogradError(
            f"{name}: a random function would draw the same numbers in every step; draw them "
            "before the loop, or use scan"
        )
    captured, places = _shared([test, body])
    extra = [type_of(t) for t in captured]

    def build(values: list[Value]) -> Sequence[Value]:
        graphs = _closed([test, body], types, extra, places)
        stopped = [ops.stop_gradient(v) for v in values]
        return ops.while_loop(  # type: ignore[no-any-return]
            *stopped, cond=graphs[0], body=graphs[1], num_carry=len(given)
        )

    results = record(name, (test.key, body.key, places), [*given, *captured], build)
    return unflatten(structure, results)


@user_errors
def scan(
    combine_fn: Callable[[Any, Any], Any],
    init: Any,
    xs: Any,
    reverse: bool = False,
    length: int | None = None,
) -> tuple[Any, Any]:
    """``carry, y = combine_fn(carry, x)`` for each slice ``x`` of ``xs`` along its first dimension.

    ``init`` and ``xs`` are tensors or nested containers of them; the carry keeps its shapes and
    dtypes. Returns the last carry and the stacked ys. ``reverse`` goes from the last slice to the
    first (ys stay in the order of xs); ``length`` is needed only if ``xs`` holds no tensor. The
    gradient is a scan in the other direction. Random functions draw anew in each step.
    RuntimeError for xs of several lengths and for carries that change their type.
    """
    (carries, inside), (sequences, slices) = flatten(init), flatten(xs)
    first = tensors_only("scan", carries, "init")
    given = tensors_only("scan", [] if xs is None else sequences, "xs")
    extents = {t.shape[0] if t.ndim else None for t in given} | ({length} - {None})
    if len(extents) != 1 or None in extents:
        raise ShapeError(
            f"scan: expected xs of one length, got shapes {[list(t.shape) for t in given]} and "
            f"length {length}"
        )
    (steps,) = extents
    assert steps is not None
    types = [type_of(t) for t in first]
    parts = [type_of(t).with_shape(tuple(t.shape[1:])) for t in given]

    def step(*handles: Tensor) -> tuple[Structure | None, list[Tensor]]:
        x = None if xs is None else unflatten(slices, handles[len(first) :])
        pair = combine_fn(unflatten(inside, handles[: len(first)]), x)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ArgumentError("scan: expected combine_fn to return a pair (carry, y)")
        after, kind = flatten(pair[0])
        _same_structure("scan", "combine_fn returns a carry", kind, "init is", inside)
        after = tensors_only("scan", after, "carry")
        returned = [type_of(t) for t in after]
        _same_types("scan", "combine_fn returns a carry of", returned, "init is", types)
        if pair[1] is None:
            return None, after
        ys, shape = flatten(pair[1])
        return shape, [*after, *tensors_only("scan", ys, "ys")]

    shape, traced = trace_function("scan", step, [*types, *parts])
    count, last = len(first), len(first) + len(given)
    blocks = sum(traced.random.values())

    def build(values: list[Value]) -> Sequence[Value]:
        # Random states go into the body as slices: each step has one of its own.
        keyed = [traced.consts[i] for i in traced.keys]
        plain = [v for v in traced.consts if v not in set(keyed)]
        inside_values = [*traced.inputs, *keyed, *plain]
        fresh = [make_input(v.type) for v in inside_values]
        body = Graph(fresh, substitute(traced.outputs, dict(zip(inside_values, fresh))))
        consts = dict(zip(traced.consts, values[last:]))
        keys = [keys_for_runs(consts[v], steps, blocks) for v in keyed]
        results = ops.scan(
            *values[:last], *keys, *(consts[v] for v in plain), body=body, num_carry=count,
            num_xs=len(given) + len(keys), length=steps, reverse=reverse,
        )  # fmt: skip
        return results[: len(body.outputs)]  # type: ignore[no-any-return]

    key = (traced.key, count, steps, reverse, traced.keys, blocks)
    results = record("scan", key, [*first, *given, *traced.captured], build)
    skip_runs(traced.random, steps)
    ys = None if shape is None else unflatten(shape, results[count:])
    return unflatten(inside, results[:count]), ys


__all__ = ["cond", "scan", "while_loop"]
