"""The rules of the loop IR that need no knowledge of values: scope, types, ranks, modes, loops.

`verify` is the whole check and the contract of every later stage: a kernel that passes cannot
touch memory outside its buffers. `verify_structure` leaves out the proof of the bounds, for
kernels whose indices are checked as they run.
"""

from __future__ import annotations

from typing import NoReturn

from thalweg.core.dtypes import DType, bool_, int64
from thalweg.core.errors import GraphError
from thalweg.ir.loop_bounds import verify_bounds
from thalweg.ir.loop_text import KEYWORDS, NAME, print_expr, print_stmt
from thalweg.ir.loops import (
    ACCUMULATIONS,
    BINARY,
    COMPARISONS,
    FLOAT_BINARY,
    FLOAT_TESTS,
    FLOAT_UNARY,
    LOGIC,
    LOOP_KINDS,
    MODES,
    SHIFTS,
    UNARY,
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
    expressions,
    operands,
    walk,
    walk_expr,
)

_Names = dict[str, Buffer | Alloc | Var]


def verify(kernel: Kernel) -> None:
    """Raise GraphError unless `kernel` is well formed and all its indices are proven in bounds.

    The message names the kernel and the path of statements that leads to the offending one.
    An index which cannot be proven (one that was loaded, say) needs an `if` that guards it.
    """
    verify_structure(kernel)
    verify_bounds(kernel)


def verify_structure(kernel: Kernel) -> None:
    """`verify` without the proof that indices are in bounds."""
    names: _Names = {}
    _check_name(kernel.name, {}, kernel.name)
    for buffer in kernel.params:
        where = f"{kernel.name}: buffer {buffer.name}"
        _check_name(buffer.name, names, where)
        if buffer.mode not in MODES:
            _fail(where, f"expected a mode among {', '.join(MODES)}, got {buffer.mode!r}")
        _check_dtype(buffer.dtype, where)
        if any(size < 0 for size in buffer.shape):
            _fail(where, f"expected sizes of 0 or more, got {list(buffer.shape)}")
        names[buffer.name] = buffer
    _check_block(kernel.body, names, kernel.name)


def _fail(where: str, message: str) -> NoReturn:
    raise GraphError(f"loop IR, {where}: {message}")


def _check_name(name: str, names: _Names, where: str) -> None:
    if not NAME.fullmatch(name) or name in KEYWORDS:
        _fail(where, f"expected an identifier that is no keyword, got {name!r}")
    if name in names:
        _fail(where, f"name {name!r} is already in use here")


def _check_dtype(dtype: DType, where: str) -> None:
    if dtype.is_complex:
        _fail(where, f"expected a real dtype, got {dtype.name}")


def _expect(where: str, what: str, found: DType, expected: DType) -> None:
    if found is not expected:
        _fail(where, f"{what}: expected {expected.name}, got {found.name}")


def _check_block(body: tuple[Stmt, ...], outer: _Names, where: str) -> None:
    names = dict(outer)
    for stmt in body:
        _check_stmt(stmt, names, f"{where} / {_text(stmt)}")


def _text(stmt: Stmt) -> str:
    """The statement's text, or its kind where it is too malformed to be printed."""
    try:
        return print_stmt(stmt)
    except (KeyError, AttributeError):
        return type(stmt).__name__


def _check_stmt(stmt: Stmt, names: _Names, where: str) -> None:
    for expr in expressions(stmt):
        _check_expr(expr, names, where)
    match stmt:
        case For():
            _check_loop(stmt, names, where)
            _check_block(stmt.body, {**names, stmt.var: Var(stmt.var)}, where)
        case If():
            _expect(where, "condition", stmt.cond.dtype, bool_)
            _check_block(stmt.then, names, where)
            _check_block(stmt.otherwise, names, f"{where} / else")
        case Let():
            _check_name(stmt.name, names, where)
            names[stmt.name] = Var(stmt.name, stmt.value.dtype)
        case Alloc():
            _check_name(stmt.name, names, where)
            _check_dtype(stmt.dtype, where)
            _expect(where, "initial value", stmt.init.dtype, stmt.dtype)
            if any(size < 1 for size in stmt.shape):
                _fail(where, f"expected register sizes of 1 or more, got {list(stmt.shape)}")
            names[stmt.name] = stmt
        case Assign():
            registers = names.get(stmt.name)
            if not isinstance(registers, Alloc):
                _fail(where, f"{stmt.name!r} is not a 'var' in scope")
            _check_access(registers, stmt.index, where)
            _expect(where, "value", stmt.value.dtype, registers.dtype)
        case Store():
            buffer = names.get(stmt.buffer)
            if not isinstance(buffer, Buffer):
                _fail(where, f"{stmt.buffer!r} is not a buffer of the kernel")
            _check_written(buffer, stmt.index, stmt.value, where)
        case Accumulate():
            if stmt.op not in ACCUMULATIONS:
                _fail(where, f"expected one of {', '.join(ACCUMULATIONS)}, got {stmt.op!r}")
            target = names.get(stmt.target)
            if target is None or isinstance(target, Var):
                _fail(where, f"{stmt.target!r} is neither a buffer nor a 'var' in scope")
            if target.dtype is bool_:
                _fail(where, f"cannot accumulate into {stmt.target!r} of dtype bool")
            _check_written(target, stmt.index, stmt.value, where)


def _check_written(
    target: Buffer | Alloc, index: tuple[Expr, ...], value: Expr, where: str
) -> None:
    if isinstance(target, Buffer) and target.mode == "in":
        _fail(where, f"buffer {target.name!r} has mode 'in' and cannot be written")
    _check_access(target, index, where)
    _expect(where, "value", value.dtype, target.dtype)


def _check_access(target: Buffer | Alloc, index: tuple[Expr, ...], where: str) -> None:
    if len(index) != len(target.shape):
        shape = list(target.shape)
        _fail(where, f"{target.name!r} has shape {shape}, but {len(index)} indices are given")
    for position in index:
        _expect(where, f"index {print_expr(position)}", position.dtype, int64)


def _check_loop(loop: For, names: _Names, where: str) -> None:
    _check_name(loop.var, names, where)
    if loop.kind not in LOOP_KINDS:
        _fail(where, f"expected a kind among {', '.join(LOOP_KINDS)}, got {loop.kind!r}")
    if isinstance(loop.step, bool) or not isinstance(loop.step, int) or loop.step < 1:
        _fail(where, f"expected a constant step of 1 or more, got {loop.step!r}")
    _expect(where, "lower bound", loop.lo.dtype, int64)
    _expect(where, "upper bound", loop.hi.dtype, int64)
    if loop.kind != "serial":
        _check_independence(loop, names, where)


def _check_independence(loop: For, names: _Names, where: str) -> None:
    """Iterations share registers from outside the loop by accumulating into them. An array of
    registers may also be assigned, each iteration its own elements: an index must depend on the
    loop's variable.

    Names are unique within a scope, so a name known outside is not declared again inside.
    Buffers are a matter of indices: `loop_interp` watches them as it runs.
    """
    outer = {name for name, declared in names.items() if isinstance(declared, Alloc)}
    sums: dict[str, str] = {}
    for stmt in walk(loop.body):
        if isinstance(stmt, Assign) and stmt.name in outer and not _own_element(stmt, loop):
            _fail(where, f"iterations of a {loop.kind} loop cannot assign to {stmt.name!r}")
        if not isinstance(stmt, Accumulate) or stmt.target not in outer:
            continue
        if sums.setdefault(stmt.target, stmt.op) != stmt.op:
            _fail(where, f"{stmt.target!r} is accumulated with two operations in one loop")
    for stmt in walk(loop.body):
        for expr in expressions(stmt):
            for inner in walk_expr(expr):
                if isinstance(inner, Local) and inner.name in sums:
                    _fail(where, f"{inner.name!r} is read in the loop which accumulates it")


def _own_element(stmt: Assign, loop: For) -> bool:
    return any(
        isinstance(inner, Var) and inner.name == loop.var
        for position in stmt.index
        for inner in walk_expr(position)
    )


def _check_expr(expr: Expr, names: _Names, where: str) -> None:
    for operand in operands(expr):
        _check_expr(operand, names, where)
    match expr:
        case Const():
            _check_dtype(expr.dtype, where)
        case Var():
            if not isinstance(names.get(expr.name), Var):
                _fail(where, f"{expr.name!r} is not a loop variable or 'let' in scope")
            _expect(where, f"type of {expr.name!r}", expr.dtype, names[expr.name].dtype)
        case Load():
            buffer = names.get(expr.buffer)
            if not isinstance(buffer, Buffer):
                _fail(where, f"{expr.buffer!r} is not a buffer of the kernel")
            _check_access(buffer, expr.index, where)
            _expect(where, f"type of {expr.buffer!r}", expr.dtype, buffer.dtype)
        case Local():
            registers = names.get(expr.name)
            if not isinstance(registers, Alloc):
                _fail(where, f"{expr.name!r} is not a 'var' in scope")
            _check_access(registers, expr.index, where)
            _expect(where, f"type of {expr.name!r}", expr.dtype, registers.dtype)
        case Unary():
            _check_unary(expr, where)
        case Binary():
            _check_binary(expr, where)
        case Select():
            _expect(where, "condition of select", expr.cond.dtype, bool_)
            _expect(where, "second arm of select", expr.no.dtype, expr.yes.dtype)
        case Cast():
            _check_dtype(expr.dtype, where)
        case Bitcast():
            if bool_ in (expr.dtype, expr.x.dtype) or expr.dtype.itemsize != expr.x.dtype.itemsize:
                sizes = f"{expr.x.dtype.name} to {expr.dtype.name}"
                _fail(where, f"bitcast: expected numbers of one size, got {sizes}")
            _check_dtype(expr.dtype, where)
        case Fma():
            _check_category("fma", expr.dtype, ("float",), where)
            _expect(where, "second operand of fma", expr.b.dtype, expr.dtype)
            _expect(where, "third operand of fma", expr.c.dtype, expr.dtype)


def _check_category(op: str, dtype: DType, allowed: tuple[str, ...], where: str) -> None:
    if dtype.category not in allowed:
        _fail(where, f"{op}: expected an operand of kind {' or '.join(allowed)}, got {dtype.name}")


def _check_unary(expr: Unary, where: str) -> None:
    if expr.op not in UNARY:
        _fail(where, f"unknown unary operation {expr.op!r}")
    if expr.op in FLOAT_UNARY | FLOAT_TESTS:
        allowed: tuple[str, ...] = ("float",)
    else:
        allowed = ("bool", "int") if expr.op == "not" else ("int", "float")
    _check_category(expr.op, expr.x.dtype, allowed, where)


def _check_binary(expr: Binary, where: str) -> None:
    op, dtype = expr.op, expr.left.dtype
    if op not in BINARY:
        _fail(where, f"unknown binary operation {op!r}")
    _expect(where, f"right operand of {op}", expr.right.dtype, dtype)
    if op in FLOAT_BINARY:
        _check_category(op, dtype, ("float",), where)
    elif op in LOGIC:
        _check_category(op, dtype, ("bool", "int"), where)
    elif op in SHIFTS:
        _check_category(op, dtype, ("int",), where)
    elif op not in COMPARISONS:
        _check_category(op, dtype, ("int", "float"), where)
