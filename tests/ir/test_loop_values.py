"""Scalar operations of the loop IR against PyTorch, and interval analysis against execution."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import assume as require
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.dtypes import BY_NAME
from thalweg.core.errors import GraphError
from thalweg.ir.loop_bounds import Interval, assume, interval_of
from thalweg.ir.loop_interp import run
from thalweg.ir.loop_text import parse_kernel
from thalweg.ir.loop_verify import verify
from thalweg.ir.loops import (
    LOGIC,
    NUMBER_BINARY,
    SHIFTS,
    Binary,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Load,
    Store,
    Unary,
    Var,
)

FLOATS = np.array(
    [
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -1.5,
        -2.5,
        3.25,
        -7.0,
        0.1,
        88.0,
        1e-6,
        np.inf,
        -np.inf,
        np.nan,
    ]
)
INTS = np.array([-128, -127, -9, -7, -3, -2, -1, 0, 1, 2, 3, 4, 7, 9, 64, 127])

TORCH_UNARY = {
    "asin": torch.asin, "acos": torch.acos, "atan": torch.atan, "neg": torch.neg, "not": None,
    "isnan": torch.isnan, "isinf": torch.isinf, "isfinite": torch.isfinite,
}  # fmt: skip
SAME_NAME = (
    "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan sinh cosh tanh asinh acosh atanh "
    "erf erfc erfinv lgamma floor ceil round trunc abs sign"
)


def map_kernel(expr: str, ins: dict[str, np.ndarray], out: str) -> np.ndarray:
    """Run `y[i] = expr` over arrays of one length."""
    size = len(next(iter(ins.values())))
    names = {np.dtype(ml_dtypes.bfloat16): "bfloat16"}
    params = [f"in {n}: {names.get(a.dtype, a.dtype.name)}[{size}]" for n, a in ins.items()]
    text = f"kernel k({', '.join(params)}, out y: {out}[{size}]) {{ for i in 0..{size} vector {{"
    kernel = parse_kernel(f"{text} y[i] = {expr} }} }}")
    verify(kernel)
    y = np.empty(size, BY_NAME[out].np)
    run(kernel, {**ins, "y": y})
    return y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", [*SAME_NAME.split(), "asin", "acos", "atan", "neg"])
def test_unary_against_torch(op: str, dtype: str) -> None:
    x = FLOATS.astype(dtype)
    function = TORCH_UNARY.get(op) or getattr(torch, op)
    expected = function(torch.from_numpy(x)).numpy()
    found = map_kernel(f"{op}(x[i])" if op != "neg" else "-x[i]", {"x": x}, dtype)
    tolerance = 2e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-300)
    exact = ("floor", "ceil", "round", "trunc", "neg", "abs", "sqrt")
    if op in exact:
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("op", ["isnan", "isinf", "isfinite"])
def test_float_tests_against_torch(op: str) -> None:
    x = FLOATS.astype(np.float32)
    expected = TORCH_UNARY[op](torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(map_kernel(f"{op}(x[i])", {"x": x}, "bool"), expected)


BINARY_CASES = {
    "a[i] + b[i]": torch.add,
    "a[i] - b[i]": torch.sub,
    "a[i] * b[i]": torch.mul,
    "a[i] // b[i]": torch.floor_divide,
    "a[i] % b[i]": torch.remainder,
    "truncdiv(a[i], b[i])": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "fmod(a[i], b[i])": torch.fmod,
    "pow(a[i], b[i])": torch.pow,
    "min(a[i], b[i])": torch.minimum,
    "max(a[i], b[i])": torch.maximum,
}
FLOAT_CASES = {"a[i] / b[i]": torch.div, "atan2(a[i], b[i])": torch.atan2}
INT_CASES = {
    "a[i] & b[i]": torch.bitwise_and,
    "a[i] | b[i]": torch.bitwise_or,
    "a[i] ^ b[i]": torch.bitwise_xor,
    "not(a[i])": lambda a, b: torch.bitwise_not(a),
    "abs(a[i])": lambda a, b: torch.abs(a),
    "sign(a[i])": lambda a, b: torch.sign(a),
}
COMPARE_CASES = {
    "a[i] < b[i]": torch.lt, "a[i] <= b[i]": torch.le, "a[i] > b[i]": torch.gt,
    "a[i] >= b[i]": torch.ge, "a[i] == b[i]": torch.eq, "a[i] != b[i]": torch.ne,
}  # fmt: skip


def pairs(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(x, len(x)), np.tile(x, len(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [*BINARY_CASES, *FLOAT_CASES])
def test_float_binary_against_torch(case: str, dtype: str) -> None:
    a, b = pairs(FLOATS.astype(dtype))
    function = {**BINARY_CASES, **FLOAT_CASES}[case]
    expected = function(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    found = map_kernel(case, {"a": a, "b": b}, dtype)
    np.testing.assert_allclose(found, expected, rtol=1e-6 if dtype == "float32" else 1e-14)
    if "%" in case or "/ b" in case:
        signs = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[signs]), np.signbit(expected[signs]))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8"])
@pytest.mark.parametrize("case", [*BINARY_CASES, *INT_CASES])
def test_integer_binary_against_torch(case: str, dtype: str) -> None:
    a, b = pairs(INTS.astype(dtype))
    if case in ("a[i] // b[i]", "a[i] % b[i]") or "truncdiv" in case or "fmod" in case:
        a, b = a[b != 0], b[b != 0]
    function = {**BINARY_CASES, **INT_CASES}[case]
    expected = function(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    found = map_kernel(case, {"a": a, "b": b}, dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8"])
@pytest.mark.parametrize("case", COMPARE_CASES)
def test_comparisons_against_torch(case: str, dtype: str) -> None:
    a, b = pairs((FLOATS if dtype == "float32" else INTS).astype(dtype))
    expected = COMPARE_CASES[case](torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(map_kernel(case, {"a": a, "b": b}, "bool"), expected)


def test_shifts_by_too_much_leave_zero_or_the_sign() -> None:
    a = np.array([-8, 7, -8, 7, -8, 7, 5], np.int32)
    b = np.array([1, 1, 31, 40, -1, -1, 31], np.int32)
    left = map_kernel("a[i] << b[i]", {"a": a, "b": b}, "int32")
    right = map_kernel("a[i] >> b[i]", {"a": a, "b": b}, "int32")
    np.testing.assert_array_equal(left, [-16, 14, 0, 0, 0, 0, -(2**31)])
    np.testing.assert_array_equal(right, [-4, 3, -1, 0, -1, 0, 0])


CASTS = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("target", [*CASTS, "bfloat16"])
@pytest.mark.parametrize("source", CASTS)
def test_casts_against_torch(source: str, target: str) -> None:
    if source.startswith("float"):
        x = np.array([0.0, -0.0, 0.4, -0.9, 1.5, 2.5, 100.7, 65519, 3.14159265, 1e-7]).astype(
            source
        )
        if target.startswith(("float", "bfloat", "bool")):
            x = np.concatenate([x, np.array([np.inf, -np.inf, np.nan, -3e4], source)])
        elif target != "uint8":
            x = np.concatenate([x, np.array([-3.9, -100.7], source)])
        if source == "float16":
            x = x[np.abs(x) != np.inf] if target.startswith(("int", "uint")) else x
    else:
        x = np.array([0, 1, 2, 127, 128, 255, 256, 2049, -1, -128, 2**31 - 1, 2**40 + 1]).astype(
            source
        )
    if target == "bfloat16":
        expected = torch.from_numpy(x).to(torch.bfloat16).view(torch.int16).numpy()
        found = map_kernel("bfloat16(x[i])", {"x": x}, target).view(np.int16)
        number = ~np.isnan(x.astype(np.float64))
        np.testing.assert_array_equal(found[number], expected[number])
    else:
        expected = torch.from_numpy(x).to(getattr(torch, target)).numpy()
        found = map_kernel(f"{target}(x[i])", {"x": x}, target)
        np.testing.assert_array_equal(found, expected)


def test_floats_that_no_integer_holds() -> None:
    x = np.array([np.nan, 3e9, -3e9, 1e19, np.inf])
    np.testing.assert_array_equal(map_kernel("int32(x[i])", {"x": x}, "int32"), [-(2**31)] * 5)
    np.testing.assert_array_equal(map_kernel("int8(x[i])", {"x": x}, "int8"), [0] * 5)
    wide = map_kernel("int64(x[i])", {"x": x}, "int64")
    np.testing.assert_array_equal(wide, [-(2**63), 3 * 10**9, -3 * 10**9, -(2**63), -(2**63)])
    assert map_kernel("uint64(x[i])", {"x": x}, "uint64")[3] == 10**19


def test_bitcast_reads_the_rounded_bits() -> None:
    x = np.array([1.0, -2.5, np.inf], np.float32)
    bits = map_kernel("bitcast(int32, x[i])", {"x": x}, "int32")
    np.testing.assert_array_equal(bits, x.view(np.int32))
    half = np.array([1.0, 0.333], np.float16)
    found = map_kernel("bitcast(uint16, h[i] + h[i])", {"h": half}, "uint16")
    np.testing.assert_array_equal(found, (half + half).view(np.uint16))
    again = map_kernel("bitcast(float16, b[i])", {"b": found}, "float16")
    np.testing.assert_array_equal(again, half + half)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["float32", "float64"]), st.data())
def test_fma_rounds_once(dtype: str, data: st.DataObject) -> None:
    width = 32 if dtype == "float32" else 64
    finite = st.floats(-(2.0**50), 2.0**50, width=width, allow_subnormal=False)
    a, b = data.draw(finite), data.draw(finite)
    product = np.dtype(dtype).type(-a * b)
    c = data.draw(st.one_of(finite, st.just(float(product))))
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    require(exact == 0 or abs(exact) > Fraction(1, 10**30))
    arrays = {n: np.array([v], dtype) for n, v in (("a", a), ("b", b), ("c", c))}
    found = map_kernel("fma(a[i], b[i], c[i])", arrays, dtype)[0]
    # The nearest value: neither neighbour lies closer to the exact result.
    error = abs(Fraction(float(found)) - exact)
    for side in (np.inf, -np.inf):
        other = np.nextafter(found, found.dtype.type(side))
        assert error <= abs(Fraction(float(other)) - exact)


def test_fma_in_float32_is_not_rounded_by_way_of_float64() -> None:
    # The first sum is the middle between two float32 numbers. The others lie just above a middle;
    # their nearest float64 is the middle itself (third) or next to it (second).
    a = np.array([2.0**-24, 8391460 * 2.0**-35, 1 + 2.0**-12], np.float32)
    b = np.array([1.0, 8385757 * 2.0**-35, 1 + 2.0**-12], np.float32)
    c = np.array([1.0, 1.0, 2.0**-100], np.float32)
    found = map_kernel("fma(a[i], b[i], c[i])", {"a": a, "b": b, "c": c}, "float32")
    np.testing.assert_array_equal(
        found, np.array([1.0, 1 + 2.0**-23, 1 + 2.0**-11 + 2.0**-23], "f")
    )


def test_fma_beyond_finite_numbers() -> None:
    for dtype in ("float32", "float64"):
        huge = np.finfo(dtype).max
        a = np.array([np.inf, np.inf, np.nan, huge, 0.0, -0.0], dtype)
        b = np.array([1.0, 0.0, 1.0, huge, 1.0, 1.0], dtype)
        c = np.array([-np.inf, 1.0, 1.0, 1.0, -0.0, -0.0], dtype)
        found = map_kernel("fma(a[i], b[i], c[i])", {"a": a, "b": b, "c": c}, dtype)
        np.testing.assert_array_equal(found, [np.nan, np.nan, np.nan, np.inf, 0.0, -0.0])
        np.testing.assert_array_equal(np.signbit(found[3:]), [False, False, True])


ROW, COLUMN = Var("i"), Var("j")
OPS = sorted(NUMBER_BINARY - {"pow"} | LOGIC | SHIFTS)


def indices(depth: int) -> st.SearchStrategy[Expr]:
    leaf: st.SearchStrategy[Expr] = st.one_of(
        st.sampled_from([ROW, COLUMN, Load("n", (Const(0),), ROW.dtype)]),
        st.integers(-9, 9).map(Const),
    )
    if depth == 0:
        return leaf
    inner = indices(depth - 1)
    return st.one_of(
        leaf,
        st.builds(Binary, st.sampled_from(OPS), inner, inner),
        st.builds(Unary, st.sampled_from(["neg", "abs"]), inner),
    )


@settings(max_examples=300, deadline=None)
@given(
    indices(3),
    st.builds(
        Binary, st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]), indices(1), indices(1)
    ),
    st.integers(-(2**63), 2**63 - 1),
)
def test_intervals_hold_all_values_that_occur(expr: Expr, cond: Expr, loaded: int) -> None:
    place = (ROW + 3, COLUMN)
    kernel = Kernel(
        "k",
        (Buffer("n", ROW.dtype, (1,)), Buffer("y", ROW.dtype, (8, 4), "inout"),
         Buffer("hit", ROW.dtype, (8, 4), "inout")),
        (For("i", Const(-3), Const(5), 1, (For("j", Const(0), Const(4), 1, (
            If(cond, (Store("y", place, expr), Store("hit", place, Const(1)))),
        ), "vector"),), "parallel"),),
    )  # fmt: skip
    y, hit = np.zeros((8, 4), np.int64), np.zeros((8, 4), np.int64)
    try:
        run(kernel, {"n": np.array([loaded]), "y": y, "hit": hit})
    except GraphError as error:
        assert "integer division by zero" in str(error)
        require(False)
    facts = assume(cond, True, {ROW: Interval(-3, 4), COLUMN: Interval(0, 3)}, frozenset({"n"}))
    found = interval_of(expr, facts)
    values = y[hit == 1]
    assert all(found.lo <= value <= found.hi for value in values.tolist())
    if any(interval.empty for interval in facts.values()):
        assert not len(values)
