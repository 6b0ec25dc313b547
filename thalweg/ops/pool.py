"""Pooling: the primitive `max_pool`, and averages as convolutions with a kernel of ones.

`pool_functions` gives them PyTorch's names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import int64
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Signature, Split
from ..ir.types import TensorType
from .arithmetic import constant
from .contract import Array, Grads, Primitive, Sample, all_broadcast, primitive
from .conv import out_extent
from .conv_functions import batched_input, per_dim, unbatch
from .conv_reference import offsets
from .kernels import kernel_from
from .link import ops
from .named import public

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


@primitive
class MaxPool(Primitive):
    """The maximum of each window of the dimensions behind the second, and where it stands.

    Positions are flat in those dimensions; of equal elements the first counts; NaN is greatest.
    ``padding`` is a pair (low, high) per dimension and never chosen.
    """

    name = "max_pool"
    outputs = 2
    differentiable: ClassVar[Any] = (True, False)
    index = "nc(sp+dk) -> ncp"
    onnx = "MaxPool"
    lower: Any = kernel_from("max_pool")

    def infer(
        self, x: TensorType, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints
    ) -> tuple[TensorType, TensorType]:
        if x.ndim != 2 + len(kernel):
            raise ShapeError(
                f"max_pool: expected {2 + len(kernel)} dimensions for a kernel of {len(kernel)}, "
                f"got shape {list(x.shape)}"
            )
        if x.dtype.category not in ("int", "float"):
            raise DTypeError(f'"max_pool" not implemented for {x.dtype}: expected float or int')
        space = [out_extent(*a) for a in zip(x.shape[2:], kernel, stride, padding, dilation)]
        if any(n < 1 for n in space):
            raise ShapeError(
                f"Given input size: {list(x.shape[1:])}. Calculated output size: "
                f"{[x.shape[1], *space]}. Output size is too small"
            )
        result = x.with_shape((*x.shape[:2], *space))
        return result, result.with_dtype(int64)

    def reference(
        self, x: Array, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints
    ) -> tuple[Array, Array]:
        space = x.shape[2:]
        floating = x.dtype.kind not in "iu"
        lowest = -np.inf if floating else np.iinfo(x.dtype).min
        full = x
        if any(p for pair in padding for p in pair):
            extents = [n + sum(p) for n, p in zip(space, padding)]
            full = np.full((*x.shape[:2], *extents), lowest, x.dtype)
            inside: Any = [slice(low, low + n) for n, (low, _) in zip(space, padding)]
            full[(..., *inside)] = x
        out = tuple(out_extent(*a) for a in zip(space, kernel, stride, padding, dilation))
        starts = [np.arange(o) * s - low for o, s, (low, _) in zip(out, stride, padding)]
        first = [np.where(at < 0, at + -(at // d) * d, at) for at, d in zip(starts, dilation)]
        best = np.full((*x.shape[:2], *out), lowest, x.dtype)
        where = np.broadcast_to(_flat(first, space), best.shape).copy()
        for k, at in offsets(kernel, out, stride, dilation):
            value = full[at]
            better = value > best
            if floating:
                better |= np.isnan(value)
            place = _flat([s + i * d for s, i, d in zip(starts, k, dilation)], space)
            np.copyto(best, value, where=better)
            np.copyto(where, np.broadcast_to(place, best.shape), where=better)
        return best, where

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(12)
        for shape, kernel, stride, padding, dilation in [
            ((2, 3, 7), (3,), (2,), ((1, 1),), (1,)),
            ((1, 2, 5, 6), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
            ((2, 1, 6, 5), (3, 2), (1, 2), ((1, 1), (1, 0)), (2, 1)),
            ((1, 2, 3, 4, 3), (2, 2, 2), (1, 2, 1), ((0, 0), (1, 1), (0, 0)), (1, 1, 1)),
            ((0, 2, 4), (2,), (2,), ((0, 0),), (1,)),
        ]:
            attrs = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
            yield Sample((rng.normal(size=shape),), attrs)
        attrs = {"kernel": (2,), "stride": (1,), "padding": ((1, 1),), "dilation": (1,)}
        special = np.array([[[-np.inf, -np.inf, np.nan, 1.0, np.nan]]], np.float32)
        yield Sample((special,), attrs, grad=False)
        yield Sample((np.array([[[3, -4, 3, 2]]]),), attrs, grad=False)
        yield Sample((np.ones((1, 1, 1)),), {**attrs, "kernel": (5,)}, error=(ShapeError, "small"))

    def vjp(self, node: Node, g: tuple[Value | None, ...]) -> Grads:
        grad = g[0]
        if grad is None:
            return (None,)
        x, where = node.inputs[0], node.outputs[1]
        planes, places = x.shape[0] * x.shape[1], math.prod(x.shape[2:])
        windows = math.prod(grad.shape[2:])
        overlap = any(
            d * (k - 1) + 1 > s
            for k, s, d in zip(*(node.attrs[n] for n in ("kernel", "stride", "dilation")))
        )
        spread = ops.index_put(
            constant(0, grad.dtype, (planes, places)),
            ops.reshape(where, shape=(planes, windows)),
            ops.reshape(grad, shape=(planes, windows)),
            batch=1,
            combine="sum" if overlap else "set",  # places are distinct without overlap
        )
        return (ops.reshape(spread, shape=x.shape),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        splits = [Signature((Split(d),), (Split(d), Split(d))) for d in (0, 1)]
        return [all_broadcast(node), *splits]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        shape = inputs[0].shape
        folded = ops.reshape(inputs[0], shape=(shape[0] * shape[1], *shape[2:]))
        return tuple(
            ops.reshape(v, shape=(*shape[:2], *v.shape[1:])) for v in self(folded, **node.attrs)
        )


def _flat(at: Sequence[Array], space: Ints) -> Array:
    """Row-major positions in ``space`` of the grid of one position array per dimension."""
    result: Array = np.zeros((1,) * len(at), np.int64)
    for d, (positions, extent) in enumerate(zip(at, space)):
        shape = [-1 if i == d else 1 for i in range(len(at))]
        result = result * extent + positions.reshape(shape)
    return result


def _overhang(
    op: str, x: Value, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool
) -> Pairs:
    """Padding per dimension: with ``ceil_mode`` the last window may reach beyond the end, if it
    begins inside the input or its left padding."""
    result = []
    for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation):
        reach = d * (k - 1) + 1
        high = p
        if ceil_mode:
            count = -((reach - n - 2 * p) // s) + 1
            if (count - 1) * s >= n + p:
                count -= 1
            high = max(p, (count - 1) * s + reach - n - p)
        result.append((p, high))
    return tuple(result)


def window_of(
    op: str, dims: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[Ints, Ints, Ints, Ints]:
    kernel = per_dim(kernel_size, dims, "kernel_size", op)
    empty = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    steps = kernel if empty else per_dim(stride, dims, "stride", op)
    around, spread = per_dim(padding, dims, "padding", op), per_dim(dilation, dims, "dilation", op)
    for name, given in [("kernel size", kernel), ("stride", steps), ("dilation", spread)]:
        if min(given) < 1:
            raise ShapeError(f"{op}: {name} should be greater than zero, but got {list(given)}")
    if any(p < 0 or p > (d * (k - 1) + 1) // 2 for p, k, d in zip(around, kernel, spread)):
        raise ShapeError(
            f"pad should be at most half of effective kernel size, but got pad={list(around)}, "
            f"kernel_size={list(kernel)} and dilation={list(spread)}"
        )
    return kernel, steps, around, spread


def _nonempty_input(op: str, input: Value, dims: int) -> tuple[Value, bool]:
    x, single = batched_input(op, input, dims)
    if dims > 1 and 0 in x.shape[1:]:
        raise ShapeError(
            f"{op}: Expected input's non-batch dimensions to have positive length, but input has "
            f"a shape of {list(input.shape)}"
        )
    return x, single


def max_pool(
    op: str, dims: int, input: Value, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool, return_indices: bool,
) -> Any:  # fmt: skip
    x, single = _nonempty_input(op, input, dims)
    kernel, steps, around, spread = window_of(op, dims, kernel_size, stride, padding, dilation)
    pads = _overhang(op, x, kernel, steps, around, spread, ceil_mode)
    values, where = ops.max_pool(x, kernel=kernel, stride=steps, padding=pads, dilation=spread)
    values, where = unbatch(values, single), unbatch(where, single)
    return (values, where) if return_indices else values


def avg_pool(
    op: str, dims: int, input: Value, kernel_size: Any, stride: Any, padding: Any,
    ceil_mode: bool, count_include_pad: bool, divisor_override: int | None,
) -> Value:  # fmt: skip
    x, single = _nonempty_input(op, input, dims)
    kernel, steps, around, _ = window_of(op, dims, kernel_size, stride, padding, 1)
    if divisor_override == 0:
        raise ShapeError("divisor must be not zero, got divisor_override=0")
    pads = _overhang(op, x, kernel, steps, around, (1,) * dims, ceil_mode)
    total = window_sum(x, kernel, steps, pads)
    if x.dtype.category == "int":
        return unbatch(_whole_means(total, x, kernel, steps, around, count_include_pad,
                                    divisor_override), single)  # fmt: skip
    if divisor_override is not None:
        return unbatch(total / divisor_override, single)
    for d, counts in _counts(total, x, kernel, steps, around, count_include_pad):
        if set(counts) == {float(kernel[d - 2])}:
            total = total / counts[0]
            continue
        table = ops.table(values=counts, dtype=total.dtype)
        total = total / ops.reshape(table, shape=(len(counts), *(1,) * (total.ndim - d - 1)))
    return unbatch(total, single)


def _whole_means(
    total: Value, x: Value, kernel: Ints, stride: Ints, padding: Ints, count_include_pad: bool,
    divisor: int | None,
) -> Value:  # fmt: skip
    """Sums of integers divided by what each window counts, without the fraction."""
    if divisor is not None:
        return public.div(total, divisor, rounding_mode="trunc")  # type: ignore[no-any-return]
    for d, counts in _counts(total, x, kernel, stride, padding, count_include_pad):
        table = ops.table(values=tuple(map(int, counts)), dtype=total.dtype)
        table = ops.reshape(table, shape=(len(counts), *(1,) * (total.ndim - d - 1)))
        total = public.div(total, table, rounding_mode="trunc")
    return total


def _counts(
    total: Value, x: Value, kernel: Ints, stride: Ints, padding: Ints, count_include_pad: bool
) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Per spatial dimension how many elements each window counts."""
    for d, (n, k, s, p) in enumerate(zip(x.shape[2:], kernel, stride, padding), start=2):
        low, high = (-p, n + p) if count_include_pad else (0, n)
        yield (
            d,
            tuple(
                float(max(min(o * s - p + k, high) - max(o * s - p, low), 0))
                for o in range(total.shape[d])
            ),
        )


def window_sum(x: Value, kernel: Ints, stride: Ints, padding: Pairs) -> Value:
    """Sums over the windows of the dimensions behind the second: each plane convolved with ones."""
    n, c, *space = x.shape
    planes = ops.reshape(x, shape=(n * c, 1, *space))
    sums = ops.conv(
        planes, constant(1, x.dtype, (1, 1, *kernel)), stride=stride, padding=padding,
        dilation=(1,) * len(kernel), groups=1,
    )  # fmt: skip
    return ops.reshape(sums, shape=(n, c, *sums.shape[2:]))  # type: ignore[no-any-return]
