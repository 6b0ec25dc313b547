"""LLVM text, written one function at a time.

    module = Module()
    with module.function("double", [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f:
        x = f.load("ptr", f.param("args"))
        with f.loop(f.param("lo"), f.param("hi")) as i:
            at = f.gep("float", x, i)
            f.store(f.binary("fadd", f.load("float", at), f.load("float", at)), at)
    text = module.text()

Values carry their LLVM type. Wherever an integer is expected a Python int will do, and arithmetic
on Python ints is done at once, so that kernels specialised on constant shapes stay small. The
text depends on the calls alone: equal calls, equal text.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Val:
    """An LLVM value: its type and how it is written."""

    type: str
    text: str

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


Int = int | Val


def vector(type: str, lanes: int) -> str:
    """The vector type of ``lanes`` elements; the element type itself for one lane."""
    return type if lanes == 1 else f"<{lanes} x {type}>"


def element(type: str) -> str:
    """The element type of a vector type; any other type is its own."""
    return type.split(" x ", 1)[1][:-1] if type.startswith("<") else type


def lanes_of(type: str) -> int:
    return int(type[1:].split(" ", 1)[0]) if type.startswith("<") else 1


def suffix(type: str) -> str:
    """How intrinsics name a type: 'v8f32' for <8 x float>."""
    base = element(type)
    short = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16", "ptr": "p0"}
    name = short.get(base, base)
    return name if base == type else f"v{lanes_of(type)}{name}"


def literal(value: bool | int | float, type: str) -> Val:
    """A constant of a scalar type, or of a vector type with all lanes equal."""
    base = element(type)
    if base in ("float", "double", "half", "bfloat"):
        text = _float_text(float(value), base)
    else:
        text = str(int(value))
    return Val(type, text if base == type else f"splat ({base} {text})")


def _float_text(value: float, type: str) -> str:
    if type == "half":
        return f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
    if type == "bfloat":  # the caller rounded: the low half of the float's bits is zero
        return f"0xR{struct.unpack('<I', struct.pack('<f', value))[0] >> 16:04X}"
    if type == "float":
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


class Module:
    """Functions and the declarations they need."""

    def __init__(self) -> None:
        self._functions: list[str] = []
        self._declarations: set[str] = set()
        self._globals: list[str] = []

    @contextmanager
    def function(
        self, name: str, params: Sequence[tuple[str, str]], returns: str = "void",
        internal: bool = False,
    ) -> Iterator[Function]:  # fmt: skip
        """A function to fill inside the ``with`` block; it returns where the block ends, unless
        the last instruction written returns already. ``params`` are (type with attributes, name)
        pairs."""
        made = Function(self, params)
        yield made
        head = ", ".join(f"{type} %{param}" for type, param in params)
        linkage = "internal " if internal else ""
        self._functions.append(made.finish(f"define {linkage}{returns} @{name}({head}) #0"))

    def declare(self, text: str) -> None:
        """A declaration such as ``declare float @expf(float)``; repeating one is harmless."""
        self._declarations.add(text)

    def constant(self, name: str, text: str) -> Val:
        """A private constant; ``text`` is its type and initialiser."""
        self._globals.append(f"@{name} = private unnamed_addr constant {text}, align 64")
        return Val("ptr", f"@{name}")

    def text(self) -> str:
        """The module as LLVM assembly."""
        width = 'attributes #0 = { nounwind "no-trapping-math"="true" }'
        parts = [*self._globals, *sorted(self._declarations), *self._functions, width]
        return "\n".join(parts) + "\n"


class Numbering:
    """Value numbering: equal pure instructions are written once, where the first one dominates."""

    def __init__(self) -> None:
        self.known: dict[object, object] = {}
        self._order: list[object] = []

    def add(self, key: object, value: object) -> None:
        self.known[key] = value
        self._order.append(key)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is added inside is forgotten at the end: it does not dominate what follows."""
        start = len(self._order)
        yield
        for key in self._order[start:]:
            self.known.pop(key, None)
        del self._order[start:]


class Function:
    """Writes instructions at the end of the current block.

    ``numbering``, if set, makes `value` give the result of an equal earlier instruction. Loops and
    branches opened through the function's own methods keep it honest about dominance.
    """

    def __init__(self, module: Module, params: Sequence[tuple[str, str]]) -> None:
        self.module = module
        self.numbering: Numbering | None = None
        self._params = {name: Val(type.split(" ", 1)[0], f"%{name}") for type, name in params}
        self._lines: list[str] = []
        self._allocas: list[str] = []
        self._count = 0
        self._block = "entry"

    def finish(self, head: str) -> str:
        lines = [f"{head} {{", "entry:", *self._allocas, *self._lines]
        if not (self._lines and self._lines[-1].startswith("  ret")):
            lines.append("  ret void")
        return "\n".join([*lines, "}"])

    def param(self, name: str) -> Val:
        return self._params[name]

    # --- instructions ---------------------------------------------------------------------------

    def fresh(self, prefix: str = "v") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def emit(self, text: str) -> None:
        """An instruction without a result."""
        self._lines.append(f"  {text}")

    def value(self, type: str, text: str) -> Val:
        """A pure instruction with a result of ``type``."""
        if self.numbering is None:
            return self.effect(type, text)
        found = self.numbering.known.get(text)
        if not isinstance(found, Val):
            found = self.effect(type, text)
            self.numbering.add(text, found)
        return found

    def effect(self, type: str, text: str) -> Val:
        """An instruction with a result that may differ from that of an equal one: a load, a call
        of a function with effects."""
        name = f"%{self.fresh()}"
        self._lines.append(f"  {name} = {text}")
        return Val(type, name)

    @contextmanager
    def _scope(self) -> Iterator[None]:
        with self.numbering.scope() if self.numbering is not None else nullcontext():
            yield

    def binary(self, op: str, x: Val, y: Val, flags: str = "") -> Val:
        """``op`` is LLVM's ('fadd', 'mul', 'shl'); ``flags`` such as 'contract' or 'nsw'."""
        return self.value(x.type, f"{op} {flags + ' ' if flags else ''}{x}, {y.text}")

    def compare(self, op: str, predicate: str, x: Val, y: Val) -> Val:
        """'icmp' or 'fcmp' with a predicate; i1, or a vector of them."""
        return self.value(vector("i1", lanes_of(x.type)), f"{op} {predicate} {x}, {y.text}")

    def select(self, cond: Val, yes: Val, no: Val) -> Val:
        return self.value(yes.type, f"select {cond}, {yes}, {no}")

    def convert(self, op: str, x: Val, type: str) -> Val:
        """A cast instruction: 'sext', 'bitcast', 'sitofp', 'fptrunc', ..."""
        return x if x.type == type else self.value(type, f"{op} {x} to {type}")

    def intrinsic(self, name: str, *args: Val, overload: str = "") -> Val:
        """``llvm.NAME`` overloaded on the first argument's type and returning it."""
        type = args[0].type
        symbol = f"@llvm.{name}.{suffix(overload or type)}"
        self.module.declare(f"declare {type} {symbol}({', '.join(a.type for a in args)})")
        return self.value(type, f"call {type} {symbol}({', '.join(map(str, args))})")

    def call(self, returns: str, name: str, *args: Val, flags: str = "") -> Val | None:
        """Call a function of the module, or one that was declared."""
        text = f"call {flags + ' ' if flags else ''}{returns} @{name}({', '.join(map(str, args))})"
        if returns == "void":
            self.emit(text)
            return None
        return self.effect(returns, text)

    def load(self, type: str, pointer: Val, align: int = 0) -> Val:
        """``align`` in bytes; by default the element's own."""
        return self.effect(type, f"load {type}, {pointer}, align {align or _align(type)}")

    def store(self, value: Val, pointer: Val, align: int = 0, stream: bool = False) -> None:
        """``stream`` writes around the cache; the address must then be aligned to the vector."""
        hint = ", !nontemporal !{i32 1}" if stream else ""
        self.emit(f"store {value}, {pointer}, align {align or _align(value.type)}{hint}")

    def gep(self, type: str, pointer: Val, index: Int) -> Val:
        """The address ``index`` elements of ``type`` behind ``pointer``."""
        if index == 0:
            return pointer
        return self.value(
            "ptr", f"getelementptr inbounds {type}, {pointer}, i64 {number(index)}"
        )  # fmt: skip

    def alloca(self, type: str, count: int = 1, align: int = 64) -> Val:
        """Stack memory that lives until the function returns, wherever it is asked for."""
        name = f"%{self.fresh('a')}"
        self._allocas.append(f"  {name} = alloca {type}, i64 {count}, align {align}")
        return Val("ptr", name)

    # --- atomics --------------------------------------------------------------------------------

    def atomic_load(self, type: str, pointer: Val, order: str = "acquire") -> Val:
        return self.value(type, f"load atomic {type}, {pointer} {order}, align {_align(type)}")

    def atomic_store(self, value: Val, pointer: Val, order: str = "release") -> None:
        self.emit(f"store atomic {value}, {pointer} {order}, align {_align(value.type)}")

    def atomic_update(self, op: str, pointer: Val, value: Val, order: str = "seq_cst") -> Val:
        """The old value; 'add', 'sub', 'xchg', 'or', ..."""
        return self.value(value.type, f"atomicrmw {op} {pointer}, {value} {order}")

    def compare_exchange(self, pointer: Val, expected: Val, new: Val) -> Val:
        """i1: whether ``expected`` stood there and was replaced by ``new``."""
        type = f"{{ {new.type}, i1 }}"
        pair = self.value(type, f"cmpxchg {pointer}, {expected}, {new} acq_rel acquire")
        return self.value("i1", f"extractvalue {type} {pair.text}, 1")

    # --- vectors --------------------------------------------------------------------------------

    def splat(self, x: Val, lanes: int) -> Val:
        """A scalar in all lanes."""
        if lanes == 1:
            return x
        type = vector(x.type, lanes)
        if not x.text.startswith(("%", "@")):
            return Val(type, f"splat ({x})")
        first = self.value(type, f"insertelement {type} poison, {x}, i64 0")
        zero = f"<{lanes} x i32> zeroinitializer"
        return self.value(type, f"shufflevector {first}, {type} poison, {zero}")

    def shuffle(self, x: Val, y: Val | None, mask: Sequence[int]) -> Val:
        """Lanes ``mask`` of x and then y (None: of x alone)."""
        other = f"{x.type} poison" if y is None else str(y)
        lanes = ", ".join(f"i32 {m}" for m in mask)
        type = vector(element(x.type), len(mask))
        return self.value(type, f"shufflevector {x}, {other}, <{len(mask)} x i32> <{lanes}>")

    def extract(self, x: Val, lane: int) -> Val:
        return self.value(element(x.type), f"extractelement {x}, i64 {lane}")

    def insert(self, x: Val, y: Val, lane: int) -> Val:
        return self.value(x.type, f"insertelement {x}, {y}, i64 {lane}")

    # --- 64-bit integers ------------------------------------------------------------------------

    def add(self, x: Int, y: Int) -> Int:
        if x == 0 or y == 0:
            return y if x == 0 else x
        return self._fold("add nsw", x, y, lambda a, b: a + b)

    def sub(self, x: Int, y: Int) -> Int:
        return x if y == 0 else self._fold("sub nsw", x, y, lambda a, b: a - b)

    def mul(self, x: Int, y: Int) -> Int:
        if x == 0 or y == 0:
            return 0
        if x == 1 or y == 1:
            return y if x == 1 else x
        return self._fold("mul nsw", x, y, lambda a, b: a * b)

    def div(self, x: Int, y: Int) -> Int:
        """Quotient of non-negative numbers."""
        return x if y == 1 else self._fold("udiv", x, y, lambda a, b: a // b)

    def rem(self, x: Int, y: Int) -> Int:
        """Remainder of non-negative numbers."""
        return 0 if y == 1 else self._fold("urem", x, y, lambda a, b: a % b)

    def min(self, x: Int, y: Int) -> Int:
        if isinstance(x, int) and isinstance(y, int):
            return min(x, y)
        return self.intrinsic("smin", as_value(x), as_value(y))

    def max(self, x: Int, y: Int) -> Int:
        if isinstance(x, int) and isinstance(y, int):
            return max(x, y)
        return self.intrinsic("smax", as_value(x), as_value(y))

    def test(self, predicate: str, x: Int, y: Int) -> Val:
        """'slt', 'eq', ... of integers."""
        return self.compare("icmp", predicate, as_value(x), as_value(y))

    def _fold(self, op: str, x: Int, y: Int, compute: Callable[[int, int], int]) -> Int:
        if isinstance(x, int) and isinstance(y, int):
            return compute(x, y)
        return self.value("i64", f"{op} {as_value(x)}, {number(y)}")

    # --- control flow ---------------------------------------------------------------------------

    @contextmanager
    def loop(self, lo: Int, hi: Int, step: int = 1) -> Iterator[Val]:
        """The block for ``lo <= i < hi``; gives i. Values do not leave the loop (see `carry`)."""
        with self.carry(lo, hi, [], step) as (i, _, _):
            yield i

    @contextmanager
    def carry(
        self, lo: Int, hi: Int, init: Sequence[Val], step: int = 1
    ) -> Iterator[tuple[Val, list[Val], list[Val]]]:
        """A loop that carries values. Gives (i, values, slots): write the next iteration's values
        into the list ``slots``, which holds the current ones at first; after the block it holds
        what the last iteration left, or ``init`` if there was none."""
        n = self._count = self._count + 1
        before = self._block
        i = Val("i64", f"%i{n}")
        values = [Val(v.type, f"%c{n}_{k}") for k, v in enumerate(init)]
        self.emit(f"br label %head{n}")
        self._start(f"head{n}")
        at = len(self._lines)
        inside = self.test("slt", i, hi)
        self.emit(f"br {inside}, label %body{n}, label %exit{n}")
        self._start(f"body{n}")
        slots = list(values)
        with self._scope():
            yield i, values, slots
        following = self.effect("i64", f"add nsw {i}, {step}")
        last = self._block
        self.emit(f"br label %head{n}")
        phis = [
            f"  {i.text} = phi i64 [ {number(lo)}, %{before} ], [ {number(following)}, %{last} ]"
        ]
        phis += [
            f"  {v.text} = phi {v.type} [ {start.text}, %{before} ], [ {end.text}, %{last} ]"
            for v, start, end in zip(values, init, slots)
        ]
        self._lines[at:at] = phis
        self._start(f"exit{n}")
        slots[:] = values

    @contextmanager
    def forever(self) -> Iterator[Callable[[Val], None]]:
        """Repeat the block; gives ``leave(cond)``, which ends the loop where ``cond`` holds. What
        the loop changes it keeps in memory."""
        n = self._count = self._count + 1
        self.emit(f"br label %again{n}")
        self._start(f"again{n}")

        def leave(cond: Val) -> None:
            stay = self.fresh("stay")
            self.emit(f"br {cond}, label %left{n}, label %{stay}")
            self._start(stay)

        yield leave
        self.emit(f"br label %again{n}")
        self._start(f"left{n}")

    @contextmanager
    def when(self, cond: Val) -> Iterator[None]:
        """The block where ``cond`` holds."""
        n = self._count = self._count + 1
        self.emit(f"br {cond}, label %then{n}, label %end{n}")
        self._start(f"then{n}")
        with self._scope():
            yield
        self.emit(f"br label %end{n}")
        self._start(f"end{n}")

    def either(
        self, cond: Val, then: Callable[[], Sequence[Val] | None],
        otherwise: Callable[[], Sequence[Val] | None],
    ) -> list[Val]:  # fmt: skip
        """``then()`` writes one branch, ``otherwise()`` the other. What they return, in equal
        number and types, is merged."""
        n = self._count = self._count + 1
        self.emit(f"br {cond}, label %then{n}, label %else{n}")
        ends = []
        for label, write in (("then", then), ("else", otherwise)):
            self._start(f"{label}{n}")
            with self._scope():
                values = write() or []
            ends.append((values, self._block))
            self.emit(f"br label %end{n}")
        self._start(f"end{n}")
        (yes, after_yes), (no, after_no) = ends
        return [
            a
            if a == b
            else self.effect(
                a.type, f"phi {a.type} [ {a.text}, %{after_yes} ], [ {b.text}, %{after_no} ]"
            )
            for a, b in zip(yes, no, strict=True)
        ]

    def start(self, label: str) -> None:
        """Begin a block that other instructions jump to by name."""
        self._start(label)

    def _start(self, label: str) -> None:
        self._lines.append(f"{label}:")
        self._block = label


def as_value(x: Int) -> Val:
    return Val("i64", str(x)) if isinstance(x, int) else x


def number(x: Int) -> str:
    return str(x) if isinstance(x, int) else x.text


_BYTES = {"float": 4, "double": 8, "half": 2, "bfloat": 2, "ptr": 8, "i1": 1}


def size_of(type: str) -> int:
    """Bytes of a scalar type, or of a vector type as it lies in memory."""
    base = element(type)
    width = _BYTES.get(base) or int(re.fullmatch(r"i(\d+)", base)[1]) // 8  # type: ignore[index]
    return width * lanes_of(type)


def _align(type: str) -> int:
    return size_of(element(type))
