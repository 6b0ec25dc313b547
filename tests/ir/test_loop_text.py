"""The text form of the loop IR: random kernels survive printing and parsing; bad text is placed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.dtypes import ALL, DType, bool_, float16, float32, int32, int64, uint8
from thalweg.core.errors import GraphError
from thalweg.ir.loop_text import parse_kernel, print_expr, print_kernel
from thalweg.ir.loop_verify import verify_structure
from thalweg.ir.loops import (
    BINARY,
    COMPARISONS,
    FLOAT_BINARY,
    FLOAT_UNARY,
    LOGIC,
    SHIFTS,
    Accumulate,
    Alloc,
    Assign,
    Binary,
    Bitcast,
    Buffer,
    Cast,
    Const,
    Expr,
    Fma,
    For,
    If,
    Kernel,
    Let,
    Load,
    Local,
    Select,
    Stmt,
    Store,
    Unary,
    Var,
)

REAL = [dtype for dtype in ALL if not dtype.is_complex]
PARAMS = (
    Buffer("x", float32, (4, 3)),
    Buffer("h", float16, (4,), "inout"),
    Buffer("n", int64, (4,), "workspace"),
    Buffer("y", float32, (), "out"),
    Buffer("c", uint8, (2, 0), "in"),
)
Names = dict[str, Buffer | Alloc | Var]


def constants(dtype: DType) -> st.SearchStrategy[Const]:
    if dtype is bool_:
        return st.booleans().map(lambda value: Const(value, dtype))
    if dtype.is_floating_point:
        return st.floats().map(lambda value: Const(value, dtype))
    bits = 8 * dtype.itemsize - dtype.is_signed
    low = -(2**bits) if dtype.is_signed else 0
    return st.integers(low, 2**bits - 1).map(lambda value: Const(value, dtype))


@st.composite
def typed(draw: st.DrawFn, dtype: DType, names: Names, depth: int = 3) -> Expr:
    """A well-typed expression of `dtype` over what is in scope."""

    def sub(of: DType) -> Expr:
        return draw(typed(of, names, depth - 1))

    leaves = [name for name, declared in names.items() if declared.dtype is dtype]
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from([*leaves, None]))
        if name is None:
            return draw(constants(dtype))
        declared = names[name]
        if isinstance(declared, Var):
            return declared
        index = tuple(draw(constants(int64)) for _ in declared.shape)
        if depth:
            index = tuple(sub(int64) for _ in declared.shape)
        kind = Load if isinstance(declared, Buffer) else Local
        return kind(name, index, dtype)
    forms = ["select", "cast"]
    if dtype is bool_:
        forms += ["compare", "logic", "not", "test"]
    else:
        forms += ["number", "negate", "bitcast"]
        forms += ["float", "fma"] if dtype.is_floating_point else ["logic", "shift", "not"]
    match draw(st.sampled_from(forms)):
        case "select":
            return Select(sub(bool_), sub(dtype), sub(dtype))
        case "cast":
            return Cast(sub(draw(st.sampled_from(REAL))), dtype)
        case "bitcast":
            same = [d for d in REAL if d.itemsize == dtype.itemsize and d is not bool_]
            return Bitcast(sub(draw(st.sampled_from(same))), dtype)
        case "compare":
            of = draw(st.sampled_from(REAL))
            return Binary(draw(st.sampled_from(sorted(COMPARISONS))), sub(of), sub(of))
        case "test":
            return Unary(draw(st.sampled_from(["isnan", "isinf", "isfinite"])), sub(float32))
        case "logic":
            return Binary(draw(st.sampled_from(sorted(LOGIC))), sub(dtype), sub(dtype))
        case "shift":
            return Binary(draw(st.sampled_from(sorted(SHIFTS))), sub(dtype), sub(dtype))
        case "not":
            return Unary("not", sub(dtype))
        case "negate":
            return Unary(draw(st.sampled_from(["neg", "abs", "sign"])), sub(dtype))
        case "float":
            return Unary(draw(st.sampled_from(sorted(FLOAT_UNARY))), sub(dtype))
        case "fma":
            return Fma(sub(dtype), sub(dtype), sub(dtype))
    numeric = BINARY - COMPARISONS - LOGIC - SHIFTS
    ops = sorted(numeric if dtype.is_floating_point else numeric - FLOAT_BINARY)
    return Binary(draw(st.sampled_from(ops)), sub(dtype), sub(dtype))


@st.composite
def bodies(draw: st.DrawFn, outer: Names, depth: int, counter: list[int]) -> tuple[Stmt, ...]:
    """Well-formed statements; only serial loops, whose bodies may do anything."""
    names = dict(outer)
    body: list[Stmt] = []
    kinds = ["let", "var", "write", "accumulate"] + (["for", "if"] if depth else [])
    for _ in range(draw(st.integers(0 if depth < 2 else 1, 3))):
        counter[0] += 1
        fresh = f"v{counter[0]}"
        kind = draw(st.sampled_from(kinds))
        dtype = draw(st.sampled_from([float32, int64, int32, bool_, float16]))
        targets = [
            declared
            for declared in names.values()
            if isinstance(declared, Alloc)
            or (isinstance(declared, Buffer) and declared.mode != "in")
        ]
        if kind == "let":
            body.append(Let(fresh, draw(typed(dtype, names))))
            names[fresh] = Var(fresh, dtype)
        elif kind == "var":
            shape = tuple(draw(st.lists(st.integers(1, 4), max_size=2)))
            alloc = Alloc(fresh, dtype, shape, draw(typed(dtype, names)))
            body.append(alloc)
            names[fresh] = alloc
        elif kind == "for":
            lo, hi = draw(typed(int64, names)), draw(typed(int64, names))
            inside = draw(bodies({**names, fresh: Var(fresh)}, depth - 1, counter))
            body.append(For(fresh, lo, hi, draw(st.integers(1, 9)), inside))
        elif kind == "if":
            then = draw(bodies(names, depth - 1, counter))
            otherwise = draw(bodies(names, depth - 1, counter))
            body.append(If(draw(typed(bool_, names)), then, otherwise))
        else:
            target = draw(st.sampled_from(targets))
            index = tuple(draw(typed(int64, names, 1)) for _ in target.shape)
            value = draw(typed(target.dtype, names))
            if kind == "accumulate" and target.dtype is not bool_:
                op = draw(st.sampled_from(["add", "mul", "max", "min"]))
                body.append(Accumulate(target.name, index, value, op))
            else:
                write = Store if isinstance(target, Buffer) else Assign
                body.append(write(target.name, index, value))
    return tuple(body)


@settings(max_examples=150, deadline=None)
@given(bodies({buffer.name: buffer for buffer in PARAMS}, 2, [0]))
def test_random_kernels_survive_printing_and_parsing(body: tuple[Stmt, ...]) -> None:
    kernel = Kernel("random", PARAMS, body)
    verify_structure(kernel)
    text = print_kernel(kernel)
    again = parse_kernel(text)
    assert again == kernel
    assert hash(again) == hash(kernel)
    assert print_kernel(again) == text


@pytest.mark.parametrize("kind", ["serial", "parallel", "vector"])
def test_loop_kinds_survive(kind: str) -> None:
    loop = For("i", Const(-3), Const(4), 2, (), kind)
    kernel = Kernel("k", (), (loop,))
    assert parse_kernel(print_kernel(kernel)) == kernel


@pytest.mark.parametrize(
    "text, same",
    [
        ("n[0] - 1 - 2", "(n[0] - 1) - 2"),
        ("n[0] - (1 - 2)", "n[0] - (1 - 2)"),
        ("n[0] + 2 * 3 % 4", "n[0] + ((2 * 3) % 4)"),
        ("n[0] << 1 + 2", "n[0] << (1 + 2)"),
        ("n[0] & 1 | n[1] ^ 2", "(n[0] & 1) | (n[1] ^ 2)"),
        ("-n[0] * -n[1]", "(-n[0]) * (-n[1])"),
        ("-(n[0] * n[1])", "-(n[0] * n[1])"),
        ("-(1)", "-(1)"),
    ],
)
def test_precedence(text: str, same: str) -> None:
    def value(of: str) -> Expr:
        kernel = parse_kernel(f"kernel k(in n: int64[2]) {{ let v = {of} }}")
        stmt = kernel.body[0]
        assert isinstance(stmt, Let)
        return stmt.value

    assert value(text) == value(same)
    assert print_expr(value(same)) == text


def test_comparisons_bind_more_tightly_than_logic() -> None:
    kernel = parse_kernel("kernel k(in n: int64[2]) { let v = n[0] < 1 & n[1] >= (2 & 3) }")
    assert print_kernel(kernel).splitlines()[1] == "  let v = n[0] < 1 & n[1] >= (2 & 3)"
    verify_structure(kernel)


def test_literals_are_short_exact_and_told_apart() -> None:
    assert print_expr(Const(0.1, float32)) == "0.1:float32"
    assert print_expr(Const(-0.0, float16)) == "-0.0:float16"
    assert print_expr(Const(65504, float16)) == "65504.0:float16"
    assert print_expr(Const(1e6, float16)) == "inf:float16"
    assert print_expr(Const(-7)) == "-7"
    assert print_expr(Unary("neg", Const(7))) == "-(7)"
    assert Const(math.nan, float32) == Const(float("nan"), float32)
    assert Const(0.0, float32) != Const(-0.0, float32)
    assert Const(1, int32) != Const(1, int64)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1, column 1: expected 'kernel', found 'end of text'"),
        ("kernel k(", "line 1, column 10: expected 'in' or 'out' or 'inout' or 'workspace'"),
        ("kernel k(in x: float31[2]) {}", "column 16: expected a dtype, found 'float31'"),
        ("kernel k(in x: float32[n]) {}", "column 24: expected an integer, found 'n'"),
        ("kernel for() {}", "column 8: expected a name, found 'for'"),
        ("kernel k() {} }", "column 15: expected the end of the text, found '}'"),
        ("kernel k() {\n  let a = 1\n", "line 3, column 1: expected a name, found 'end of text'"),
        ("kernel k() {\n  let a = b\n}", "line 2, column 11: 'b' is not in scope"),
        ("kernel k() {\n  a = 1\n}", "line 2, column 3: 'a' is not in scope"),
        ("kernel k() { let a = 1 a = 2 }", "column 24: 'a' is a value and cannot be written"),
        ("kernel k() { let a = 1 ? 2 }", "column 24: unexpected character '?'"),
        ("kernel k() { let a = (1 + 2 }", "column 29: expected ')', found '}'"),
        ("kernel k() { let a = 1 < 2 < 3 }", "column 28: comparisons do not chain"),
        ("kernel k() { let a = exp(1, 2) }", "column 22: 'exp' does not take 2 argument(s)"),
        ("kernel k() { let a = foo(1) }", "column 22: 'foo' does not take 1 argument(s), or is"),
        (
            "kernel k() { let a = 300:uint8 }",
            "column 22: expected a value of dtype uint8, found '300'",
        ),
        (
            "kernel k() { let a = 1.5:int32 }",
            "column 22: expected a value of dtype int32, found '1.5'",
        ),
        ("kernel k() { let a = inf }", "column 22: expected a value of dtype int64, found 'inf'"),
        ("kernel k() { for i in 0..4 step x { } }", "column 33: expected an integer, found 'x'"),
        ("kernel k() { var a: float32 = 1.0:float32 a -= 1 }", "expected '=' or '+=' or '*='"),
    ],
)
def test_bad_text_is_placed(text: str, message: str) -> None:
    with pytest.raises(GraphError) as error:
        parse_kernel(text)
    assert message in str(error.value)


def test_comments_and_line_breaks_are_free() -> None:
    spread = "kernel k(\n  out y: float32[]) { # one store\n\n y[] =\n 1.0:float32 }"
    assert parse_kernel(spread) == parse_kernel("kernel k(out y: float32[]) { y[] = 1.0:float32 }")
