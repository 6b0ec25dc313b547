"""PyTorch's names for the kernels behind layers: native norms with their statistics, samplers
with numbered modes, and the old names of `interpolate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import DType, float32
from ..core.errors import ArgumentError, ShapeError
from ..ir.node import Value
from .arithmetic import cast
from .function import Call, function
from .link import ops
from .named import public
from .nn_shared import widened
from .norms import standardize
from .shape_functions import to_shape


def _example(*shape: int) -> Any:
    return np.random.default_rng(59).normal(size=shape)


def _inverse_deviation(variance: Value, eps: float) -> Value:
    return public.rsqrt(variance + eps)  # type: ignore[no-any-return]


def _layer_calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    yield Call((x, (4,), _example(4), _example(4), 1e-5))
    yield Call((x, (3, 4), None, None, 1e-3))


@function("native_layer_norm", out=False, calls=_layer_calls)
def native_layer_norm(
    input: Value, normalized_shape: Sequence[int], weight: Value | None, bias: Value | None,
    eps: float,
) -> tuple[Value, Value, Value]:  # fmt: skip
    """(`layer_norm`, mean, 1 / deviation): the statistics of each normalised part."""
    layer_norm = getattr(public, "nn.functional.layer_norm")
    y = layer_norm(input, normalized_shape, weight, bias, eps)
    first = input.ndim - len(normalized_shape)
    dims = tuple(range(first, input.ndim))
    _, mean, variance = standardize(widened(input), dims=dims, eps=float(eps))
    kept = input.shape[:first] + (1,) * len(dims)
    deviation = _inverse_deviation(variance, eps)
    statistics = [cast(to_shape(v, kept), input.dtype) for v in (mean, deviation)]
    return y, ops.stop_gradient(statistics[0]), ops.stop_gradient(statistics[1])


def _group_calls() -> Iterator[Call]:
    yield Call((_example(2, 6, 5), _example(6), _example(6), 2, 6, 5, 3, 1e-5))
    yield Call((_example(2, 4, 2, 2), None, None, 2, 4, 4, 2, 1e-3))


@function("native_group_norm", out=False, calls=_group_calls)
def native_group_norm(
    input: Value, weight: Value | None, bias: Value | None, N: int, C: int, HxW: int, group: int,
    eps: float,
) -> tuple[Value, Value, Value]:  # fmt: skip
    """(`group_norm`, mean, 1 / deviation): the statistics (N, group) of each group."""
    if group <= 0 or C % group or input.type.numel != N * C * HxW:
        raise ShapeError(
            f"native_group_norm: expected N * C * HxW elements and groups that divide C, got "
            f"{list(input.shape)}, N={N}, C={C}, HxW={HxW}, group={group}"
        )
    x = to_shape(widened(input), (N, group, C // group * HxW))
    y, mean, variance = standardize(x, dims=(2,), eps=float(eps))
    y = to_shape(y, (N, C, HxW))
    if weight is not None:
        y = y * to_shape(weight, (1, C, 1))
    if bias is not None:
        y = y + to_shape(bias, (1, C, 1))
    deviation = _inverse_deviation(variance, eps)
    found = (to_shape(y, input.shape), to_shape(mean, (N, group)), to_shape(deviation, (N, group)))
    return tuple(cast(v, input.dtype) for v in found)  # type: ignore[return-value]


_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


def _sampler(name: str, space: int) -> None:
    def calls() -> Iterator[Call]:
        x, grid = _example(1, 2, *[4] * space), _example(1, *[3] * space, space)
        yield Call((x, grid, 0, 0, False))
        yield Call((x, grid, 1, 1, True))
        yield Call((x, grid, 0, 2, True))

    def impl(
        input: Value, grid: Value, interpolation_mode: int, padding_mode: int, align_corners: bool
    ) -> Value:
        if not (0 <= interpolation_mode < 3 and 0 <= padding_mode < 3) or input.ndim != space + 2:
            raise ShapeError(
                f"{name}(): expected {space + 2}D input and modes 0 to 2, got {input.ndim}D, "
                f"{interpolation_mode} and {padding_mode}"
            )
        sample = getattr(public, "nn.functional.grid_sample")
        modes = _MODES[interpolation_mode], _PADDINGS[padding_mode]
        return sample(input, grid, *modes, align_corners)  # type: ignore[no-any-return]

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = (
        f"`grid_sample` in {space} dimensions, its modes numbered: {', '.join(_MODES)}; "
        f"{', '.join(_PADDINGS)}."
    )
    function(name, out=False, calls=calls)(impl)


_sampler("grid_sampler_2d", 2)
_sampler("grid_sampler_3d", 3)


def _nearest_calls() -> Iterator[Call]:
    yield Call((_example(1, 2, 3, 4), (5, 6)))
    yield Call((_example(1, 2, 3), None, 2.0))


@function("nn.functional.upsample_nearest", out=False, calls=_nearest_calls)
def upsample_nearest(
    input: Value, size: int | Sequence[int] | None = None, scale_factor: Any = None
) -> Value:
    """`interpolate` by the nearest element."""
    interpolate = getattr(public, "nn.functional.interpolate")
    return interpolate(input, size, scale_factor, "nearest")  # type: ignore[no-any-return]


def _bilinear_calls() -> Iterator[Call]:
    yield Call((_example(1, 2, 3, 4), (5, 6)))
    yield Call((_example(1, 2, 3, 4), None, 2))


@function("nn.functional.upsample_bilinear", out=False, calls=_bilinear_calls)
def upsample_bilinear(
    input: Value, size: int | Sequence[int] | None = None, scale_factor: Any = None
) -> Value:
    """`interpolate` in the plane, with aligned corners."""
    interpolate = getattr(public, "nn.functional.interpolate")
    return interpolate(input, size, scale_factor, "bilinear", True)  # type: ignore[no-any-return]


def _softmax_calls() -> Iterator[Call]:
    p = np.full((2, 4), 0.25)
    yield Call((_example(2, 4), p, 1), {"input_dtype": float32}, grad=False)
    yield Call((_example(2, 4), p, 0), {"input_dtype": float32}, grad=False)
    yield Call((_example(2, 4), p, 1, np.float64), error=(TypeError, "input_dtype"))


@function("_softmax_backward_data", out=False, calls=_softmax_calls)
def softmax_backward_data(grad_output: Value, output: Value, dim: int, input_dtype: DType) -> Value:
    """The gradient of softmax along ``dim`` from its result and that result's gradient, in
    ``input_dtype`` if that is a half type, else in the gradient's own."""
    if not isinstance(input_dtype, DType):
        raise ArgumentError(f"input_dtype: expected a dtype, got {type(input_dtype).__name__}")
    both = grad_output * output
    found = both - output * public.sum(both, dim, True)
    half = input_dtype.is_floating_point and input_dtype.itemsize == 2
    return cast(found, input_dtype) if half else found
