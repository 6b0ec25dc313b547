"""The loop IR: one kernel is its buffers, a loop nest and typed scalar expressions.

It is the level below the op graph. What is said here can be printed and parsed (`loop_text`),
proven well formed (`loop_verify`, `loop_bounds`), executed (`loop_interp`) and turned into
machine code. The whole language, as it is printed:

    kernel  := 'kernel' NAME '(' buffer,* ')' block         block := '{' stmt* '}'
    buffer  := mode NAME ':' dtype '[' INT,* ']'            dense, row-major, static shape
    mode    := 'in' | 'out' | 'inout' | 'workspace'         out, workspace: undefined at entry
    stmt    := 'for' NAME 'in' expr '..' expr ['step' INT] ['parallel' | 'vector'] block
             | 'if' expr block ['else' block]
             | 'let' NAME '=' expr                          a name for a value
             | 'var' NAME ':' dtype ['[' INT,+ ']'] '=' expr    registers, all set to expr
             | NAME ['[' expr,+ ']'] '=' expr               Assign: to registers
             | NAME '[' expr,* ']' '=' expr                 Store: to a buffer
             | NAME ['[' expr,* ']'] acc expr               Accumulate: into either
    acc     := '+=' | '*=' | 'max=' | 'min='
    expr    := literal | NAME | NAME '[' expr,* ']' | '-' expr | expr infix expr
             | unary '(' expr ')' | binary '(' expr ',' expr ')' | dtype '(' expr ')'
             | 'bitcast' '(' dtype ',' expr ')' | 'select' '(' expr ',' expr ',' expr ')'
             | 'fma' '(' expr ',' expr ',' expr ')' | '(' expr ')'
    infix   := '|', '^', '&', comparison, '<<' or '>>', '+' or '-', '*' or '/' or '//' or '%'
               (loosest first; comparisons do not chain, the others group to the left)
    literal := INT | 'true' | 'false' | (NUMBER | 'inf' | 'nan') ':' dtype

Meaning, where it is not obvious:

- Buffers do not overlap. An `out` buffer is written completely; none is read before it is written.
- A name made by `for`, `let` or `var` lives until the end of the block it stands in (a loop
  variable: in the loop's body). No name hides another. Loop variables, bounds and indices are
  int64; the step is a positive constant; `lo` and `hi` are evaluated once.
- Iterations of a `parallel` or `vector` loop may run in any order, or at once: none may write an
  element which another one reads or writes. The exception is `Accumulate`: many iterations may
  accumulate into one element with one operation if none of them reads or writes it otherwise.
  This holds for registers from outside the loop as well; those of an array may be assigned.
  The grouping of such a sum belongs to the kernel and its target, never to the timing of threads.
- Both arms of `select` are evaluated, so their loads must be in bounds; `if` guards a load.
- Arithmetic on float16 and bfloat16 is carried out in float32 and rounded where a value comes to
  rest: Store, Assign, `var`, Accumulate, Cast, Bitcast. Other arithmetic rounds to its own type.
- Integers wrap. Dividing an integer by zero is an error. Shifts by a negative amount or by the
  width or more give 0 (`>>` of a signed integer: its sign). `pow` of integers with a negative
  exponent is 0, except for bases 1 and -1.
- `//` and `%` round down and take the divisor's sign; `truncdiv` and `fmod` round to zero.
  `min` and `max` give NaN if either operand is NaN. `round` takes ties to even.
- Cast truncates floats to integers; anything but 0 is true. NaN and what int32 (for int32 and
  narrower types) or int64 (for the others) cannot hold become that type's smallest value, of which
  the target keeps the low bits. uint64 also takes all floats that it can hold.
- Complex numbers do not occur: lowering splits them into planes of real numbers.

All classes are immutable and hashable. Equality is structural; nodes shared many times are
compared many times, so name a repeated subexpression with `let`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np

from thalweg.core.dtypes import DType, bool_, float32, float64, int64
from thalweg.core.errors import GraphError


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FLOAT_UNARY = _names(
    "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan asin acos atan sinh cosh tanh "
    "asinh acosh atanh erf erfc erfinv lgamma floor ceil round trunc"
)
FLOAT_TESTS = _names("isnan isinf isfinite")
UNARY = FLOAT_UNARY | FLOAT_TESTS | {"neg", "abs", "sign", "not"}

COMPARISONS = _names("eq ne lt le gt ge")
LOGIC = _names("and or xor")
FLOAT_BINARY = _names("div atan2")
SHIFTS = _names("shl shr")
NUMBER_BINARY = _names("add sub mul floordiv mod truncdiv fmod pow min max")
BINARY = COMPARISONS | LOGIC | FLOAT_BINARY | SHIFTS | NUMBER_BINARY

MODES = ("in", "out", "inout", "workspace")
LOOP_KINDS = ("serial", "parallel", "vector")
ACCUMULATIONS = ("add", "mul", "max", "min")


class _Operators:
    """Infix notation for building expressions; a Python number takes the other side's dtype."""

    __slots__ = ()

    def __add__(self, other: Operand) -> Binary:
        return _infix("add", self, other)

    def __radd__(self, other: Operand) -> Binary:
        return _infix("add", other, self)

    def __sub__(self, other: Operand) -> Binary:
        return _infix("sub", self, other)

    def __rsub__(self, other: Operand) -> Binary:
        return _infix("sub", other, self)

    def __mul__(self, other: Operand) -> Binary:
        return _infix("mul", self, other)

    def __rmul__(self, other: Operand) -> Binary:
        return _infix("mul", other, self)

    def __truediv__(self, other: Operand) -> Binary:
        return _infix("div", self, other)

    def __rtruediv__(self, other: Operand) -> Binary:
        return _infix("div", other, self)

    def __floordiv__(self, other: Operand) -> Binary:
        return _infix("floordiv", self, other)

    def __mod__(self, other: Operand) -> Binary:
        return _infix("mod", self, other)

    def __lt__(self, other: Operand) -> Binary:
        return _infix("lt", self, other)

    def __le__(self, other: Operand) -> Binary:
        return _infix("le", self, other)

    def __gt__(self, other: Operand) -> Binary:
        return _infix("gt", self, other)

    def __ge__(self, other: Operand) -> Binary:
        return _infix("ge", self, other)

    def __and__(self, other: Operand) -> Binary:
        return _infix("and", self, other)

    def __or__(self, other: Operand) -> Binary:
        return _infix("or", self, other)

    def __neg__(self) -> Unary:
        return Unary("neg", _lift(self, int64))


@dataclass(frozen=True, slots=True, eq=False)
class Const(_Operators):
    """A literal, rounded to its dtype on creation. NaN equals NaN, and 0.0 is not -0.0."""

    value: bool | int | float
    dtype: DType = int64

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _representable(self.value, self.dtype))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[DType, str]:
        return self.dtype, repr(self.value)


@dataclass(frozen=True, slots=True)
class Var(_Operators):
    """The value of a loop variable or of a `let`."""

    name: str
    dtype: DType = int64


@dataclass(frozen=True, slots=True)
class Load(_Operators):
    """An element of a buffer."""

    buffer: str
    index: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Local(_Operators):
    """An element of the registers made by `Alloc`; `index` is empty for a scalar."""

    name: str
    index: tuple[Expr, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Unary(_Operators):
    op: str
    x: Expr
    dtype: DType = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        dtype = bool_ if self.op in FLOAT_TESTS else self.x.dtype
        object.__setattr__(self, "dtype", dtype)


@dataclass(frozen=True, slots=True)
class Binary(_Operators):
    op: str
    left: Expr
    right: Expr
    dtype: DType = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        dtype = bool_ if self.op in COMPARISONS else self.left.dtype
        object.__setattr__(self, "dtype", dtype)


@dataclass(frozen=True, slots=True)
class Select(_Operators):
    """`yes` where `cond`, else `no`; both are evaluated."""

    cond: Expr
    yes: Expr
    no: Expr
    dtype: DType = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", self.yes.dtype)


@dataclass(frozen=True, slots=True)
class Cast(_Operators):
    """Conversion by value."""

    x: Expr
    dtype: DType


@dataclass(frozen=True, slots=True)
class Bitcast(_Operators):
    """The same bits read as another dtype of the same size."""

    x: Expr
    dtype: DType


@dataclass(frozen=True, slots=True)
class Fma(_Operators):
    """`a * b + c` rounded once."""

    a: Expr
    b: Expr
    c: Expr
    dtype: DType = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", self.a.dtype)


Expr = Const | Var | Load | Local | Unary | Binary | Select | Cast | Bitcast | Fma
Operand = _Operators | int | float


@dataclass(frozen=True, slots=True)
class For:
    var: str
    lo: Expr
    hi: Expr
    step: int
    body: tuple[Stmt, ...]
    kind: str = "serial"


@dataclass(frozen=True, slots=True)
class If:
    cond: Expr
    then: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...] = ()


@dataclass(frozen=True, slots=True)
class Let:
    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Alloc:
    """Registers: a scalar (shape `()`) or a small array, every element set to `init`."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    init: Expr


@dataclass(frozen=True, slots=True)
class Assign:
    name: str
    index: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class Store:
    buffer: str
    index: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class Accumulate:
    """`target[index] = op(target[index], value)` for a buffer or for registers."""

    target: str
    index: tuple[Expr, ...]
    value: Expr
    op: str = "add"


Stmt = For | If | Let | Alloc | Assign | Store | Accumulate


@dataclass(frozen=True, slots=True)
class Buffer:
    name: str
    dtype: DType
    shape: tuple[int, ...]
    mode: str = "in"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Kernel:
    name: str
    params: tuple[Buffer, ...]
    body: tuple[Stmt, ...]


def _none(expr: Any) -> tuple[Expr, ...]:
    return ()


def _single(expr: Any) -> tuple[Expr, ...]:
    return (expr.x,)


# Asked for millions of times while a large model is compiled.
_OPERANDS: dict[type, Callable[[Any], tuple[Expr, ...]]] = {
    Const: _none, Var: _none, Load: attrgetter("index"), Local: attrgetter("index"),
    Unary: _single, Cast: _single, Bitcast: _single, Binary: attrgetter("left", "right"),
    Select: attrgetter("cond", "yes", "no"), Fma: attrgetter("a", "b", "c"),
}  # fmt: skip


def operands(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly inside `expr`, in the order in which they are printed."""
    return _OPERANDS[type(expr)](expr)


def expressions(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions of a statement itself, not those of the statements inside it."""
    match stmt:
        case For():
            return (stmt.lo, stmt.hi)
        case If():
            return (stmt.cond,)
        case Let():
            return (stmt.value,)
        case Alloc():
            return (stmt.init,)
        case Assign() | Store() | Accumulate():
            return (*stmt.index, stmt.value)


def blocks(stmt: Stmt) -> tuple[tuple[Stmt, ...], ...]:
    """The statement lists inside `stmt`."""
    match stmt:
        case For():
            return (stmt.body,)
        case If():
            return (stmt.then, stmt.otherwise)
        case _:
            return ()


def walk(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement of `body` at any depth, outer ones first."""
    for stmt in body:
        yield stmt
        for block in blocks(stmt):
            yield from walk(block)


def walk_expr(expr: Expr) -> Iterator[Expr]:
    """`expr` and every expression inside it, each before those inside of it, from the left."""
    stack = [expr]
    while stack:
        one = stack.pop()
        yield one
        stack.extend(reversed(operands(one)))


def compute_dtype(dtype: DType) -> DType:
    """The type in which values of `dtype` are held between roundings: float32 for half types."""
    return float32 if dtype.is_floating_point and dtype.itemsize == 2 else dtype


def round_to(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Round an array of the compute type to the storage type.

    float64 goes to the half types by way of float32, as PyTorch's conversion does.
    """
    if dtype.is_floating_point and dtype.itemsize == 2 and values.dtype == float64.np:
        values = values.astype(float32.np)
    return values.astype(dtype.np)


@functools.cache
def _limits(dtype: DType) -> tuple[int, int]:
    limits = np.iinfo(dtype.np)
    return int(limits.min), int(limits.max)


def _representable(value: object, dtype: DType) -> bool | int | float:
    if dtype is bool_:
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
    elif dtype.category == "int":
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            low, high = _limits(dtype)
            if low <= value <= high:
                return int(value)
    elif (
        dtype.is_floating_point
        and isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
    ):
        with np.errstate(over="ignore"):
            return float(round_to(np.array(float(value)), dtype))
    raise GraphError(f"constant: expected a value of dtype {dtype.name}, got {value!r}")


def _lift(value: Operand, dtype: DType) -> Expr:
    if isinstance(value, (Const, Var, Load, Local, Unary, Binary, Select, Cast, Bitcast, Fma)):
        return value
    if isinstance(value, _Operators):
        raise GraphError(f"expected a loop expression, got {value!r}")
    return Const(value, dtype)


def _infix(op: str, left: Operand, right: Operand) -> Binary:
    left_dtype, right_dtype = getattr(left, "dtype", None), getattr(right, "dtype", None)
    dtype = left_dtype or right_dtype or int64
    return Binary(op, _lift(left, dtype), _lift(right, dtype))
