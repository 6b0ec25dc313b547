"""The scalar operations of the loop IR as LLVM instructions on scalars or vectors alike.

The meaning of each operation stands in `ir/loops.py`; `ir/loop_values.py` computes it with NumPy.
Operands are in the compute type and have equal numbers of lanes. Integer divisions never trap,
whatever lanes beyond the end of a row hold: a divisor of 0 acts as 1.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.dtypes import DType, bool_, float64, uint64
from ..ir.loops import FLOAT_UNARY
from .builder import Function, Val, element, lanes_of, literal, size_of, vector
from .target import Target
from .types import register_type, rounded

_ROUNDINGS = {"floor": "floor", "ceil": "ceil", "round": "roundeven", "trunc": "trunc"}
_COMPARE_FLOAT = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
LIBRARY = FLOAT_UNARY - set(_ROUNDINGS) - {"sqrt", "rsqrt"}
"""Unary functions that are no instruction."""


class Arithmetic:
    """Writes operations into a function. ``flags`` go with float additions and multiplications:
    'contract' lets a product and a sum be rounded once; '' keeps every rounding."""

    CONTRACT = "contract"

    def __init__(self, f: Function, target: Target) -> None:
        self.f = f
        self.x86 = target.triple.startswith(("x86_64", "i686"))
        self.flags = self.CONTRACT

    # --- one operand ----------------------------------------------------------------------------

    def unary(self, op: str, x: Val, dtype: DType) -> Val:
        if op == "not":
            return self.f.binary("xor", x, literal(-1, x.type))
        return (
            self._float_unary(op, x) if dtype.is_floating_point else self._int_unary(op, x, dtype)
        )

    def _float_unary(self, op: str, x: Val) -> Val:
        f = self.f
        if op == "neg":
            return f.value(x.type, f"fneg {x}")
        if op == "abs":
            return f.intrinsic("fabs", x)
        if op in _ROUNDINGS:
            return f.intrinsic(_ROUNDINGS[op], x)
        if op == "sqrt":
            return f.intrinsic("sqrt", x)
        if op == "rsqrt":
            return f.binary("fdiv", literal(1.0, x.type), f.intrinsic("sqrt", x))
        if op == "isnan":
            return f.compare("fcmp", "uno", x, x)
        if op in ("isinf", "isfinite"):
            predicate = "oeq" if op == "isinf" else "olt"
            infinity = literal(float("inf"), x.type)
            return f.compare("fcmp", predicate, f.intrinsic("fabs", x), infinity)
        if op == "sign":
            zero, one, minus = (literal(v, x.type) for v in (0.0, 1.0, -1.0))
            low = f.select(f.compare("fcmp", "olt", x, zero), minus, zero)
            return f.select(f.compare("fcmp", "ogt", x, zero), one, low)
        raise KeyError(op)

    def _int_unary(self, op: str, x: Val, dtype: DType) -> Val:
        f, zero = self.f, literal(0, x.type)
        if op == "neg":
            return f.binary("sub", zero, x)
        if op == "abs":
            return f.intrinsic("abs", x, Val("i1", "false")) if dtype.is_signed else x
        if op == "sign":
            one = literal(1, x.type)
            low = f.select(self.compare("lt", x, zero, dtype), literal(-1, x.type), zero)
            return f.select(self.compare("gt", x, zero, dtype), one, low)
        raise KeyError(op)

    # --- two operands ---------------------------------------------------------------------------

    def binary(self, op: str, a: Val, b: Val, dtype: DType) -> Val:
        if op in _COMPARE_FLOAT:
            return self.compare(op, a, b, dtype)
        if op in ("min", "max"):
            return self.extreme(op, a, b, dtype)
        if dtype.is_floating_point:
            return self._float_binary(op, a, b)
        return self._int_binary(op, a, b, dtype)

    def compare(self, op: str, a: Val, b: Val, dtype: DType) -> Val:
        if dtype.is_floating_point:
            return self.f.compare("fcmp", _COMPARE_FLOAT[op], a, b)
        if op in ("eq", "ne"):
            return self.f.compare("icmp", op, a, b)
        sign = "s" if dtype.is_signed else "u"
        return self.f.compare("icmp", sign + op, a, b)

    def extreme(self, op: str, a: Val, b: Val, dtype: DType) -> Val:
        """min or max; NaN if either is NaN. A constant operand should stand first."""
        f = self.f
        if not dtype.is_floating_point:
            return f.intrinsic(("s" if dtype.is_signed else "u") + op, a, b)
        if not self.x86:
            return f.intrinsic(f"{op}imum", a, b)
        if _is_constant(b) and not _is_constant(a):
            a, b = b, a
        # One instruction of x86, which gives b if either is NaN: right unless a alone is NaN.
        inner = f.select(f.compare("fcmp", "ogt" if op == "max" else "olt", a, b), a, b)
        if _is_constant(a):  # and no NaN: lowering folds those
            return inner
        return f.select(f.compare("fcmp", "uno", a, a), a, inner)

    def _float_binary(self, op: str, a: Val, b: Val) -> Val:
        f = self.f
        if op in _FLOAT:
            return f.binary(_FLOAT[op], a, b, self.flags)
        if op == "truncdiv":
            return f.intrinsic("trunc", f.binary("fdiv", a, b))
        if op == "fmod":
            return f.binary("frem", a, b)
        zero = literal(0.0, a.type)
        rest = f.binary("frem", a, b)
        inexact = f.compare("fcmp", "une", rest, zero)
        below, negative = (f.compare("fcmp", "olt", v, zero) for v in (b, rest))
        opposite = f.binary("and", inexact, f.binary("xor", below, negative))
        if op == "mod":
            return f.select(opposite, f.binary("fadd", rest, b), rest)
        if op == "floordiv":  # as NumPy and PyTorch: through the remainder, so that it is exact
            quotient = f.binary("fdiv", a, b)
            whole = f.binary("fdiv", f.binary("fsub", a, rest), b)
            lower = f.binary("fsub", whole, literal(1.0, a.type))
            whole = f.select(opposite, lower, whole)
            floor = f.intrinsic("floor", whole)
            over = f.compare(
                "fcmp", "ogt", f.binary("fsub", whole, floor), literal(0.5, a.type)
            )  # fmt: skip
            nearest = f.select(over, f.binary("fadd", floor, literal(1.0, a.type)), floor)
            empty = f.compare("fcmp", "oeq", whole, zero)
            nearest = f.select(empty, f.intrinsic("copysign", zero, quotient), nearest)
            return f.select(f.compare("fcmp", "oeq", b, zero), quotient, nearest)
        raise KeyError(op)

    def _int_binary(self, op: str, a: Val, b: Val, dtype: DType) -> Val:
        f = self.f
        if op in _INTEGER:
            return f.binary(_INTEGER[op], a, b)
        if op in ("shl", "shr"):
            return self._shift(op, a, b, dtype)
        if op == "pow":
            return self._power(a, b, dtype)
        if not dtype.is_signed:
            one, zero = literal(1, a.type), literal(0, a.type)
            if not _is_constant(b):
                b = f.select(f.compare("icmp", "eq", b, zero), one, b)
            return f.binary("udiv" if op in ("floordiv", "truncdiv") else "urem", a, b)
        return self._signed_division(op, a, b)

    def _signed_division(self, op: str, a: Val, b: Val) -> Val:
        f = self.f
        zero, one = literal(0, a.type), literal(1, a.type)
        constant = _constant_int(b)
        if constant is not None and constant > 0 and constant & (constant - 1) == 0:
            if op == "floordiv":
                return f.binary("ashr", a, literal(constant.bit_length() - 1, a.type))
            if op == "mod":
                return f.binary("and", a, literal(constant - 1, a.type))
        if constant is None:
            # Neither 0 nor the overflowing -1 may reach the machine's division.
            minus = f.compare("icmp", "eq", b, literal(-1, a.type))
            special = f.binary("or", minus, f.compare("icmp", "eq", b, zero))
            safe = f.select(special, one, b)
        else:
            safe = one if constant in (0, -1) else b
        quotient = f.binary("sdiv", a, safe)
        if op in ("fmod", "mod"):
            rest = f.binary("sub", a, f.binary("mul", quotient, safe))
            return rest if op == "fmod" else self._toward_divisor(rest, safe)
        if op == "floordiv":
            rest = f.binary("sub", a, f.binary("mul", quotient, safe))
            down = f.convert("sext", self._opposite(rest, safe), a.type)
            quotient = f.binary("add", quotient, down)
        if constant is None:
            return f.select(minus, f.binary("sub", zero, a), quotient)
        return f.binary("sub", zero, a) if constant == -1 else quotient

    def _opposite(self, rest: Val, divisor: Val) -> Val:
        """Where a remainder is not 0 and its sign is not the divisor's."""
        f, zero = self.f, literal(0, rest.type)
        unequal = f.compare("icmp", "slt", f.binary("xor", rest, divisor), zero)
        return f.binary("and", unequal, f.compare("icmp", "ne", rest, zero))

    def _toward_divisor(self, rest: Val, divisor: Val) -> Val:
        f = self.f
        return f.select(self._opposite(rest, divisor), f.binary("add", rest, divisor), rest)

    def _shift(self, op: str, a: Val, b: Val, dtype: DType) -> Val:
        f, width = self.f, 8 * size_of(element(a.type))
        arithmetic = op == "shr" and dtype.is_signed
        name = "shl" if op == "shl" else "ashr" if arithmetic else "lshr"
        constant = _constant_int(b)
        if constant is not None and 0 <= constant < width:
            return f.binary(name, a, b)
        inside = f.compare("icmp", "ult", b, literal(width, a.type))
        amount = f.select(inside, b, literal(width - 1, a.type))
        shifted = f.binary(name, a, amount)
        return shifted if arithmetic else f.select(inside, shifted, literal(0, a.type))

    def _power(self, base: Val, exponent: Val, dtype: DType) -> Val:
        f = self.f
        one, zero = literal(1, base.type), literal(0, base.type)
        constant = _constant_int(exponent)
        if constant is not None and constant >= 0:
            power, square = one, base
            while constant:
                if constant & 1:
                    power = square if power is one else f.binary("mul", power, square)
                constant >>= 1
                if constant:
                    square = f.binary("mul", square, square)
            return power
        bits = 8 * size_of(element(base.type))
        with f.carry(0, bits, [one, base, exponent]) as (_, (power, square, left), slots):
            odd = f.compare("icmp", "ne", f.binary("and", left, one), zero)
            slots[0] = f.select(odd, f.binary("mul", power, square), power)
            slots[1] = f.binary("mul", square, square)
            slots[2] = f.binary("lshr", left, one)
        power = slots[0]
        if not dtype.is_signed:
            return power
        odd = f.compare("icmp", "ne", f.binary("and", exponent, one), zero)
        minus = f.compare("icmp", "eq", base, literal(-1, base.type))
        unit = f.binary("or", minus, f.compare("icmp", "eq", base, one))
        alternating = f.select(f.binary("and", minus, odd), base, one)
        reciprocal = f.select(unit, alternating, zero)
        return f.select(f.compare("icmp", "slt", exponent, zero), reciprocal, power)

    # --- conversions ----------------------------------------------------------------------------

    def cast(self, x: Val, source: DType, target: DType) -> Val:
        """Conversion by value, rounded to ``target``."""
        f, lanes = self.f, lanes_of(x.type)
        type = vector(register_type(target), lanes)
        if target is bool_:
            if source is bool_:
                return x
            zero = literal(0, x.type)
            return f.compare("fcmp", "une", x, zero) if source.is_floating_point else (
                f.compare("icmp", "ne", x, zero)
            )  # fmt: skip
        if source.is_floating_point:
            if not target.is_floating_point:
                return self._truncate(x, target, type)
            grow = size_of(element(type)) > size_of(element(x.type))
            return rounded(f, f.convert("fpext" if grow else "fptrunc", x, type), target)
        if target.is_floating_point:
            return rounded(f, self._from_int(x, source, type), target)
        shrink = size_of(element(type)) < size_of(element(x.type)) and source is not bool_
        extend = "sext" if source.category == "int" and source.is_signed else "zext"
        return f.convert("trunc" if shrink else extend, x, type)

    def _from_int(self, x: Val, source: DType, type: str) -> Val:
        if self.x86 and source.itemsize < 4 and source is not bool_:
            x = self.f.convert(
                "sext" if source.is_signed else "zext", x, vector("i32", lanes_of(x.type))
            )  # fmt: skip
            return self.f.convert("sitofp", x, type)
        signed = source.category == "int" and source.is_signed
        return self.f.convert("sitofp" if signed else "uitofp", x, type)

    def _truncate(self, x: Val, target: DType, type: str) -> Val:
        """A float as an integer; NaN and what does not fit give the smallest int32 or int64."""
        f = self.f
        narrow = target.itemsize < 4 or (target.itemsize == 4 and target.is_signed)
        bits = 32 if narrow else 64
        wide = vector(f"i{bits}", lanes_of(x.type))
        held = self._to_signed(x, wide, bits)
        if target is uint64:
            limit = literal(2.0**63, x.type)
            upper = f.binary(
                "and", f.compare("fcmp", "oge", x, limit),
                f.compare("fcmp", "olt", x, literal(2.0**64, x.type)),
            )  # fmt: skip
            rest = self._to_signed(f.binary("fsub", x, limit), wide, bits)
            high = f.binary("xor", rest, literal(-(2**63), wide))
            held = f.select(upper, high, held)
        return f.convert("trunc", held, type)

    def _to_signed(self, x: Val, wide: str, bits: int) -> Val:
        f = self.f
        if self.x86:  # its conversion gives the smallest integer where the value does not fit
            return f.convert("fptosi", x, wide)
        limit = 2.0 ** (bits - 1)
        inside = f.binary(
            "and", f.compare("fcmp", "oge", x, literal(-limit, x.type)),
            f.compare("fcmp", "olt", x, literal(limit, x.type)),
        )  # fmt: skip
        safe = f.select(inside, x, literal(0.0, x.type))
        return f.select(inside, f.convert("fptosi", safe, wide), literal(-(2 ** (bits - 1)), wide))


def call_library(f: Function, name: str, *args: Val) -> Val:
    """A function of the C library on every lane: ``name`` is its float64 form ('exp', 'pow')."""
    base, lanes = element(args[0].type), lanes_of(args[0].type)
    symbol = name if base == "double" else f"{name}f"
    f.module.declare(f"declare {base} @{symbol}({', '.join([base] * len(args))})")
    if lanes == 1:
        return f.value(base, f"call {base} @{symbol}({', '.join(map(str, args))})")
    places = [f.alloca(arg.type) for arg in args]
    for arg, place in zip(args, places):
        f.store(arg, place)
    with f.loop(0, lanes) as lane:
        at = [f.gep(base, place, lane) for place in places]
        result = f.call(base, symbol, *(f.load(base, place) for place in at))
        assert result is not None
        f.store(result, at[0])
    return f.load(args[0].type, places[0])


def on_doubles(f: Function, compute: Callable[..., Val], *args: Val) -> Val:
    """``compute`` in float64, its result rounded to the type of ``args``."""
    type = args[0].type
    wide = vector(register_type(float64), lanes_of(type))
    return f.convert("fptrunc", compute(*(f.convert("fpext", x, wide) for x in args)), type)


def _is_constant(x: Val) -> bool:
    return not x.text.startswith("%")


def _constant_int(x: Val) -> int | None:
    text = x.text
    if text.startswith("splat ("):
        text = text[len("splat (") : -1].split(" ", 1)[1]
    return int(text) if text.lstrip("-").isdigit() else None
