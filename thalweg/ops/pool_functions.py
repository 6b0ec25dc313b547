"""Pooling under PyTorch's names: maximum, average, power average, and their adaptive forms.

Adaptive pooling whose windows are all of one size is ordinary pooling; otherwise the elements of
each window are gathered by a table of positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from ..core.dtypes import int64
from ..core.errors import ShapeError, ValueRangeError
from ..ir.node import Value
from .conv_functions import batched_input, unbatch
from .function import Call, composite
from .link import ops
from .named import public
from .nn_shared import expect_room
from .pool import avg_pool, max_pool, window_of, window_sum

Ints = tuple[int, ...]


def _inputs(dims: int) -> Any:
    return np.random.default_rng(dims).normal(size=(2, 3, *(7, 6, 5)[:dims]))


def _max_calls(dims: int) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        x = _inputs(dims)
        yield Call((x, 2))
        yield Call((x[0], 3, 2))
        yield Call((x, (3, 2, 2)[:dims], 1, (1, 0, 1)[:dims]))
        yield Call((x, 2, 2, 0, 2), {"return_indices": True})
        yield Call((x, 2, 2, 1), {"ceil_mode": True, "return_indices": True})
        yield Call((x, 3, 2, 1), {"ceil_mode": True})
        yield Call((x.astype(np.float32), [2] * dims))
        yield Call((np.where(x > 1, np.nan, x), 2), {"return_indices": True}, grad=False)
        yield Call((x, 2, 2, 2), error=(RuntimeError, "at most half of effective kernel size"))
        yield Call((x, 9), error=(RuntimeError, "Output size is too small"))
        yield Call((x[0, 0], 2), error=(RuntimeError, "input"))

    return make


def _make_max(dims: int) -> None:
    op = f"max_pool{dims}d"

    def body(
        input: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        """Maximum of windows: (n, c, space) or (c, space) -> the same with fewer positions.

        ``stride`` defaults to the kernel size; with ``return_indices`` also the flat position of
        each maximum. RuntimeError where padding exceeds half a window or nothing is left.
        """
        return max_pool(
            op, dims, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )

    composite(f"nn.functional.{op}", aliases=(op,), calls=_max_calls(dims))(body)


def _avg_calls(dims: int) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        x = _inputs(dims)
        yield Call((x, 2))
        yield Call((x[0], 3, 2))
        yield Call((x, (3, 2, 2)[:dims], 1, (1, 0, 1)[:dims]))
        yield Call((x, 3, 2, 1), {"count_include_pad": False})
        yield Call((x, 3, 2, 1), {"ceil_mode": True})
        yield Call((x, 2, 2, 1), {"ceil_mode": True, "count_include_pad": False})
        yield Call((x.astype(np.float32), [2] * dims))
        if dims > 1:
            yield Call((x, 2), {"divisor_override": 3})
            yield Call((x, 2), {"divisor_override": 0}, error=(RuntimeError, "must be not zero"))
        yield Call((x, 2, 2, 2), error=(RuntimeError, "at most half of"))
        yield Call((x, 9), error=(RuntimeError, "size"))

    return make


@composite("nn.functional.avg_pool1d", aliases=("avg_pool1d",), calls=_avg_calls(1))
def avg_pool1d(
    input: Value, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Value:  # fmt: skip
    """Mean of windows: (n, c, l) or (c, l) -> (n, c, l'); padding counts as zeros or not at all."""
    return avg_pool(
        "avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None
    )


def _make_avg(dims: int) -> None:
    op = f"avg_pool{dims}d"

    def body(
        input: Value, kernel_size: Any, stride: Any = None, padding: Any = 0,
        ceil_mode: bool = False, count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Value:  # fmt: skip
        """Mean of windows: (n, c, space) or (c, space) -> the same with fewer positions.

        Padding counts as zeros, or with ``count_include_pad=False`` not at all;
        ``divisor_override`` divides every sum by one number instead.
        """
        return avg_pool(
            op, dims, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
            divisor_override,
        )  # fmt: skip

    composite(f"nn.functional.{op}", calls=_avg_calls(dims))(body)


def _lp_calls(dims: int) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        x = np.abs(_inputs(dims)) + 0.1
        yield Call((x, 2.0, 2))
        yield Call((x, 3, 3, 1))
        yield Call((x, 1.5, 2), {"ceil_mode": True})

    return make


def _make_lp(dims: int) -> None:
    op = f"lp_pool{dims}d"

    def body(
        input: Value, norm_type: float, kernel_size: Any, stride: Any = None,
        ceil_mode: bool = False,
    ) -> Value:  # fmt: skip
        """``(sum of |x| ** p over each window) ** (1 / p)`` for ``p = norm_type``."""
        powers = public.pow(input, norm_type)
        mean = avg_pool(op, dims, powers, kernel_size, stride, 0, ceil_mode, True, 1)
        if ceil_mode:  # a window that overhangs counts as if its mean were taken of the rest
            kernel, *_ = window_of(op, dims, kernel_size, stride, 0, 1)
            ones = public.full_like(powers, 1)
            counts = avg_pool(op, dims, ones, kernel_size, stride, 0, True, True, 1)
            mean = mean / counts * math.prod(kernel)
        return public.pow(mean, 1.0 / norm_type)  # type: ignore[no-any-return]

    composite(f"nn.functional.{op}", calls=_lp_calls(dims))(body)


def _bins(size: int, count: int) -> list[range]:
    """The windows of adaptive pooling: ``count`` of them cover ``size`` elements evenly."""
    return [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


class PoolInputError(ShapeError, ValueRangeError):
    """An input of too few dimensions: PyTorch raises ValueError or RuntimeError, as output_size
    is given as a sequence or a number."""


def _batched_input(op: str, input: Value, dims: int) -> tuple[Value, bool]:
    if input.ndim <= dims:
        raise PoolInputError(
            f"{op}: Input dimension should be at least {dims + 1}, got shape {list(input.shape)}"
        )
    return batched_input(op, input, dims)


def _output_size(op: str, output_size: Any, x: Value, dims: int) -> Ints:
    given: Sequence[Any] = output_size if isinstance(output_size, (tuple, list)) else (output_size,)
    given = tuple(given) * dims if len(given) == 1 else tuple(given)
    if len(given) != dims:
        raise ShapeError(f"{op}: output_size must be {dims}, got {list(given)}")
    sizes = tuple(n if m is None else m for m, n in zip(given, x.shape[2:]))
    if min(sizes) < 0:
        raise ShapeError(
            f"{op}: elements of output_size must be greater than or equal to 0: {sizes}"
        )
    return sizes


def _gathered(x: Value, sizes: Ints) -> tuple[Value, list[list[int]], list[int]]:
    """Elements of every window, [n * c, windows, places], with the flat positions they came from
    (the last repeated where a window is smaller) and the number of elements of each window."""
    space = x.shape[2:]
    bins = [_bins(n, m) for n, m in zip(space, sizes)]
    grid = [
        [int(np.ravel_multi_index(at, space)) for at in product(*window)]
        for window in product(*bins)
    ]
    longest = max(map(len, grid), default=0)
    counts = [len(row) for row in grid]
    grid = [row + row[-1:] * (longest - len(row)) for row in grid]
    planes = x.shape[0] * x.shape[1]
    table = ops.table(values=tuple(i for row in grid for i in row), dtype=int64)
    flat = ops.reshape(x, shape=(planes, math.prod(space)))
    taken = ops.take(ops.permute(flat, dims=(1, 0)), table, batch=0)
    moved = ops.permute(taken, dims=(1, 0))
    return ops.reshape(moved, shape=(planes, len(grid), longest)), grid, counts


def _adaptive_calls(dims: int) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        x = _inputs(dims)
        even = np.random.default_rng(1).normal(size=(2, 3, *(6, 4, 4)[:dims]))
        yield Call((x, 3))
        yield Call((x[0], 1))
        yield Call((x, (3, 4, 2)[:dims]))
        yield Call((even, (3, 2, 4)[:dims]))
        yield Call((x.astype(np.float32), 2))
        if dims > 1:
            yield Call((x, (None, 3, 2)[:dims]))
        yield Call((x[0, 0], 2), error=(RuntimeError, ""))

    return make


def _make_adaptive_avg(dims: int) -> None:
    op = f"adaptive_avg_pool{dims}d"

    def body(input: Value, output_size: Any) -> Value:
        """Mean over windows that cover the input evenly: ``output_size`` of them per dimension
        (None keeps the input's size)."""
        x, single = _batched_input(op, input, dims)
        sizes = _output_size(op, output_size, x, dims)
        if all(m and n % m == 0 for n, m in zip(x.shape[2:], sizes)):
            kernel = tuple(n // m for n, m in zip(x.shape[2:], sizes))
            if set(sizes) == {1}:
                total = ops.reduce_sum(x, dims=tuple(range(2, x.ndim)))
                total = ops.reshape(total, shape=(*x.shape[:2], *sizes))
            else:
                total = window_sum(x, kernel, kernel, ((0, 0),) * dims)
            return unbatch(total / math.prod(kernel), single)
        expect_room(op, (*x.shape[:2], *sizes), x.dtype)
        taken, grid, counts = _gathered(x, sizes)
        weights = tuple(
            1.0 / n if i < n else 0.0 for row, n in zip(grid, counts) for i in range(len(row))
        )
        table = ops.reshape(ops.table(values=weights, dtype=x.dtype), shape=(1, *taken.shape[1:]))
        mean = ops.reduce_sum(taken * table, dims=(2,))
        return unbatch(ops.reshape(mean, shape=(*x.shape[:2], *sizes)), single)

    aliases = (op,) if dims == 1 else ()
    composite(f"nn.functional.{op}", aliases=aliases, calls=_adaptive_calls(dims))(body)


def _make_adaptive_max(dims: int) -> None:
    op = f"adaptive_max_pool{dims}d"

    def body(input: Value, output_size: Any, return_indices: bool = False) -> Any:
        """Maximum over windows that cover the input evenly: ``output_size`` of them per dimension
        (None keeps the input's size), with ``return_indices`` also the flat positions."""
        x, single = _batched_input(op, input, dims)
        sizes = _output_size(op, output_size, x, dims)
        if all(m and n % m == 0 for n, m in zip(x.shape[2:], sizes)):
            kernel = tuple(n // m for n, m in zip(x.shape[2:], sizes))
            return max_pool(op, dims, input, kernel, kernel, 0, 1, False, return_indices)
        expect_room(op, (*x.shape[:2], *sizes), x.dtype)
        taken, grid, _ = _gathered(x, sizes)
        place = ops.argmax(taken, dim=2)
        table = ops.table(values=tuple(i for row in grid for i in row), dtype=int64)
        everywhere = ops.expand(ops.reshape(table, shape=(1, *taken.shape[1:])), shape=taken.shape)
        results = tuple(
            unbatch(ops.reshape(ops.take(v, place, batch=2), shape=(*x.shape[:2], *sizes)), single)
            for v in (taken, everywhere)
        )
        return results if return_indices else results[0]

    def calls() -> Iterator[Call]:
        yield from _adaptive_calls(dims)()
        yield Call((_inputs(dims), 3), {"return_indices": True})
        yield Call((_inputs(dims), 1), {"return_indices": True})

    composite(f"nn.functional.{op}", calls=calls)(body)


for _dims in (1, 2, 3):
    _make_max(_dims)
    _make_lp(_dims)
    _make_adaptive_avg(_dims)
    _make_adaptive_max(_dims)
for _dims in (2, 3):
    _make_avg(_dims)
