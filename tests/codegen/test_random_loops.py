"""Random kernels of the loop IR: compiled, they compute what the interpreter computes, bit for bit.

Additions are not contracted here, and only operations with exact or correctly rounded results
occur, so there is nothing to tolerate. Sums of floats, whose order is the compiler's own, are
tested elsewhere.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loop_checks import check

from thalweg.codegen.arithmetic import Arithmetic
from thalweg.core.dtypes import (
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from thalweg.ir.loop_text import parse_kernel, print_kernel
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
    Store,
    Unary,
    Var,
)

FLOATS = (float16, bfloat16, float32, float64)
INTEGERS = (int8, int16, int32, int64, uint8, uint16, uint32, uint64)
DTYPES = (*FLOATS, *INTEGERS, bool_)
EXACT_UNARY = ("neg", "abs", "sign", "floor", "ceil", "round", "trunc", "sqrt")
FLOAT_BINARY = ("add", "sub", "mul", "div", "min", "max", "truncdiv", "fmod", "mod")
INT_BINARY = ("add", "sub", "mul", "min", "max", "and", "or", "xor", "shl", "shr", "pow")
DIVISIONS = ("floordiv", "mod", "truncdiv", "fmod")
COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")


class Writer:
    """Draws expressions over what is in scope."""

    def __init__(self, draw, buffers, rows, size):
        self.draw = draw
        self.buffers = buffers
        self.rows, self.size = rows, size
        self.values = []  # lets and scalar registers
        self.count = 0

    def name(self):
        self.count += 1
        return f"t{self.count}"

    def index(self, buffer):
        """A position in a buffer of one of the shapes [R, N], [N], [R], []."""
        i, j = Var("i"), Var("j")
        if buffer.shape == (self.rows, self.size):
            mirrored = self.draw(st.integers(0, 5)) == 0
            return (i, Const(self.size - 1) - j if mirrored else j)
        return {1: (j,) if buffer.name.startswith("n") else (i,), 0: ()}[len(buffer.shape)]

    def leaf(self, dtype):
        """Mostly an element of a buffer, of another dtype if need be; or a name, or a constant."""
        named = [v for v in self.values if v.dtype is dtype]
        kind = self.draw(st.integers(0, 7))
        if named and kind in (4, 5):
            return self.draw(st.sampled_from(named))
        if dtype is int64 and kind == 6:
            return self.draw(st.sampled_from([Var("i"), Var("j")]))
        if kind == 7:
            return self.constant(dtype)
        choices = [b for b in self.buffers if b.dtype is dtype] or self.buffers
        buffer = self.draw(st.sampled_from(choices))
        load = Load(buffer.name, self.index(buffer), buffer.dtype)
        return load if buffer.dtype is dtype else Cast(load, dtype)

    def constant(self, dtype):
        if dtype is bool_:
            return Const(self.draw(st.booleans()), dtype)
        if dtype.is_floating_point:
            return Const(self.draw(st.sampled_from([0.0, 1.0, -1.5, 3.0, 0.1, 1e4])), dtype)
        return Const(self.draw(st.integers(0 if not dtype.is_signed else -7, 7)), dtype)

    def expr(self, dtype, depth):
        if depth == 0 or self.draw(st.integers(0, 4)) == 0:
            return self.leaf(dtype)
        kind = self.draw(st.integers(0, 9))
        inner = lambda other=dtype: self.expr(other, depth - 1)  # noqa: E731
        if kind == 0:
            return Select(inner(bool_), inner(), inner())
        if kind == 1:
            return Cast(inner(self.draw(st.sampled_from(DTYPES))), dtype)
        if kind == 2:
            same = [d for d in DTYPES if d.itemsize == dtype.itemsize and d is not bool_]
            if dtype is not bool_:
                source = self.draw(st.sampled_from([d for d in same if not d.is_floating_point]))
                return Bitcast(self.leaf(source), dtype)  # never of NaN, whose bits may differ
        if dtype is bool_:
            return self.truth(depth)
        if dtype.is_floating_point:
            if kind == 3:
                return Fma(inner(), inner(), inner())
            if kind <= 5:
                return Unary(self.draw(st.sampled_from(EXACT_UNARY)), inner())
            return Binary(self.draw(st.sampled_from(FLOAT_BINARY)), inner(), inner())
        if kind <= 4:
            return Unary(self.draw(st.sampled_from(("neg", "abs", "sign", "not"))), inner())
        if kind == 5:
            divisor = self.draw(st.sampled_from((1, 2, 3, 4, 7) + (-1, -5) * dtype.is_signed))
            if self.draw(st.booleans()):
                return Binary(self.draw(st.sampled_from(DIVISIONS)), inner(), Const(divisor, dtype))
            safe = Binary("or", inner(), Const(1, dtype))
            return Binary(self.draw(st.sampled_from(DIVISIONS)), inner(), safe)
        return Binary(self.draw(st.sampled_from(INT_BINARY)), inner(), inner())

    def truth(self, depth):
        kind = self.draw(st.integers(0, 4))
        if kind == 0:
            op = self.draw(st.sampled_from(("and", "or", "xor")))
            return Binary(op, self.expr(bool_, depth - 1), self.expr(bool_, depth - 1))
        if kind == 1:
            op = self.draw(st.sampled_from(("isnan", "isinf", "isfinite")))
            return Unary(op, self.expr(self.draw(st.sampled_from(FLOATS)), depth - 1))
        if kind == 2:
            return Unary("not", self.expr(bool_, depth - 1))
        other = self.draw(st.sampled_from(DTYPES))
        op = self.draw(st.sampled_from(COMPARE))
        return Binary(op, self.expr(other, depth - 1), self.expr(other, depth - 1))

    def statements(self, depth):
        """Lets, registers, branches and short loops, leaving what they made in scope."""
        made = []
        for _ in range(self.draw(st.integers(0, 3))):
            dtype = self.draw(st.sampled_from(DTYPES))
            kind = self.draw(st.integers(0, 3))
            if kind <= 1 or depth == 0:
                let = Let(self.name(), self.expr(dtype, 2))
                made.append(let)
                self.values.append(Var(let.name, dtype))
            else:
                made += self.register(dtype, depth, loop=kind == 2)
        return made

    def register(self, dtype, depth, loop):
        register = Alloc(self.name(), dtype, (), self.expr(dtype, 1))
        local = Local(register.name, (), dtype)
        outer = list(self.values)
        self.values.append(local)
        body = self.statements(depth - 1)
        body.append(Assign(register.name, (), self.expr(dtype, 2)))
        if dtype in INTEGERS and self.draw(st.booleans()):
            body.append(Accumulate(register.name, (), self.expr(dtype, 1), "add"))
        self.values = [*outer, local]
        if loop:
            end = Const(self.draw(st.integers(0, 9)))
            return [register, For(self.name(), Const(0), end, 1, tuple(body))]
        cond = self.expr(bool_, 2)
        otherwise = (Assign(register.name, (), self.expr(dtype, 1)),)
        return [register, If(cond, tuple(body), otherwise if self.draw(st.booleans()) else ())]


@st.composite
def kernels(draw):
    rows, size = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2, 5, 16, 19, 33, 64]))
    shapes = {"a": (rows, size), "n": (size,), "r": (rows,), "s": ()}
    picked = draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=5))
    buffers = [
        Buffer(f"{letter}{k}", dtype, shapes[letter])
        for k, dtype in enumerate(picked)
        for letter in draw(st.sampled_from(("a", "a", "an", "ar", "s")))
    ]
    writer = Writer(draw, buffers, rows, size)
    body = writer.statements(2)
    outs = []
    for k in range(draw(st.integers(1, 2))):
        dtype = draw(st.sampled_from(DTYPES))
        outs.append(Buffer(f"out{k}", dtype, (rows, size), "out"))
        body.append(Store(f"out{k}", (Var("i"), Var("j")), writer.expr(dtype, 3)))
    loop = For("j", Const(0), Const(size), 1, tuple(body), "vector")
    nest = For(
        "i", Const(0), Const(rows), 1, (loop,), draw(st.sampled_from(("parallel", "serial")))
    )
    return Kernel("random", (*buffers, *outs), (nest,))


@pytest.fixture
def uncontracted(monkeypatch):
    monkeypatch.setattr(Arithmetic, "CONTRACT", "")


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(kernel=kernels(), seed=st.integers(0, 99), special=st.booleans())
def test_random_kernels(uncontracted, kernel, seed, special):
    assert parse_kernel(print_kernel(kernel)) == kernel
    with np.errstate(all="ignore"):
        check(kernel, seed, ulps=0, special=special, elsewhere=seed % 10 == 0)
