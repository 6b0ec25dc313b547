"""Views along and across dimensions: diagonals of planes, and overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import int64
from ..core.errors import AliasError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Signature, Split, split_bounds
from ..ir.types import TensorType
from .arithmetic import constant
from .contract import Array, Attrs, Declined, Grads, Sample, all_broadcast, primitive
from .link import ops
from .movement import Shape, View, arange_samples, pass_partial
from .slicing import replaced

OVERLAP = (
    "unsupported operation: more than one element of the written-to tensor refers to a single "
    "memory location. Please clone() the tensor before performing the operation."
)


@primitive
class Diagonal(View):
    """Elements (i, i + offset) of the plane ``dim1``, ``dim2``, as a new last dimension."""

    name = "diagonal"
    index = "...ii -> ...i"
    onnx = Declined("exported as GatherND over the diagonal's positions")
    samples = arange_samples(
        ((3, 4), {"offset": 0, "dim1": 0, "dim2": 1}),
        ((4, 3), {"offset": 1, "dim1": 0, "dim2": 1}),
        ((2, 5, 3), {"offset": -1, "dim1": 1, "dim2": 2}),
        ((3, 2, 3), {"offset": 1, "dim1": 2, "dim2": 0}),
        ((0, 2), {"offset": 0, "dim1": 0, "dim2": 1}),
        ((2, 2), {"offset": 5, "dim1": 0, "dim2": 1}),
        fails=[((2, 2), {"offset": 0, "dim1": 1, "dim2": 1}, "cannot be identical")],
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

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        offset, dim1, dim2 = (node.attrs[key] for key in ("offset", "dim1", "dim2"))
        at = list(index[:-1])
        for dim, by in sorted([(dim1, max(-offset, 0)), (dim2, max(offset, 0))]):
            at.insert(dim, index[-1] + by)
        return loads[0](tuple(at))

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
    return ops.iota(shape=(count,), dim=0, dtype=int64, start=start)  # type: ignore[no-any-return]


@primitive
class Windows(View):
    """Windows of ``size`` elements every ``step`` along ``dim``, in a new last dimension."""

    name = "windows"
    index = Declined("an affine map of positions; not a contraction")
    onnx = Declined("exported as Gather over the windows' positions")

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

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        dim, step = node.attrs["dim"], node.attrs["step"]
        return loads[0](replaced(tuple(index[:-1]), dim, index[dim] * step + index[-1]))

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
