"""Convolution and transposed convolution under PyTorch's names, for 1, 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..ir.node import Value
from .conv import out_extent
from .function import Call, composite
from .link import ops

Size: TypeAlias = int | Sequence[int]
Ints = tuple[int, ...]


def per_dim(value: Size, dims: int, name: str, op: str) -> Ints:
    """One integer per spatial dimension from a number or a sequence of them."""
    given = (value,) if isinstance(value, int) else tuple(value)
    if not all(isinstance(n, int) for n in given):
        raise ArgumentError(f"{op}(): argument '{name}' must be int or a tuple of ints: {value!r}")
    if len(given) not in (1, dims):
        raise ShapeError(
            f"{op}: expected {name} to be a single integer value or a list of {dims} values to "
            f"match the convolution dimensions, but got {name}={list(given)}"
        )
    return given * dims if len(given) == 1 else given


def batched_input(op: str, input: Value, dims: int) -> tuple[Value, bool]:
    """The input with a batch dimension, and whether it had none."""
    if input.ndim not in (dims + 1, dims + 2):
        raise ShapeError(
            f"Expected {dims + 1}D (unbatched) or {dims + 2}D (batched) input to {op}, but got "
            f"input of size: {list(input.shape)}"
        )
    if input.ndim == dims + 2:
        return input, False
    return ops.reshape(input, shape=(1, *input.shape)), True


def unbatch(result: Value, single: bool) -> Value:
    return ops.reshape(result, shape=result.shape[1:]) if single else result


def _check(op: str, stride: Ints, dilation: Ints, padding: Ints) -> None:
    for name, given, least in [
        ("stride", stride, 1), ("dilation", dilation, 1), ("padding", padding, 0),
    ]:  # fmt: skip
        if min(given) < least:
            kind = "negative" if least == 0 else "non-positive"
            raise ShapeError(f"{op}: {kind} {name} is not supported, got {list(given)}")


def _add_bias(result: Value, bias: Value | None) -> Value:
    if bias is None:
        return result
    if bias.dtype is not result.dtype:
        raise DTypeError(
            f"Input type ({result.dtype}) and bias type ({bias.dtype}) should be the same"
        )
    if bias.shape != result.shape[1:2]:
        raise ShapeError(
            f"expected bias to be 1-dimensional with {result.shape[1]} elements, but got bias of "
            f"size {list(bias.shape)} instead"
        )
    shape = (1, bias.shape[0], *(1,) * (result.ndim - 2))
    return result + ops.reshape(bias, shape=shape)  # type: ignore[no-any-return]


def _check_weight(op: str, weight: Value, dims: int, groups: int) -> None:
    if weight.ndim != dims + 2:
        raise ShapeError(
            f"{op}: expected a {dims + 2}-dimensional weight, got shape {list(weight.shape)}"
        )
    if not isinstance(groups, int) or groups < 1:
        raise ShapeError(f"{op}: non-positive groups is not supported, got {groups}")
    if weight.shape[0] % groups:
        raise ShapeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size {list(weight.shape)} instead"
        )


def _convolve(
    op: str, dims: int, input: Value, weight: Value, bias: Value | None,
    stride: Size, padding: Size | str, dilation: Size, groups: int,
) -> Value:  # fmt: skip
    _check_weight(op, weight, dims, groups)
    x, single = batched_input(op, input, dims)
    steps, spread = (
        per_dim(v, dims, n, op) for v, n in ((stride, "stride"), (dilation, "dilation"))
    )
    if isinstance(padding, str):
        pads = _named_padding(op, padding, steps, spread, weight.shape[2:])
    else:
        around = per_dim(padding, dims, "padding", op)
        _check(op, steps, spread, around)
        pads = tuple((p, p) for p in around)
    _check(op, steps, spread, (0,))
    y = ops.conv(x, weight, stride=steps, padding=pads, dilation=spread, groups=groups)
    return unbatch(_add_bias(y, bias), single)


def _named_padding(
    op: str, padding: str, stride: Ints, dilation: Ints, kernel: Ints
) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding != "same":
        raise ShapeError(f"{op}: Invalid padding string: '{padding}'; expected 'same' or 'valid'")
    if any(s != 1 for s in stride):
        raise ShapeError(f"{op}: padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for d, k in zip(dilation, kernel)]
    return tuple((t // 2, t - t // 2) for t in total)


def _transposed(
    op: str, dims: int, input: Value, weight: Value, bias: Value | None,
    stride: Size, padding: Size, output_padding: Size, groups: int, dilation: Size,
) -> Value:  # fmt: skip
    _check_weight(op, weight, dims, groups)
    y, single = batched_input(op, input, dims)
    steps, around, more, spread = (
        per_dim(v, dims, n, op)
        for v, n in (
            (stride, "stride"), (padding, "padding"),
            (output_padding, "output_padding"), (dilation, "dilation"),
        )
    )  # fmt: skip
    _check(op, steps, spread, around)
    if y.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"Given transposed=1, weight of size {list(weight.shape)}, expected input"
            f"{list(y.shape)} to have {weight.shape[0]} channels, but got {y.shape[1]} channels "
            "instead"
        )
    if any(not 0 <= m < max(s, d) for m, s, d in zip(more, steps, spread)):
        raise ShapeError(
            f"output padding must be smaller than either stride or dilation, but got output_padding"
            f" {list(more)}, stride {list(steps)}, dilation {list(spread)}"
        )
    space = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + m + 1
        for n, s, p, d, k, m in zip(y.shape[2:], steps, around, spread, weight.shape[2:], more)
    )
    if any(n < 1 for n in space):
        raise ShapeError(
            f"Given input size per channel: {list(y.shape[2:])}. Calculated output size per "
            f"channel: {list(space)}. Output size is too small"
        )
    shape = (y.shape[0], weight.shape[1] * groups, *space)
    # Where output_padding exceeds what one more stride would cover, the last windows lie outside.
    pads = tuple((p, p) for p in around)
    reach = [
        out_extent(n, k, s, p, d)
        for n, k, s, p, d in zip(space, weight.shape[2:], steps, pads, spread)
    ]
    missing = tuple(r - n for r, n in zip(reach, y.shape[2:]))
    if any(missing):
        y = ops.pad(y, low=(0,) * y.ndim, high=(0, 0, *missing), interior=(0,) * y.ndim, value=0)
    attrs = {"stride": steps, "padding": pads, "dilation": spread, "groups": groups}
    x = ops.conv_input_grad(y, weight, shape=shape, **attrs)
    return unbatch(_add_bias(x, bias), single)


def _calls(dims: int) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        rng = np.random.default_rng(dims)
        space = (7, 6, 5)[:dims]
        x, b = rng.normal(size=(2, 4, *space)), rng.normal(size=(6,))
        w = rng.normal(size=(6, 4, *(3, 2, 2)[:dims]))
        grouped = rng.normal(size=(6, 2, *(2,) * dims))
        yield Call((x, w, b))
        yield Call((x[0], w))
        yield Call((x, w), {"stride": 2, "padding": 1})
        yield Call((x, w, b, (2, 1, 1)[:dims], (0, 1, 1)[:dims], (1, 2, 1)[:dims]))
        yield Call((x, grouped, b), {"groups": 2})
        yield Call((x, rng.normal(size=(8, 1, *(2,) * dims))), {"groups": 4, "stride": 2})
        yield Call((x, w), {"padding": "same", "dilation": 2})
        yield Call((x, w), {"padding": "valid"})
        yield Call((x.astype(np.float32), w.astype(np.float32), b.astype(np.float32)))
        yield Call((x[:0], w, b))
        yield Call((x[:, :3], w), error=(RuntimeError, "to have 4 channels, but got 3 channels"))
        yield Call((x[0, 0], w), error=(RuntimeError, "(batched) input to conv"))
        yield Call((x, w), {"padding": "same", "stride": 2}, error=(RuntimeError, "strided"))
        yield Call((x, w), {"stride": 0}, error=(RuntimeError, "non-positive stride"))
        yield Call((x, w), {"dilation": 9}, error=(RuntimeError, "can't be greater than actual"))
        yield Call((x, w, b[:3]), error=(RuntimeError, "bias"))

    return make


def _transposed_calls(dims: int) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        rng = np.random.default_rng(dims)
        x = rng.normal(size=(2, 4, *(4, 3, 2)[:dims]))
        w, b = rng.normal(size=(4, 3, *(3, 2, 2)[:dims])), rng.normal(size=(3,))
        grouped = rng.normal(size=(4, 3, *(2,) * dims))
        yield Call((x, w, b))
        yield Call((x[0], w))
        yield Call((x, w), {"stride": 2, "padding": 1, "output_padding": 1})
        yield Call((x, w), {"stride": 3, "output_padding": 2})
        yield Call((x, w), {"dilation": 3, "output_padding": 2})
        yield Call((x, w, b, 2, 0, 0, 1, 2))
        yield Call((x, grouped), {"groups": 2, "stride": 2})
        yield Call((x.astype(np.float32), w.astype(np.float32)))
        yield Call((x[:, :3], w), error=(RuntimeError, "to have 4 channels, but got 3 channels"))
        yield Call((x, w), {"output_padding": 1}, error=(RuntimeError, "must be smaller than"))

    return make


@composite("nn.functional.conv1d", aliases=("conv1d",), calls=_calls(1))
def conv1d(
    input: Value, weight: Value, bias: Value | None = None, stride: Size = 1,
    padding: Size | str = 0, dilation: Size = 1, groups: int = 1,
) -> Value:  # fmt: skip
    """Cross-correlation over one dimension: (n, c, l) or (c, l), (o, c / groups, k) -> (n, o, l').

    ``padding`` is a size, 'valid' or 'same'. RuntimeError where the shapes do not fit.
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@composite("nn.functional.conv2d", aliases=("conv2d",), calls=_calls(2))
def conv2d(
    input: Value, weight: Value, bias: Value | None = None, stride: Size = 1,
    padding: Size | str = 0, dilation: Size = 1, groups: int = 1,
) -> Value:  # fmt: skip
    """`conv1d` over two dimensions: (n, c, h, w), (o, c / groups, kh, kw) -> (n, o, h', w')."""
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@composite("nn.functional.conv3d", aliases=("conv3d",), calls=_calls(3))
def conv3d(
    input: Value, weight: Value, bias: Value | None = None, stride: Size = 1,
    padding: Size | str = 0, dilation: Size = 1, groups: int = 1,
) -> Value:  # fmt: skip
    """`conv1d` over three dimensions: (n, c, d, h, w), (o, c / groups, kd, kh, kw)."""
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


@composite(
    "nn.functional.conv_transpose1d", aliases=("conv_transpose1d",), calls=_transposed_calls(1)
)
def conv_transpose1d(
    input: Value, weight: Value, bias: Value | None = None, stride: Size = 1, padding: Size = 0,
    output_padding: Size = 0, groups: int = 1, dilation: Size = 1,
) -> Value:  # fmt: skip
    """The adjoint of `conv1d` in its input: (n, c, l), (c, o / groups, k) -> (n, o, l').

    ``l' = (l - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1``.
    """
    return _transposed(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip


@composite(
    "nn.functional.conv_transpose2d", aliases=("conv_transpose2d",), calls=_transposed_calls(2)
)
def conv_transpose2d(
    input: Value, weight: Value, bias: Value | None = None, stride: Size = 1, padding: Size = 0,
    output_padding: Size = 0, groups: int = 1, dilation: Size = 1,
) -> Value:  # fmt: skip
    """`conv_transpose1d` over two dimensions."""
    return _transposed(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip


@composite(
    "nn.functional.conv_transpose3d", aliases=("conv_transpose3d",), calls=_transposed_calls(3)
)
def conv_transpose3d(
    input: Value, weight: Value, bias: Value | None = None, stride: Size = 1, padding: Size = 0,
    output_padding: Size = 0, groups: int = 1, dilation: Size = 1,
) -> Value:  # fmt: skip
    """`conv_transpose1d` over three dimensions."""
    return _transposed(
        "conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip
