"""The inner product of all convolutions: a tile of the result in registers."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.dtypes import DType
from ..ir.loops import compute_dtype
from .builder import Function, Int, Module, Val, lanes_of, literal, size_of, vector
from .target import Target
from .types import register_type

TILE, THIN = "tile", "thin"
UNROLL = 4
LINE = 64  # bytes
FEW_COLUMNS = 4  # so many are multiplied faster by vectors of rows


@dataclass(frozen=True, slots=True)
class Tile:
    """``rows`` by ``vectors * lanes`` elements of ``type``, LLVM's name of a ``dtype``."""

    dtype: DType
    type: str
    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes

    @property
    def size(self) -> int:
        return size_of(self.type)

    @property
    def vector(self) -> str:
        return vector(self.type, self.lanes)

    def zero(self) -> Val:
        return literal(0, self.vector)


def ceil_div(x: int, y: int) -> int:
    return -(-x // y)


def round_up(x: int, y: int) -> int:
    return ceil_div(x, y) * y


def tile_for(
    dtype: DType, target: Target, rows: int = 0, columns: int = 0, thin: bool = False
) -> Tile:
    """The tile whose accumulators, vectors of columns and a broadcast fill the registers. Of wide
    vectors there are two shapes: the one that computes less beyond so many rows and columns, the
    last few of which may be `thin`."""
    dtype = compute_dtype(dtype)
    lanes = max(target.lanes(dtype.itemsize), 2)
    shapes = [(6 if target.registers == 16 else 12, 2)]
    if target.vector_bytes == 64:
        shapes.append((8, 3))
    tiles = [Tile(dtype, register_type(dtype), *shape, lanes) for shape in shapes]

    def computed(tile: Tile) -> int:
        width = columns if thin and few_columns(columns, tile) else round_up(columns, tile.columns)
        return round_up(rows, tile.rows) * width

    return min(tiles, key=computed)


def multiply_add(f: Function, a: Val, b: Val, c: Val) -> Val:
    """a * b + c of vectors of one type."""
    if "i" in a.type.split(" ")[-1]:
        return f.binary("add", f.binary("mul", a, b), c)
    return f.intrinsic("fma", a, b, c)


def write_tile(module: Module, tile: Tile) -> None:
    """``tile(a, b, c, ldc, count, accumulate)``: c = (c if accumulate else 0) + a b, with a packed
    as [count][rows], b as [count][columns] and c of ``ldc`` elements a row. b and c are aligned
    to a vector."""
    params = [
        ("ptr noalias readonly", "a"), ("ptr noalias readonly", "b"), ("ptr noalias", "c"),
        ("i64", "ldc"), ("i64", "count"), ("i1", "accumulate"),
    ]  # fmt: skip
    with module.function(TILE, params, internal=True) as f:
        a, b, c, count = (f.param(n) for n in ("a", "b", "c", "count"))
        align = tile.lanes * tile.size

        def step(at: Int, offset: int, sums: list[Val]) -> list[Val]:
            row = f.gep(tile.type, f.gep(tile.type, a, f.mul(at, tile.rows)), offset * tile.rows)
            column = f.gep(
                tile.type, f.gep(tile.type, b, f.mul(at, tile.columns)), offset * tile.columns
            )
            right = [
                f.load(tile.vector, f.gep(tile.type, column, j * tile.lanes), align)
                for j in range(tile.vectors)
            ]
            result = []
            for i in range(tile.rows):
                left = f.splat(f.load(tile.type, f.gep(tile.type, row, i)), tile.lanes)
                for j in range(tile.vectors):
                    result.append(multiply_add(f, left, right[j], sums[i * tile.vectors + j]))
            return result

        def ahead(at: Int, offset: int) -> None:
            """Fetches what the next tile of rows, which lies behind this one, will read here."""
            f.module.declare("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
            place = f.gep(tile.type, following, f.mul(at, tile.rows))
            place = f.gep(tile.type, place, offset * tile.rows)
            f.emit(f"call void @llvm.prefetch.p0({place}, i32 0, i32 3, i32 1)")

        following = f.gep(tile.type, a, f.mul(count, tile.rows))
        whole = f.mul(f.div(count, UNROLL), UNROLL)
        zeros = [tile.zero()] * (tile.rows * tile.vectors)
        with f.carry(0, whole, zeros, UNROLL) as (k, sums, out):
            for u in range(UNROLL):
                if u % max(1, min(2, LINE // (tile.rows * tile.size))) == 0:
                    ahead(k, u)
                sums = step(k, u, sums)
            out[:] = sums
        with f.carry(whole, count, out, 1) as (k, sums, out):
            out[:] = step(k, 0, sums)
        rows = [f.gep(tile.type, c, f.mul(f.param("ldc"), i)) for i in range(tile.rows)]
        places = [f.gep(tile.type, r, j * tile.lanes) for r in rows for j in range(tile.vectors)]

        def add() -> None:
            op = "add" if tile.type.startswith("i") else "fadd"
            for value, place in zip(out, places):
                f.store(f.binary(op, value, f.load(tile.vector, place, align)), place, align)

        def put() -> None:
            for value, place in zip(out, places):
                f.store(value, place, align)

        f.either(f.param("accumulate"), add, put)


def few_columns(positions: int, tile: Tile) -> int:
    """The positions of the last panel if `write_thin` computes them faster, else zero."""
    rest = positions % tile.columns
    return rest if rest <= FEW_COLUMNS and rest * _row_vectors(tile) < tile.rows else 0


def _row_vectors(tile: Tile) -> int:
    return -(-tile.rows // tile.lanes)


def write_thin(module: Module, tile: Tile, columns: int) -> None:
    """``thin`` is `TILE` for the first ``columns`` of b and c. Rows fill the registers, and
    neighbouring terms are added up apart, so that their sums do not wait for each other."""
    params = [
        ("ptr noalias readonly", "a"), ("ptr noalias readonly", "b"), ("ptr noalias", "c"),
        ("i64", "ldc"), ("i64", "count"), ("i1", "accumulate"),
    ]  # fmt: skip
    vectors = _row_vectors(tile)
    apart = max(min(UNROLL, 2 * tile.rows // (columns * vectors)), 1)
    op = "add" if tile.type.startswith("i") else "fadd"
    with module.function(THIN, params, internal=True) as f:
        a, b, c, count = (f.param(n) for n in ("a", "b", "c", "count"))

        def step(k: Int, sums: list[Val]) -> list[Val]:
            row = f.gep(tile.type, a, f.mul(k, tile.rows))
            column = f.gep(tile.type, b, f.mul(k, tile.columns))
            left = [
                f.load(tile.vector, f.gep(tile.type, row, v * tile.lanes)) for v in range(vectors)
            ]
            result = []
            for j in range(columns):
                right = f.splat(f.load(tile.type, f.gep(tile.type, column, j)), tile.lanes)
                for v in range(vectors):
                    result.append(multiply_add(f, left[v], right, sums[j * vectors + v]))
            return result

        size = columns * vectors
        whole = f.mul(f.div(count, apart), apart)
        with f.carry(0, whole, [tile.zero()] * (apart * size), apart) as (k, sums, out):
            for u in range(apart):
                out[u * size : (u + 1) * size] = step(f.add(k, u), sums[u * size : (u + 1) * size])
        totals = out[:size]
        for u in range(1, apart):
            totals = [f.binary(op, x, y) for x, y in zip(totals, out[u * size : (u + 1) * size])]
        with f.carry(whole, count, totals, 1) as (k, sums, out):
            out[:] = step(k, sums)
        places, values = [], []
        for i in range(tile.rows):
            line = f.gep(tile.type, c, f.mul(f.param("ldc"), i))
            for j in range(columns):
                places.append(f.gep(tile.type, line, j))
                vector, lane = divmod(i, tile.lanes)
                values.append(f.extract(out[j * vectors + vector], lane))

        def add() -> None:
            for value, place in zip(values, places):
                f.store(f.binary(op, value, f.load(tile.type, place)), place)

        def put() -> None:
            for value, place in zip(values, places):
                f.store(value, place)

        f.either(f.param("accumulate"), add, put)


def store_front(f: Function, tile: Tile, value: Val, into: Val, count: int) -> None:
    """The first ``count`` lanes of a vector, exactly: what lies behind may be another task's."""
    lanes = lanes_of(value.type)
    at, width = 0, lanes
    while at < count:
        if width <= count - at:
            part = value if width == lanes else f.shuffle(value, None, range(at, at + width))
            if width == 1:
                part = f.extract(value, at)
            f.store(part, f.gep(tile.type, into, at))
            at += width
        width = max(width // 2, 1)
