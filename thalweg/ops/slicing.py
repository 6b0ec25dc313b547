"""Movement by position: slices and writes into them, padding, flipping, diagonals, windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Broadcast, Partial, Sbp, Signature, Split, split_bounds
from ..ir.types import TensorType
from .arithmetic import constant
from .contract import (
    Array,
    Attrs,
    Declined,
    Grads,
    Primitive,
    Rank,
    Sample,
    Types,
    all_broadcast,
    primitive,
)  # fmt: skip
from .families import batch_up
from .link import ops
from .movement import ANY_PARTIAL, Shape, View, arange_samples, pass_partial, reducible
from .pointwise import loops
from .positions import all_of, clamped, constant_of, number, within


def slice_extent(start: int, stop: int, step: int) -> int:
    """How many elements ``range(start, stop, step)`` has, for a positive step."""
    return max(0, -(-(stop - start) // step))


def taken_by(attrs: Attrs, dim: int, first: int, last: int) -> tuple[int, int]:
    """The range of result positions along ``dim`` whose source lies in ``[first, last)``."""
    start, stop, step = attrs["starts"][dim], attrs["stops"][dim], attrs["steps"][dim]
    count = slice_extent(start, stop, step)
    low = min(count, slice_extent(start, first, step))
    return low, max(low, min(count, slice_extent(start, last, step)))


def slice_splits(node: Node, ranks: int) -> list[int]:
    """Dimensions along which each rank's slice of the whole is its part of the sliced result."""
    whole, part = node.inputs[0].shape, sliced_shape(node.attrs)
    return [
        d
        for d in range(len(whole))
        if all(
            taken_by(node.attrs, d, *split_bounds(whole[d], ranks, r))
            == split_bounds(part[d], ranks, r)
            or (part[d] == 0)
            for r in range(ranks)
        )
    ]


def sliced_shape(attrs: Attrs) -> Shape:
    return tuple(map(slice_extent, attrs["starts"], attrs["stops"], attrs["steps"]))


def local_slice(attrs: Attrs, split: Sbp, whole: Shape, rank: Rank) -> Attrs:
    """The attributes that take, from this rank's slice of the whole, its part of the result."""
    if not isinstance(split, Split):
        return attrs
    dim = split.dim
    first, last = rank.bounds(whole, split)
    low, high = taken_by(attrs, dim, first, last)
    step = attrs["steps"][dim]
    start = attrs["starts"][dim] + low * step - first if high > low else 0
    stop = start + (high - low - 1) * step + 1 if high > low else start
    return {
        "starts": replaced(attrs["starts"], dim, start),
        "stops": replaced(attrs["stops"], dim, stop),
        "steps": attrs["steps"],
    }


def replaced(values: Shape, position: int, value: int) -> Shape:
    return (*values[:position], value, *values[position + 1 :])


def check_slice(name: str, shape: Shape, starts: Shape, stops: Shape, steps: Shape) -> None:
    good = len(starts) == len(stops) == len(steps) == len(shape) and all(
        0 <= a <= b <= n and s > 0 for a, b, s, n in zip(starts, stops, steps, shape)
    )
    if not good:
        raise ShapeError(
            f"{name}: expected 0 <= start <= stop <= size and step > 0 for a tensor of shape "
            f"{list(shape)}, got starts {starts}, stops {stops}, steps {steps}"
        )


def region(attrs: Attrs) -> tuple[slice, ...]:
    return tuple(map(slice, attrs["starts"], attrs["stops"], attrs["steps"]))


@primitive
class Slice(View):
    """Elements ``start, start + step, ...`` below ``stop`` of every dimension."""

    name = "slice"
    index = Declined("an affine map of positions; not a contraction")
    onnx = "Slice"

    def samples(self) -> Iterator[Sample]:
        yield from arange_samples(
            ((3, 4), {"starts": (0, 1), "stops": (3, 3), "steps": (1, 1)}),
            ((6, 5), {"starts": (1, 0), "stops": (6, 5), "steps": (2, 1)}),
            ((4,), {"starts": (0,), "stops": (4,), "steps": (2,)}),
            ((4,), {"starts": (4,), "stops": (4,), "steps": (3,)}),
            ((), {"starts": (), "stops": (), "steps": ()}),
            ((0, 3), {"starts": (0, 0), "stops": (0, 3), "steps": (1, 2)}),
        )()
        bad = {"starts": (2,), "stops": (5,), "steps": (1,)}
        yield Sample((np.zeros(4),), bad, error=(RuntimeError, "expected 0 <= start"))

    def infer(self, x: TensorType, starts: Shape, stops: Shape, steps: Shape) -> TensorType:
        check_slice("slice", x.shape, starts, stops, steps)
        return x.with_shape(tuple(map(slice_extent, starts, stops, steps)))

    def reference(self, x: Array, **attrs: Any) -> Array:
        return np.asarray(x[region(attrs)])

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        starts, steps = node.attrs["starts"], node.attrs["steps"]
        return loads[0](tuple(i * step + a for i, a, step in zip(index, starts, steps)))

    def vjp(self, node: Node, g: Value) -> Grads:
        zeros = constant(0, g.dtype, node.inputs[0].shape)
        return (ops.slice_update(zeros, g, **node.attrs),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        splits = [Signature((Split(d),), (Split(d),)) for d in slice_splits(node, ranks)]
        return [all_broadcast(node), *pass_partial(node), *splits]

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        return local_slice(attrs, signature.ins[0], types[0].shape, rank)

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(inputs[0], **_batched_slice(node.attrs, size)),)

    def strides(self, shape: Shape, strides: Shape, /, **attrs: Any) -> Shape | None:
        return tuple(s * step for s, step in zip(strides, attrs["steps"]))

    def offset(self, shape: Shape, strides: Shape, /, **attrs: Any) -> int:
        return sum(s * start for s, start in zip(strides, attrs["starts"]))

    def write(self, base: Value, new: Value, **attrs: Any) -> Value:
        return ops.slice_update(base, new, **attrs)  # type: ignore[no-any-return]


def _batched_slice(attrs: Attrs, size: int) -> dict[str, Shape]:
    first = {"starts": 0, "stops": size, "steps": 1}
    return {key: (value, *attrs[key]) for key, value in first.items()}


@primitive
class SliceUpdate(Primitive):
    """The first operand with the elements of a slice of it replaced by the second."""

    name = "slice_update"
    indexed = True
    inputs = 2
    index = Declined("an affine map of positions; not a contraction")
    onnx = Declined("exported as ScatterND over the slice's positions")

    def infer(
        self, x: TensorType, new: TensorType, starts: Shape, stops: Shape, steps: Shape
    ) -> TensorType:
        check_slice("slice_update", x.shape, starts, stops, steps)
        expected = tuple(map(slice_extent, starts, stops, steps))
        if new.shape != expected or new.dtype is not x.dtype:
            raise ShapeError(
                f"slice_update: expected new elements {x.dtype}{list(expected)}, got "
                f"{new.dtype}{list(new.shape)}"
            )
        return x

    def reference(self, x: Array, new: Array, **attrs: Any) -> Array:
        result = x.copy()
        result[region(attrs)] = new
        return result

    def samples(self) -> Iterator[Sample]:
        for whole, starts, stops, steps in [
            ((3, 4), (0, 1), (3, 3), (1, 1)), ((6, 5), (1, 0), (6, 5), (2, 1)),
            ((4,), (0,), (4,), (2,)), ((4,), (2,), (2,), (1,)), ((), (), (), ()),
        ]:  # fmt: skip
            x = np.arange(float(np.prod(whole))).reshape(whole)
            part = np.asarray(x[tuple(map(slice, starts, stops, steps))])
            attrs = {"starts": starts, "stops": stops, "steps": steps}
            yield Sample((x, -1.0 - part), attrs)
        bad = {"starts": (0,), "stops": (2,), "steps": (1,)}
        yield Sample((np.zeros(4), np.zeros(3)), bad, error=(RuntimeError, "expected new elements"))

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        part = node.inputs[1].shape
        if 0 in part or not part:
            return loads[1](()) if not part else loads[0](index)
        starts, steps = node.attrs["starts"], node.attrs["steps"]
        inside, at = zip(*map(_source, index, starts, part, steps))
        return loops.Select(all_of(inside), loads[1](at), loads[0](index))

    def vjp(self, node: Node, g: Value) -> Grads:
        zeros = constant(0, g.dtype, node.inputs[1].shape)
        return ops.slice_update(g, zeros, **node.attrs), ops.slice(g, **node.attrs)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        splits = [Split(d) for d in slice_splits(node, ranks)]
        return [
            all_broadcast(node),
            *(Signature((s, s), (s,)) for s in splits),
            *movement_partials(node),
        ]

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        return local_slice(attrs, signature.ins[0], types[0].shape, rank)

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(*batch_up(inputs, batched, size), **_batched_slice(node.attrs, size)),)


def movement_partials(node: Node, movable: tuple[int, ...] | None = None) -> list[Signature]:
    """Partial signatures of an op whose result elements are elements of its operands: all of
    ``movable`` (default: all operands) are terms of one kind, the others (positions) broadcast."""
    places = range(len(node.inputs)) if movable is None else movable
    return [
        Signature(tuple(p if i in places else Broadcast() for i in range(len(node.inputs))), (p,))
        for p in ANY_PARTIAL
        if reducible(node, p)
    ]


@primitive
class Pad(Primitive):
    """``value`` put before (``low``), after (``high``) and between (``interior``) elements."""

    name = "pad"
    indexed = True
    index = Declined("an affine map of positions; not a contraction")
    onnx = "Pad"

    def infer(
        self, x: TensorType, low: Shape, high: Shape, interior: Shape, value: Any
    ) -> TensorType:
        if (
            not len(low) == len(high) == len(interior) == x.ndim
            or min((0, *low, *high, *interior)) < 0
        ):
            raise ShapeError(
                f"pad: expected non-negative widths for each of {x.ndim} dimensions, got low "
                f"{low}, high {high}, interior {interior}"
            )
        return x.with_shape(tuple(map(_padded, x.shape, low, high, interior)))

    def reference(self, x: Array, low: Shape, high: Shape, interior: Shape, value: Any) -> Array:
        result = np.full(tuple(map(_padded, x.shape, low, high, interior)), value, x.dtype)
        steps = [k + 1 for k in interior]
        stops = [a + (n - 1) * s + 1 if n else a for a, n, s in zip(low, x.shape, steps)]
        result[tuple(map(slice, low, stops, steps))] = x
        return result

    def samples(self) -> Iterator[Sample]:
        def attrs(low: Shape, high: Shape, interior: Shape, value: float = 0.0) -> dict[str, Any]:
            return {"low": low, "high": high, "interior": interior, "value": value}

        yield from arange_samples(
            ((3, 4), attrs((1, 0), (2, 1), (0, 0))),
            ((3, 4), attrs((0, 1), (0, 1), (1, 0), 2.5)),
            ((3,), attrs((1,), (1,), (0,), 1.0)),
            ((4,), attrs((0,), (3,), (2,))),
            ((2, 0), attrs((0, 1), (0, 2), (0, 1))),
            ((), attrs((), (), ())),
        )()
        yield Sample((np.zeros(3),), attrs((-1,), (0,), (0,)), error=(RuntimeError, "non-negative"))

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        x = node.inputs[0]
        value = constant_of(node.attrs["value"], x.dtype)
        if not x.shape:
            return loads[0](())
        if 0 in x.shape:
            return value
        steps = tuple(k + 1 for k in node.attrs["interior"])
        inside, at = zip(*map(_source, index, node.attrs["low"], x.shape, steps))
        return loops.Select(all_of(inside), loads[0](at), value)

    def vjp(self, node: Node, g: Value) -> Grads:
        shape, steps = node.inputs[0].shape, tuple(k + 1 for k in node.attrs["interior"])
        low = node.attrs["low"]
        stops = tuple(a + (n - 1) * s + 1 if n else a for a, n, s in zip(low, shape, steps))
        return (ops.slice(g, starts=low, stops=stops, steps=steps),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        value = node.attrs["value"]
        neutral = {"sum": value == 0, "prod": value in (0, 1), "max": True, "min": True}
        partials = [s for s in pass_partial(node) if neutral[_partial_op(s)]]
        shape, out = node.inputs[0].shape, node.types[0].shape
        splits = [
            Signature((Split(d),), (Split(d),))
            for d in range(len(shape))
            if all(
                _local_pad(node.attrs, d, shape[d], out[d], Rank(r, ranks)) for r in range(ranks)
            )
        ]
        return [all_broadcast(node), *partials, *splits]

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        split = signature.ins[0]
        if not isinstance(split, Split):
            return attrs
        dim = split.dim
        widths = _local_pad(attrs, dim, types[0].shape[dim], types[1].shape[dim], rank)
        low, high = widths or (0, 0)
        return {
            **attrs,
            "low": replaced(attrs["low"], dim, low),
            "high": replaced(attrs["high"], dim, high),
        }

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        widths = {key: (0, *node.attrs[key]) for key in ("low", "high", "interior")}
        return (self(inputs[0], **widths, value=node.attrs["value"]),)


def _source(at: Any, start: int, extent: int, step: int) -> tuple[Any, Any]:
    """Whether position ``at`` holds one of ``extent`` elements that lie ``step`` apart from
    ``start`` on, and which one (some element where it holds none)."""
    inside = within(at, start, start + (extent - 1) * step + 1)
    place = at - start
    if step > 1:
        inside = inside & loops.Binary("eq", place % step, number(0))
        place = place // step
    return inside, clamped(place, extent)


def _padded(extent: int, low: int, high: int, interior: int) -> int:
    return low + extent + max(extent - 1, 0) * interior + high


def _partial_op(signature: Signature) -> str:
    (partial,) = signature.ins
    assert isinstance(partial, Partial)
    return partial.op


def _local_pad(attrs: Attrs, dim: int, extent: int, out: int, rank: Rank) -> tuple[int, int] | None:
    """Widths with which a rank's slice becomes its slice of the result; None if it cannot."""
    first, last = split_bounds(extent, rank.size, rank.index)
    begin, end = split_bounds(out, rank.size, rank.index)
    if first == last:
        return 0, end - begin
    step, low = attrs["interior"][dim] + 1, attrs["low"][dim]
    before, after = low + first * step - begin, end - (low + (last - 1) * step + 1)
    return (before, after) if before >= 0 and after >= 0 else None


@primitive
class Flip(Primitive):
    """The order along ``dims`` reversed."""

    name = "flip"
    indexed = True
    index = Declined("an affine map of positions; not a contraction")
    onnx = "Slice"
    samples = arange_samples(
        ((3, 4), {"dims": (1,)}), ((2, 3, 4), {"dims": (0, 2)}), ((), {"dims": ()}),
        ((0, 2), {"dims": (0,)}), ((5,), {"dims": (0,)}),
        fails=[((3, 4), {"dims": (1, 0)}, "expected sorted dimensions")],
    )  # fmt: skip

    def infer(self, x: TensorType, dims: Shape) -> TensorType:
        if list(dims) != sorted(set(dims)) or any(not 0 <= d < x.ndim for d in dims):
            raise ShapeError(f"flip: expected sorted dimensions of a {x.ndim}-d tensor, got {dims}")
        return x

    def reference(self, x: Array, dims: Shape) -> Array:
        return np.flip(x, dims)

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        dims, pairs = node.attrs["dims"], zip(index, node.types[0].shape)
        return loads[0](
            tuple(number(n - 1) - i if d in dims else i for d, (i, n) in enumerate(pairs))
        )

    def vjp(self, node: Node, g: Value) -> Grads:
        return (ops.flip(g, **node.attrs),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        dims = [d for d in range(node.inputs[0].ndim) if d not in node.attrs["dims"]]
        splits = [Signature((Split(d),), (Split(d),)) for d in dims]
        return [all_broadcast(node), *pass_partial(node), *splits]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(inputs[0], dims=tuple(d + 1 for d in node.attrs["dims"])),)
