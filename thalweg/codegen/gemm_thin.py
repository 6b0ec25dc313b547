"""Products with few rows: each element of B is used so seldom that nothing is worth packing.

The sums of a block of columns stay in a buffer on the stack until they are complete. They are
computed in one of two ways, after the way in which B lies:

``dots``   rows of A and columns of B are contiguous along the sum: a tile of dot products, in
           vectors along the sum, added up across their lanes at the end
``rows``   rows of B are contiguous: several of them at a time, multiplied by elements of A, are
           added to the sums, in vectors along the columns

Both read B once, in a few streams. A long sum over few columns is split into parts, which a second
launch adds in their order.
"""

from __future__ import annotations

from ..ir.anchor import AnchorCall
from ..runtime.native import Launch, NativeKernel
from .builder import Function, Int, Val, as_value, vector
from .gemm_finish import Finish
from .gemm_operands import ARGUMENTS, Operands
from .gemm_pack import pieces
from .gemm_plan import Plan, even_parts
from .gemm_shape import Problem
from .gemm_tile import Numbers
from .target import Target

UNIT_BYTES = 1 << 18  # of B: worth a unit of its own
DOT_BLOCK = 48  # columns of a unit; a tile's are a divisor
MOST_STEPS = 1024  # that rows are added to one sum: short sums are more exact
ROW_BYTES = 1 << 14  # of the sums of a unit: long rows are good streams, but must stay in cache
MOST_ROWS, MOST_ROWS_OF_ROWS = 8, 4


def thin(problem: Problem, numbers: Numbers) -> str:
    """Which way suits, or "" if none does."""
    row, col, inner = problem.row, problem.col, problem.inner
    if problem.sums or inner.size < 2 * numbers.lanes:
        return ""
    if inner.a == 1 and inner.b == 1 and row.size <= MOST_ROWS:
        return "dots"
    return "rows" if col.b == 1 and row.size <= MOST_ROWS_OF_ROWS and col.size >= 64 else ""


class Thin(Operands):
    """Builds the kernel of a product of few rows."""

    def __init__(
        self, call: AnchorCall, problem: Problem, numbers: Numbers, target: Target, way: str
    ) -> None:
        self.way = way
        m, n, k = problem.row.size, problem.col.size, problem.inner.size
        wide = target.registers // 16
        if way == "dots":
            self.rows = -(-m // -(-m // 4))
            self.cols = min(n, (3 if self.rows == 4 else 4) * wide)
            self.unroll = max(1, 8 * wide // (self.rows * self.cols))
            self.block = min(n, DOT_BLOCK)
            self.margin = self.cols  # the last tile may begin before the block
        else:
            self.rows, self.unroll = m, 8 // m
            most = ROW_BYTES // (m * numbers.bytes)
            lanes = numbers.lanes
            self.block = -(-even_parts(n, most) // lanes) * lanes
            self.margin = 0
        plan = Plan(m, 1, 1, 1, k, "direct", "direct", 1)
        super().__init__(call, problem, plan, numbers)
        self.blocks = -(-n // self.block)
        units = self.blocks * problem.outer_count
        bytes_of_unit = k * self.block * numbers.bytes
        self.splits = 1
        if units < 4:
            self.splits = max(1, min(-(-8 // units), bytes_of_unit // UNIT_BYTES))
        if way == "rows":
            self.splits = max(self.splits, -(-k // MOST_STEPS))
        whole = self.unroll * numbers.lanes
        self.part = -(-k // self.splits // whole) * whole if self.splits > 1 else k
        self.splits = max(1, -(-k // self.part))
        self.columns = self.block + self.margin  # of the buffer of sums
        self.finish = Finish(call, problem, numbers, target, self.columns)
        self.chunk = max(1, min(UNIT_BYTES // max(bytes_of_unit, 1), -(-units // 4)))

    def build(self, name: str) -> NativeKernel:
        problem, module = self.problem, self.module
        with module.function(
            self.way, [("ptr", "a"), ("ptr", "b"), ("ptr", "out"), ("i64", "depth"),
                       ("i64", "count")], internal=True,
        ) as f:  # fmt: skip
            (self._dots if self.way == "dots" else self._rows)(f)
        self.tail = problem.col.size % self.block
        for valid in sorted({self.block, self.tail} - {0}):
            self.finish.emit(module, f"finish{valid}", valid)
        units = problem.outer_count * self.blocks
        size = problem.row.size * self.columns
        launches = [Launch("gemm", units * self.splits, self.chunk)]
        if self.splits > 1:
            self.parts_at = self._workspace(units * self.splits * size * self.numbers.bytes)
            launches.append(Launch("combine", units, self.chunk))
        with module.function("gemm", ARGUMENTS) as f:
            sums = f.alloca(self.numbers.register, size)
            with f.loop(f.param("lo"), f.param("hi")) as unit:
                self._unit(f, unit, sums)
        if self.splits > 1:
            with module.function("combine", ARGUMENTS) as f:
                sums = f.alloca(self.numbers.register, size)
                with f.loop(f.param("lo"), f.param("hi")) as unit:
                    self._combine(f, unit, sums, units)
        return self._kernel(name, launches)

    # --- units ----------------------------------------------------------------------------------

    def _unit(self, f: Function, unit: Int, sums: Val) -> None:
        """One part of the sums of one block of columns."""
        problem, numbers = self.problem, self.numbers
        block, rest = f.rem(unit, self.blocks), f.div(unit, self.blocks)
        part, number = f.rem(rest, self.splits), f.div(rest, self.splits)
        outer = self._split(f, number, problem.outer)
        start = f.mul(part, self.part)
        depth = f.min(f.sub(problem.inner.size, start), self.part)
        if self.splits > 1:
            at = f.add(f.mul(f.add(f.mul(part, problem.outer_count), number), self.blocks), block)
            sums = self._part(f, at)
        first = f.mul(block, self.block)
        count = f.min(f.sub(problem.col.size, first), self.block)
        a = self._origin(f, self.a, outer)
        a = f.gep(numbers.memory, a, f.mul(start, problem.inner.a))
        b = self._origin(f, self.b, outer)
        at = f.add(f.mul(start, problem.inner.b), f.mul(first, problem.col.b))
        b = f.gep(numbers.memory, b, at)
        if self.way == "dots":
            self._dot_tiles(f, a, b, sums, depth, first, count)
        else:
            f.call("void", "rows", a, b, sums, as_value(depth), as_value(count))
        if self.splits == 1:
            self._finish(f, outer, block, sums)

    def _part(self, f: Function, number: Int) -> Val:
        base = f.load("ptr", f.gep("ptr", f.param("args"), self.parts_at))
        size = self.problem.row.size * self.columns
        return f.gep(self.numbers.register, base, f.mul(number, size))

    def _finish(self, f: Function, outer: list[Int], block: Int, sums: Val) -> None:
        """The epilogue of a block of columns."""
        sums = f.gep(self.numbers.register, sums, self.margin)
        rows = self.problem.row.size
        args = f.param("args")
        col = f.mul(block, self.block)

        def finish(valid: int) -> None:
            self.finish.invoke(f, f"finish{valid}", args, sums, rows, outer, 0, col)

        if not self.tail:
            finish(self.block)
        elif self.blocks == 1:
            finish(self.tail)
        else:
            full = f.test("slt", block, self.blocks - 1)
            f.either(full, lambda: finish(self.block), lambda: finish(self.tail))

    def _combine(self, f: Function, unit: Int, sums: Val, units: int) -> None:
        """Adds the parts of a block of columns."""
        numbers = self.numbers
        size = self.problem.row.size * self.columns
        for_vectors = [(0, size // numbers.lanes * numbers.lanes, numbers.lanes)]
        for_vectors.append((for_vectors[0][1], size, 1))
        first = self._part(f, unit)
        for begin, end, lanes in for_vectors:
            if begin == end:
                continue
            with f.loop(begin, end, lanes) as i:
                with f.carry(0, self.splits, [numbers.zero(lanes)]) as (part, now, following):
                    at = f.gep(numbers.register, first, f.add(f.mul(part, units * size), i))
                    x = f.load(vector(numbers.register, lanes), at)
                    following[0] = numbers.add(f, now[0], x)
                f.store(following[0], f.gep(numbers.register, sums, i))
        block, number = f.rem(unit, self.blocks), f.div(unit, self.blocks)
        self._finish(f, self._split(f, number, self.problem.outer), block, sums)

    # --- dot products ---------------------------------------------------------------------------

    def _dot_tiles(
        self, f: Function, a: Val, b: Val, sums: Val, depth: Int, first: Int, count: Int
    ) -> None:
        """All tiles of a block. The last one of a row or column of tiles begins where it ends at
        the edge, and computes again what the one before has."""
        problem, numbers = self.problem, self.numbers
        m = problem.row.size
        with f.loop(0, count, self.cols) as j:
            # `first + j` is where a tile begins; it must not reach past the last column
            at = f.min(j, f.sub(problem.col.size - self.cols, first))
            column = f.gep(numbers.memory, b, f.mul(at, problem.col.b))
            out = f.gep(numbers.register, sums, f.add(at, self.margin))
            with f.loop(0, m, self.rows) as i:
                row = f.min(i, m - self.rows)
                f.call(
                    "void", "dots", f.gep(numbers.memory, a, f.mul(row, problem.row.a)), column,
                    f.gep(numbers.register, out, f.mul(row, self.columns)), as_value(depth),
                    as_value(0),
                )  # fmt: skip

    def _dots(self, f: Function) -> None:
        """A tile of rows times columns of dot products."""
        numbers, lanes, depth = self.numbers, self.numbers.lanes, f.param("depth")
        sums = [numbers.zero(lanes)] * (self.rows * self.cols * self.unroll)
        step = lanes * self.unroll
        whole = f.mul(f.div(depth, step), step)
        with f.carry(0, whole, sums, step) as (k, now, following):
            for u in range(self.unroll):
                part = slice(u * self.rows * self.cols, (u + 1) * self.rows * self.cols)
                following[part] = self._products(f, k, u * lanes, lanes, now[part])
        sums = self._added(f, following)
        if self.unroll > 1:
            vectors = f.mul(f.div(depth, lanes), lanes)
            with f.carry(whole, vectors, sums, lanes) as (k, now, following):
                following[:] = self._products(f, k, 0, lanes, now)
            sums, whole = following, vectors
        rows = self._across_lanes(f, sums)
        out = [f.gep(numbers.register, f.param("out"), r * self.columns) for r in range(self.rows)]
        if self.part % lanes == 0 and self.problem.inner.size % lanes == 0:
            for row, at in zip(rows, out):
                for start, size in pieces(self.cols, lanes):
                    part_of_row = (
                        f.extract(row, start)
                        if size == 1
                        else f.shuffle(row, None, range(start, start + size))
                    )
                    f.store(part_of_row, f.gep(numbers.register, at, start))
            return
        scalars = [f.extract(row, c) for row in rows for c in range(self.cols)]
        with f.carry(whole, depth, scalars) as (k, now, following):
            following[:] = self._products(f, k, 0, 1, now)
        for i, x in enumerate(following):
            f.store(x, f.gep(numbers.register, out[i // self.cols], i % self.cols))

    def _products(self, f: Function, k: Val, ahead: int, lanes: int, sums: list[Val]) -> list[Val]:
        """The sums of a tile after ``lanes`` more steps."""
        numbers, problem = self.numbers, self.problem

        def load(base: str, offset: int) -> Val:
            at = f.gep(numbers.memory, f.gep(numbers.memory, f.param(base), k), offset + ahead)
            return numbers.load(f, at, lanes)

        sums = list(sums)
        columns = [load("b", c * problem.col.b) for c in range(self.cols)]
        for r in range(self.rows):
            x = load("a", r * problem.row.a)
            for c, y in enumerate(columns):
                at = r * self.cols + c
                sums[at] = numbers.multiply_add(f, x, y, sums[at])
        return sums

    def _added(self, f: Function, sums: list[Val]) -> list[Val]:
        """The sums of the unrolled steps, pairwise."""
        count = self.rows * self.cols
        parts = [sums[i : i + count] for i in range(0, len(sums), count)]
        while len(parts) > 1:
            pairs = list(zip(parts[::2], parts[1::2]))
            left = parts[len(pairs) * 2 :]
            parts = [[self.numbers.add(f, x, y) for x, y in zip(*pair)] for pair in pairs] + left
        return parts[0]

    def _across_lanes(self, f: Function, sums: list[Val]) -> list[Val]:
        """For every row of the tile a vector whose first lanes are the sums of its columns."""
        lanes = self.numbers.lanes
        width = 1 << (self.cols - 1).bit_length()
        rows: list[Val] = []
        for r in range(self.rows):
            row = sums[r * self.cols : (r + 1) * self.cols]
            row += row[-1:] * (width - self.cols)
            rows += [self._tree(f, row[at : at + lanes]) for at in range(0, width, lanes)]
        if width <= lanes:
            return rows
        per = width // lanes
        return [self._joined(f, rows[i : i + per]) for i in range(0, len(rows), per)]

    def _tree(self, f: Function, vectors: list[Val]) -> Val:
        """Lane i of the result is the sum over the lanes of vector i."""
        lanes, step = self.numbers.lanes, 1
        while step < lanes:
            low = [p if not p & step else lanes + p - step for p in range(lanes)]
            high = [p + step if not p & step else lanes + p for p in range(lanes)]
            pairs = (
                zip(vectors[::2], vectors[1::2]) if len(vectors) > 1 else [(vectors[0], vectors[0])]
            )
            vectors = [
                self.numbers.add(f, f.shuffle(x, y, low), f.shuffle(x, y, high)) for x, y in pairs
            ]
            step *= 2
        return vectors[0]

    def _joined(self, f: Function, vectors: list[Val]) -> Val:
        while len(vectors) > 1:
            size = 2 * int(vectors[0].type[1:].split(" ", 1)[0])
            vectors = [f.shuffle(x, y, range(size)) for x, y in zip(vectors[::2], vectors[1::2])]
        return vectors[0]

    # --- rows of B ------------------------------------------------------------------------------

    def _rows(self, f: Function) -> None:
        """Rows of B, several at a time, times elements of A, added to the sums."""
        numbers, depth = self.numbers, f.param("depth")
        lanes, count = numbers.lanes, f.param("count")
        tail = self.problem.col.size % lanes
        whole = f.mul(f.div(count, lanes), lanes) if tail else count
        with f.loop(0, self.rows * self.columns, lanes) as i:
            f.store(numbers.zero(lanes), f.gep(numbers.register, f.param("out"), i))
        steps = f.mul(f.div(depth, self.unroll), self.unroll)
        for begin, end, together in [(0, steps, self.unroll), (steps, depth, 1)]:
            with f.loop(begin, end, together) as k:
                factors = self._factors(f, k, together)
                b = f.gep(numbers.memory, f.param("b"), f.mul(k, self.problem.inner.b))
                with f.loop(0, whole, lanes) as j:
                    self._row_step(f, factors, b, j, lanes, together)
                if tail:
                    with f.when(f.test("slt", whole, count)):
                        for start, size in pieces(tail, lanes):
                            self._row_step(f, factors, b, f.add(whole, start), size, together)

    def _factors(self, f: Function, k: Val, together: int) -> list[list[Val]]:
        numbers, problem = self.numbers, self.problem
        found = []
        for r in range(self.rows):
            a = f.gep(numbers.memory, f.param("a"), f.mul(k, problem.inner.a))
            a = f.gep(numbers.memory, a, r * problem.row.a)
            found.append(
                [
                    numbers.load(f, f.gep(numbers.memory, a, u * problem.inner.a), 1)
                    for u in range(together)
                ]
            )
        return found

    def _row_step(
        self, f: Function, factors: list[list[Val]], b: Val, j: Int, lanes: int, together: int
    ) -> None:
        numbers = self.numbers
        out = [
            f.gep(numbers.register, f.gep(numbers.register, f.param("out"), r * self.columns), j)
            for r in range(self.rows)
        ]
        type = vector(numbers.register, lanes)
        sums = [f.load(type, at) for at in out]
        for u in range(together):
            row = f.gep(numbers.memory, b, u * self.problem.inner.b)
            y = numbers.load(f, f.gep(numbers.memory, row, j), lanes)
            for r in range(self.rows):
                x = f.splat(factors[r][u], lanes)
                sums[r] = numbers.multiply_add(f, x, y, sums[r])
        for at, x in zip(out, sums):
            f.store(x, at)
