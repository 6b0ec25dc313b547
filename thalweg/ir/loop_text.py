"""The text form of the loop IR: printed one way only, and parsed back to an equal kernel.

The grammar stands in `loops`. Because the text is canonical, it also serves as a cache key.
"""

from __future__ import annotations

import math
import re
from typing import NoReturn

from thalweg.core.dtypes import ALL, BY_NAME, DType, bool_, int64
from thalweg.core.errors import GraphError
from thalweg.ir.loops import (
    BINARY,
    LOOP_KINDS,
    MODES,
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
)

# Infix operators by how tightly they bind, loosest first. Comparisons bind more tightly than logic.
_LEVELS = (
    {"or": "|"},
    {"xor": "^"},
    {"and": "&"},
    {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="},
    {"shl": "<<", "shr": ">>"},
    {"add": "+", "sub": "-"},
    {"mul": "*", "div": "/", "floordiv": "//", "mod": "%"},
)
_COMPARISON_LEVEL, _UNARY_LEVEL = 3, len(_LEVELS)
_SYMBOL = {op: (symbol, n) for n, level in enumerate(_LEVELS) for op, symbol in level.items()}
_INFIX = {symbol: (op, n) for op, (symbol, n) in _SYMBOL.items()}
_ACCUMULATE = {"add": "+=", "mul": "*=", "max": "max=", "min": "min="}
_ACCUMULATE_OP = {symbol: op for op, symbol in _ACCUMULATE.items()}
_DTYPES = {dtype.name: dtype for dtype in ALL}

KEYWORDS = frozenset(("kernel", "for", "in", "step", "if", "else", "let", "var")) | {
    *MODES,
    *LOOP_KINDS,
    "true",
    "false",
    "inf",
    "nan",
}
NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


def print_kernel(kernel: Kernel) -> str:
    """The text of a kernel, ending in a newline. `parse_kernel` gives an equal kernel back."""
    params = [f"{b.mode} {b.name}: {b.dtype.name}{_shape(b.shape)}" for b in kernel.params]
    lines = [f"kernel {kernel.name}({', '.join(params)}) {{"]
    _print_block(kernel.body, 1, lines)
    return "\n".join([*lines, "}", ""])


def print_stmt(stmt: Stmt) -> str:
    """The first line of a statement: what it is, without the statements inside it."""
    match stmt:
        case For(var, lo, hi, step, _, kind):
            by = f" step {step}" if step != 1 else ""
            how = f" {kind}" if kind != "serial" else ""
            return f"for {var} in {print_expr(lo)}..{print_expr(hi)}{by}{how}"
        case If(cond):
            return f"if {print_expr(cond)}"
        case Let(name, value):
            return f"let {name} = {print_expr(value)}"
        case Alloc(name, dtype, shape, init):
            size = _shape(shape) if shape else ""
            return f"var {name}: {dtype.name}{size} = {print_expr(init)}"
        case Assign(name, index, value):
            return f"{name}{_index(index) if index else ''} = {print_expr(value)}"
        case Store(buffer, index, value):
            return f"{buffer}{_index(index)} = {print_expr(value)}"
        case Accumulate(target, index, value, op):
            place = _index(index) if index else ""
            return f"{target}{place} {_ACCUMULATE[op]} {print_expr(value)}"


def print_expr(expr: Expr, level: int = 0) -> str:
    """The text of an expression, in parentheses if it binds more loosely than `level`."""
    match expr:
        case Const(value, dtype):
            return _literal(value, dtype)
        case Var(name):
            return name
        case Load(buffer, index):
            return f"{buffer}{_index(index)}"
        case Local(name, index):
            return f"{name}{_index(index) if index else ''}"
        case Unary("neg", x):
            # The parentheses keep the negation of a literal apart from a negative literal.
            inner = f"({print_expr(x)})" if isinstance(x, Const) else print_expr(x, _UNARY_LEVEL)
            return f"-{inner}"
        case Unary(op, x):
            return f"{op}({print_expr(x)})"
        case Binary(op, left, right) if op in _SYMBOL:
            symbol, own = _SYMBOL[op]
            # Comparisons do not chain, so both of their sides bind more tightly.
            a = print_expr(left, own + 1 if own == _COMPARISON_LEVEL else own)
            text = f"{a} {symbol} {print_expr(right, own + 1)}"
            return f"({text})" if own < level else text
        case Binary(op, left, right):
            return f"{op}({print_expr(left)}, {print_expr(right)})"
        case Select(cond, yes, no):
            return f"select({print_expr(cond)}, {print_expr(yes)}, {print_expr(no)})"
        case Cast(x, dtype):
            return f"{dtype.name}({print_expr(x)})"
        case Bitcast(x, dtype):
            return f"bitcast({dtype.name}, {print_expr(x)})"
        case Fma(a, b, c):
            return f"fma({print_expr(a)}, {print_expr(b)}, {print_expr(c)})"


def _print_block(body: tuple[Stmt, ...], depth: int, lines: list[str]) -> None:
    indent = "  " * depth
    for stmt in body:
        if isinstance(stmt, (For, If)):
            lines.append(f"{indent}{print_stmt(stmt)} {{")
            _print_block(stmt.body if isinstance(stmt, For) else stmt.then, depth + 1, lines)
            if isinstance(stmt, If) and stmt.otherwise:
                lines.append(f"{indent}}} else {{")
                _print_block(stmt.otherwise, depth + 1, lines)
            lines.append(f"{indent}}}")
        else:
            lines.append(indent + print_stmt(stmt))


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _index(index: tuple[Expr, ...]) -> str:
    return f"[{', '.join(map(print_expr, index))}]"


def _literal(value: bool | int | float, dtype: DType) -> str:
    if dtype is bool_:
        return "true" if value else "false"
    if dtype is int64:
        return str(value)
    if dtype.is_floating_point and math.isfinite(value):
        same = Const(value, dtype)
        short = next(t for p in range(1, 18) if Const(float(t := f"{value:.{p}g}"), dtype) == same)
        if not re.search(r"[.e]", short):
            short += ".0"
        text = min(repr(value), short, key=len)
    else:
        text = str(value)
    return f"{text}:{dtype.name}"


def parse_kernel(text: str) -> Kernel:
    """The kernel that `text` describes. GraphError with line and column where it does not."""
    return _Parser(text).kernel()


_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)
      | (?P<symbol>max=|min=|\.\.|//|<<|>>|<=|>=|==|!=|\+=|\*=|[-+*/%<>|^&=(){}\[\],:])
      | (?P<name>[A-Za-z_][A-Za-z_0-9]*)""",
    re.VERBOSE,
)
_Names = dict[str, Buffer | Alloc | Var]


class _Parser:
    """Recursive descent; `names` maps what is in scope to what declared it, for the types."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        self.at = 0
        position = 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                self.fail(f"unexpected character {text[position]!r}", position)
            if found.lastgroup is not None and found.lastgroup != "space":
                self.tokens.append((found.lastgroup, found.group(), position))
            position = found.end()
        self.tokens.append(("end", "end of text", len(text)))

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        if position is None:
            position = self.tokens[self.at][2]
        before = self.text[:position]
        line, column = before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1
        raise GraphError(f"loop text, line {line}, column {column}: {message}")

    @property
    def token(self) -> str:
        return self.tokens[self.at][1]

    def accept(self, *symbols: str) -> str | None:
        if self.tokens[self.at][0] != "end" and self.token in symbols:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def expect(self, *symbols: str) -> str:
        found = self.accept(*symbols)
        if found is None:
            self.fail(f"expected {' or '.join(map(repr, symbols))}, found {self.token!r}")
        return found

    def name(self) -> str:
        kind, text, _ = self.tokens[self.at]
        if kind != "name" or text in KEYWORDS:
            self.fail(f"expected a name, found {text!r}")
        self.at += 1
        return text

    def dtype(self) -> DType:
        found = _DTYPES.get(self.token)
        if found is None:
            self.fail(f"expected a dtype, found {self.token!r}")
        self.at += 1
        return found

    def integer(self) -> int:
        kind, text, _ = self.tokens[self.at]
        if kind != "number" or not text.isdigit():
            self.fail(f"expected an integer, found {text!r}")
        self.at += 1
        return int(text)

    def shape(self) -> tuple[int, ...]:
        self.expect("[")
        sizes: list[int] = []
        while not self.accept("]"):
            if sizes:
                self.expect(",")
            sizes.append(self.integer())
        return tuple(sizes)

    def kernel(self) -> Kernel:
        self.expect("kernel")
        name = self.name()
        names: _Names = {}
        params: list[Buffer] = []
        self.expect("(")
        while not self.accept(")"):
            if params:
                self.expect(",")
            mode = self.expect(*MODES)
            buffer = self.name()
            self.expect(":")
            params.append(Buffer(buffer, self.dtype(), self.shape(), mode))
            names[buffer] = params[-1]
        body = self.block(names)
        if self.tokens[self.at][0] != "end":
            self.fail(f"expected the end of the text, found {self.token!r}")
        return Kernel(name, tuple(params), body)

    def block(self, outer: _Names) -> tuple[Stmt, ...]:
        names = dict(outer)
        body: list[Stmt] = []
        self.expect("{")
        while not self.accept("}"):
            body.append(self.stmt(names))
        return tuple(body)

    def stmt(self, names: _Names) -> Stmt:
        if self.accept("for"):
            var = self.name()
            self.expect("in")
            lo = self.expr(names)
            self.expect("..")
            hi = self.expr(names)
            step = self.integer() if self.accept("step") else 1
            kind = self.accept(*LOOP_KINDS) or "serial"
            return For(var, lo, hi, step, self.block({**names, var: Var(var)}), kind)
        if self.accept("if"):
            cond, then = self.expr(names), self.block(names)
            return If(cond, then, self.block(names) if self.accept("else") else ())
        if self.accept("let"):
            let = self.name()
            self.expect("=")
            value = self.expr(names)
            names[let] = Var(let, value.dtype)
            return Let(let, value)
        if self.accept("var"):
            register = self.name()
            self.expect(":")
            dtype = self.dtype()
            shape = self.shape() if self.token == "[" else ()
            self.expect("=")
            alloc = Alloc(register, dtype, shape, self.expr(names))
            names[register] = alloc
            return alloc
        return self.write(names)

    def write(self, names: _Names) -> Stmt:
        start = self.tokens[self.at][2]
        name = self.name()
        declared = names.get(name)
        if declared is None or isinstance(declared, Var):
            what = "is not in scope" if declared is None else "is a value and cannot be written"
            self.fail(f"{name!r} {what}", start)
        index = self.index(names) if self.token == "[" else ()
        symbol = self.expect("=", *_ACCUMULATE_OP)
        value = self.expr(names)
        if symbol != "=":
            return Accumulate(name, index, value, _ACCUMULATE_OP[symbol])
        kind = Store if isinstance(declared, Buffer) else Assign
        return kind(name, index, value)

    def index(self, names: _Names) -> tuple[Expr, ...]:
        self.expect("[")
        index: list[Expr] = []
        while not self.accept("]"):
            if index:
                self.expect(",")
            index.append(self.expr(names))
        return tuple(index)

    def expr(self, names: _Names, level: int = 0) -> Expr:
        left = self.unary(names)
        while self.token in _INFIX:
            op, own = _INFIX[self.token]
            if own < level:
                break
            self.at += 1
            left = Binary(op, left, self.expr(names, own + 1))
            if own == _COMPARISON_LEVEL and _INFIX.get(self.token, ("", 0))[1] == own:
                self.fail(
                    f"comparisons do not chain: put one side of {self.token!r} in parentheses"
                )
        return left

    def unary(self, names: _Names) -> Expr:
        kind, text, start = self.tokens[self.at]
        if self.accept("-"):
            kind, text, _ = self.tokens[self.at]
            if kind == "number" or text == "inf":
                return self.literal(start, "-")
            return Unary("neg", self.unary(names))
        if self.accept("("):
            inner = self.expr(names)
            self.expect(")")
            return inner
        if kind == "number" or text in ("inf", "nan", "true", "false"):
            return self.literal(start)
        name = self.name()
        return self.call(name, names, start) if self.token == "(" else self.use(name, names, start)

    def literal(self, start: int, sign: str = "") -> Const:
        text = sign + self.token
        self.at += 1
        if text in ("true", "false"):
            return Const(text == "true", bool_)
        dtype = self.dtype() if self.accept(":") else int64
        try:
            return Const(float(text) if dtype.is_floating_point else int(text), dtype)
        except (GraphError, ValueError):
            self.fail(f"expected a value of dtype {dtype.name}, found {text!r}", start)

    def use(self, name: str, names: _Names, start: int) -> Expr:
        declared = names.get(name)
        if declared is None:
            self.fail(f"{name!r} is not in scope", start)
        if isinstance(declared, Var):
            return declared
        if isinstance(declared, Buffer):
            return Load(name, self.index(names), declared.dtype)
        return Local(name, self.index(names) if self.token == "[" else (), declared.dtype)

    def call(self, name: str, names: _Names, start: int) -> Expr:
        self.expect("(")
        target = None
        if name == "bitcast":
            target = self.dtype()
            self.expect(",")
        arguments = [self.expr(names)]
        while self.accept(","):
            arguments.append(self.expr(names))
        self.expect(")")
        match name, arguments:
            case "bitcast", [x] if target is not None:
                return Bitcast(x, target)
            case "select", [cond, yes, no]:
                return Select(cond, yes, no)
            case "fma", [a, b, c]:
                return Fma(a, b, c)
            case op, [x] if op in UNARY:
                return Unary(op, x)
            case op, [a, b] if op in BINARY:
                return Binary(op, a, b)
            case dtype, [x] if dtype in _DTYPES:
                return Cast(x, BY_NAME[dtype])
        self.fail(f"{name!r} does not take {len(arguments)} argument(s), or is unknown", start)
