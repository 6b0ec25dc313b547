"""Expansions of the error function and its relatives, and of powers, in float32."""

from __future__ import annotations

from ..core.dtypes import float32, float64
from ..ir.loops import Binary, Cast, Expr, Fma, Select, Unary, Var
from .scalar_math import INF, NAN, Steps, absolute, either, equals, expands, in_float64, negated
from .scalar_math_exp import exp_of_negative, exponent_of, fraction_of

# erf(x) / x - 1 as a polynomial in x^2 below _ERF_SPLIT, -log(erfc(x)) in x above
_ERF_SPLIT = 0.9375
_ERF = (0.128379151, -0.376124889, 0.112817168, -0.0267619938, 0.00498537021, -0.000594719197)
_ERF_TAIL = (
    0.000235024519, 1.12751281, 0.637456834, 0.103690229, -0.0221103933, 0.00301394123,
    -0.00019294853,
)  # fmt: skip
# erfc(x) exp(x^2) as a polynomial in (x - 2) / (x + 2), x from 0 to 10.2
_ERFCX = (
    0.25539567656681506, -0.42718585306026086, 0.24165817438606285, -0.07897836073068157,
    0.0037331624029622694, 0.006995142263550524, -0.0008488441638172722, -0.0009719385699801115,
    5.006842604314934e-05, 0.00015460193329884544, 1.3368711207366322e-05,
    -1.1987217186443853e-05,
)  # fmt: skip
# erfinv(x) / x with w = -log(1 - x^2): in w - 2.5 below 5, in sqrt(w) - 3 up to 17,
# in sqrt(w) - 5 beyond
_ERFINV = (
    1.5014093592835585, 0.24664028614403805, -0.004177386787775193, -0.001252741856553945,
    0.00021834444528937946, -4.963361211430489e-06, -3.4627063489098625e-06,
    4.6617363479229143e-07, 2.323277679317899e-08, -8.791274532288715e-09,
)  # fmt: skip
_ERFINV_FAR = (
    4.849906408911257, 1.0103003686442005, -0.00013891178904236576, -0.00021425802273407785,
    7.660086317914579e-05, -2.1317531877844467e-05, 4.236028054436208e-06,
)  # fmt: skip
_ERFINV_TAIL = (
    2.8329770291152636, 1.0016743353134563, 0.009434038685919357, -0.007628070427072805,
    0.005771818718835415, -0.0036497849987030206, 0.0012789602418536378, 7.592340959707183e-05,
    -0.00015033285993343792,
)  # fmt: skip
# (2^r - 1) / r for |r| <= 1/2, and log2((1 + s) / (1 - s)) / s in s^2; both to 45 bits
_EXP2 = (
    0.6931471805599514, 0.2402265069571726, 0.055504108664325064, 0.009618129182545126,
    0.0013333558250837529, 0.00015403439919001988, 1.5252645327513222e-05, 1.3258538110003773e-06,
    1.0210915520819155e-07,
)  # fmt: skip
_LOG2 = (
    2.885390081777927, 0.9617966939244109, 0.5770780172274929, 0.412198404065268,
    0.3206162820211781, 0.26144695220724945, 0.2428894155870053,
)  # fmt: skip


@expands("erf", float32)
def erf(s: Steps, x: Expr) -> Expr:
    a = s.let(Binary("min", s.number(4.0), absolute(x)))
    z = s.let(x * x)
    near = s.let(Fma(s.poly(z, _ERF), x, x))
    tail = exp_of_negative(s, s.let(-s.poly(a, _ERF_TAIL)))
    far = s.with_sign(s.number(1.0) - tail, x)
    return Select(a < s.number(_ERF_SPLIT), near, far)


@expands("erfc", float32)
def erfc(s: Steps, x: Expr) -> Expr:
    def write(s: Steps, x: Expr) -> Expr:
        a = s.let(Binary("min", s.number(10.5), absolute(x)))
        u = s.let((a - s.number(2.0)) / (a + s.number(2.0)))
        right = s.let(exp_of_negative(s, s.let(-(a * a))) * s.poly(u, _ERFCX))
        return Select(x < s.number(0.0), s.number(2.0) - right, right)

    return in_float64(s, write, x)


@expands("erfinv", float32)
def erfinv(s: Steps, x: Expr) -> Expr:
    def write(s: Steps, x: Expr) -> Expr:
        one = s.number(1.0)
        w = s.let(-Unary("log", (one - x) * (one + x)))
        near = s.poly(s.let(w - s.number(2.5)), _ERFINV)
        far = s.poly(s.let(Unary("sqrt", w) - s.number(3.0)), _ERFINV_TAIL)
        scale = Select(w < s.number(5.0), near, far)
        return x * Select(equals(absolute(x), one), s.number(INF), scale)

    return in_float64(s, write, x)


@expands("erfinv", float64)
def erfinv_64(s: Steps, x: Expr) -> Expr:
    """A first guess to 2^-23 and one step of Halley's method, on whichever of erf and erfc is
    small."""
    one = s.number(1.0)
    a = s.let(absolute(x))
    w = s.let(-Unary("log", (one - a) * (one + a)))
    root = s.let(Unary("sqrt", w))
    far = Select(
        w < s.number(17.0),
        s.poly(s.let(root - s.number(3.0)), _ERFINV_TAIL),
        s.poly(s.let(root - s.number(5.0)), _ERFINV_FAR),
    )
    scale = Select(w < s.number(5.0), s.poly(s.let(w - s.number(2.5)), _ERFINV), far)
    y = s.let(a * scale)
    near = Unary("erf", y) - a
    excess = Select(a < s.number(0.5), near, (one - a) - Unary("erfc", y))
    u = s.let(excess * s.number(0.886226925452758) * Unary("exp", y * y))
    better = y - u / (one + y * u)
    return s.with_sign(absolute(Select(equals(a, one), s.number(INF), better)), x)


@expands("pow", float32)
def power(s: Steps, base: Expr, exponent: Expr) -> Expr:
    """``2^(y log2 |x|)`` in float64, which keeps enough bits for any float32 result."""

    def write(s: Steps, x: Expr, y: Expr) -> Expr:
        a = s.let(absolute(x))
        f, e = exponent_of(s, a)
        root = s.let(f / (s.number(2.0) + f))
        logarithm = s.let(Fma(root, s.poly(s.let(root * root), _LOG2), Cast(e, float64)))
        result = s.register(_exp2(s, y * logarithm))
        ordinary = (x > s.number(0.0)) & (x < s.number(INF)) & (absolute(y) < s.number(INF))
        with s.when(negated(ordinary)):
            s.set(result, _special_power(s, x, y, a, logarithm))
        return result

    return in_float64(s, write, base, exponent)


def _exp2(s: Steps, t: Expr) -> Expr:
    """2^t to 40 bits; beyond the range of float32 any very small or large number."""
    fraction, n = fraction_of(s, t, 1023, -200.0, 200.0)
    return s.poly(fraction, (1.0, *_EXP2)) * s.floating(Binary("shl", n, s.whole(52)))


def _special_power(s: Steps, x: Expr, y: Expr, a: Var, logarithm: Var) -> Expr:
    """Powers of bases that are 0, negative, infinite or NaN, and exponents that are not finite."""
    zero, one, infinity = s.number(0.0), s.number(1.0), s.number(INF)
    limits = Select(equals(a, infinity), infinity, logarithm)
    limits = Select(equals(a, zero), -infinity, limits)
    size = s.let(_exp2(s, y * limits))
    huge, tiny = size > s.number(2.0**190), size < s.number(2.0**-190)
    size = s.let(Select(huge, infinity, Select(tiny, zero, size)))
    integer = equals(Unary("trunc", y), y)
    half = s.let(y * s.number(0.5))
    odd = integer & negated(equals(Unary("floor", half), half))
    result = Select((x < zero) & (a < infinity) & negated(integer), s.number(NAN), size)
    signed = Binary("lt", s.bits(x), s.whole(0))
    result = Select(odd & signed, -result, result)
    nan = either(negated(equals(x, x)), negated(equals(y, y)))
    result = Select(nan, s.number(NAN), result)
    unit = either(equals(x, one), equals(a, one) & equals(absolute(y), infinity))
    return Select(either(equals(y, zero), unit), one, result)
