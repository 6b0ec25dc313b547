"""Movement by position: slices and writes into them, padding, flipping, diagonals, windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.errors import AliasError, ShapeError
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

OVERLAP = (
    "unsupported operation: more than one element of the written-to tensor refers to a single "
    "memory location. Please clone() the tensor before performing the operation."
)


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
    lower: Any = Declined("a view: folded into the index maps of its consumers")

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
    inputs = 2
    index = Declined("an affine map of positions; not a contraction")
    onnx = Declined("exported as ScatterND over the slice's positions")
    lower: Any = Declined("two copies into one buffer: a kernel template, in place where possible")

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
    index = Declined("an affine map of positions; not a contraction")
    onnx = "Pad"
    lower: Any = Declined("a guarded load folded into its consumers")

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
    index = Declined("an affine map of positions; not a contraction")
    onnx = "Slice"
    samples = arange_samples(
        ((3, 4), {"dims": (1,)}), ((2, 3, 4), {"dims": (0, 2)}), ((), {"dims": ()}),
        ((0, 2), {"dims": (0,)}), ((5,), {"dims": (0,)}),
    )  # fmt: skip
    lower: Any = Declined("an index map folded into its consumers")

    def infer(self, x: TensorType, dims: Shape) -> TensorType:
        if list(dims) != sorted(set(dims)) or any(not 0 <= d < x.ndim for d in dims):
            raise ShapeError(f"flip: expected sorted dimensions of a {x.ndim}-d tensor, got {dims}")
        return x

    def reference(self, x: Array, dims: Shape) -> Array:
        return np.flip(x, dims)

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


@primitive
class Diagonal(View):
    """Elements (i, i + offset) of the plane ``dim1``, ``dim2``, as a new last dimension."""

    name = "diagonal"
    index = "...ii -> ...i"
    onnx = Declined("exported as GatherND over the diagonal's positions")
    lower: Any = Declined("a view: folded into the index maps of its consumers")
    samples = arange_samples(
        ((3, 4), {"offset": 0, "dim1": 0, "dim2": 1}),
        ((4, 3), {"offset": 1, "dim1": 0, "dim2": 1}),
        ((2, 5, 3), {"offset": -1, "dim1": 1, "dim2": 2}),
        ((3, 2, 3), {"offset": 1, "dim1": 2, "dim2": 0}),
        ((0, 2), {"offset": 0, "dim1": 0, "dim2": 1}),
        ((2, 2), {"offset": 5, "dim1": 0, "dim2": 1}),
    )

    def infer(self, x: TensorType, offset: int, dim1: int, dim2: int) -> TensorType:
        if dim1 == dim2 or not (0 <= dim1 < x.ndim and 0 <= dim2 < x.ndim):
            raise ShapeError(
                f"diagonal dimensions cannot be identical {dim1}, {dim2} and must be below {x.ndim}"
            )
        count = diagonal_extent(x.shape[dim1], x.shape[dim2], offset)
        kept = (n for d, n in enumerate(x.shape) if d not in (dim1, dim2))
        return x.with_shape((*kept, count))

    def reference(self, x: Array, offset: int, dim1: int, dim2: int) -> Array:
        return np.diagonal(x, offset, dim1, dim2)

    def vjp(self, node: Node, g: Value) -> Grads:
        x, dim1, dim2 = node.inputs[0], node.attrs["dim1"], node.attrs["dim2"]
        kept = [d for d in range(x.ndim) if d not in (dim1, dim2)]
        plane = on_diagonal(g, x.shape[dim1], x.shape[dim2], node.attrs["offset"])
        order = [*kept, dim1, dim2]
        return (ops.permute(plane, dims=tuple(order.index(d) for d in range(x.ndim))),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        dim1, dim2 = node.attrs["dim1"], node.attrs["dim2"]
        kept = [d for d in range(node.inputs[0].ndim) if d not in (dim1, dim2)]
        splits = [Signature((Split(d),), (Split(i),)) for i, d in enumerate(kept)]
        return [all_broadcast(node), *pass_partial(node), *splits]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        a = node.attrs
        return (self(inputs[0], offset=a["offset"], dim1=a["dim1"] + 1, dim2=a["dim2"] + 1),)

    def strides(self, shape: Shape, strides: Shape, /, **attrs: Any) -> Shape | None:
        dim1, dim2 = attrs["dim1"], attrs["dim2"]
        kept = (s for d, s in enumerate(strides) if d not in (dim1, dim2))
        return (*kept, strides[dim1] + strides[dim2])

    def offset(self, shape: Shape, strides: Shape, /, **attrs: Any) -> int:
        offset, dim1, dim2 = attrs["offset"], attrs["dim1"], attrs["dim2"]
        if not diagonal_extent(shape[dim1], shape[dim2], offset):
            return 0
        return offset * strides[dim2] if offset >= 0 else -offset * strides[dim1]  # type: ignore[no-any-return]

    def write(self, base: Value, new: Value, **attrs: Any) -> Value:
        offset, dim1, dim2 = attrs["offset"], attrs["dim1"], attrs["dim2"]
        kept = [d for d in range(base.ndim) if d not in (dim1, dim2)]
        order = (dim1, dim2, *kept)
        rows, cols = (ramp(new.shape[-1], max(by, 0)) for by in (-offset, offset))
        front = ops.permute(new, dims=(new.ndim - 1, *range(new.ndim - 1)))
        result = ops.index_put(
            ops.permute(base, dims=order), rows, cols, front, batch=0, combine="set"
        )
        return ops.permute(result, dims=tuple(order.index(d) for d in range(base.ndim)))  # type: ignore[no-any-return]


def on_diagonal(x: Value, rows: int, cols: int, offset: int) -> Value:
    """Planes of zeros with the last dimension of x along a diagonal. In memory the elements lie
    one row and one element apart, so this is one padding between them."""
    last, count = x.ndim - 1, x.shape[-1]
    start = max(-offset, 0) * cols + max(offset, 0) if count else 0
    span = start + (count - 1) * (cols + 1) + 1 if count else 0
    flat = ops.pad(
        x,
        low=(0,) * last + (start,),
        high=(0,) * last + (rows * cols - span,),
        interior=(0,) * last + (cols,),
        value=0,
    )
    return ops.reshape(flat, shape=(*x.shape[:-1], rows, cols))  # type: ignore[no-any-return]


def diagonal_extent(rows: int, cols: int, offset: int) -> int:
    return max(0, min(rows + min(offset, 0), cols - max(offset, 0)))


def ramp(count: int, start: int = 0) -> Value:
    """The integers ``start .. start + count - 1``."""
    from ..core.dtypes import int64

    return ops.iota(shape=(count,), dim=0, dtype=int64, start=start)  # type: ignore[no-any-return]


@primitive
class Windows(View):
    """Windows of ``size`` elements every ``step`` along ``dim``, in a new last dimension."""

    name = "windows"
    index = Declined("an affine map of positions; not a contraction")
    onnx = Declined("exported as Gather over the windows' positions")
    lower: Any = Declined("a view: folded into the index maps of its consumers")

    def samples(self) -> Iterator[Sample]:
        yield from arange_samples(
            ((7,), {"dim": 0, "size": 3, "step": 2}),
            ((3, 5), {"dim": 1, "size": 2, "step": 1}),
            ((4, 3), {"dim": 0, "size": 2, "step": 2}),
            ((2, 3), {"dim": 1, "size": 3, "step": 4}),
        )()
        bad = {"dim": 0, "size": 5, "step": 1}
        yield Sample((np.zeros(4),), bad, error=(RuntimeError, "maximum size for tensor"))

    def infer(self, x: TensorType, dim: int, size: int, step: int) -> TensorType:
        if size > x.shape[dim]:
            raise ShapeError(
                f"maximum size for tensor at dimension {dim} is {x.shape[dim]} but size is {size}"
            )
        if step <= 0:
            raise ShapeError(f"step is {step} but must be > 0")
        windows = (x.shape[dim] - size) // step + 1
        return x.with_shape((*replaced(x.shape, dim, windows), size))

    def reference(self, x: Array, dim: int, size: int, step: int) -> Array:
        windows = np.lib.stride_tricks.sliding_window_view(x, size, dim)
        return windows[(slice(None),) * dim + (slice(None, None, step),)]

    def vjp(self, node: Node, g: Value) -> Grads:
        zeros = constant(0, g.dtype, node.inputs[0].shape)
        return (_put_windows(zeros, g, node.attrs, "sum"),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        dims = [
            d
            for d in range(node.inputs[0].ndim)
            if d != node.attrs["dim"] or self._same_cut(node, ranks)
        ]
        splits = [Signature((Split(d),), (Split(d),)) for d in dims]
        return [all_broadcast(node), *pass_partial(node), *splits]

    def _same_cut(self, node: Node, ranks: int) -> bool:
        """Whether each rank's elements are just those of its windows."""
        dim, size, step = (node.attrs[key] for key in ("dim", "size", "step"))
        for r in range(ranks):
            first, last = split_bounds(node.inputs[0].shape[dim], ranks, r)
            begin, end = split_bounds(node.types[0].shape[dim], ranks, r)
            windows = (last - first - size) // step + 1 if last - first >= size else -1
            if first != begin * step or windows != end - begin:
                return False
        return True

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(inputs[0], **{**node.attrs, "dim": node.attrs["dim"] + 1}),)

    def strides(self, shape: Shape, strides: Shape, /, **attrs: Any) -> Shape | None:
        dim = attrs["dim"]
        return (*replaced(strides, dim, strides[dim] * attrs["step"]), strides[dim])

    def write(self, base: Value, new: Value, **attrs: Any) -> Value:
        if attrs["step"] < attrs["size"] and new.shape[attrs["dim"]] > 1:
            raise AliasError(OVERLAP)
        return _put_windows(base, new, attrs, "set")


def _put_windows(base: Value, windows: Value, attrs: Attrs, combine: str) -> Value:
    """Windows written into (or added to) the places of ``base`` they were taken from."""
    from ..core.dtypes import int64

    dim, count = attrs["dim"], windows.shape[attrs["dim"]]
    shape = (count, attrs["size"])
    at = ops.iota(shape=shape, dim=0, dtype=int64) * attrs["step"]
    at = at + ops.iota(shape=shape, dim=1, dtype=int64)
    others = tuple(d for d in range(base.ndim) if d != dim)
    new = ops.permute(windows, dims=(dim, windows.ndim - 1, *others))
    result = ops.index_put(
        ops.permute(base, dims=(dim, *others)), at, new, batch=0, combine=combine
    )
    order = (dim, *others)
    return ops.permute(result, dims=tuple(order.index(d) for d in range(base.ndim)))  # type: ignore[no-any-return]
