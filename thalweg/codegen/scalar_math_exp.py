"""Expansions of exponentials, logarithms and hyperbolic functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.dtypes import float32, float64
from ..ir.loops import Binary, Cast, Expr, Fma, Select, Unary, Var
from .scalar_math import INF, NAN, Steps, absolute, equals, expands, in_float64, negated

# (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2: relative to exp(r), and relative to r
_EXP = (0.49999994, 0.166665211, 0.0416682623, 0.00836866908, 0.00138211413)
_EXPM1 = (0.5, 0.166666672, 0.0416664891, 0.00833320711, 0.00139326497, 0.000199446935)
_EXPM1_64 = (
    0.5, 0.16666666666666666, 0.04166666666666667, 0.008333333333334374, 0.0013888888888885463,
    0.00019841269837458182, 2.480158732021095e-05, 2.75573253342869e-06, 2.7557279813001136e-07,
    2.5047641052651146e-08, 2.0912317260388625e-09, 1.728874243794084e-10,
)  # fmt: skip
# (2^r - 1) / r for |r| <= 1/2
_EXP2 = (0.693147182, 0.240226507, 0.0555035919, 0.00961806998, 0.00133911159, 0.000154597365)
# log(1 + f) = f - f^2/2 + f^3 P(f) for 1 + f between the roots of 1/2 and 2
_LOG = (
    0.333333135, -0.250000089, 0.20002073, -0.166679963, 0.142203271, -0.124060348, 0.118835688,
    -0.116714373, 0.0675094053,
)  # fmt: skip
# (log((1 + s) / (1 - s)) - 2 s) / s^3 as a polynomial in s^2
_LOG_64 = (
    0.6666666666666666, 0.40000000000004926, 0.2857142856940999, 0.2222222260717226,
    0.18181778337777663, 0.1538698964060801, 0.13252130391982775, 0.13234934056560485,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Format:
    """Constants of a floating-point format. ``ln2`` is split: the first part times an exponent
    is exact, the second makes up for what it leaves out."""

    mantissa: int
    bias: int  # of the exponent
    magic: float  # adding it rounds to an integer, which then are the low bits
    ln2: tuple[float, float]
    lowest: float  # exp of less is 0, and its exponent can still be halved
    highest: float  # exp of more is infinite
    root_half: int  # the bits of sqrt(1/2)
    smallest: float  # normal number
    expm1: Sequence[float]


_SINGLE = _Format(
    23, 127, 12582912.0, (0.693145751953125, 1.4286068203094173e-06), -104.0, 88.8,
    0x3F3504F3, 2.0**-126, _EXPM1,
)  # fmt: skip
_DOUBLE = _Format(
    52, 1023, 6755399441055744.0, (0.6931471806019545, -4.2009150726810846e-11), -746.0,
    709.9, 0x3FE6A09E667F3BCD, 2.0**-1022, _EXPM1_64,
)  # fmt: skip
_LOG2_E = 1.4426950408889634
_LOG10_E = 0.4342944819032518


def _format(s: Steps) -> _Format:
    return _DOUBLE if s.dtype is float64 else _SINGLE


# --- exponentials -------------------------------------------------------------------------------


def _reduce(s: Steps, x: Expr, bias: int) -> tuple[Var, Expr]:
    """``x = n log(2) + r``: r, and an integer whose low bits are n + bias. NaN gives NaN in r."""
    form = _format(s)
    magic = s.number(form.magic + bias)
    t = s.let(Fma(x, s.number(_LOG2_E), magic))
    n = s.let(t - magic)
    high = Fma(n, s.number(-form.ln2[0]), x)
    return s.let(Fma(n, s.number(-form.ln2[1]), high)), s.bits(t)


def _power(s: Steps, biased: Expr) -> Expr:
    """2^n, where the low bits of ``biased`` are n plus the exponent's bias; the others do not
    matter."""
    return s.floating(Binary("shl", biased, s.whole(_format(s).mantissa)))


def _scaled(s: Steps, p: Expr, biased: Expr) -> Expr:
    """``p * 2^n`` for p near 1 and twice the bias in the low bits, rounded once even where the
    result is denormal or infinite."""
    both = s.let(biased)
    half = s.let(Binary("shr", both, s.whole(1)))
    return p * _power(s, half) * _power(s, both - half)


def _clamped(s: Steps, x: Expr) -> Var:
    """Bounds beyond which the exponential no longer changes; NaN stays."""
    form = _format(s)
    below = Binary("max", s.number(form.lowest), x)
    return s.let(Binary("min", s.number(form.highest), below))


@expands("exp", float32, float64)
def exp(s: Steps, x: Expr) -> Expr:
    r, n = _reduce(s, _clamped(s, x), 2 * _format(s).bias)
    return _scaled(s, _exp_reduced(s, r), n)


def exp_of_negative(s: Steps, x: Expr) -> Expr:
    """exp for ``x`` between the logarithm of the smallest normal number and about 1."""
    r, n = _reduce(s, x, _format(s).bias)
    return _exp_reduced(s, r) * _power(s, n)


def _exp_reduced(s: Steps, r: Expr) -> Expr:
    return s.poly(r, (1.0, 1.0, *(_EXPM1_64 if s.dtype is float64 else _EXP)))


@expands("exp2", float32)
def exp2(s: Steps, x: Expr) -> Expr:
    fraction, n = fraction_of(s, x, 2 * _SINGLE.bias, -151.0, 129.0)
    return _scaled(s, s.poly(fraction, (1.0, *_EXP2)), n)


def fraction_of(s: Steps, x: Expr, bias: int, lowest: float, highest: float) -> tuple[Var, Expr]:
    """``x = n + fraction`` within bounds: the fraction, and n + bias in the low bits."""
    magic = s.number(_format(s).magic + bias)
    bounded = s.let(Binary("min", s.number(highest), Binary("max", s.number(lowest), x)))
    t = s.let(bounded + magic)
    return s.let(bounded - (t - magic)), s.bits(t)


@expands("exp2", float64)
def exp2_64(s: Steps, x: Expr) -> Expr:
    fraction, n = fraction_of(s, x, 2 * _DOUBLE.bias, -1076.0, 1025.0)
    # The fraction times log(2) in two parts, of which the small one acts to first order.
    r = s.let(fraction * s.number(0.6931471805599453))
    rounded = Fma(fraction, s.number(0.6931471805599453), -r)
    low = s.let(Fma(fraction, s.number(2.3190468138462996e-17), rounded))
    rest = Fma(s.poly(r, _EXPM1_64), s.let(r * r), low)
    return _scaled(s, s.let(s.number(1.0) + (r + rest)), n)


def _expm1_reduced(s: Steps, r: Var) -> Expr:
    return Fma(s.poly(r, _format(s).expm1), s.let(r * r), r)


@expands("expm1", float32, float64)
def expm1(s: Steps, x: Expr) -> Expr:
    """``2^n q + 2^n - 1``, where q is expm1 of the reduced operand; halved, because 2^n overflows
    before the result does."""
    form = _format(s)
    lowest = s.number(-30.0 if s.dtype is float32 else -60.0)  # the result is -1 from here on
    bounded = s.let(Binary("min", s.number(form.highest), Binary("max", lowest, x)))
    r, n = _reduce(s, bounded, form.bias - 1)
    scale = s.let(_power(s, n))
    half = Fma(scale, _expm1_reduced(s, r), scale - s.number(0.5))
    return s.with_sign(absolute(half * s.number(2.0)), x)


@expands("tanh", float32, float64)
def tanh(s: Steps, x: Expr) -> Expr:
    """``e / (e + 2)`` with ``e = expm1(2 |x|)``; where the sum is near 2, what it and the quotient
    lost by rounding is made up for."""
    one, two = s.number(1.0), s.number(2.0)
    bounded = s.let(Binary("min", s.number(10.0 if s.dtype is float32 else 20.0), absolute(x)))
    r, n = _reduce(s, s.let(bounded + bounded), _format(s).bias)
    scale = s.let(_power(s, n))
    e = s.let(Fma(scale, _expm1_reduced(s, r), scale - one))
    sum_ = s.let(e + two)
    lost = e - (sum_ - two)
    y = s.let(e / sum_)
    rest = Fma(-y, lost, Fma(-y, sum_, e))
    near_two = Select(e < s.number(1.5), rest, s.number(0.0))
    return s.with_sign(Fma(near_two, s.number(0.4), y), x)  # 1 / sum is about 0.4


def _sinh(s: Steps, x: Expr) -> Expr:
    e = s.let(Unary("expm1", Binary("min", s.number(300.0), absolute(x))))
    return s.with_sign((e + e / (e + s.number(1.0))) * s.number(0.5), x)


def _cosh(s: Steps, x: Expr) -> Expr:
    e = s.let(Unary("exp", absolute(x)))
    return (e + s.number(1.0) / e) * s.number(0.5)


@expands("sinh", float32)
def sinh(s: Steps, x: Expr) -> Expr:
    return in_float64(s, _sinh, x)


@expands("cosh", float32)
def cosh(s: Steps, x: Expr) -> Expr:
    return in_float64(s, _cosh, x)


# --- logarithms ---------------------------------------------------------------------------------


def exponent_of(s: Steps, x: Expr) -> tuple[Var, Var]:
    """``x = m 2^e`` with m between the roots of 1/2 and 2: m - 1, and e as an integer."""
    form = _format(s)
    mantissa = s.whole(form.mantissa)
    bits = s.let(s.bits(x))
    e = s.let(Binary("shr", bits - s.whole(form.root_half), mantissa))
    m = s.floating(bits - Binary("shl", e, mantissa))
    return s.let(m - s.number(1.0)), e


def _log_sum(s: Steps, f: Var, e: Expr) -> Expr:
    """``log(1 + f) + e log(2)`` for 1 + f between the roots of 1/2 and 2."""
    high, low = (s.number(part) for part in _format(s).ln2)
    square = s.let(f * f)
    if s.dtype is float64:
        root = s.let(f / (s.number(2.0) + f))
        z = s.let(root * root)
        half = s.let(square * s.number(0.5))
        tail = s.let(root * Fma(z, s.poly(z, _LOG_64), half))
        inner = s.let(Fma(e, low, tail))
        return Fma(e, high, f - (half - inner))
    tail = s.let(square * Fma(s.poly(f, _LOG), f, s.number(-0.5)))
    inner = s.let(Fma(e, low, tail))
    return Fma(e, high, f + inner)


def _is_special(s: Steps, x: Expr) -> Var:
    """Whether x is not a positive normal number."""
    return s.let(negated((x >= s.number(_format(s).smallest)) & (x < s.number(INF))))


def _log_limits(s: Steps, x: Expr, y: Expr) -> Expr:
    """The logarithm where x is 0, negative, infinite or NaN; y elsewhere."""
    inside = Select(x < s.number(INF), y, x)
    inside = Select(x < s.number(0.0), s.number(NAN), inside)
    return Select(equals(x, s.number(0.0)), s.number(-INF), inside)


@expands("log", float32, float64)
def log(s: Steps, x: Expr) -> Expr:
    return _logarithm(s, x, lambda f, e: _log_sum(s, f, e))


def _logarithm(s: Steps, x: Expr, finish: Callable[[Var, Var], Expr]) -> Expr:
    special = _is_special(s, x)
    scaled, shift = s.register(x), s.register(s.number(0.0))
    with s.when(special):
        tiny = s.let(x < s.number(_format(s).smallest))
        s.set(scaled, Select(tiny, x * s.number(2.0 ** _format(s).mantissa), x))
        s.set(shift, Select(tiny, s.number(-float(_format(s).mantissa)), s.number(0.0)))
    f, e = exponent_of(s, scaled)
    y = s.register(finish(f, s.let(Cast(e, s.dtype) + shift)))
    with s.when(special):
        s.set(y, _log_limits(s, x, y))
    return y


@expands("log2", float64)
def log2(s: Steps, x: Expr) -> Expr:
    def finish(f: Var, e: Var) -> Expr:
        # log2(e) in two parts: exact products where the logarithm itself is near 0
        y = s.let(_log_sum(s, f, s.number(0.0)))
        high = s.let(y * s.number(_LOG2_E))
        low = Fma(y, s.number(2.0355273740931033e-17), Fma(y, s.number(_LOG2_E), -high))
        return e + (high + low)

    return _logarithm(s, x, finish)


@expands("log10", float64)
def log10(s: Steps, x: Expr) -> Expr:
    def finish(f: Var, e: Var) -> Expr:
        y = s.let(_log_sum(s, f, s.number(0.0)) * s.number(_LOG10_E))
        return Fma(e, s.number(0.3010299956639812), Fma(e, s.number(-2.8037281277851704e-18), y))

    return _logarithm(s, x, finish)


@expands("log2", float32)
def log2_32(s: Steps, x: Expr) -> Expr:
    return in_float64(s, log2, x)


@expands("log10", float32)
def log10_32(s: Steps, x: Expr) -> Expr:
    return in_float64(s, log10, x)


@expands("log1p", float32, float64)
def log1p(s: Steps, x: Expr) -> Expr:
    one = s.number(1.0)
    u = s.let(one + x)
    lost = s.let(x - (u - one))  # what the sum rounded away
    f, e = exponent_of(s, u)
    shrink = s.power_of_two(Binary("max", s.whole(0) - e, s.whole(-_format(s).bias)))
    exact = s.let(Fma(lost, shrink, f))
    y = s.register(_log_sum(s, exact, s.let(Cast(e, s.dtype))))
    with s.when(negated((x > -one) & (x < s.number(INF)))):
        s.set(y, _log_limits(s, u, y))
    return s.with_sign(absolute(y), x)


@expands("asinh", float32)
def asinh(s: Steps, x: Expr) -> Expr:
    def write(s: Steps, x: Expr) -> Expr:
        a = s.let(absolute(x))
        root = Unary("sqrt", Fma(a, a, s.number(1.0)))
        inner = Select(a < s.number(INF), a + a * (a / (root + s.number(1.0))), a)
        return s.with_sign(Unary("log1p", inner), x)

    return in_float64(s, write, x)


@expands("acosh", float32)
def acosh(s: Steps, x: Expr) -> Expr:
    def write(s: Steps, x: Expr) -> Expr:
        d = s.let(x - s.number(1.0))
        y = Unary("log1p", d + Unary("sqrt", d * (x + s.number(1.0))))
        return Select(x >= s.number(1.0), y, s.number(NAN))

    return in_float64(s, write, x)


@expands("atanh", float32)
def atanh(s: Steps, x: Expr) -> Expr:
    def write(s: Steps, x: Expr) -> Expr:
        a = s.let(absolute(x))
        y = Unary("log1p", (a + a) / (s.number(1.0) - a)) * s.number(0.5)
        return s.with_sign(y, x)

    return in_float64(s, write, x)
