"""The micro-kernel: a tile of the result held in registers while its sum runs.

A tile has ``rows`` rows of ``vectors`` vector registers. Each step of the sum loads one row of B as
vectors and multiplies it with a column of A, broadcast element by element. B comes as rows of
``k`` with unit stride between columns: packed panels, or the matrix itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.dtypes import DType
from .builder import Function, Int, Module, Val, as_value, literal, size_of, vector
from .target import Target
from .types import as_computed, memory_type, register_type

LINE = 64  # bytes


def fetch_line(f: Function, pointer: Val, level: int = 1) -> None:
    """Ask for a cache line; ``level`` is the cache that it shall come to."""
    f.module.declare("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    f.emit(f"call void @llvm.prefetch.p0({pointer}, i32 0, i32 {4 - level}, i32 1)")


@dataclass(frozen=True, slots=True)
class Numbers:
    """How elements are held: ``memory`` as operands store them, ``register`` while computing.
    Narrow integers are summed as int32, whose low bits are theirs; halves as float32."""

    dtype: DType
    memory: str
    register: str
    lanes: int

    @staticmethod
    def of(dtype: DType, target: Target) -> Numbers:
        register = register_type(dtype)
        if register in ("i8", "i16"):
            register = "i32"
        return Numbers(dtype, memory_type(dtype), register, target.lanes(size_of(register)))

    @property
    def bytes(self) -> int:
        return size_of(self.register)

    @property
    def as_stored(self) -> bool:
        """Whether operands can be used where they lie, without conversion."""
        return self.memory == self.register

    def load(self, f: Function, pointer: Val, lanes: int) -> Val:
        """Elements of an operand, ready to compute with."""
        x = as_computed(f, f.load(vector(self.memory, lanes), pointer), self.dtype)
        return f.convert("sext", x, vector(self.register, lanes))

    def multiply_add(self, f: Function, x: Val, y: Val, total: Val) -> Val:
        if self.register in ("float", "double"):
            return f.intrinsic("fma", x, y, total)
        return f.binary("add", f.binary("mul", x, y), total)

    def add(self, f: Function, x: Val, y: Val) -> Val:
        return f.binary("fadd" if self.register in ("float", "double") else "add", x, y)

    def value(self, f: Function, x: Val, lanes: int) -> Val:
        """A sum in the type that epilogues expect."""
        return f.convert("trunc", x, vector(register_type(self.dtype), lanes))

    def zero(self, lanes: int = 1) -> Val:
        return literal(0, vector(self.register, lanes))


@dataclass(frozen=True, slots=True)
class Source:
    """How the tile reads an operand: element (position, k) lies at ``position * across +
    k * along``; ``packed`` copies are in the register type."""

    across: Int
    along: Int
    packed: bool

    def load(self, f: Function, numbers: Numbers, pointer: Val, lanes: int) -> Val:
        if self.packed:
            return f.load(vector(numbers.register, lanes), pointer)
        return numbers.load(f, pointer, lanes)

    def at(self, f: Function, numbers: Numbers, pointer: Val, offset: Int) -> Val:
        return f.gep(numbers.register if self.packed else numbers.memory, pointer, offset)


@dataclass(frozen=True, slots=True)
class Tile:
    """One micro-kernel function, called as

    name(a, b, along, out, row_step, depth, before, following, start, step, ...)

    which writes its sums to ``out``, rows ``row_step`` elements apart. ``along`` is the distance of
    B's rows, for tiles that read B packed and as it lies. A tile that ``accumulates`` adds what
    lies at ``before``. ``unroll`` divides every depth if ``even``. A tile with ``lines`` fetches
    so many cache lines from ``following`` on in each ``unroll`` steps. What it or the
    epilogue behind it will need is fetched meanwhile: ``streams`` are the bytes of a row of each
    piece of such memory, ``start`` and ``step`` say where the first row lies and how far apart they
    are. ``per`` rows are fetched in each ``unroll`` steps: all at once they would hold up the loads
    of the first steps.
    """

    name: str
    rows: int
    vectors: int
    a: Source
    b: Source
    numbers: Numbers
    accumulates: bool = False
    even: bool = False
    unroll: int = 4
    ahead: int = 0  # rows of B to prefetch in advance
    lines: int = 0
    streams: tuple[int, ...] = ()
    per: int = 1

    @property
    def columns(self) -> int:
        return self.vectors * self.numbers.lanes

    def emit(self, module: Module) -> None:
        params = [("ptr", "a"), ("ptr", "b"), ("i64", "along"), ("ptr", "out"), ("i64", "row_step")]
        params += [("i64", "depth"), ("ptr", "before"), ("ptr", "following")]
        for n in range(len(self.streams)):
            params += [("ptr", f"start{n}"), ("i64", f"step{n}")]
        with module.function(self.name, params, internal=True) as f:
            self._body(f)

    def call(
        self, f: Function, a: Val, b: Val, along: Int, out: Val, row_step: Int, depth: Int,
        before: Val | None = None, following: Val | None = None,
        streams: Sequence[tuple[Val, Int]] = (),
    ) -> None:  # fmt: skip
        nothing = Val("ptr", "null")
        f.call(
            "void", self.name, a, b, as_value(along), out, as_value(row_step), as_value(depth),
            before or nothing, following or nothing,
            *(x for start, step in streams for x in (start, as_value(step))),
        )  # fmt: skip

    def _body(self, f: Function) -> None:
        numbers, count = self.numbers, self.rows * self.vectors
        depth = f.param("depth")
        sums = [numbers.zero(numbers.lanes)] * count
        rest: Int = 0 if self.even else f.rem(depth, self.unroll)
        whole = f.sub(depth, rest)
        begin: Int = 0
        if self.streams:
            begin = f.min(whole, -(-self.rows // self.per) * self.unroll)
            sums = self._steps(f, 0, begin, sums, fetches=True)
        sums = self._steps(f, begin, whole, sums)
        if not self.even:
            with f.carry(whole, depth, sums) as (k, now, following):
                following[:] = self._step(f, k, 0, now)
            sums = following
        self._write(f, sums)

    def _steps(
        self, f: Function, begin: Int, end: Int, sums: list[Val], fetches: bool = False
    ) -> list[Val]:  # fmt: skip
        """The steps ``begin .. end``, ``unroll`` at a time."""
        with f.carry(begin, end, sums, self.unroll) as (k, now, following):
            for line in range(self.lines):
                at = f.add(f.mul(k, self.lines * LINE // self.unroll), line * LINE)
                fetch_line(f, f.gep("i8", f.param("following"), at), level=2)
            if fetches:
                self._fetch(f, f.div(k, self.unroll))
            for step in range(self.unroll):
                now = self._step(f, k, step, now)
            following[:] = now
        return following

    def _fetch(self, f: Function, group: Int) -> None:
        """The next rows of the streams."""
        for n, size in enumerate(self.streams):
            step = f.param(f"step{n}")
            first = f.gep("i8", f.param(f"start{n}"), f.mul(f.mul(group, self.per), step))
            for row in range(self.per):
                start = f.gep("i8", first, f.mul(step, row))
                for line in range(0, size, LINE):
                    fetch_line(f, f.gep("i8", start, line), level=2)

    def _step(self, f: Function, k: Val, step: int, sums: list[Val]) -> list[Val]:
        numbers, along = self.numbers, self.b.along
        b = self.b.at(f, numbers, f.param("b"), f.mul(k, along))
        b = self.b.at(f, numbers, b, f.mul(step, along))
        row = [
            self.b.load(f, numbers, self.b.at(f, numbers, b, j * numbers.lanes), numbers.lanes)
            for j in range(self.vectors)
        ]
        if self.ahead:
            ahead = self.b.at(f, numbers, b, f.mul(self.ahead, self.b.along))
            for line in range(0, self.columns * numbers.bytes, LINE):
                fetch_line(f, f.gep("i8", ahead, line))
        a = self.a.at(f, numbers, f.param("a"), f.mul(k, self.a.along))
        sums = list(sums)
        for i in range(self.rows):
            offset = f.add(f.mul(i, self.a.across), f.mul(step, self.a.along))
            x = f.splat(self.a.load(f, numbers, self.a.at(f, numbers, a, offset), 1), numbers.lanes)
            for j, y in enumerate(row):
                n = i * self.vectors + j
                sums[n] = numbers.multiply_add(f, x, y, sums[n])
        return sums

    def _write(self, f: Function, sums: list[Val]) -> None:
        numbers = self.numbers
        for i in range(self.rows):
            row = f.gep(numbers.register, f.param("out"), f.mul(f.param("row_step"), i))
            for j in range(self.vectors):
                x, at = sums[i * self.vectors + j], j * numbers.lanes
                if self.accumulates:
                    before = f.gep(numbers.register, f.param("before"), i * self.columns + at)
                    x = numbers.add(f, x, f.load(x.type, before))
                f.store(x, f.gep(numbers.register, row, at))
