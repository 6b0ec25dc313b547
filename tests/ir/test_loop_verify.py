"""The verifier of the loop IR: programs that must fail, with what is said of them."""

from __future__ import annotations

import pytest

from thalweg.core.dtypes import complex64, float32, float64, int32, int64
from thalweg.core.errors import GraphError
from thalweg.ir.loop_text import parse_kernel
from thalweg.ir.loop_verify import verify, verify_structure
from thalweg.ir.loops import (
    Accumulate,
    Alloc,
    Assign,
    Binary,
    Bitcast,
    Buffer,
    Cast,
    Const,
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

ZERO, ONE = Const(0), Const(1)
F0 = Const(0.0, float32)
X = Load("x", (ZERO,), float32)
Y = Store("y", (ZERO,), F0)


def kernel_of(*body: Stmt) -> Kernel:
    params = (Buffer("x", float32, (4,)), Buffer("y", float32, (4,), "out"))
    return Kernel("k", params, body)


def loop(*body: Stmt, var: str = "i", kind: str = "serial", step: int = 1) -> For:
    return For(var, ZERO, Const(4), step, body, kind)


ACC = Alloc("acc", float32, (), F0)
READ_ACC = Local("acc", (), float32)


@pytest.mark.parametrize(
    "body, message",
    [
        ([Store("y", (ZERO,), Var("t", float32))], "'t' is not a loop variable or 'let' in scope"),
        ([loop(), Store("y", (Var("i"),), F0)], "'i' is not a loop variable"),
        ([Store("y", (ZERO,), Load("z", (), float32))], "'z' is not a buffer of the kernel"),
        ([Store("z", (ZERO,), F0)], "'z' is not a buffer of the kernel"),
        ([Store("y", (ZERO,), READ_ACC)], "'acc' is not a 'var' in scope"),
        ([loop(ACC), Assign("acc", (), F0)], "'acc' is not a 'var' in scope"),
        ([Accumulate("t", (), F0)], "'t' is neither a buffer nor a 'var' in scope"),
        ([Let("t", F0), Accumulate("t", (), F0)], "'t' is neither a buffer nor a 'var'"),
        ([Store("x", (ZERO,), F0)], "buffer 'x' has mode 'in' and cannot be written"),
        ([Accumulate("x", (ZERO,), F0)], "buffer 'x' has mode 'in' and cannot be written"),
        ([Store("y", (), F0)], "'y' has shape [4], but 0 indices are given"),
        ([Store("y", (ZERO,), Load("x", (ZERO, ZERO), float32))], "but 2 indices are given"),
        ([ACC, Assign("acc", (ZERO,), F0)], "'acc' has shape [], but 1 indices are given"),
        ([Store("y", (Const(0, int32),), F0)], "index 0:int32: expected int64, got int32"),
        ([Store("y", (ZERO,), Const(0.0, float64))], "value: expected float32, got float64"),
        ([ACC, Assign("acc", (), ONE)], "value: expected float32, got int64"),
        ([Accumulate("y", (ZERO,), ONE)], "value: expected float32, got int64"),
        ([Alloc("acc", float32, (), ONE)], "initial value: expected float32, got int64"),
        ([Alloc("acc", float32, (2, 0), F0)], "expected register sizes of 1 or more, got [2, 0]"),
        ([Alloc("c", complex64, (), F0)], "expected a real dtype, got complex64"),
        ([Let("t", Cast(F0, complex64))], "expected a real dtype, got complex64"),
        ([Let("t", Load("x", (ZERO,), float64))], "type of 'x': expected float32, got float64"),
        ([Let("x", F0)], "name 'x' is already in use here"),
        ([loop(loop())], "name 'i' is already in use here"),
        ([Let("for", F0)], "expected an identifier that is no keyword, got 'for'"),
        ([Let("a b", F0)], "expected an identifier that is no keyword, got 'a b'"),
        ([loop(kind="simd")], "expected a kind among serial, parallel, vector, got 'simd'"),
        ([loop(step=0)], "expected a constant step of 1 or more, got 0"),
        ([For("i", F0, Const(4), 1, ())], "lower bound: expected int64, got float32"),
        ([For("i", ZERO, Const(4, int32), 1, ())], "upper bound: expected int64, got int32"),
        ([If(ONE, ())], "condition: expected bool, got int64"),
        ([Accumulate("y", (ZERO,), F0, "sub")], "expected one of add, mul, max, min, got 'sub'"),
        ([Let("t", Unary("exp", ONE))], "exp: expected an operand of kind float, got int64"),
        ([Let("t", Unary("not", F0))], "not: expected an operand of kind bool or int, got float32"),
        ([Let("t", Unary("frob", F0))], "unknown unary operation 'frob'"),
        ([Let("t", Binary("frob", F0, F0))], "unknown binary operation 'frob'"),
        ([Let("t", Binary("add", F0, ONE))], "right operand of add: expected float32, got int64"),
        ([Let("t", ONE / ONE)], "div: expected an operand of kind float, got int64"),
        ([Let("t", F0 & F0)], "and: expected an operand of kind bool or int, got float32"),
        ([Let("t", Binary("shl", F0, F0))], "shl: expected an operand of kind int, got float32"),
        ([Let("t", (ONE < 2) + (ONE < 3))], "add: expected an operand of kind int or float"),
        ([Let("t", Select(ONE, F0, F0))], "condition of select: expected bool, got int64"),
        ([Let("t", Select(ONE < 2, F0, ONE))], "second arm of select: expected float32"),
        ([Let("t", Fma(ONE, ONE, ONE))], "fma: expected an operand of kind float, got int64"),
        ([Let("t", Fma(F0, ONE, F0))], "second operand of fma: expected float32, got int64"),
        ([Let("t", Bitcast(F0, int64))], "bitcast: expected numbers of one size, got float32 to"),
        (
            [ACC, loop(Assign("acc", (), F0), kind="parallel")],
            "parallel loop cannot assign to 'acc'",
        ),
        (
            [ACC, loop(Accumulate("acc", (), F0), Let("t", READ_ACC), kind="vector")],
            "'acc' is read in the loop which accumulates it",
        ),
        (
            [ACC, loop(Accumulate("acc", (), X), Accumulate("acc", (), X, "max"), kind="vector")],
            "'acc' is accumulated with two operations in one loop",
        ),
    ],
)
def test_malformed_kernels(body: list[Stmt], message: str) -> None:
    with pytest.raises(GraphError) as error:
        verify_structure(kernel_of(*body))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "params, message",
    [
        ([Buffer("x", float32, (1,), "const")], "expected a mode among in, out, inout, workspace"),
        ([Buffer("x", float32, (-1,))], "expected sizes of 0 or more, got [-1]"),
        ([Buffer("x", complex64, (1,))], "expected a real dtype, got complex64"),
        ([Buffer("x", float32, (1,)), Buffer("x", float32, (1,))], "'x' is already in use"),
        ([Buffer("in", float32, (1,))], "expected an identifier that is no keyword, got 'in'"),
    ],
)
def test_malformed_buffers(params: list[Buffer], message: str) -> None:
    with pytest.raises(GraphError) as error:
        verify(Kernel("k", tuple(params), ()))
    assert message in str(error.value)


def test_an_error_names_the_path_of_statements() -> None:
    text = """kernel deep(in x: float32[4], out y: float32[4]) {
      for i in 0..4 parallel { if i < 3 { y[i] = x[i] } else { y[i] = x[i + 1] } }
    }"""
    with pytest.raises(GraphError) as error:
        verify(parse_kernel(text))
    assert str(error.value) == (
        "loop IR, deep / for i in 0..4 parallel / if i < 3 / else / y[i] = x[i + 1]: cannot prove "
        "index i + 1 of 'x' in bounds: expected 0 <= index < 4, found values in 4..4"
    )


HEAD = "kernel k(in x: float32[10], in n: int64[10], inout m: int64[10], out y: float32[10, 3])"


@pytest.mark.parametrize(
    "body",
    [
        "for i in 0..10 { y[i, 0] = x[9 - i] }",
        "for i in 0..12 { if i < 10 { y[i, 0] = x[i] } }",
        "for i in 0..12 { if i >= 10 { } else { y[i, 0] = x[i] } }",
        "for i in 0..12 { if not(i >= 10 | i == 11) { y[i, 0] = x[i] } }",
        "for i in 0..10 step 4 { for j in i..min(i + 4, 10) vector { y[j, 0] = x[j] } }",
        "for i in 0..8 step 4 { for j in 0..4 { y[i + j, 0] = x[i + j] } }",
        "for i in 0..30 { y[i // 3, i % 3] = x[i // 3] }",
        "for i in 0..30 { let r = i // 3 y[r, i - i] = 0.0:float32 }".replace("i - i", "i & 1"),
        "for i in 0..10 { if n[i] >= 0 & n[i] < 10 { y[n[i], 2] = x[n[i]] } }",
        "for i in 0..10 { let k = m[i] if 0 <= k & k < 10 { y[k, 2] = x[k] } }",
        "for i in 0..10 { let k = min(max(m[i], 0), 9) y[k, 2] = x[k] }",
        "for i in 0..10 { let k = m[i] % 10 y[k, 2] = x[k] }",
        "for i in 0..10 { y[i, int64(i < 5)] = x[abs(i - 9)] }",
        "for i in 0..10 { y[i, 0] = x[select(i > 0, i - 1, 0)] }",
        "for i in 0..20 { y[i >> 1, 0] = x[i >> 1] }",
        "for i in 0..5 { y[i << 1, 0] = x[truncdiv(i, 2)] }",
        "for i in 5..5 { y[i + 100, 0] = x[i] }",
        "if false { y[100, 0] = 0.0:float32 }",
        "for i in 0..10 { for j in 0..i { for k in j..i { y[k, 0] = x[j] } } }",
        "for i in 0..10 { if i == 3 { y[i - 3, 0] = x[i + 6] } }",
    ],
)
def test_proven_bounds(body: str) -> None:
    verify(parse_kernel(f"{HEAD} {{ {body} }}"))


@pytest.mark.parametrize(
    "body, message",
    [
        ("for i in 0..11 { y[i, 0] = x[0] }", "< 10, found values in 0..10"),
        ("for i in 0..10 { y[i, 0] = x[i - 1] }", "found values in -1..8"),
        ("for i in 0..10 step 4 { for j in 0..4 { y[i + j, 0] = x[0] } }", "in 0..11"),
        ("for i in 0..10 { y[n[i], 0] = x[0] }", "index n[i] of 'y' in bounds"),
        ("for i in 0..10 { if n[i] < 10 { y[n[i], 0] = x[0] } }", "found values in -inf..9"),
        # A buffer which the kernel writes may have changed since it was tested.
        ("for i in 0..10 { if m[i] >= 0 & m[i] < 10 { y[m[i], 0] = x[0] } }", "index m[i]"),
        ("for i in 0..12 { if i < 10 | i == 11 { y[i, 0] = x[0] } }", "index i of 'y'"),
        ("for i in 0..12 { if not(i < 10) { y[i, 0] = x[0] } }", "found values in 10..11"),
        # Both arms of a select are evaluated, so it guards no load.
        ("for i in 0..12 { let v = select(i < 10, x[i], 0.0:float32) }", "index i of 'x'"),
        ("for i in 0..10 { let k = i + m[i] if k < 10 { y[k, 0] = x[0] } }", "-inf..9"),
        ("for i in 0..10 { y[int64(x[i]), 0] = x[0] }", "index int64(x[i])"),
        # 127 + 1 wraps around in int8, so the sum may be negative.
        ("for i in 0..128 { let k = int64(int8(i) + 1:int8) y[k % 10, k] = x[0] }", "index k of"),
        ("var r: int64 = 0 for i in 0..10 { if r < 10 & r >= 0 { y[r, 0] = x[0] } }", "index r of"),
        ("var r: float32[4] = 0.0:float32 for i in 0..5 { r[i] = x[i] }", "index i of 'r'"),
        ("for i in 0..10 { y[0, i] += x[i] }", "index i of 'y' in bounds: expected 0 <= index < 3"),
    ],
)
def test_unproven_bounds(body: str, message: str) -> None:
    kernel = parse_kernel(f"{HEAD} {{ {body} }}")
    verify_structure(kernel)
    with pytest.raises(GraphError) as error:
        verify(kernel)
    assert "cannot prove" in str(error.value)
    assert message in str(error.value)


def test_constants_must_fit_their_type() -> None:
    with pytest.raises(GraphError, match="expected a value of dtype int32, got 2147483648"):
        Const(2**31, int32)
    with pytest.raises(GraphError, match="expected a value of dtype float32, got True"):
        Const(True, float32)
    with pytest.raises(GraphError, match=r"expected a value of dtype int64, got 1\.5"):
        Const(1.5)
