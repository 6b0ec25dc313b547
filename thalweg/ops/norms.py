"""Normalisations: layer, group, instance, batch and RMS norm.

The first four are one op, `standardize` over different dimensions, followed by scale and shift;
its gradient rule is the only one here that is written by hand, with `rms_scale`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import finfo
from ..core.errors import (
    ArgumentError,
    DimError,
    DTypeError,
    ShapeError,
    ValueRangeError,
)
from ..ir.node import Node, Value
from .arithmetic import broadcast_to, cast, constant
from .contract import Grads
from .function import Call, composite, function
from .link import ops
from .named import public
from .nn_shared import accumulation_dtype, extent, need_floating, spread_mean, widened
from .pointwise import expect_tensor
from .reduce import Dims, spread
from .shape_functions import to_shape

Three = tuple[Value, Value, Value]


def _standardize_vjp(node: Node, g: Any) -> Grads:
    """With n elements per group, y = (x - mean) r and r = (var + eps)^(-1/2):

    dx = r (gy - mean(gy) - y mean(gy y)) + g_mean / n + g_var 2 (x - mean) / n
    """
    x, dims, eps = node.inputs[0], node.attrs["dims"], node.attrs["eps"]
    y, _, var = node.outputs
    gy, g_mean, g_var = g
    scale = spread(public.rsqrt(var + eps), x, dims)
    total: Any = None
    if gy is not None:
        total = scale * (gy - spread_mean(gy, dims) - y * spread_mean(gy * y, dims))
    n = float(extent(x.shape, dims))
    if g_mean is not None:
        part = spread(g_mean / n, x, dims)
        total = part if total is None else total + part
    if g_var is not None:
        part = spread(g_var * (2.0 / n), x, dims) * y / scale
        total = part if total is None else total + part
    return (total,)


def _part_calls() -> Iterator[Call]:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2, 3, 4))
    for dims in [(2,), (0, 2), (0, 1, 2)]:
        yield Call((x, dims, 1e-5))
    yield Call((np.zeros((0, 4)), (1,), 1e-5))


_part_calls.no_twin = "the part that the normalisations share"  # type: ignore[attr-defined]


@composite("standardize", public=False, vjp=_standardize_vjp, out=False, calls=_part_calls)
def standardize(x: Value, dims: Dims, eps: float) -> Three:
    """((x - mean) / sqrt(var + eps), mean, var) over ``dims``; var is divided by n, not n - 1."""
    n = float(extent(x.shape, dims))
    mean = ops.reduce_sum(x, dims=dims) / n
    centred = x - spread(mean, x, dims)
    var = ops.reduce_sum(centred * centred, dims=dims) / n
    return centred * spread(public.rsqrt(var + eps), x, dims), mean, var


def _rms_vjp(node: Node, g: Value) -> Grads:
    x, dims = node.inputs[0], node.attrs["dims"]
    scale = public.rsqrt(spread_mean(x * x, dims) + node.attrs["eps"])
    y = x * scale
    return (scale * (g - y * spread_mean(g * y, dims)),)


@composite("rms_scale", public=False, vjp=_rms_vjp, out=False, calls=_part_calls)
def rms_scale(x: Value, dims: Dims, eps: float) -> Value:
    """x / sqrt(mean(x²) + eps) over ``dims``."""
    return x * public.rsqrt(spread_mean(x * x, dims) + eps)  # type: ignore[no-any-return]


def affine(y: Value, weight: Value | None, bias: Value | None, dims: Dims) -> Value:
    """``y * weight + bias``, whose dimensions are the dimensions ``dims`` of y. Never y itself, of
    which gradients are made: a result may be changed in place without harm to them."""
    if weight is None and bias is None:
        return ops.reshape(y, shape=y.shape)  # type: ignore[no-any-return]
    shape = tuple(n if d in dims else 1 for d, n in enumerate(y.shape))
    if weight is not None:
        y = y * broadcast_to(to_shape(cast(weight, y.dtype), shape), y.shape)
    if bias is not None:
        y = y + broadcast_to(to_shape(cast(bias, y.dtype), shape), y.shape)
    return y


def check_parameters(op: str, x: Value, **parameters: Value | None) -> None:
    """Parameters have the dtype of x, or are float32 beside halves."""
    for name, value in parameters.items():
        if value is None or value.dtype is x.dtype:
            continue
        if value.dtype is not accumulation_dtype(x.dtype):
            raise DTypeError(
                f"{op}: mixed dtype: expected {name} of dtype {x.dtype} or "
                f"{accumulation_dtype(x.dtype)}, got {value.dtype}"
            )


def _normal_dims(op: str, input: Any, normalized_shape: Any, **parameters: Value | None) -> Dims:
    """The trailing dimensions to normalise over; errors in PyTorch's words."""
    x = expect_tensor(op, input)
    if not isinstance(normalized_shape, (tuple, list)):
        raise ArgumentError(
            f"{op}(): argument 'normalized_shape' (position 2) must be tuple of ints, not "
            f"{type(normalized_shape).__name__}"
        )
    shape = tuple(normalized_shape)
    if not shape:
        raise ShapeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
            "one element, but got normalized_shape = []"
        )
    for name, value in parameters.items():
        if value is not None and value.shape != shape:
            raise ShapeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(value.shape)} and normalized_shape = {list(shape)}"
            )
    if x.ndim < len(shape) or x.shape[x.ndim - len(shape) :] != shape:
        raise ShapeError(
            f"Given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size{list(x.shape)}"
        )
    need_floating(op, x)
    return tuple(range(x.ndim - len(shape), x.ndim))


def _layer_calls() -> Iterator[Call]:
    rng = np.random.default_rng(6)
    x, w, b = rng.normal(size=(2, 3, 4)), rng.normal(size=4), rng.normal(size=4)
    yield Call((x, (4,), w, b))
    yield Call((x, (4,)))
    yield Call((x, (4,), None, b), {"eps": 0.1})
    yield Call((x, [3, 4], rng.normal(size=(3, 4)), rng.normal(size=(3, 4))))
    yield Call((rng.normal(size=5), (5,), rng.normal(size=5)))
    yield Call((x.astype(np.float16), (4,), w.astype(np.float32)), grad=False)
    yield Call((x * 0.1 + 10, (4,), w, b))
    yield Call((np.zeros((0, 4)), (4,), w, b))
    yield Call((np.zeros((3, 0)), (0,)))
    yield Call((x, (3,)), error=(RuntimeError, "expected input with shape [*, 3]"))
    yield Call((x, ()), error=(RuntimeError, "at least 1-dimensional"))
    yield Call((x, 4), error=(TypeError, "must be tuple of ints, not int"))
    yield Call((x, (4,), w[:2]), error=(RuntimeError, "Expected weight to be of same shape"))
    yield Call((x, (4,), None, b[:2]), error=(RuntimeError, "Expected bias to be of same shape"))
    yield Call((x, (4,), w.astype(np.float32)), error=(RuntimeError, "mixed dtype"))
    yield Call((np.arange(4), (4,)), error=(RuntimeError, "not implemented for"))


@composite(
    "nn.functional.layer_norm", onnx={"op": "LayerNormalization"}, aliases=("layer_norm",),
    out=False, calls=_layer_calls,
)  # fmt: skip
def layer_norm(
    input: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> Value:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last dimensions.

    (..., *normalized_shape), parameters (*normalized_shape) -> as ``input``. Halves are computed
    in float32. RuntimeError for shapes that do not match. Ba et al., arXiv 1607.06450.
    """
    dims = _normal_dims("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    check_parameters("layer_norm", input, weight=weight, bias=bias)
    y, _, _ = standardize(widened(input), dims=dims, eps=float(eps))
    return cast(affine(y, weight, bias, dims), input.dtype)


def _rms_calls() -> Iterator[Call]:
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=(2, 3, 4)), rng.normal(size=4)
    yield Call((x, (4,), w))
    yield Call((x, [3, 4]), {"eps": 0.1})
    yield Call((x.astype(np.float32) * 1e-3, (4,), w.astype(np.float32)))
    yield Call((x.astype(np.float16), (4,), w.astype(np.float16)), grad=False)
    yield Call((x, (4,), w.astype(np.float32)))
    yield Call((np.zeros((0, 4)), (4,), w))
    yield Call((x, (3,)), error=(RuntimeError, "but got input of size[2, 3, 4]"))
    yield Call((x, (4,), w[:2]), error=(RuntimeError, "Expected weight to be of same shape"))
    yield Call((np.arange(4), (4,)), error=(RuntimeError, "not implemented for"))


@composite(
    "nn.functional.rms_norm", onnx={"op": "RMSNormalization"}, aliases=("rms_norm",), out=False,
    calls=_rms_calls,
)  # fmt: skip
def rms_norm(
    input: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    eps: float | None = None,
) -> Value:
    """``x / sqrt(mean(x²) + eps) * weight`` over the last dimensions.

    (..., *normalized_shape), weight (*normalized_shape) -> as ``input``. ``eps`` None is the
    machine epsilon of the dtype computed in (float32 for halves). Zhang and Sennrich,
    arXiv 1910.07467.
    """
    dims = _normal_dims("rms_norm", input, normalized_shape, weight=weight)
    x = widened(input)
    bound = float(finfo(x.dtype).eps if eps is None else eps)
    y = rms_scale(x, dims=dims, eps=bound)
    return cast(affine(y, weight, None, dims), input.dtype)


def _check_channels(op: str, x: Value, **parameters: Value | None) -> None:
    for name, value in parameters.items():
        if value is not None and value.shape != (x.shape[1],):
            raise ShapeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, "
                f"but got {name} of shape {list(value.shape)} and input of shape {list(x.shape)}"
            )
    need_floating(op, x)
    check_parameters(op, x, **parameters)


def _group_calls() -> Iterator[Call]:
    rng = np.random.default_rng(6)
    x, w, b = rng.normal(size=(2, 4, 3)), rng.normal(size=4), rng.normal(size=4)
    yield Call((x, 2, w, b))
    yield Call((x, 4), {"eps": 0.1})
    yield Call((x, 1, w))
    yield Call((rng.normal(size=(3, 6)), 3))
    yield Call((rng.normal(size=(1, 4, 2, 3)), 2, w, b))
    yield Call((np.zeros((0, 4, 3)), 2, w, b))
    yield Call((x, 3), error=(RuntimeError, "divisible by num_groups"))
    yield Call((x[0, 0], 1), error=(RuntimeError, "at least 2 dimensions"))
    yield Call((x, 2, w[:3]), error=(RuntimeError, "Expected weight to be a vector of size"))
    yield Call((x[:1, :2, 0], 2), error=(ValueError, "more than 1 value per channel"))


@composite(
    "nn.functional.group_norm", onnx={"op": "GroupNormalization"}, aliases=("group_norm",),
    out=False, calls=_group_calls,
)  # fmt: skip
def group_norm(
    input: Value,
    num_groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> Value:
    """Each example's groups of channels normalised, then scaled and shifted per channel.

    (n, c, ...), parameters (c) -> as ``input``. RuntimeError unless ``num_groups`` divides c,
    ValueError for one value per group in all. Wu and He, arXiv 1803.08494.
    """
    x = expect_tensor("group_norm", input)
    if x.ndim < 2:
        raise ShapeError(f"Expected at least 2 dimensions for input tensor but received {x.ndim}")
    n, channels, *rest = x.shape
    if num_groups <= 0 or channels % num_groups:
        raise ShapeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(x.shape)} and num_groups={num_groups}"
        )
    _check_channels("group_norm", x, weight=weight, bias=bias)
    each = channels // num_groups
    if n * each * extent(x.shape, tuple(range(2, x.ndim))) == 1:
        raise ValueRangeError(
            "Expected more than 1 value per channel when training, got input size "
            f"{[n * each, num_groups, *rest]}"
        )
    grouped = to_shape(widened(x), (n, num_groups, each, *rest))
    y, _, _ = standardize(grouped, dims=tuple(range(2, grouped.ndim)), eps=float(eps))
    return cast(affine(to_shape(y, x.shape), weight, bias, (1,)), x.dtype)


def check_statistics(x: Value, **parameters: Value | None) -> None:
    """Shapes and dtypes of what batch norm keeps per channel; errors in PyTorch's words."""
    if x.ndim < 2:
        raise DimError(
            "batch_norm: Dimension out of range (expected an input of at least 2 dimensions, got "
            f"shape {list(x.shape)})"
        )
    for name, value in parameters.items():
        if value is not None and value.shape != (x.shape[1],):
            raise ShapeError(f"{name} should contain {x.shape[1]} elements not {value.type.numel}")
    need_floating("batch_norm", x)
    check_parameters("batch_norm", x, **parameters)


def _batch_calls() -> Iterator[Call]:
    rng = np.random.default_rng(6)
    x, w, b = rng.normal(size=(2, 4, 3)), rng.normal(size=4), rng.normal(size=4)
    yield Call((x, w, b))
    yield Call((x, None, None), {"eps": 0.1})
    yield Call((rng.normal(size=(5, 4)), w, None))
    yield Call((rng.normal(size=(2, 4, 2, 3)), w, b))
    yield Call((x.astype(np.float16), w.astype(np.float32), b.astype(np.float32)), grad=False)
    yield Call((x[0, 0], None, None), error=(IndexError, "Dimension out of range"))
    yield Call((x, w[:3], None), error=(RuntimeError, "weight should contain 4 elements not 3"))
    wrong = w.astype(np.float32)
    yield Call((x, wrong, None), error=(RuntimeError, "mixed dtype"))


_batch_calls.no_twin = "the pure part of nn.functional.batch_norm"  # type: ignore[attr-defined]


@composite(
    "batch_norm_train", public=False, out=False, calls=_batch_calls,
    onnx={"op": "BatchNormalization", "attrs": {"training_mode": 1}},
)  # fmt: skip
def batch_norm_train(
    input: Value, weight: Value | None, bias: Value | None, eps: float = 1e-5
) -> Three:
    """Batch norm by the statistics of the batch: (n, c, ...) -> (y, mean (c), variance (c)).

    The variance returned is unbiased, as running statistics keep it; both are float32 for halves.
    Ioffe and Szegedy, arXiv 1502.03167.
    """
    check_statistics(input, weight=weight, bias=bias)
    dims = (0, *range(2, input.ndim))
    y, mean, var = standardize(widened(input), dims=dims, eps=float(eps))
    n = extent(input.shape, dims)
    unbiased = var * (n / (n - 1)) if n > 1 else var * float("nan")
    return cast(affine(y, weight, bias, (1,)), input.dtype), mean, unbiased


def _eval_calls() -> Iterator[Call]:
    rng = np.random.default_rng(6)
    x, w, b, mean = (rng.normal(size=s) for s in ((2, 4, 3), 4, 4, 4))
    var = rng.uniform(0.5, 2, 4)
    yield Call((x, mean, var, w, b))
    yield Call((x, mean, var, None, None), {"eps": 0.1})
    yield Call((x[:, :, 0], mean, var, w, None))
    yield Call((np.zeros((0, 4, 3)), mean, var, w, b))
    message = "running_mean should contain 4 elements not 3"
    yield Call((x, mean[:3], var, w, b), error=(RuntimeError, message))


_eval_calls.no_twin = "the pure part of nn.functional.batch_norm"  # type: ignore[attr-defined]


@composite(
    "batch_norm_eval", public=False, onnx={"op": "BatchNormalization"}, out=False, calls=_eval_calls
)
def batch_norm_eval(
    input: Value,
    running_mean: Value,
    running_var: Value,
    weight: Value | None,
    bias: Value | None,
    eps: float = 1e-5,
) -> Value:
    """Batch norm by given statistics: a scale and a shift per channel (c) of (n, c, ...).

    Ioffe and Szegedy, arXiv 1502.03167.
    """
    check_statistics(
        input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    x = widened(input)
    scale = public.rsqrt(cast(running_var, x.dtype) + float(eps))
    centred = affine(x, None, -running_mean, (1,))
    return cast(affine(affine(centred, scale, None, (1,)), weight, bias, (1,)), input.dtype)


def _instance_calls() -> Iterator[Call]:
    rng = np.random.default_rng(6)
    x, w, b = rng.normal(size=(2, 4, 3)), rng.normal(size=4), rng.normal(size=4)
    yield Call((x, w, b))
    yield Call((rng.normal(size=(2, 4, 2, 3)), None, None), {"eps": 0.1})
    message = "Expected more than 1 spatial element"
    yield Call((x[:, :, :1], w, b), error=(ValueError, message))
    yield Call((x, w[:3], b), error=(RuntimeError, "Expected weight to be a vector of size"))


_instance_calls.no_twin = "the pure part of nn.functional.instance_norm"  # type: ignore[attr-defined]


@composite(
    "instance_norm_train",
    public=False,
    onnx={"op": "InstanceNormalization"},
    out=False,
    calls=_instance_calls,
)
def instance_norm_train(
    input: Value, weight: Value | None, bias: Value | None, eps: float = 1e-5
) -> Three:
    """Each example's channels normalised: (n, c, ...) -> (y, mean (c), variance (c)).

    The statistics returned are means over the examples, the variance unbiased. ValueError for a
    single spatial element. Ulyanov et al., arXiv 1607.08022.
    """
    x = expect_tensor("instance_norm", input)
    dims = tuple(range(2, x.ndim))
    n = extent(x.shape, dims)
    if n == 1:
        raise ValueRangeError(
            f"Expected more than 1 spatial element when training, got input size {list(x.shape)}"
        )
    _check_channels("instance_norm", x, weight=weight, bias=bias)
    y, mean, var = standardize(widened(x), dims=dims, eps=float(eps))
    count = float(x.shape[0])
    means = ops.reduce_sum(mean, dims=(0,)) / count
    variances = ops.reduce_sum(var, dims=(0,)) * (n / (n - 1) / count if n and count else 1.0)
    return cast(affine(y, weight, bias, (1,)), x.dtype), means, variances


def _response_calls() -> Iterator[Call]:
    rng = np.random.default_rng(6)
    for shape, size in [((2, 5, 3), 2), ((2, 5, 3), 3), ((1, 3, 2, 2), 5), ((1, 4, 1, 2, 3), 1)]:
        yield Call((rng.normal(size=shape), size))
    yield Call((rng.normal(size=(2, 4, 3)), 2), {"alpha": 0.5, "beta": 0.5, "k": 2.0})
    yield Call((np.zeros((0, 3, 2)), 2))
    yield Call((np.ones((2, 3)), 2), error=(ValueError, "Expected 3D or higher dimensionality"))
    yield Call((np.ones((2, 3, 2)), 0), error=(RuntimeError, "should be greater than zero"))


@composite("nn.functional.local_response_norm", onnx={"op": "LRN"}, out=False,
           calls=_response_calls)  # fmt: skip
def local_response_norm(
    input: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Value:
    """``x / (k + alpha * mean of x² over size neighbouring channels) ** beta``.

    (n, c, ...) -> the same. Channels beyond the ends count as 0. ValueError below three
    dimensions. Krizhevsky et al., "ImageNet classification" (2012).
    """
    x = expect_tensor("local_response_norm", input)
    if x.ndim < 3:
        raise ValueRangeError(
            f"Expected 3D or higher dimensionality input (got {x.ndim} dimensions)"
        )
    if size <= 0:
        raise ShapeError(f"kernel size should be greater than zero, but got {size}")
    need_floating("local_response_norm", x)
    low = size // 2
    squares = x * x
    edges = tuple((low, size - 1 - low) if d == 1 else (0, 0) for d in range(x.ndim))
    padded = ops.pad(
        squares, low=tuple(e[0] for e in edges), high=tuple(e[1] for e in edges),
        interior=(0,) * x.ndim, value=0.0,
    )  # fmt: skip
    total: Any = None
    for start in range(size):
        part = ops.slice(
            padded, starts=tuple(start if d == 1 else 0 for d in range(x.ndim)),
            stops=tuple(start + n if d == 1 else n for d, n in enumerate(x.shape)),
            steps=(1,) * x.ndim,
        )  # fmt: skip
        total = part if total is None else total + part
    return x / public.pow(total * (alpha / size) + k, beta)  # type: ignore[no-any-return]


def _normalize_calls() -> Iterator[Call]:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2, 3, 4))
    yield Call((x,))
    yield Call((x,), {"p": 1, "dim": -1})
    yield Call((x,), {"p": float("inf"), "dim": 0})
    yield Call((x, 3.0, (0, 2)), {"eps": 0.5})
    yield Call((np.zeros((2, 3)),), grad=False)
    yield Call((x[0, 0],), error=(IndexError, "Dimension out of range"))
    yield Call((np.arange(6).reshape(2, 3),), error=(RuntimeError, "floating point"))


@function("nn.functional.normalize", calls=_normalize_calls)
def normalize(
    input: Value, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12
) -> Value:
    """``x / max(norm(x, p), eps)`` with the p-norm over ``dim``; same shape."""
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else dim
    norm = getattr(public, "linalg.vector_norm")(input, p, dims, True)
    floor = broadcast_to(constant(eps, norm.dtype), norm.shape)
    return input / ops.maximum(norm, floor)  # type: ignore[no-any-return]


__all__ = ["batch_norm_eval", "batch_norm_train", "instance_norm_train", "layer_norm", "rms_scale",
           "standardize"]  # fmt: skip
