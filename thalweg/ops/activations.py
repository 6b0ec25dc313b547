"""Activation functions, each a composite under PyTorch's name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core.dtypes import default_dtype
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Node, Value
from .arithmetic import constant
from .contract import Declined, Grads
from .dims import normalize_dim
from .function import COMPOSITES, Call, Composite, function
from .link import ops
from .pointwise import BY_BODY, expect_tensor, zeros_like
from .pointwise_calls import Calls, unary_calls


class Activation(Composite):
    """A composite whose public form takes ``inplace`` as its last argument, as PyTorch's does.

    What ``inplace`` means is the tensor layer's business (it writes the result back); the graph
    never sees it.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.public = self.parameters.plus("inplace", False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        arguments = self.public.bind(args, kwargs)
        del arguments["inplace"]
        return super().__call__(**arguments)

    def public_signature(self) -> inspect.Signature:
        plain = super().public_signature()
        flag = inspect.Parameter(
            "inplace", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False, annotation=bool
        )
        return plain.replace(parameters=[*plain.parameters.values(), flag])


def activation(
    name: str,
    *,
    inplace: bool = True,
    vjp: Callable[[Node, Any], Grads] | None = None,
    onnx: Any = BY_BODY,
    aliases: tuple[str, ...] = (),
    method: bool = False,
    calls: Calls | None = None,
) -> Callable[[Callable[..., Any]], Composite]:
    """Register ``nn.functional.<name>``; ``inplace`` says whether PyTorch's has that argument,
    ``method`` whether there is ``Tensor.<name>`` (and, with ``inplace``, ``Tensor.<name>_``)."""

    def register(body: Callable[..., Any]) -> Composite:
        made = (Activation if inplace else Composite)(name, body, vjp, onnx)
        COMPOSITES[name] = made
        function(
            f"nn.functional.{name}", method=method, inplace=method and inplace,
            aliases=aliases, out=False, calls=calls or unary_calls(ints=False, bools=False),
        )(made)  # fmt: skip
        return made

    return register


def as_floating(op: str, value: Any) -> Value:
    """``value``, a tensor of numbers, in the default dtype if they are whole; RuntimeError for
    bools. For what PyTorch computes with operators that promote."""
    x = expect_tensor(op, value)
    return _floating(op, ops.cast(x, dtype=default_dtype()) if x.dtype.category == "int" else x)


def _floating(op: str, value: Any) -> Value:
    x = expect_tensor(op, value)
    if x.dtype.category not in ("float", "complex"):
        raise DTypeError(f'"{op}" not implemented for {x.dtype}: expected floating')
    return x


def _number(x: Value, value: float) -> Value:
    return constant(value, x.dtype, x.shape)


def _with_options(*options: dict[str, Any], special: bool = True) -> Calls:
    """The usual calls, and one with each of ``options``."""

    def make() -> Iterator[Call]:
        yield from unary_calls(ints=False, bools=False, special=special)()
        x = np.random.default_rng(23).uniform(-4, 4, (3, 5))
        for option in options:
            yield Call((x,), option)

    return make


def _relu_vjp(node: Node, g: Value) -> Grads:
    zero = zeros_like(g)
    return (ops.where(ops.le(node.out, zero), zero, g),)


@activation(
    "relu", vjp=_relu_vjp, onnx="Relu", aliases=("relu",), method=True,
    calls=unary_calls(bools=False, extra=(Call((np.array([0.0, -0.0, 1.0]),)),)),
)  # fmt: skip
def relu(input: Value) -> Value:
    """max(x, 0); NaN stays NaN, the gradient at 0 is 0. RuntimeError for bool tensors."""
    x = expect_tensor("relu", input)
    if x.dtype.category in ("bool", "complex"):
        raise DTypeError(f"{x.dtype} inputs not supported for relu")
    zero = zeros_like(x)
    return ops.where(ops.le(x, zero), zero, x)  # type: ignore[no-any-return]


def _limited(x: Value, low: float, high: float) -> Value:
    """x within [low, high]; unlike `clamp`, without gradient at the bounds themselves."""
    bottom, top = (_number(x, int(b) if x.dtype.category == "int" else b) for b in (low, high))
    upper = ops.where(ops.le(top, x), top, x)
    return ops.where(ops.le(x, bottom), bottom, upper)  # type: ignore[no-any-return]


def _hardtanh(op: str, input: Value, low: float, high: float) -> Value:
    x = expect_tensor(op, input)
    if x.dtype.category == "bool":
        raise DTypeError(f"Bool inputs not supported for {op}")
    if x.dtype.category == "int" and not x.dtype.is_signed and low < 0:
        raise DTypeError(f"cannot do {op} on an unsigned type with negative limits, got {low}")
    return _limited(x, low, high)


def _hard_calls() -> Iterator[Call]:
    yield from unary_calls(-8, 8, ints=False, bools=False)()
    yield Call((np.array([0.0, 6.0, -1.0, 1.0]),))
    yield Call((np.arange(-9, 9),), grad=False)


@activation("relu6", calls=_hard_calls)
def relu6(input: Value) -> Value:
    """min(max(x, 0), 6). Howard et al., arXiv 1704.04861."""
    return _hardtanh("relu6", input, 0.0, 6.0)


def _hardtanh_calls() -> Iterator[Call]:
    yield from _hard_calls()
    yield Call((np.linspace(-3, 3, 8), -2.0, 0.7))
    yield Call((np.linspace(-3, 3, 8), 1.0, -1.0), error=(ValueError, "max_val"))


@activation("hardtanh", onnx="Clip", calls=_hardtanh_calls)
def hardtanh(input: Value, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    """x limited to [min_val, max_val]. ValueError if ``min_val > max_val``."""
    if min_val > max_val:
        raise ValueRangeError(
            f"hardtanh: min_val cannot be greater than max_val, got {min_val} and {max_val}"
        )
    return _hardtanh("hardtanh", input, min_val, max_val)


@activation("leaky_relu", onnx="LeakyRelu", calls=_with_options({"negative_slope": 0.3}))
def leaky_relu(input: Value, negative_slope: float = 0.01) -> Value:
    """x where positive, else ``negative_slope * x``."""
    x = _floating("leaky_relu", input)
    return ops.where(ops.lt(zeros_like(x), x), x, x * negative_slope)  # type: ignore[no-any-return]


def _prelu_calls() -> Iterator[Call]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 3, 4))
    yield Call((x, np.array([0.25])))
    yield Call((x, rng.uniform(0.1, 0.5, 3)))
    yield Call((rng.normal(size=(5,)), np.array([0.1])))
    yield Call((rng.normal(size=()), np.array([0.1])))
    yield Call((x, np.ones(2)), error=(RuntimeError, "Mismatch of parameter numbers"))
    yield Call((x, np.ones(3, np.float32)), error=(RuntimeError, "type promotion not supported"))


@activation(
    "prelu", inplace=False, onnx="PRelu", aliases=("prelu",), method=True, calls=_prelu_calls
)
def prelu(input: Value, weight: Value) -> Value:
    """x where positive, else ``weight * x``; one weight, or one per channel (dimension 1).

    RuntimeError for another number of weights. He et al., arXiv 1502.01852.
    """
    x, w = expect_tensor("prelu", input), expect_tensor("prelu", weight, "weight", 2)
    if x.dtype is not w.dtype:
        raise DTypeError(
            f"prelu: type promotion not supported: Found {x.dtype} for input and {w.dtype} for "
            "weight"
        )
    if w.ndim > 1:
        raise ShapeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {w.ndim}"
        )
    count = w.type.numel
    if count != 1:
        channels = x.shape[1] if x.ndim > 1 else 1
        if x.ndim == 0:
            raise ShapeError("Not allow zero-dim input tensor.")
        if channels != count:
            raise ShapeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{count} and channel size = {channels}."
            )
    lifted = [count if i == 1 else 1 for i in range(x.ndim)] if count != 1 else [1] * x.ndim
    slope = ops.reshape(w, shape=tuple(lifted))
    if slope.shape != x.shape:
        slope = ops.expand(slope, shape=x.shape)
    return ops.where(ops.lt(zeros_like(x), x), x, x * slope)  # type: ignore[no-any-return]


def _exponential_unit(x: Value, alpha: float, scale: float, rate: float) -> Value:
    """scale·x where positive, else scale·alpha·(exp(rate·x) - 1).

    The exponential sees no positive operand, so its gradient cannot be infinity times 0.
    """
    positive = ops.lt(zeros_like(x), x)
    low = ops.where(positive, zeros_like(x), x)
    curve = ops.expm1(low if rate == 1.0 else low * rate) * (alpha * scale)
    return ops.where(positive, x if scale == 1.0 else x * scale, curve)  # type: ignore[no-any-return]


@activation("elu", onnx="Elu", calls=_with_options({"alpha": 0.5}))
def elu(input: Value, alpha: float = 1.0) -> Value:
    """x where positive, else alpha·(exp(x) - 1). Clevert et al., arXiv 1511.07289."""
    return _exponential_unit(_floating("elu", input), alpha, 1.0, 1.0)


@activation("selu", onnx="Selu", aliases=("selu",))
def selu(input: Value) -> Value:
    """The scaled exponential linear unit with fixed constants. Klambauer et al.,
    arXiv 1706.02515."""
    x = _floating("selu", input)
    return _exponential_unit(x, 1.6732632423543772, 1.0507009873554805, 1.0)


@activation("celu", onnx="Celu", aliases=("celu",), calls=_with_options({"alpha": 2.0}))
def celu(input: Value, alpha: float = 1.0) -> Value:
    """max(0, x) + min(0, alpha·(exp(x/alpha) - 1)). Barron, arXiv 1704.07483."""
    if alpha == 0:
        raise ZeroAlpha("ZeroDivisionError: alpha cannot be 0 for celu")
    return _exponential_unit(_floating("celu", input), alpha, 1.0, 1.0 / alpha)


class ZeroAlpha(ValueRangeError, RuntimeError):
    """celu with alpha 0 (PyTorch raises RuntimeError)."""


class UnknownApproximation(ValueRangeError, RuntimeError):
    """An unknown name of an approximation (PyTorch raises RuntimeError)."""


def _gelu_calls() -> Iterator[Call]:
    # PyTorch's vectorised erf form gives NaN at infinity, so there is nothing to compare there.
    yield from _with_options({"approximate": "tanh"}, special=False)()
    yield Call((np.ones(2),), {"approximate": "sin"}, error=(RuntimeError, "approximate argument"))


# Gradients of products x·f(x) are written with one factor beside the incoming gradient: the factor
# depends on the input alone, so it can be computed, and kept, where the input is.


def _gelu_vjp(node: Node, g: Value) -> Grads:
    (x,) = node.inputs
    if node.attrs["approximate"] == "none":
        below = (ops.erf(x * math.sqrt(0.5)) + 1.0) * 0.5
        return (g * (below + x * (ops.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi)))),)
    t = ops.tanh(_gelu_inner(x))
    slope = (x * x * (3 * 0.044715) + 1.0) * math.sqrt(2 / math.pi)
    return (g * ((t + 1.0 + x * (1.0 - t * t) * slope) * 0.5),)


def _gelu_inner(x: Value) -> Value:
    return (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)


@activation("gelu", inplace=False, vjp=_gelu_vjp, onnx="Gelu", calls=_gelu_calls)
def gelu(input: Value, *, approximate: str = "none") -> Value:
    """x·Φ(x) with the normal distribution function Φ, or its 'tanh' approximation. Hendrycks
    and Gimpel, arXiv 1606.08415."""
    x = _floating("gelu", input)
    if approximate == "none":
        return x * 0.5 * (ops.erf(x * math.sqrt(0.5)) + 1.0)  # type: ignore[no-any-return]
    if approximate != "tanh":
        raise UnknownApproximation(
            f"approximate argument must be either none or tanh, got {approximate!r}"
        )
    return x * 0.5 * (ops.tanh(_gelu_inner(x)) + 1.0)  # type: ignore[no-any-return]


def _silu_vjp(node: Node, g: Value) -> Grads:
    (x,) = node.inputs
    s = ops.sigmoid(x)
    return (g * (s * (x * (1.0 - s) + 1.0)),)


@activation("silu", vjp=_silu_vjp)
def silu(input: Value) -> Value:
    """x·sigmoid(x). Elfwing et al., arXiv 1702.03118."""
    x = _floating("silu", input)
    return x * ops.sigmoid(x)  # type: ignore[no-any-return]


def _mish_vjp(node: Node, g: Value) -> Grads:
    (x,) = node.inputs
    t = ops.tanh(_softplus(x))
    return (g * (t + x * (1.0 - t * t) * ops.sigmoid(x)),)


@activation("mish", vjp=_mish_vjp, onnx="Mish")
def mish(input: Value) -> Value:
    """x·tanh(softplus(x)). Misra, arXiv 1908.08681."""
    x = _floating("mish", input)
    return x * ops.tanh(_softplus(x))  # type: ignore[no-any-return]


def _softplus(x: Value) -> Value:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))."""
    return ops.maximum(x, zeros_like(x)) + ops.log1p(ops.exp(-ops.abs(x)))  # type: ignore[no-any-return]


def _softplus_vjp(node: Node, g: Value) -> Grads:
    x, beta, threshold = node.inputs[0], node.attrs["beta"], node.attrs["threshold"]
    scaled = x if beta == 1.0 else x * beta
    straight = ops.lt(_number(x, threshold), scaled)
    return (ops.where(straight, g, g * ops.sigmoid(scaled)),)


@activation(
    "softplus", inplace=False, vjp=_softplus_vjp, onnx="Softplus",
    calls=_with_options({"beta": 2.0}, {"beta": 0.5, "threshold": 1.0}),
)  # fmt: skip
def softplus(input: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    """log(1 + exp(beta·x)) / beta; x itself where ``beta·x > threshold``."""
    x = _floating("softplus", input)
    scaled = x if beta == 1.0 else x * beta
    curve = _softplus(scaled) if beta == 1.0 else _softplus(scaled) / beta
    return ops.where(ops.lt(_number(x, threshold), scaled), x, curve)  # type: ignore[no-any-return]


def _logsigmoid_vjp(node: Node, g: Value) -> Grads:
    return (g * ops.sigmoid(-node.inputs[0]),)


# PyTorch's own bodies of these two are Python, so a wrong argument fails there otherwise.
_WRITTEN_IN_PYTHON = unary_calls(ints=False, bools=False, reject=False)


@activation("logsigmoid", inplace=False, vjp=_logsigmoid_vjp)
def logsigmoid(input: Value) -> Value:
    """log(sigmoid(x)) without overflow."""
    x = _floating("log_sigmoid", input)
    return ops.minimum(x, zeros_like(x)) - ops.log1p(ops.exp(-ops.abs(x)))  # type: ignore[no-any-return]


@activation("softsign", inplace=False, onnx="Softsign", calls=_WRITTEN_IN_PYTHON)
def softsign(input: Value) -> Value:
    """x / (1 + |x|)."""
    x = as_floating("softsign", input)
    return x / (ops.abs(x) + 1.0)  # type: ignore[no-any-return]


@activation("tanhshrink", inplace=False, calls=_WRITTEN_IN_PYTHON)
def tanhshrink(input: Value) -> Value:
    """x - tanh(x)."""
    x = as_floating("tanhshrink", input)
    return x - ops.tanh(x)  # type: ignore[no-any-return]


_EDGES = (Call((np.array([-3.0, -0.5, 0.0, 0.5, 3.0]),)),)


@activation(
    "hardswish", onnx="HardSwish",
    calls=unary_calls(-5, 5, ints=False, bools=False, extra=_EDGES),
)  # fmt: skip
def hardswish(input: Value) -> Value:
    """x·min(max(x + 3, 0), 6) / 6. Howard et al., arXiv 1905.02244."""
    x = _floating("hardswish", input)
    return x * _limited(x + 3.0, 0.0, 6.0) / 6.0


@activation(
    "hardsigmoid", onnx=Declined("ONNX's slope is 0.2 by default; by body"),
    calls=unary_calls(-5, 5, ints=False, bools=False, extra=_EDGES),
)  # fmt: skip
def hardsigmoid(input: Value) -> Value:
    """min(max(x + 3, 0), 6) / 6."""
    return _limited(_floating("hardsigmoid", input) + 3.0, 0.0, 6.0) / 6.0


@activation(
    "hardshrink", inplace=False, aliases=("hardshrink",), method=True,
    calls=unary_calls(ints=False, bools=False, extra=_EDGES),
)  # fmt: skip
def hardshrink(input: Value, lambd: float = 0.5) -> Value:
    """x, but 0 where |x| <= lambd."""
    x = _floating("hardshrink", input)
    small = ops.le(ops.abs(x), _number(x, lambd))
    return ops.where(small, zeros_like(x), x)  # type: ignore[no-any-return]


class NegativeLambda(ValueRangeError, RuntimeError):
    """A negative lambd (PyTorch raises RuntimeError)."""


def _softshrink_calls() -> Iterator[Call]:
    yield from unary_calls(ints=False, bools=False, extra=_EDGES)()
    yield Call((np.ones(2), -1.0), error=(RuntimeError, "lambda must be greater or equal to 0"))


@activation("softshrink", inplace=False, calls=_softshrink_calls)
def softshrink(input: Value, lambd: float = 0.5) -> Value:
    """x moved towards 0 by lambd, 0 where |x| <= lambd. RuntimeError for negative lambd."""
    if not lambd >= 0:
        raise NegativeLambda(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    x = _floating("softshrink", input)
    low, high = ops.lt(x, _number(x, -lambd)), ops.lt(_number(x, lambd), x)
    rest = ops.where(ops.eq(x, x), zeros_like(x), x)
    return ops.where(  # type: ignore[no-any-return]
        high, x - lambd, ops.where(low, x + lambd, rest)
    )


def _threshold_calls() -> Iterator[Call]:
    x = np.array([-2.0, 0.1, 0.5, 3.0])
    yield Call((x, 0.1, 20.0))
    yield Call((x.astype(np.float32), 0.0, -1.0))
    yield Call((np.array([np.nan, 1.0]), 0.0, 5.0), grad=False)
    yield Call((np.arange(4), 1, 7), grad=False)


@activation("threshold", aliases=("threshold",), calls=_threshold_calls)
def threshold(input: Value, threshold: float, value: float) -> Value:
    """x where ``x > threshold``, else ``value``."""
    x = expect_tensor("threshold", input)
    below = ops.le(x, _number(x, threshold))
    return ops.where(below, _number(x, value), x)  # type: ignore[no-any-return]


def _glu_calls() -> Iterator[Call]:
    x = np.random.default_rng(3).normal(size=(4, 6))
    yield Call((x,))
    yield Call((x, 0))
    yield Call((x.astype(np.float32), -2))
    yield Call((np.zeros((0, 2)),))
    yield Call((x[:3], 0), error=(RuntimeError, "must be divisible by 2"))
    yield Call((np.ones(()),), error=(RuntimeError, "glu does not support 0-dimensional tensors"))
    yield Call((x, 2), error=(IndexError, "Dimension out of range"))


@activation("glu", inplace=False, calls=_glu_calls)
def glu(input: Value, dim: int = -1) -> Value:
    """The first half of ``dim`` times the sigmoid of the second. Dauphin et al.,
    arXiv 1612.08083.

    RuntimeError for an odd extent and for 0-d tensors; IndexError for a dimension out of range.
    """
    x = _floating("glu", input)
    if x.ndim == 0:
        raise ShapeError("glu does not support 0-dimensional tensors")
    axis = normalize_dim(dim, x.ndim)
    extent = x.shape[axis]
    if extent % 2:
        raise ShapeError(
            f"Halving dimension must be even, but dimension {axis} is size {extent}: it must be "
            "divisible by 2"
        )
    middle = extent // 2

    def part(start: int, stop: int) -> Value:
        starts = tuple(start if i == axis else 0 for i in range(x.ndim))
        stops = tuple(stop if i == axis else n for i, n in enumerate(x.shape))
        return ops.slice(x, starts=starts, stops=stops, steps=(1,) * x.ndim)  # type: ignore[no-any-return]

    return part(0, middle) * ops.sigmoid(part(middle, extent))  # type: ignore[no-any-return]
