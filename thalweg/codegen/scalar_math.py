"""Functions that are no instructions, written in the loop IR: exp, log, sin, erf, pow, ...

An *expansion* is a sequence of statements and the expression of its result. It needs arithmetic,
`fma`, bits and selects only, so the interpreter, every CPU target and the GPU run the same text.
The sequences rely on every rounding: additions and multiplications in them must not be contracted.

Rare operands (denormal, infinite, NaN, huge) are dealt with under `if`, which costs next to nothing
where no lane takes it. Results are within 2 ulp in float32 (`pow`: 1); half types are computed in
float32. `scripts/sweep_math` measures them over all bit patterns; the coefficients come from
`scripts/fit_math`.

Functions without an expansion (float64 forms without a good vector algorithm, `lgamma`) are calls
of the C library, lane by lane.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..core.dtypes import DType, bool_, float32, float64, int32, int64
from ..ir.loops import (
    Alloc,
    Assign,
    Binary,
    Bitcast,
    Cast,
    Const,
    Expr,
    Fma,
    If,
    Let,
    Local,
    Select,
    Stmt,
    Unary,
    Var,
)

INF, NAN = float("inf"), float("nan")


@dataclass(frozen=True, slots=True)
class Expansion:
    """``result`` after ``body``, where the operands are bound to ``params``."""

    params: tuple[Var, ...]
    body: tuple[Stmt, ...]
    result: Expr


Writer = Callable[..., Expr]
_WRITERS: dict[tuple[str, DType], Writer] = {}
_OPERANDS = {"pow": 2, "atan2": 2, "fmod": 2, "mod": 2, "floordiv": 2}


def expands(op: str, *dtypes: DType) -> Callable[[Writer], Writer]:
    """Register ``writer(steps, *operands) -> result`` as the expansion of an op."""

    def register(writer: Writer) -> Writer:
        for dtype in dtypes:
            _WRITERS[op, dtype] = writer
        return writer

    return register


@functools.cache
def expansion(op: str, dtype: DType) -> Expansion | None:
    """How ``op`` is computed in the compute type ``dtype``; None if it has no expansion."""
    for family in ("exp", "trig", "special"):
        importlib.import_module(f"{__package__}.scalar_math_{family}")
    writer = _WRITERS.get((op, dtype))
    if writer is None:
        return None
    steps = Steps(f"__{op}", dtype)
    params = tuple(steps.name(dtype) for _ in range(_OPERANDS.get(op, 1)))
    result = writer(steps, *params)
    return Expansion(params, tuple(steps.body), result)


class Steps:
    """Collects the statements of an expansion in one dtype."""

    def __init__(self, prefix: str, dtype: DType) -> None:
        self.prefix = prefix
        self.dtype = dtype
        self.integer = int64 if dtype is float64 else int32
        self.body: list[Stmt] = []
        self._count = 0

    def name(self, dtype: DType) -> Var:
        self._count += 1
        return Var(f"{self.prefix}{self._count}", dtype)

    def let(self, value: Expr) -> Var:
        """A value that is used several times, or that must be rounded before it is used."""
        name = self.name(value.dtype)
        self.body.append(Let(name.name, value))
        return name

    def register(self, value: Expr) -> Local:
        """A value that branches may change with `set`."""
        name = self.name(value.dtype)
        self.body.append(Alloc(name.name, value.dtype, (), value))
        return Local(name.name, (), value.dtype)

    def set(self, register: Local, value: Expr) -> None:
        self.body.append(Assign(register.name, (), value))

    @contextmanager
    def when(self, cond: Expr) -> Iterator[None]:
        """The statements written inside run where ``cond`` holds."""
        outer, self.body = self.body, []
        yield
        inner, self.body = self.body, outer
        self.body.append(If(cond, tuple(inner)))

    # --- expressions ----------------------------------------------------------------------------

    def number(self, value: float) -> Const:
        return Const(value, self.dtype)

    def whole(self, value: int) -> Const:
        return Const(value, self.integer)

    def poly(self, x: Expr, coefficients: Sequence[float]) -> Expr:
        """A polynomial, lowest power first, by Horner's rule."""
        made: Expr = self.number(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            made = Fma(made, x, self.number(c))
        return made

    def bits(self, x: Expr) -> Expr:
        return Bitcast(x, self.integer)

    def floating(self, bits: Expr) -> Expr:
        return Bitcast(bits, self.dtype)

    def power_of_two(self, n: Expr) -> Expr:
        """2 to an integer between the exponents of normal numbers."""
        mantissa, bias = (52, 1023) if self.dtype is float64 else (23, 127)
        return self.floating(Binary("shl", n + self.whole(bias), self.whole(mantissa)))

    def with_sign(self, magnitude: Expr, sign: Expr) -> Expr:
        """``magnitude`` (not negative) with the sign bit of ``sign``."""
        top = self.whole(-(1 << (8 * self.dtype.itemsize - 1)))
        return self.floating(Binary("or", self.bits(magnitude), self.bits(sign) & top))


def absolute(x: Expr) -> Expr:
    return Unary("abs", x)


def equals(a: Expr, b: Expr) -> Expr:
    return Binary("eq", a, b)


def either(a: Expr, b: Expr) -> Expr:
    return Binary("or", a, b)


def negated(cond: Expr) -> Expr:
    return Unary("not", cond)


def in_float64(steps: Steps, write: Writer, *operands: Expr) -> Expr:
    """A float32 result by way of a float64 computation."""
    steps.dtype, steps.integer = float64, int64
    result = write(steps, *(steps.let(Cast(x, float64)) for x in operands))
    steps.dtype, steps.integer = float32, int32
    return Cast(result, float32)


__all__ = [
    "INF", "NAN", "Binary", "Bitcast", "Cast", "Const", "Expansion", "Expr", "Fma", "Select",
    "Steps", "Unary", "Var", "absolute", "bool_", "either", "equals", "expands", "expansion",
    "in_float64", "negated",
]  # fmt: skip
