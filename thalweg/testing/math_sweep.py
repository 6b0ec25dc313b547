"""Errors of the compiled scalar functions, in units of the last place, over bit patterns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..codegen.emit import emit
from ..codegen.target import host
from ..core import dtypes
from ..ir import loop_values
from ..ir.loops import Binary, Buffer, Const, Expr, For, Kernel, Load, Store, Unary, Var
from ..ops import PRIMITIVES
from .native import run_native

Array = np.ndarray[Any, Any]
UNARY = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "tanh",
    "sigmoid", "erf", "erfc", "erfinv", "sinh", "cosh", "asinh", "acosh", "atanh", "asin", "acos",
    "atan", "rsqrt", "lgamma",
)  # fmt: skip
BINARY = ("pow", "atan2", "fmod", "mod", "floordiv")


@dataclass(frozen=True)
class Sweep:
    """The outcome for one function. ``wrong_class``: results that are NaN, infinite or a signed
    zero where the reference is not, or the other way round."""

    name: str
    count: int
    ulp: float
    at: tuple[float, ...]
    wrong_class: int
    example: tuple[float, ...]

    def __str__(self) -> str:
        wrong = f", {self.wrong_class} of another class: {self.example}" if self.wrong_class else ""
        return f"{self.name:9s} {self.count:9,d} operands: {self.ulp:.3f} ulp at {self.at}{wrong}"


@functools.cache
def _kernel(name: str, dtype_name: str, count: int) -> Kernel:
    dtype = dtypes.BY_NAME[dtype_name]
    i = Var("i")
    x, y = (Load(n, (i,), dtype) for n in "xy")
    if name in BINARY:
        value: Expr = Binary(name, x, y)
    else:
        value = PRIMITIVES[name].lower(x) if name == "sigmoid" else Unary(name, x)
    operands = "xy" if name in BINARY else "x"
    params = [Buffer(n, dtype, (count,)) for n in operands]
    loop = For("i", Const(0), Const(count), 1, (Store("z", (i,), value),), "vector")
    return Kernel(name, (*params, Buffer("z", dtype, (count,), "out")), (loop,))


def compiled(name: str, *operands: Array) -> Array:
    """A function of the loop IR, compiled, on arrays of one dtype and length."""
    result = np.zeros_like(operands[0])
    kernel = _kernel(name, result.dtype.name, len(result))
    run_native(emit(kernel, host()), operands, [result])
    return result


def reference(name: str, *operands: Array) -> Array:
    """The function in float64 (extended precision for float64 operands)."""
    with np.errstate(all="ignore"):
        wide = [x.astype(np.float64) for x in operands]
        if name == "sigmoid":
            small = np.exp(-np.abs(wide[0]))
            return np.where(wide[0] >= 0, 1.0, small) / (1.0 + small)
        compute: Callable[..., Array] = loop_values.binary if name in BINARY else loop_values.unary
        result = compute(name, *wide)
        # An odd function, also at -0.
        return np.copysign(result, wide[0]) if name == "erfinv" else result


def operands_of(name: str, dtype: str, step: int) -> tuple[Array, ...]:
    """Every ``step``-th bit pattern; pairs for functions of two numbers, from plain ones too."""
    rng = np.random.default_rng(step)
    if dtype == "float32":
        patterns = np.arange(rng.integers(step), 2**32, step, dtype=np.uint64).astype(np.uint32)
        first = patterns.view(np.float32)
    else:
        patterns = rng.integers(0, 2**64, 1_000_000, dtype=np.uint64)
        first = patterns.view(np.float64)
        first = np.where(rng.random(len(first)) < 0.5, rng.normal(size=len(first)) * 8, first)
    odd = np.array([0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, np.inf, -np.inf, np.nan, 1e-42], first.dtype)
    if name not in BINARY:
        return (np.concatenate([first, odd]),)
    count = len(first)
    plain = np.exp(rng.normal(size=count) * 4).astype(first.dtype)
    other = (rng.normal(size=count) * np.exp(rng.normal(size=count) * 2)).astype(first.dtype)
    pairs = np.array([(a, b) for a in odd for b in odd], first.dtype)
    shuffled = rng.permutation(first)
    signed = np.where(rng.random(count) < 0.2, -plain, plain)
    whole = np.where(rng.random(count) < 0.2, np.rint(other), other)
    return (
        np.concatenate([first, signed, pairs[:, 0]]),
        np.concatenate([shuffled, whole, pairs[:, 1]]),
    )


def sweep(name: str, dtype: str = "float32", step: int = 997) -> Sweep:
    """Measure one function."""
    operands = operands_of(name, dtype, step)
    got, exact = compiled(name, *operands), reference(name, *operands)
    with np.errstate(all="ignore"):
        rounded = exact.astype(got.dtype)
        same = (np.isnan(got) == np.isnan(rounded)) & (
            np.isnan(rounded)
            | ((np.isinf(got) == np.isinf(rounded)) & (np.signbit(got) == np.signbit(rounded)))
        )
        # A result next to infinity may be rounded there.
        edge = np.isinf(got) != np.isinf(rounded)
        limit = np.finfo(got.dtype).max
        same |= edge & (np.minimum(abs(got), abs(rounded)) >= limit * (1 - 1e-6))
        finite = np.isfinite(got) & np.isfinite(rounded)
        info = np.finfo(got.dtype)
        size = np.maximum(np.abs(exact[finite]), float(info.smallest_normal))
        unit = np.exp2(np.floor(np.log2(size)) - info.nmant)
        error = np.abs(got[finite].astype(np.float64) - exact[finite]) / unit
    worst = int(np.argmax(error))
    bad = np.flatnonzero(~same)
    return Sweep(
        name, len(got), float(error[worst]), tuple(float(x[finite][worst]) for x in operands),
        len(bad), tuple(float(x[bad[0]]) for x in operands) if len(bad) else (),
    )  # fmt: skip
