"""How elements of each dtype look in registers and in memory.

In registers the half types are float and bool is i1; in memory a bool is a byte of 0 or 1, and a
bfloat16 is handled as its 16 bits, because no target here rounds to it by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.dtypes import DType, bfloat16, bool_, float16
from .builder import Function, Int, Val, as_value, lanes_of, literal, vector

_FLOATS = {"float16": "float", "bfloat16": "float", "float32": "float", "float64": "double"}


def register_type(dtype: DType) -> str:
    """The LLVM type of a value in the compute type."""
    if dtype.category == "int":
        return f"i{8 * dtype.itemsize}"
    return "i1" if dtype is bool_ else _FLOATS[dtype.name]


def memory_type(dtype: DType) -> str:
    """The LLVM type of an element as it lies in a buffer."""
    if dtype is float16:
        return "half"
    if dtype is bfloat16:
        return "i16"
    return "i8" if dtype is bool_ else register_type(dtype)


def as_stored(f: Function, x: Val, dtype: DType) -> Val:
    """A value rounded to what lies in memory."""
    lanes = lanes_of(x.type)
    if dtype is float16:
        return f.convert("fptrunc", x, vector("half", lanes))
    if dtype is bfloat16:
        return _round_to_bfloat16(f, x)
    return f.convert("zext", x, vector("i8", lanes)) if dtype is bool_ else x


def as_computed(f: Function, x: Val, dtype: DType) -> Val:
    """An element of memory in the compute type."""
    lanes = lanes_of(x.type)
    if dtype is float16:
        return f.convert("fpext", x, vector("float", lanes))
    if dtype is bfloat16:
        bits = f.convert("zext", x, vector("i32", lanes))
        high = f.binary("shl", bits, literal(16, bits.type))
        return f.convert("bitcast", high, vector("float", lanes))
    return f.compare("icmp", "ne", x, literal(0, x.type)) if dtype is bool_ else x


def rounded(f: Function, x: Val, dtype: DType) -> Val:
    """A value of the compute type rounded to its dtype."""
    return x if register_type(dtype) == memory_type(dtype) else as_computed(
        f, as_stored(f, x, dtype), dtype
    )  # fmt: skip


def _round_to_bfloat16(f: Function, x: Val) -> Val:
    """The upper half of a float's bits, to nearest and ties to even; NaN stays NaN."""
    lanes = lanes_of(x.type)
    bits = f.convert("bitcast", x, vector("i32", lanes))
    upper = f.binary("lshr", bits, literal(16, bits.type))
    odd = f.binary("and", upper, literal(1, bits.type))
    up = f.binary("add", f.binary("add", bits, literal(0x7FFF, bits.type)), odd)
    nan = f.compare("fcmp", "uno", x, literal(0.0, x.type))
    quiet = f.binary("or", upper, literal(0x40, bits.type))
    chosen = f.select(nan, quiet, f.binary("lshr", up, literal(16, bits.type)))
    return f.convert("trunc", chosen, vector("i16", lanes))


@dataclass(frozen=True, slots=True)
class Run:
    """The int64 values ``base + stride * lane`` over the lanes of a vector, stride not 0."""

    base: Int
    stride: int


Value = int | Val | Run
"""What an expression gives: a constant int64, a scalar for all lanes, a vector, or a `Run`."""


def spread(f: Function, x: Value, lanes: int) -> Val:
    """A value as a vector of ``lanes`` elements; as a scalar for one lane."""
    if isinstance(x, Run):
        type = vector("i64", lanes)
        start = f.splat(as_value(x.base), lanes)
        steps = Val(type, _ramp("i64", x.stride, lanes))
        return f.binary("add", start, steps) if x.base != 0 else steps
    value = as_value(x)
    return value if lanes_of(value.type) == lanes else f.splat(value, lanes)


def lane_numbers(type: str, stride: int, lanes: int) -> Val:
    """The constant vector 0, stride, 2 * stride, ..."""
    return Val(vector(type, lanes), _ramp(type, stride, lanes))


def _ramp(type: str, stride: int, lanes: int) -> str:
    return f"<{', '.join(f'{type} {lane * stride}' for lane in range(lanes))}>"
