"""Sampling at coordinates that are data: `grid_sample`, and the grids of affine maps.

A sample is a weighted sum of input elements (taps) near its coordinate; along each dimension taps
and weights follow from the coordinate, and the weights carry the gradient of the grid. Source:
Jaderberg et al. (2015), "Spatial transformer networks", arXiv 1506.02025.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..core.dtypes import DType, int64
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import cast, constant
from .function import Call, composite, function
from .link import ops
from .named import public
from .pointwise import expect_tensor

_CUBIC = -0.75  # the coefficient of Keys (1981) that PyTorch uses


class _Tap(NamedTuple):
    """Positions along one dimension (whole numbers), the weight there, and whether it counts."""

    position: Value
    weight: Value
    inside: Value


class _Axis(NamedTuple):
    """How coordinates along a dimension of ``size`` elements are read."""

    size: int
    padding: str
    align: bool

    def pixels(self, c: Value) -> Value:
        """Coordinates from -1 to 1 in units of elements: the ends are the centres of the first and
        last element if ``align``, else their outer edges."""
        return (
            (c + 1.0) * ((self.size - 1) / 2) if self.align else (c + 1.0) * (self.size / 2) - 0.5
        )

    def padded(self, p: Value) -> Value:
        """Coordinates outside moved to where the padding says; zeros are left outside."""
        if self.padding == "zeros":
            return p
        if self.padding == "reflection":
            p = self._reflected(p)
        return public.clamp(p, 0, self.size - 1)  # type: ignore[no-any-return]

    def _reflected(self, p: Value) -> Value:
        low = 0.0 if self.align else -0.5
        span = float(self.size - 1) if self.align else float(self.size)
        if span == 0:
            return constant(0, p.dtype, p.shape)
        away = public.abs(p - low)
        flips = public.floor(ops.stop_gradient(away) / span)
        rest = away - flips * span
        odd = public.ne(public.remainder(flips, 2.0), 0)
        return public.where(odd, span - rest, rest) + low  # type: ignore[no-any-return]

    def tap(self, position: Value, weight: Value) -> _Tap:
        above = public.ge(position, 0)
        inside = public.logical_and(above, public.le(position, self.size - 1))
        return _Tap(position, weight, inside)

    def taps(self, c: Value, mode: str) -> list[_Tap]:
        p = self.pixels(c)
        if mode == "nearest":
            near = public.round(ops.stop_gradient(self.padded(p)))
            return [self.tap(near, constant(1, c.dtype, c.shape))]
        if mode == "bilinear":
            p = self.padded(p)
            first = public.floor(ops.stop_gradient(p))
            part = p - first
            return [self.tap(first, 1.0 - part), self.tap(first + 1.0, part)]
        first = public.floor(ops.stop_gradient(p))
        part = p - first
        found = []
        for k in (-1, 0, 1, 2):
            weight = _outer(part + 1.0) if k < 0 else _outer(2.0 - part) if k > 1 else (
                _inner(part if k == 0 else 1.0 - part)
            )  # fmt: skip
            found.append(self.tap(self.padded(first + float(k)), weight))
        return found


def _inner(x: Value) -> Value:
    """The cubic convolution kernel of Keys (1981) for 0 <= x <= 1."""
    return (x * (_CUBIC + 2) - (_CUBIC + 3)) * x * x + 1.0


def _outer(x: Value) -> Value:
    """The same for 1 <= x <= 2."""
    return ((x * _CUBIC - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC


def _calls() -> Iterator[Call]:
    rng = np.random.default_rng(81)
    x, grid = rng.normal(size=(2, 3, 4, 5)), rng.uniform(-1.4, 1.4, (2, 3, 2, 2))
    box, places = rng.normal(size=(2, 2, 3, 2, 4)), rng.uniform(-1.4, 1.4, (2, 2, 1, 3, 3))
    for padding in ("zeros", "border", "reflection"):
        for align in (False, True):
            for mode in ("bilinear", "nearest", "bicubic"):
                yield Call((x, grid, mode, padding, align))
            for mode in ("bilinear", "nearest"):
                yield Call((box, places, mode, padding, align))
    far = rng.uniform(-9, 9, (2, 3, 2, 2))
    yield Call((x, far), {"padding_mode": "reflection", "align_corners": False})
    yield Call((rng.normal(size=(1, 1, 1, 1)), grid[:1], "bilinear", "reflection", True))
    yield Call((x[:0], grid[:0]), {"align_corners": False})
    yield Call((x, grid[..., :1]), error=(RuntimeError, "expected grid to have size 2 in last"))
    yield Call((x[:1], grid), error=(RuntimeError, "expected grid and input to have same batch"))
    yield Call((x, grid, "cubic"), error=(ValueError, "grid_sample(): expected mode to be"))
    yield Call((x, grid, "nearest", "wrap"), error=(ValueError, "expected padding_mode to be"))
    yield Call((box, places, "bicubic"), error=(RuntimeError, "only supports 4D input"))
    yield Call((x[0], grid), error=(RuntimeError, "expected 4D or 5D input"))
    yield Call((x, grid.astype(np.float32)), error=(RuntimeError, "same dtype"))


@composite("nn.functional.grid_sample", onnx="GridSample", calls=_calls)
def grid_sample(
    input: Value, grid: Value, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Value:  # fmt: skip
    """Samples of ``input`` at the coordinates in ``grid``, which run from -1 to 1.

    ``input`` (n, c, h, w) and ``grid`` (n, a, b, 2) with (x, y) in its last dimension give
    (n, c, a, b); (n, c, d, h, w) and (n, a, b, e, 3) with (x, y, z) give (n, c, a, b, e).
    ``mode`` "bilinear" (trilinear), "nearest" or, of planes only, "bicubic"; ``padding_mode``
    "zeros", "border" or "reflection". ValueError for other modes, RuntimeError for other shapes.
    """
    x, g = expect_tensor("grid_sample", input), expect_tensor("grid_sample", grid, "grid", 2)
    _check(x, g, mode, padding_mode)
    space = x.shape[2:]
    dims = len(space)
    axes = [_Axis(size, padding_mode, bool(align_corners)) for size in space]
    # The last number of a coordinate belongs to the first spatial dimension.
    taps = [axis.taps(public.select(g, -1, dims - 1 - d), mode) for d, axis in enumerate(axes)]
    order = (0, *range(2, dims + 2), 1)
    source = ops.permute(x, dims=order)
    total: Value | None = None
    for corner in product(*taps):
        inside = functools.reduce(public.logical_and, [tap.inside for tap in corner])
        weight = functools.reduce(lambda a, b: a * b, [tap.weight for tap in corner])
        zero = constant(0, x.dtype, weight.shape)
        index = [cast(ops.where(inside, t.position, zero), int64) for t in corner]
        found = ops.take(source, *index, batch=1)
        term = found * ops.reshape(ops.where(inside, weight, zero), shape=(*weight.shape, 1))
        total = term if total is None else total + term
    assert total is not None
    return ops.permute(total, dims=(0, dims + 1, *range(1, dims + 1)))  # type: ignore[no-any-return]


def _check(x: Value, grid: Value, mode: str, padding_mode: str) -> None:
    op = "grid_sample(): "
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueRangeError(
            f"nn.functional.{op}expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: "
            f"'{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueRangeError(
            f"nn.functional.{op}expected padding_mode to be 'zeros', 'border', or 'reflection', "
            f"but got: '{padding_mode}'"
        )
    if x.dtype is not grid.dtype or x.dtype.category != "float":
        raise DTypeError(
            f"{op}expected input and grid to have same dtype, a floating one, but got input with "
            f"{x.dtype.name} and grid with {grid.dtype.name}"
        )
    if x.ndim not in (4, 5) or grid.ndim != x.ndim:
        raise ShapeError(
            f"{op}expected 4D or 5D input and grid with same number of dimensions, but got input "
            f"with sizes {list(x.shape)} and grid with sizes {list(grid.shape)}"
        )
    if x.shape[0] != grid.shape[0]:
        raise ShapeError(
            f"{op}expected grid and input to have same batch size, but got input with sizes "
            f"{list(x.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != x.ndim - 2:
        raise ShapeError(
            f"{op}expected grid to have size {x.ndim - 2} in last dimension, but got grid with "
            f"sizes {list(grid.shape)}"
        )
    if 0 in x.shape[2:]:
        raise ShapeError(
            f"{op}expected input to have non-empty spatial dimensions, got {list(x.shape)}"
        )
    if mode == "bicubic" and x.ndim != 4:
        raise ShapeError(f"{op}bicubic interpolation only supports 4D input, got {x.ndim}D")


def _affine_calls() -> Iterator[Call]:
    rng = np.random.default_rng(82)
    for align in (False, True):
        yield Call((rng.normal(size=(2, 2, 3)), (2, 3, 4, 5), align))
        yield Call((rng.normal(size=(2, 3, 4)), (2, 1, 2, 3, 4), align))
        yield Call((rng.normal(size=(1, 2, 3)), (1, 3, 1, 2), align))
    yield Call((rng.normal(size=(1, 2, 2)), (1, 1, 2, 2)), error=(ValueError, "2D affine matrices"))
    yield Call((rng.normal(size=(1, 2, 3)), (1, 1, 2)), error=(NotImplementedError, "affine_grid"))
    yield Call((rng.normal(size=(1, 2, 3)), (1, 1, 0, 2)), error=(ValueError, "non-zero, positive"))


def _ramp(count: int, align: bool, dtype: DType) -> Value:
    """Coordinates from -1 to 1: of the centres of elements, or stretched to have them at the
    ends."""
    if count == 1:
        return constant(0, dtype, (1,))
    end = 1.0 if align else (count - 1) / count
    return public.linspace(-end, end, count, dtype=dtype)  # type: ignore[no-any-return]


@function("nn.functional.affine_grid", out=False, calls=_affine_calls)
def affine_grid(theta: Value, size: Sequence[int], align_corners: bool | None = None) -> Value:
    """The grid for `grid_sample` that the affine maps ``theta`` make of the output's coordinates.

    ``theta`` (n, 2, 3) with ``size`` (n, c, h, w) gives (n, h, w, 2); (n, 3, 4) with
    (n, c, d, h, w) gives (n, d, h, w, 3). ValueError for other shapes of ``theta``.
    """
    maps = expect_tensor("affine_grid", theta, "theta")
    if maps.dtype.category != "float":
        raise ValueRangeError(
            f"Expected theta to have floating point type, but got {maps.dtype.name}"
        )
    if len(size) not in (4, 5):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {tuple(size)}."
        )
    dims = len(size) - 2
    if maps.ndim != 3 or maps.shape[1:] != (dims, dims + 1):
        raise ValueRangeError(
            f"Expected a batch of {dims}D affine matrices of shape Nx{dims}x{dims + 1} for size "
            f"{tuple(size)}. Got {list(maps.shape)}."
        )
    if min(size) <= 0:
        raise ValueRangeError(f"Expected non-zero, positive output size. Got {tuple(size)}")
    space = tuple(size[2:])
    parts = []
    for d in reversed(range(dims)):
        ramp = _ramp(space[d], bool(align_corners), maps.dtype)
        parts.append(public.expand(public.reshape(ramp, (-1, *(1,) * (dims - 1 - d))), space))
    parts.append(constant(1, maps.dtype, space))
    base = ops.reshape(public.stack(tuple(parts), -1), shape=(math.prod(space), dims + 1))
    grid: Any = ops.dot(base, maps, spec="pk,njk->npj")
    return ops.reshape(grid, shape=(maps.shape[0], *space, dims))  # type: ignore[no-any-return]
