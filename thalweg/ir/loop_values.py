"""What each scalar operation of the loop IR means, as a function on NumPy arrays.

Arrays hold values in the compute type (`compute_dtype`): float32 for the half types. Functions
without an exact result go through float64, so that float32 results are correctly rounded but for
rare ties: this is what generated code is measured against.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from thalweg.core.dtypes import DType, bool_, float32, float64, uint64
from thalweg.ir.loops import compute_dtype, round_to

Array = npt.NDArray[Any]

_EXACT: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative,
    "abs": np.abs,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "not": np.invert,
    "sqrt": np.sqrt,
}
_ROUNDED: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
}
_SCIPY = {"erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "lgamma": "gammaln"}

_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "floordiv": np.floor_divide,
    "fmod": np.fmod,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "shl": np.left_shift,
    "shr": np.right_shift,
}
INTEGER_DIVISIONS = frozenset(("floordiv", "mod", "truncdiv", "fmod"))


def unary(op: str, x: Array) -> Array:
    """`op` on every element; float64 inside for functions that have to be rounded."""
    if op == "sign":
        return sign(x)
    if op in _EXACT:
        return _EXACT[op](x)
    if op in _SCIPY:
        from scipy import special

        function: Callable[[Array], Array] = getattr(special, _SCIPY[op])
        if op == "lgamma":
            # |gamma| grows without bound on both sides; SciPy has -inf at -inf, C and PyTorch inf.
            x = np.where(x == -np.inf, np.abs(x), x)
    else:
        function = _ROUNDED[op]
    return function(x.astype(np.float64)).astype(x.dtype)


def binary(op: str, a: Array, b: Array) -> Array:
    """`op` on pairs of elements. The divisors of integer divisions must not be 0."""
    if op in _BINARY:
        return _BINARY[op](a, b)
    if op == "mod":
        return _modulo(a, b)
    if op == "truncdiv":
        if a.dtype.kind == "f":
            return unary("trunc", np.divide(a, b))
        floor = np.floor_divide(a, b)
        up = (a - floor * b != 0) & ((a < 0) != (b < 0))
        quotient: Array = np.add(floor, up.astype(a.dtype))
        return quotient
    if op == "pow" and a.dtype.kind != "f":
        return _integer_power(a, b)
    function = {"pow": np.power, "atan2": np.arctan2}[op]
    result: Array = function(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype)
    return result


def sign(x: Array) -> Array:
    """-1, 0 or 1; NaN and both zeros give 0, as in PyTorch."""
    result: Array = (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)
    return result


def _modulo(a: Array, b: Array) -> Array:
    """The remainder with the divisor's sign; a float zero keeps the sign of `a`, as in PyTorch."""
    if a.dtype.kind != "f":
        return np.remainder(a, b)
    rest = np.fmod(a, b)
    return np.where((rest != 0) & ((b < 0) != (rest < 0)), rest + b, rest)


def _integer_power(base: Array, exponent: Array) -> Array:
    base, exponent = np.broadcast_arrays(base, exponent)
    negative = exponent < 0
    power = np.power(base, np.where(negative, exponent.dtype.type(0), exponent))
    odd = (exponent & 1) == 1
    reciprocal = np.where(np.abs(base) == 1, np.where(odd, base, base * base), 0)
    return np.where(negative, reciprocal, power).astype(base.dtype)


def cast(x: Array, source: DType, target: DType) -> Array:
    """Conversion by value, rounded to `target` and held in its compute type."""
    if target is bool_:
        return np.not_equal(x, 0)
    if target.is_floating_point:
        half = target.itemsize == 2
        wide = x.astype(np.float32) if half and not source.is_floating_point else x
        return round_to(wide, target).astype(compute_dtype(target).np)
    if source.is_floating_point:
        return _float_to_int(np.trunc(x.astype(np.float64)), target)
    return x.astype(target.np)


def _float_to_int(x: Array, target: DType) -> Array:
    # What the machine's conversion instructions do, spelled out, so it holds on any machine.
    narrow = target.itemsize < 4 or (target.itemsize == 4 and target.is_signed)
    limit, wide = (2.0**31, np.int32) if narrow else (2.0**63, np.int64)
    held: Array = np.where((x >= -limit) & (x < limit), x, -limit).astype(wide).astype(target.np)
    if target is uint64:
        upper = (x >= limit) & (x < 2 * limit)
        rest = np.where(upper, x - limit, 0.0).astype(np.uint64)
        return np.where(upper, rest + np.uint64(2**63), held)
    return held


def bitcast(x: Array, source: DType, target: DType) -> Array:
    """The bits of `x` in its storage type, read as `target`."""
    return round_to(x, source).view(target.np).astype(compute_dtype(target).np)


def fma(a: Array, b: Array, c: Array) -> Array:
    """`a * b + c` with one rounding."""
    a, b, c = np.broadcast_arrays(a, b, c)
    if a.dtype == float32.np:
        # The product is exact in float64. Rounding the sum to odd keeps the second rounding honest.
        product, addend = a.astype(np.float64) * b, c.astype(np.float64)
        total = product + addend
        back = total - product
        error = (product - (total - back)) + (addend - back)
        even = (total.view(np.int64) & 1) == 0
        nudge = np.isfinite(total) & (error != 0) & even
        odd = np.where(nudge, np.nextafter(total, np.copysign(np.inf, error)), total)
        return odd.astype(np.float32)
    result = np.asarray(a * b + c, dtype=float64.np)
    exact = np.isfinite(a) & np.isfinite(b) & np.isfinite(c)
    for at in np.flatnonzero(exact & ((a * b != 0) | (c != 0))):
        sum_ = Fraction(float(a[at])) * Fraction(float(b[at])) + Fraction(float(c[at]))
        result[at] = _nearest(sum_)
    return result


def _nearest(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
