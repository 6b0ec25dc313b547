"""The four operations, and how operands of different shapes and dtypes meet.

`coerce` is the one place where PyTorch's broadcasting and type promotion become explicit
``expand`` and ``cast`` nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..core.dtypes import DType, default_dtype
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.promotion import result_type
from ..ir.node import Node, Value
from .contract import Array, Grads, primitive
from .families import Binary, Unary, floats, in_float32, integers, samples_of
from .function import Call, function
from .link import ops

Scalar: TypeAlias = bool | int | float | complex
Operand: TypeAlias = Value | Scalar
_OPERANDS = (Value, bool, int, float, complex, np.number, np.bool_)


def is_weak(value: Value) -> bool:
    """Whether the value is a Python number that became an argument of the graph."""
    return bool(value.node.attrs.get("weak", False))


def common_dtype(operands: Sequence[Operand]) -> DType:
    """PyTorch's result type of tensors (dimensioned, 0-d) and numbers."""
    dims: list[DType] = []
    zeros: list[DType] = []
    scalars: list[Scalar] = []
    for x in operands:
        if isinstance(x, Value):
            if is_weak(x):
                scalars.append({"bool": True, "int": 1, "float": 1.0}.get(x.dtype.category, 1j))
            else:
                (dims if x.ndim else zeros).append(x.dtype)
        else:
            scalars.append(x)
    return result_type(dims, zeros, scalars)


def broadcast_shapes(*shapes: tuple[int, ...], op: str = "broadcast") -> tuple[int, ...]:
    """The shape to which all of ``shapes`` broadcast; ShapeError names the first conflict."""
    rank = max(map(len, shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for i, extent in enumerate(shape, rank - len(shape)):
            if extent != 1:
                if result[i] not in (1, extent):
                    raise ShapeError(
                        f"{op}: The size of tensor a ({result[i]}) must match the size of tensor "
                        f"b ({extent}) at non-singleton dimension {i} (shapes "
                        f"{' and '.join(str(list(s)) for s in shapes)})"
                    )
                result[i] = extent
    return tuple(result)


_constants: dict[tuple[Any, ...], Value] = {}
_CONSTANTS_KEPT = 4096


def constant(value: Scalar, dtype: DType, shape: tuple[int, ...] = ()) -> Value:
    """A tensor full of one number. Equal ones are one value, as rules ask for the same few again
    and again; it comes from no place in the user's program. (Tensors that users see have values of
    their own: see `tensor.trace.new_metas`.)"""
    # Zeros have signs; what is not equal to itself is made anew.
    key = (value.__class__, value or repr(value), dtype, shape)
    found = _constants.get(key)
    if found is None:
        found = ops.full(shape=shape, value=value, dtype=dtype)
        found.node.location = None
        if len(_constants) >= _CONSTANTS_KEPT:
            _constants.clear()
        _constants[key] = found
    return found


def broadcast_to(value: Value, shape: tuple[int, ...]) -> Value:
    """``value`` expanded to ``shape`` (which it must broadcast to)."""
    if value.shape == shape:
        return value
    if value.ndim < len(shape):
        value = ops.reshape(value, shape=(1,) * (len(shape) - value.ndim) + value.shape)
    return value if value.shape == shape else ops.expand(value, shape=shape)


def cast(value: Value, dtype: DType) -> Value:
    """``value`` as ``dtype``; the same value if it is already."""
    return value if value.dtype is dtype else ops.cast(value, dtype=dtype)


def coerce(
    *operands: Operand, op: str = "", dtype: DType | None = None, to_float: bool = False
) -> tuple[Value, ...]:
    """Operands as values of one dtype and one shape, by PyTorch's rules.

    ``dtype`` overrides the promoted dtype; ``to_float`` turns integer results into the default
    floating dtype, as division and the transcendental functions do.
    """
    first = operands[0]
    if dtype is None and isinstance(first, Value) and not is_weak(first):
        # Most operands are of one type already.
        wanted = first.type
        if (wanted.dtype.category in ("float", "complex") or not to_float) and all(
            isinstance(x, Value) and x.type == wanted and not is_weak(x) for x in operands[1:]
        ):
            return operands  # type: ignore[return-value]
    for x in operands:
        if not isinstance(x, _OPERANDS):
            raise ArgumentError(f"{op}(): expected a Tensor or a number, got {type(x).__name__}")
    target = dtype or common_dtype(operands)
    if to_float and target.category in ("bool", "int"):
        target = default_dtype()
    shape = broadcast_shapes(*(x.shape for x in operands if isinstance(x, Value)), op=op)
    return tuple(
        broadcast_to(cast(x, target), shape) if isinstance(x, Value) else constant(x, target, shape)
        for x in operands
    )


def coerce_float(value: Value) -> Value:
    """Integers and bools as the default floating dtype; other values unchanged."""
    if value.dtype.category in ("bool", "int"):
        return cast(value, default_dtype())
    return value


@primitive
class Neg(Unary):
    name = "neg"
    linear = True
    partial = ("P(max) -> P(min)", "P(min) -> P(max)")
    onnx = "Neg"
    accepts = ("int", "float", "complex")
    samples = samples_of(floats(), integers())

    def reference(self, x: Array) -> Array:
        return np.negative(x)

    def vjp(self, node: Node, g: Value) -> Grads:
        return (-g,)

    def lower(self, x: Any) -> Any:
        return -x


@primitive
class Add(Binary):
    name = "add"
    linear = True
    partial = (
        "P(max) B -> P(max)", "B P(max) -> P(max)", "P(min) B -> P(min)", "B P(min) -> P(min)",
    )  # fmt: skip
    onnx = "Add"
    samples = samples_of(floats(count=2), integers(count=2))

    def reference(self, x: Array, y: Array) -> Array:
        return np.add(x, y)

    def vjp(self, node: Node, g: Value) -> Grads:
        return g, g

    def lower(self, x: Any, y: Any) -> Any:
        return x | y if x.dtype.category == "bool" else x + y


@primitive
class Mul(Binary):
    name = "mul"
    partial = ("P(sum) B -> P(sum)", "B P(sum) -> P(sum)", "P(prod) P(prod) -> P(prod)")
    onnx = "Mul"
    samples = samples_of(floats(count=2), integers(count=2))

    def reference(self, x: Array, y: Array) -> Array:
        return np.multiply(x, y)

    def vjp(self, node: Node, g: Value) -> Grads:
        x, y = node.inputs
        return g * conj(y), g * conj(x)

    def lower(self, x: Any, y: Any) -> Any:
        return x & y if x.dtype.category == "bool" else x * y


def conj(value: Value) -> Value:
    """The complex conjugate: the value itself if it is real."""
    return ops.conj(value) if value.dtype.is_complex else value


def _binary(name: str) -> Any:
    return lambda x, y: PUBLIC[name](x, y)


def _neg(x: Value) -> Value:
    return ops.neg(x)  # type: ignore[no-any-return]


def _reject_bool(op: str, x: Operand, y: Operand) -> None:
    if all(
        (v.dtype.category == "bool") if isinstance(v, Value) else isinstance(v, bool)
        for v in (x, y)
    ):
        raise DTypeError(
            f"{op}(): Subtraction, the `-` operator, with two bool tensors is not supported. "
            "Use the `^` or `logical_xor()` operator instead."
        )


def _scaled(op: str, other: Operand, alpha: Scalar, dtype: DType) -> Operand:
    if isinstance(alpha, float) and dtype.category in ("bool", "int"):
        raise DTypeError(
            f"{op}(): For integral input tensors, argument alpha must not be a floating point "
            f"number, got alpha={alpha}"
        )
    return other * alpha


def _pairs() -> Iterator[Call]:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(3, 4)), rng.normal(size=(4,))
    yield Call((x, y))
    yield Call((x, 2.5))
    yield Call((x.astype(np.float32), 3))
    yield Call((rng.normal(size=(2, 1, 3)), rng.normal(size=(4, 1))))
    yield Call((np.arange(6).reshape(2, 3), np.float32(1.5) + np.zeros(3, np.float32)), grad=False)
    yield Call((np.zeros((0, 4)), y))
    yield Call((rng.normal(size=()), x))
    yield Call((x, rng.normal(size=(3,))), error=(RuntimeError, "must match the size"))


def _pairs_alpha() -> Iterator[Call]:
    yield from _pairs()
    rng = np.random.default_rng(3)
    yield Call((rng.normal(size=(3,)), rng.normal(size=(3,))), {"alpha": 0.5})


@function(
    "add", method=True, inplace=True, operators=("__add__", "__radd__", "__iadd__"),
    calls=_pairs_alpha,
)  # fmt: skip
def add(input: Operand, other: Operand, *, alpha: Scalar = 1) -> Value:
    """``input + alpha * other``, with broadcasting and type promotion."""
    if alpha != 1:
        other = _scaled("add", other, alpha, common_dtype((input, other)))
    x, y = coerce(input, other, op="add")
    return ops.add(x, y)  # type: ignore[no-any-return]


@function(
    "sub", method=True, inplace=True, operators=("__sub__", "__rsub__", "__isub__"),
    aliases=("subtract",), calls=_pairs_alpha,
)  # fmt: skip
def sub(input: Operand, other: Operand, *, alpha: Scalar = 1) -> Value:
    """``input - alpha * other``, with broadcasting and type promotion."""
    _reject_bool("sub", input, other)
    if alpha != 1:
        other = _scaled("sub", other, alpha, common_dtype((input, other)))
    x, y = coerce(input, other, op="sub")
    return ops.sub(x, y)  # type: ignore[no-any-return]


@function(
    "mul", method=True, inplace=True, operators=("__mul__", "__rmul__", "__imul__"),
    aliases=("multiply",), calls=_pairs,
)  # fmt: skip
def mul(input: Operand, other: Operand) -> Value:
    """``input * other``, with broadcasting and type promotion."""
    x, y = coerce(input, other, op="mul")
    return ops.mul(x, y)  # type: ignore[no-any-return]


@primitive
class Sub(Binary):
    name = "sub"
    linear = True
    partial = (
        "P(max) B -> P(max)", "B P(max) -> P(min)", "P(min) B -> P(min)", "B P(min) -> P(max)",
    )  # fmt: skip
    onnx = "Sub"
    accepts = ("int", "float", "complex")
    samples = samples_of(floats(count=2), integers(count=2))

    def reference(self, x: Array, y: Array) -> Array:
        return np.subtract(x, y)

    def vjp(self, node: Node, g: Value) -> Grads:
        return g, -g

    def lower(self, x: Any, y: Any) -> Any:
        return x - y


@primitive
class Div(Binary):
    """True division of floating-point (or complex) operands."""

    name = "div"
    partial = ("P(sum) B -> P(sum)", "P(prod) P(prod) -> P(prod)")
    onnx = "Div"
    accepts = ("float", "complex")
    samples = floats(0.5, 3.0, count=2)

    def reference(self, x: Array, y: Array) -> Array:
        return in_float32(np.divide, x, y)

    def vjp(self, node: Node, g: Value) -> Grads:
        x, y = node.inputs
        gx = g / conj(y)
        return gx, -gx * conj(ops.div(x, y))  # merged with the forward quotient by `cse`

    def lower(self, x: Any, y: Any) -> Any:
        return x / y


PUBLIC: dict[str, Any] = {"add": add, "sub": sub, "mul": mul}
Value.operators.update(
    add=_binary("add"), sub=_binary("sub"), mul=_binary("mul"), div=_binary("div"), neg=_neg
)
