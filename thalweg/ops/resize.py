"""Resampling of spatial dimensions: interpolation, pixel shuffling, sliding blocks.

Interpolation is separable: along each dimension an output element is a weighted sum of a few
input elements (taps), whose positions and weights are tables known while recording.
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
from .arithmetic import constant
from .conv import out_extent
from .conv_functions import batched_input, per_dim, unbatch
from .function import Call, composite
from .link import ops
from .named import public
from .nn_shared import expect_room

Ints = tuple[int, ...]
Tap = tuple[tuple[int, ...], tuple[float, ...]]  # a position and a weight for each output element

_RANKS = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}
_CUBIC = -0.75  # the coefficient of Keys (1981) that PyTorch uses


def _along(value: Value, dim: int, positions: tuple[int, ...]) -> Value:
    """The elements at ``positions`` of one dimension."""
    dims = (dim, *(d for d in range(value.ndim) if d != dim))
    back = tuple(dims.index(d) for d in range(value.ndim))
    table = ops.table(values=positions, dtype=int64)
    taken = ops.take(ops.permute(value, dims=dims), table, batch=0)
    return ops.permute(taken, dims=back)  # type: ignore[no-any-return]


def _resample(value: Value, dim: int, taps: Sequence[Tap]) -> Value:
    """The weighted sum of the taps along one dimension."""
    total: Value | None = None
    for positions, weights in taps:
        term = _along(value, dim, positions)
        if any(w != 1.0 for w in weights):
            table = ops.table(values=weights, dtype=value.dtype)
            term = term * ops.reshape(table, shape=(len(weights), *(1,) * (value.ndim - dim - 1)))
        total = term if total is None else total + term
    assert total is not None
    return total


def _source(mode: str, out: int, scale: float, size: int, align: bool) -> list[float]:
    """The input coordinate that each output element corresponds to."""
    if align:
        step = (size - 1) / (out - 1) if out > 1 else 0.0
        return [o * step for o in range(out)]
    where = [(o + 0.5) * scale - 0.5 for o in range(out)]
    return where if mode == "bicubic" else [max(w, 0.0) for w in where]


def _taps(mode: str, size: int, out: int, scale: float, align: bool) -> list[Tap]:
    if mode in ("nearest", "nearest-exact"):
        shift = 0.5 if mode == "nearest-exact" else 0.0
        step = np.float32(scale)  # as PyTorch computes it, for the same choice at ties
        positions = tuple(
            min(int(np.floor(np.float32(o + shift) * step)), size - 1) for o in range(out)
        )
        return [(positions, (1.0,) * out)]
    where = _source(mode, out, scale, size, align)
    first = [math.floor(w) for w in where]
    part = [w - i for w, i in zip(where, first)]
    if mode != "bicubic":
        first = [min(i, size - 1) for i in first]
        after = tuple(min(i + 1, size - 1) for i in first)
        return [(tuple(first), tuple(1.0 - t for t in part)), (after, tuple(part))]
    return [
        (
            tuple(min(max(i + k, 0), size - 1) for i in first),
            tuple(_cubic(abs(t - k)) for t in part),
        )
        for k in (-1, 0, 1, 2)
    ]


def _cubic(x: float) -> float:
    """The cubic convolution kernel of Keys (1981)."""
    if x <= 1:
        return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    return ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC


def _interpolate_calls() -> Iterator[Call]:
    rng = np.random.default_rng(4)
    line, plane, box = (rng.normal(size=s) for s in [(2, 3, 5), (2, 3, 4, 5), (1, 2, 3, 4, 2)])
    for x, modes in [
        (line, ("nearest", "nearest-exact", "linear", "area")),
        (plane, ("nearest", "nearest-exact", "bilinear", "bicubic", "area")),
        (box, ("nearest", "nearest-exact", "trilinear", "area")),
    ]:
        for mode in modes:
            yield Call((x,), {"size": (7, 3, 5)[: x.ndim - 2], "mode": mode})
            yield Call((x,), {"scale_factor": 2, "mode": mode})
            if mode in _RANKS:
                yield Call((x,), {"size": 6, "mode": mode, "align_corners": True})
                yield Call((x,), {"scale_factor": 1.7, "mode": mode})
                once = {"scale_factor": 1.7, "mode": mode, "recompute_scale_factor": True}
                yield Call((x,), once)
    yield Call((plane, 3))
    yield Call((plane,), error=(ValueError, "either size or scale_factor should be defined"))
    yield Call((plane, 3, 2.0), error=(ValueError, "only one of size or scale_factor"))
    yield Call(
        (plane,),
        {"size": 3, "align_corners": True},
        error=(ValueError, "align_corners option can only be set"),
    )
    yield Call(
        (plane,),
        {"size": 3, "mode": "linear"},
        error=(NotImplementedError, "Got 4D input, but linear mode needs"),
    )


def _sizes(input: Value, size: Any, scale_factor: Any, recompute: bool) -> tuple[Ints, list[float]]:
    """Output sizes, and how far apart output elements stand in the input."""
    dims, space = input.ndim - 2, input.shape[2:]
    if size is not None and scale_factor is not None:
        raise ValueRangeError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueRangeError("either size or scale_factor should be defined")
    given = size if scale_factor is None else scale_factor
    each = tuple(given) if isinstance(given, (tuple, list)) else (given,) * dims
    if len(each) != dims:
        raise ValueRangeError(
            f"Input and output must have the same number of spatial dimensions, but got input with "
            f"spatial dimensions of {list(space)} and output size of {list(each)}"
        )
    out = each if scale_factor is None else tuple(math.floor(n * f) for n, f in zip(space, each))
    if min(out) < 1:
        raise ShapeError(
            f"Input and output sizes should be greater than 0, but got input {list(space)} and "
            f"output {list(out)}"
        )
    if scale_factor is None or recompute:
        return out, [n / m for n, m in zip(space, out)]
    return out, [1.0 / f for f in each]


@composite(
    "nn.functional.interpolate", aliases=("nn.functional.upsample",), calls=_interpolate_calls
)
def interpolate(
    input: Value, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Value:  # fmt: skip
    """Resize the dimensions behind the second to ``size``, or by ``scale_factor``.

    Modes: 'nearest', 'nearest-exact', 'area', 'linear' (3-D input), 'bilinear' and 'bicubic'
    (4-D), 'trilinear' (5-D). ValueError for contradictory arguments; NotImplementedError where
    the mode does not fit the input, and for ``antialias``.
    """
    if mode not in ("nearest", "nearest-exact", "area", *_RANKS):
        raise NotImplementedError(f"interpolate: expected a known mode, got '{mode}'")
    if align_corners is not None and mode not in _RANKS:
        raise ValueRangeError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear "
            f"| bicubic | trilinear, got '{mode}'"
        )
    if input.ndim not in (3, 4, 5) or input.ndim != _RANKS.get(mode, input.ndim):
        need = f"{_RANKS[mode]}D" if mode in _RANKS else "3D, 4D or 5D"
        raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs {need} input")
    if antialias:
        raise NotImplementedError("interpolate: antialias=True has no implementation here")
    out, scales = _sizes(input, size, scale_factor, bool(recompute_scale_factor))
    expect_room("interpolate", (*input.shape[:2], *out), input.dtype)
    if mode == "area":
        pool = getattr(public, f"nn.functional.adaptive_avg_pool{input.ndim - 2}d")
        return pool(input, out)  # type: ignore[no-any-return]
    result = input
    for dim, (m, scale) in enumerate(zip(out, scales), start=2):
        taps = _taps(mode, input.shape[dim], m, scale, bool(align_corners))
        result = _resample(result, dim, taps)
    return result


def _shuffle_calls(shape: Ints) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        rng = np.random.default_rng(4)
        yield Call((rng.normal(size=shape), 2))
        yield Call((rng.normal(size=shape[1:]), 2))
        yield Call((rng.normal(size=(1, *shape)).astype(np.float32), 2))
        yield Call((rng.normal(size=shape), 5), error=(RuntimeError, "divisible by"))

    return make


def _shuffle_input(op: str, input: Value, factor: int) -> tuple[Ints, int, int, int]:
    if input.ndim < 3:
        raise ShapeError(
            f"{op} expects input to have at least 3 dimensions, but got input with {input.ndim} "
            "dimension(s)"
        )
    if factor <= 0:
        raise ShapeError(f"{op} expects a positive factor, but got {factor}")
    *lead, c, h, w = input.shape
    return tuple(lead), c, h, w


@composite(
    "nn.functional.pixel_shuffle", aliases=("pixel_shuffle",), calls=_shuffle_calls((2, 8, 3, 5))
)
def pixel_shuffle(input: Value, upscale_factor: int) -> Value:
    """(..., c r r, h, w) -> (..., c, h r, w r) (Shi et al. 2016)."""
    lead, c, h, w = _shuffle_input("pixel_shuffle", input, upscale_factor)
    r, n = upscale_factor, len(lead)
    if c % (r * r):
        raise ShapeError(
            f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={c} is not divisible by {r * r}"
        )
    cut = ops.reshape(input, shape=(*lead, c // (r * r), r, r, h, w))
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    moved = ops.permute(cut, dims=order)
    return ops.reshape(moved, shape=(*lead, c // (r * r), h * r, w * r))  # type: ignore[no-any-return]


@composite(
    "nn.functional.pixel_unshuffle",
    aliases=("pixel_unshuffle",),
    calls=_shuffle_calls((2, 3, 4, 6)),
)
def pixel_unshuffle(input: Value, downscale_factor: int) -> Value:
    """(..., c, h r, w r) -> (..., c r r, h, w), the inverse of `pixel_shuffle`."""
    lead, c, h, w = _shuffle_input("pixel_unshuffle", input, downscale_factor)
    r, n = downscale_factor, len(lead)
    if h % r or w % r:
        raise ShapeError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but "
            f"{h} x {w} is not divisible by {r}"
        )
    cut = ops.reshape(input, shape=(*lead, c, h // r, r, w // r, r))
    moved = ops.permute(cut, dims=(*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return ops.reshape(moved, shape=(*lead, c * r * r, h // r, w // r))  # type: ignore[no-any-return]


def _blocks(op: str, *given: Any) -> list[Ints]:
    names = ("kernel_size", "dilation", "padding", "stride")
    numbers = [per_dim(v, 2, n, op) for v, n in zip(given, names)]
    for name, values in zip(names, numbers):
        if name != "padding" and min(values) < 1:
            raise ShapeError(f"{op}: {name} should be greater than zero, but got {list(values)}")
    return numbers


def _unfold_calls() -> Iterator[Call]:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 3, 5, 6))
    yield Call((x, 2))
    yield Call((x[0], (2, 3)), {"stride": 2})
    yield Call((x, (3, 2)), {"dilation": (1, 2), "padding": (1, 0), "stride": (2, 1)})
    yield Call((x, 9), error=(RuntimeError, "sliding blocks"))
    yield Call((x, 0), error=(RuntimeError, "greater than zero"))


@composite("nn.functional.unfold", op="im2col", calls=_unfold_calls)
def unfold(
    input: Value, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Value:
    """Sliding blocks as columns: (n, c, h, w) or (c, h, w) -> (n, c kh kw, positions)."""
    x, single = batched_input("unfold", input, 2)
    kernel, spread, around, steps = _blocks("unfold", kernel_size, dilation, padding, stride)
    pads = tuple((p, p) for p in around)
    out = [out_extent(*a) for a in zip(x.shape[2:], kernel, steps, pads, spread)]
    if min(out) < 1:
        raise ShapeError(
            f"unfold: the array of sliding blocks of {list(x.shape)} with kernel {list(kernel)} "
            f"has shape {out}, which must be positive"
        )
    if any(around):
        low = (0, 0, *around)
        x = ops.pad(x, low=low, high=low, interior=(0,) * 4, value=0)
    for i, (k, d, s) in enumerate(zip(kernel, spread, steps)):
        x = public.unfold(x, 2 + i, d * (k - 1) + 1, s)
        if d > 1:
            starts, steps_of = (0,) * x.ndim, (*(1,) * (x.ndim - 1), d)
            x = ops.slice(x, starts=starts, stops=x.shape, steps=steps_of)
    columns = ops.permute(x, dims=(0, 1, 4, 5, 2, 3))
    shape = (x.shape[0], x.shape[1] * math.prod(kernel), math.prod(out))
    return unbatch(ops.reshape(columns, shape=shape), single)


def _fold_calls() -> Iterator[Call]:
    rng = np.random.default_rng(4)
    yield Call((rng.normal(size=(2, 12, 20)), (5, 6), 2))
    yield Call((rng.normal(size=(12, 6)), (4, 6), 2), {"stride": 2})
    options = {"dilation": (1, 2), "padding": (1, 0), "stride": (2, 1)}
    yield Call((rng.normal(size=(2, 18, 12)), (5, 6), (3, 2)), options)
    yield Call((rng.normal(size=(2, 12, 7)), (5, 6), 2), error=(RuntimeError, "sliding blocks"))


@composite("nn.functional.fold", op="col2im", calls=_fold_calls)
def fold(
    input: Value, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Value:  # fmt: skip
    """Columns added up where `unfold` read them: (n, c kh kw, positions) -> (n, c, h, w)."""
    single = input.ndim == 2
    x = ops.reshape(input, shape=(1, *input.shape)) if single else input
    kernel, spread, around, steps = _blocks("fold", kernel_size, dilation, padding, stride)
    space = per_dim(output_size, 2, "output_size", "fold")
    pads = tuple((p, p) for p in around)
    out = tuple(out_extent(*a) for a in zip(space, kernel, steps, pads, spread))
    taps = math.prod(kernel)
    if x.ndim != 3 or x.shape[1] % taps or x.shape[2] != math.prod(out):
        raise ShapeError(
            f"fold: an output of size {list(space)} has {list(out)} sliding blocks of {taps} "
            f"elements; expected an input of shape (n, c * {taps}, {math.prod(out)}), got "
            f"{list(input.shape)}"
        )
    n, c = x.shape[0], x.shape[1] // taps
    full = tuple(m + 2 * p for m, p in zip(space, around))
    blocks = ops.reshape(x, shape=(n, c, taps, *out))
    total: Value = constant(0, x.dtype, (n, c, *full))
    for i, at in enumerate(product(*map(range, kernel))):
        tap = ops.slice(blocks, starts=(0, 0, i, 0, 0), stops=(n, c, i + 1, *out), steps=(1,) * 5)
        low = tuple(k * d for k, d in zip(at, spread))
        reach = [a + (m - 1) * s + 1 for a, m, s in zip(low, out, steps)]
        high = tuple(f - r for f, r in zip(full, reach))
        total = total + ops.pad(
            ops.reshape(tap, shape=(n, c, *out)), low=(0, 0, *low), high=(0, 0, *high),
            interior=(0, 0, *(s - 1 for s in steps)), value=0,
        )  # fmt: skip
    stops = tuple(p + m for p, m in zip(around, space))
    inside = ops.slice(total, starts=(0, 0, *around), stops=(n, c, *stops), steps=(1,) * 4)
    return unbatch(inside, single)
