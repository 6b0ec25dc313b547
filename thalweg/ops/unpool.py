"""The inverse of max pooling, and the shuffling of channels between groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import int64
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import constant
from .conv_functions import batched_input, unbatch
from .function import Call, composite
from .link import ops
from .pool import window_of

Ints = tuple[int, ...]


def _unpooled_size(
    op: str, kernel: Ints, stride: Ints, padding: Ints, space: Ints, wanted: Sequence[int] | None
) -> Ints:
    """The size before pooling: ``wanted`` if that lies within one stride of the smallest."""
    least = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(space, stride, padding, kernel))
    if wanted is None:
        return least
    size = tuple(wanted)
    dims = len(least)
    if len(size) == dims + 2:
        size = size[2:]
    if len(size) != dims:
        raise ValueRangeError(
            "output_size should be a sequence containing "
            f"{dims} or {dims + 2} elements, but it has a length of '{len(size)}'"
        )
    for d, (given, middle, step) in enumerate(zip(size, least, stride)):
        if not middle - step < given < middle + step:
            raise ValueRangeError(
                f'{op}: invalid output_size "{list(size)}" (dim {d} must be between '
                f"{middle - step} and {middle + step})"
            )
    return size


def _unpool(
    op: str, dims: int, input: Value, indices: Value, kernel_size: Any, stride: Any, padding: Any,
    output_size: Sequence[int] | None,
) -> Value:  # fmt: skip
    if indices.dtype is not int64:
        raise DTypeError(f"{op}: elements in indices should be type int64 but got: {indices.dtype}")
    if indices.shape != input.shape:
        raise ShapeError(
            f"{op}: Expected shape of indices to be same as that of the input tensor "
            f"({list(input.shape)}) but got indices tensor with shape: {list(indices.shape)}"
        )
    kernel, stride, padding, _ = window_of(op, dims, kernel_size, stride, padding, 1)
    x, single = batched_input(op, input, dims)
    size = _unpooled_size(op, kernel, stride, padding, x.shape[2:], output_size)
    lead = x.shape[:2]
    at = ops.reshape(indices, shape=(*lead, math.prod(x.shape[2:])))
    zeros = constant(0, x.dtype, (*lead, math.prod(size)))
    flat = ops.reshape(x, shape=at.shape)
    placed = ops.index_put(zeros, at, flat, batch=2, combine="set")
    return unbatch(ops.reshape(placed, shape=(*lead, *size)), single)


def _unpool_calls(dims: int) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        shape = (2, 3, *(3, 2, 2)[:dims])
        x = np.random.default_rng(dims).normal(size=shape)
        # One position of each window of two: 0 within it, or the last.
        steps = np.meshgrid(*[2 * np.arange(n) for n in shape[2:]], indexing="ij")
        whole = tuple(2 * n for n in shape[2:])
        first = np.ravel_multi_index(tuple(steps), whole)
        last = np.ravel_multi_index(tuple(s + 1 for s in steps), whole)
        at = np.stack([first, last, first])[None].repeat(2, 0)
        yield Call((x, at, 2))
        yield Call((x[0], at[0], 2, 2))
        yield Call((x, at, [2] * dims), {"output_size": whole})
        wider = tuple(n + 1 for n in whole)
        yield Call((x, at, 2), {"output_size": wider})
        yield Call((x.astype(np.float32), at, 2), {"output_size": (*shape[:2], *wider)})
        yield Call((x, at, 2), {"output_size": (40,) * dims}, error=(ValueError, "invalid output"))
        yield Call((x, at, 2), {"output_size": (4,) * (dims + 1)}, error=(ValueError, "sequence"))
        yield Call((x, at.astype(np.int32), 2), error=(RuntimeError, "int64"))
        yield Call((x, at[..., :1], 2), error=(RuntimeError, "shape"))

    return make


def _make_unpool(dims: int) -> None:
    op = f"max_unpool{dims}d"

    def body(
        input: Value, indices: Value, kernel_size: Any, stride: Any = None, padding: Any = 0,
        output_size: Sequence[int] | None = None,
    ) -> Value:  # fmt: skip
        """Maxima put back where max pooling found them, zeros elsewhere.

        (n, c, space) or (c, space), and the flat positions in int64 of that shape, give the size
        before pooling, of which ``output_size`` names one within a stride. ValueError for another
        size, RuntimeError for other shapes or dtypes. Zeiler et al. (2011).
        """
        return _unpool(op, dims, input, indices, kernel_size, stride, padding, output_size)

    composite(f"nn.functional.{op}", out=False, calls=_unpool_calls(dims))(body)


for _dims in (1, 2, 3):
    _make_unpool(_dims)


def _shuffle_calls() -> Iterator[Call]:
    x = np.random.default_rng(1).normal(size=(2, 6, 3, 4))
    yield Call((x, 2))
    yield Call((x, 3))
    yield Call((x[..., 0], 6))
    yield Call((x.astype(np.float32), 1))
    yield Call((x[:0], 2))
    yield Call((np.arange(24).reshape(1, 4, 6), 2), grad=False)
    yield Call((x, 4), error=(RuntimeError, "divisible by groups"))
    yield Call((x, 0), error=(RuntimeError, "groups"))
    yield Call((x[0, 0], 2), error=(RuntimeError, "> 2 dims"))


@composite(
    "nn.functional.channel_shuffle",
    aliases=("channel_shuffle", "nn.functional.native_channel_shuffle", "native_channel_shuffle"),
    out=False,
    calls=_shuffle_calls,
)
def channel_shuffle(input: Value, groups: int) -> Value:
    """(n, c, space) with its channels, seen as groups × rest, reordered as rest × groups.

    RuntimeError unless ``groups`` divides c. Zhang et al., arXiv 1707.01083.
    """
    if input.ndim < 3:
        raise ShapeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}"
        )
    if groups <= 0:
        raise ShapeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    n, c, *space = input.shape
    if c % groups:
        raise ShapeError(
            f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups."
        )
    cut = ops.reshape(input, shape=(n, groups, c // groups, *space))
    moved = ops.permute(cut, dims=(0, 2, 1, *range(3, cut.ndim)))
    return ops.reshape(moved, shape=input.shape)  # type: ignore[no-any-return]


__all__ = ["channel_shuffle"]
