"""Expansions of trigonometric functions and their inverses, in float32."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..core.dtypes import float32, float64, int32, int64
from ..ir.loops import Binary, Bitcast, Cast, Const, Expr, Fma, Select, Unary, Var
from .scalar_math import INF, NAN, Steps, absolute, equals, expands, negated

# sin(r) = r + r^3 P(r^2) and cos(r) = 1 - r^2/2 + r^4 P(r^2) for |r| <= pi/4
_SIN = (-0.166666672, 0.00833337847, -0.00019852558, 2.82618544e-06)
_COS = (0.0416666679, -0.001388898, 2.48218748e-05, -2.88522784e-07)
# atan(t) = t + t^3 P(t^2) up to 1, asin likewise up to 1/2
_ATAN = (
    -0.333333015, 0.199986309, -0.142651752, 0.109572478, -0.0841858089, 0.0582205467,
    -0.0314425454, 0.0110577177, -0.00182577176,
)  # fmt: skip
_ASIN = (0.166667536, 0.0749525279, 0.0454759113, 0.0241528135, 0.0422105044)

_MAGIC = 12582912.0  # adding it rounds to an integer, which then are the low bits
_HALF_PI = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)
_PI = (3.1415927410125732, -8.742277657347586e-08)
_TWO_OVER_PI = 0.6366197723675814
# The bits of 2/pi after the point, 32 a word, behind a word of zeros
_TWO_OVER_PI_WORDS = (
    0, 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB,
)  # fmt: skip
_LARGE = 32768.0  # multiples of pi/2 up to here are subtracted exactly enough in three parts


def _reduce(s: Steps, x: Expr) -> tuple[Expr, Expr]:
    """``x = q pi/2 + r`` with |r| <= pi/4: r and q modulo 4, in the low bits."""
    t = s.let(Fma(x, s.number(_TWO_OVER_PI), s.number(_MAGIC)))
    n = s.let(t - s.number(_MAGIC))
    near: Expr = x
    for part in _HALF_PI:
        near = Fma(n, s.number(-part), near)
    r, q = s.register(near), s.register(s.bits(t))
    with s.when(negated(absolute(x) <= s.number(_LARGE))):
        far, quadrant = _reduce_large(s, absolute(x))
        negative = s.let(x < s.number(0.0))
        far = Select(absolute(x) < s.number(INF), far, s.number(NAN))
        s.set(r, Select(negative, -far, far))
        s.set(q, Select(negative, -quadrant, quadrant))
    return r, q


def _reduce_large(s: Steps, x: Expr) -> tuple[Expr, Expr]:
    """The same for x above `_LARGE`, by multiplying its mantissa with those 96 bits of 2/pi that
    say where in a full turn it ends (Payne and Hanek)."""

    def whole(value: int) -> Const:
        return Const(value, int64)

    bits = s.let(Cast(Bitcast(x, int32), int64))
    mantissa = s.let(Binary("or", bits & whole(0x7FFFFF), whole(0x800000)))
    # Bit number `start` of the words has the weight 2 in (2/pi) 2^exponent.
    start = s.let(Binary("shr", bits, whole(23)) - whole(120))
    word = s.let(Binary("shr", start, whole(5)))
    shift = s.let(whole(32) - (start & whole(31)))
    at = [s.let(_pick(word, _TWO_OVER_PI_WORDS[k : k + 5])) for k in range(4)]
    limbs = [
        s.let(Binary("shr", Binary("or", Binary("shl", a, whole(32)), b), shift) & whole(2**32 - 1))
        for a, b in itertools.pairwise(at)
    ]
    products = [mantissa * limb for limb in limbs]
    low = Binary("shr", products[2], whole(32))
    turn = s.let(Binary("shl", products[0], whole(32)) + products[1] + low)  # of 4 * 2^62
    q = s.let(Binary("shr", turn + whole(2**61), whole(62)))
    rest = turn - Binary("shl", q, whole(62))
    scale = Const(_TWO_OVER_PI**-1 * 2.0**-62, float64)
    return s.let(Cast(Cast(rest, float64) * scale, float32)), s.let(Cast(q, int32))


def _pick(index: Expr, words: Sequence[int]) -> Expr:
    made: Expr = Const(words[-1], int64)
    for k in range(len(words) - 2, -1, -1):
        made = Select(equals(index, Const(k, int64)), Const(words[k], int64), made)
    return made


def _sin_cos(s: Steps, r: Expr) -> tuple[Var, Var]:
    z = s.let(r * r)
    sine = s.let(Fma(s.let(r * z), s.poly(z, _SIN), r))
    start = s.let(Fma(z, s.number(-0.5), s.number(1.0)))
    cosine = s.let(Fma(s.let(z * z), s.poly(z, _COS), start))
    return sine, cosine


def _odd(s: Steps, q: Expr) -> Expr:
    return Binary("ne", q & s.whole(1), s.whole(0))


def _flipped(s: Steps, y: Expr, q: Expr) -> Expr:
    """y, negated in the third and fourth quadrant."""
    return s.floating(Binary("xor", s.bits(y), Binary("shl", q & s.whole(2), s.whole(30))))


@expands("sin", float32)
def sin(s: Steps, x: Expr) -> Expr:
    r, q = _reduce(s, x)
    sine, cosine = _sin_cos(s, r)
    y = _flipped(s, Select(_odd(s, q), cosine, sine), q)
    return Select(equals(x, s.number(0.0)), x, y)


@expands("cos", float32)
def cos(s: Steps, x: Expr) -> Expr:
    r, q = _reduce(s, x)
    sine, cosine = _sin_cos(s, r)
    return _flipped(s, Select(_odd(s, q), sine, cosine), q + s.whole(1))


@expands("tan", float32)
def tan(s: Steps, x: Expr) -> Expr:
    r, q = _reduce(s, x)
    sine, cosine = _sin_cos(s, r)
    odd = s.let(_odd(s, q))
    y = Select(odd, -cosine, sine) / Select(odd, sine, cosine)
    return Select(equals(x, s.number(0.0)), x, y)


def _atan_small(s: Steps, t: Var) -> Expr:
    z = s.let(t * t)
    return Fma(s.let(t * z), s.poly(z, _ATAN), t)


def _minus(s: Steps, parts: Sequence[float], y: Expr) -> Expr:
    """A constant in two parts minus y."""
    return (s.number(parts[0]) - y) + s.number(parts[1])


@expands("atan", float32)
def atan(s: Steps, x: Expr) -> Expr:
    a = s.let(absolute(x))
    steep = s.let(a > s.number(1.0))
    y = s.let(_atan_small(s, s.let(Select(steep, s.number(1.0) / a, a))))
    return s.with_sign(Select(steep, _minus(s, _HALF_PI, y), y), x)


@expands("atan2", float32)
def atan2(s: Steps, y: Expr, x: Expr) -> Expr:
    a, b = s.let(absolute(y)), s.let(absolute(x))
    small, large = s.let(Binary("min", a, b)), s.let(Binary("max", a, b))
    ratio = Select(equals(large, s.number(0.0)), s.number(0.0), small / large)
    ratio = Select(equals(small, s.number(INF)), s.number(1.0), ratio)
    angle = s.let(_atan_small(s, s.let(ratio)))
    angle = s.let(Select(a > b, _minus(s, _HALF_PI, angle), angle))
    left = s.bits(x) < s.whole(0)
    return s.with_sign(Select(left, _minus(s, _PI, angle), angle), y)


def _asin_parts(s: Steps, x: Expr) -> tuple[Var, Var]:
    """asin(|x|), or above 1/2 the half of acos(|x|); and which of them it is."""
    a = s.let(absolute(x))
    outer = s.let(a > s.number(0.5))
    z = s.let(Select(outer, (s.number(1.0) - a) * s.number(0.5), a * a))
    t = s.let(Select(outer, Unary("sqrt", z), a))
    return s.let(Fma(s.let(t * z), s.poly(z, _ASIN), t)), outer


@expands("asin", float32)
def asin(s: Steps, x: Expr) -> Expr:
    p, outer = _asin_parts(s, x)
    return s.with_sign(Select(outer, _minus(s, _HALF_PI, p + p), p), x)


@expands("acos", float32)
def acos(s: Steps, x: Expr) -> Expr:
    p, outer = _asin_parts(s, x)
    twice = s.let(p + p)
    negative = s.let(x < s.number(0.0))
    far = Select(negative, _minus(s, _PI, twice), twice)
    near = _minus(s, _HALF_PI, s.with_sign(p, x))
    return Select(outer, far, near)
