"""Maxima over windows at pseudo-random places (Graham 2014, arXiv 1412.6071)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import float64, int64
from ..core.errors import ArgumentError, ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import cast, constant
from .contract import Array
from .function import Call, function
from .link import ops
from .named import public
from .philox import Stream
from .random import uniform01

Sizes = int | Sequence[int]
Ratios = float | Sequence[float]


def _each(op: str, what: str, given: Any, count: int) -> tuple[Any, ...]:
    """One number for each dimension."""
    numbers = tuple(given) if isinstance(given, (list, tuple)) else (given,) * count
    if len(numbers) != count or not all(isinstance(n, (int, float)) for n in numbers):
        raise ArgumentError(f"{op}: {what} must be a number or {count} numbers, got {given!r}")
    return numbers


def _starts(samples: Value, extent: int, out: int, window: int) -> Value:
    """First positions of the windows along one dimension: (n, c) -> (n, c, out)."""
    last = extent - window
    if out == 1:
        return constant(last, int64, (*samples.shape, 1))
    step = last / (out - 1)
    at = ops.reshape(samples, shape=(*samples.shape, 1))
    numbers = public.arange(out - 1, dtype=samples.dtype)
    places = public.floor((numbers + at) * step) - public.floor(at * step)
    end = constant(last, int64, (*samples.shape, 1))
    return public.cat((cast(places, int64), end), -1)  # type: ignore[no-any-return]


def _pool(
    dims: int, input: Value, kernel_size: Any, output_size: Any, output_ratio: Any,
    samples: Value | None, rng: Stream,
) -> tuple[Value, Value]:  # fmt: skip
    op = f"fractional_max_pool{dims}d"
    if input.ndim not in (dims + 1, dims + 2):
        raise ShapeError(f"{op}: Expected {dims + 1}D or {dims + 2}D tensor, got {input.ndim}D")
    if (output_size is None) == (output_ratio is None):
        raise ValueRangeError(f"{op} requires specifying either an output_size or an output_ratio")
    x = input if input.ndim == dims + 2 else ops.reshape(input, shape=(1, *input.shape))
    n, channels, *space = x.shape
    window = _each(op, "kernel_size", kernel_size, dims)
    if output_size is None:
        ratios = _each(op, "output_ratio", output_ratio, dims)
        if not all(0 < r < 1 for r in ratios):
            raise ValueRangeError(f"{op}: output_ratio must be between 0 and 1, got {ratios}")
        out = tuple(int(s * r) for s, r in zip(space, ratios))
    else:
        out = _each(op, "output_size", output_size, dims)
    for extent, o, k in zip(space, out, window):
        if o < 1 or k < 1 or o + k - 1 > extent:
            raise ShapeError(
                f"{op}: pool size {k} and output size {o} are too large relative to input size "
                f"{extent}"
            )
    if samples is None:
        samples = uniform01(rng, (n, channels, dims), x.dtype)
    elif samples.shape != (n, channels, dims):
        raise ShapeError(
            f"{op}: Expect _random_samples of shape {[n, channels, dims]}, got "
            f"{list(samples.shape)}"
        )
    at = constant(0, int64, (n, channels, *(1,) * (2 * dims)))
    for d, (extent, o, k) in enumerate(zip(space, out, window)):
        # PyTorch's samples run from the last dimension to the first.
        sample = cast(public.select(samples, 2, dims - 1 - d), float64)
        starts = ops.reshape(_starts(sample, extent, o, k), shape=(n, channels, o, 1))
        places = starts + public.arange(k, dtype=int64)
        spread = [n, channels, *(1,) * (2 * dims)]
        spread[2 + d], spread[2 + dims + d] = o, k
        at = at * extent + ops.reshape(places, shape=tuple(spread))
    count = math.prod(window)
    at = ops.reshape(at, shape=(n, channels, math.prod(out) * count))
    flat = ops.reshape(x, shape=(n, channels, math.prod(space)))
    shape = (n, channels, *out, count)
    values, which = public.max(ops.reshape(public.gather(flat, 2, at), shape=shape), -1)
    indices = public.squeeze(
        public.gather(ops.reshape(at, shape=shape), -1, public.unsqueeze(which, -1)), -1
    )
    if input.ndim == dims + 1:
        values, indices = public.squeeze(values, 0), public.squeeze(indices, 0)
    return values, indices


def _calls(dims: int) -> Any:
    def calls() -> Iterator[Call]:
        rng = np.random.default_rng(3)
        x: Array = rng.normal(size=(2, 3, 7, 6, 5)[: dims + 2])
        samples = rng.uniform(size=(2, 3, dims))
        yield Call((x, 2, 3), {"_random_samples": samples})
        yield Call((x[0], 2), {"output_ratio": (0.5,) * dims, "_random_samples": samples[:1]})
        yield Call((x, 2), error=(ValueError, "either an output_size or"))
        yield Call((x, 3, 5), error=(RuntimeError, "too large"))

    return calls


def _register(dims: int) -> None:
    name = f"nn.functional.fractional_max_pool{dims}d"

    def with_indices(
        input: Value,
        kernel_size: Sizes,
        output_size: Sizes | None = None,
        output_ratio: Ratios | None = None,
        return_indices: bool = False,
        _random_samples: Value | None = None,
        *,
        rng: Stream,
    ) -> tuple[Value, Value]:
        """Maxima over windows at pseudo-random places, and their positions."""
        return _pool(dims, input, kernel_size, output_size, output_ratio, _random_samples, rng)

    def pool(
        input: Value,
        kernel_size: Sizes,
        output_size: Sizes | None = None,
        output_ratio: Ratios | None = None,
        return_indices: bool = False,
        _random_samples: Value | None = None,
        *,
        rng: Stream,
    ) -> Value | tuple[Value, Value]:
        """Maxima over windows at pseudo-random places that together make ``output_size`` results,
        or ``output_ratio`` times as many as the input has; ``return_indices`` gives positions too.
        ``_random_samples`` (n, c, dims) in [0, 1) determine the places."""
        found = _pool(dims, input, kernel_size, output_size, output_ratio, _random_samples, rng)
        return found if return_indices else found[0]

    function(name, random=True, out=False, calls=_calls(dims))(pool)
    function(f"{name}_with_indices", random=True, out=False, calls=_calls(dims))(with_indices)


for _dims in (2, 3):
    _register(_dims)
