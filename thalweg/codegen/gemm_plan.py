"""Which way to compute a product: tile, blocks, packing and the cut into units, from its shape.

The loops of the packed form, outermost first: units of work (a block of rows times a block of
columns), blocks of the sum, panels of columns (kept in the first-level cache), panels of rows
(their block is kept in the second-level cache), and the tile.

An operand is read where it lies (``direct``), copied block by block by the unit that needs it
(``local``), or packed as a whole by a launch before (``shared``), whichever copies least: a copy
pays if it is read often enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .gemm_shape import Axis, Problem
from .gemm_tile import LINE, Numbers
from .target import Target

PANEL_BYTES = 24 * 1024  # of a packed panel of B: most of the first-level cache
BLOCK_BYTES = 160 * 1024  # of a packed block of A: a part of the second-level cache
MOST_BLOCK_BYTES = 256 * 1024  # of one on the stack
SUMS_BYTES = 192 * 1024  # of the sums that a unit keeps between blocks of the sum
COLUMNS_BYTES = 160 * 1024  # of the columns of B that a unit packs row by row
ROW_BYTES = 512  # read from one row of an operand at least, before the next
SHORT_ROW_BYTES = 256  # the same where longer rows would leave few units
SMALL_BYTES = 64 * 1024  # of an operand that stays near the processor unpacked
CLOSE_DEPTH = 128
LEAST_SUMS = 12  # registers of a tile; with fewer, multiplications wait for the ones before
MOST_ROWS = 192  # that all fit into one block
UNIT_WORK = 1 << 20  # multiplications worth a unit of their own
SETS, WAYS = 64, 8  # of the first-level cache

# Where the second-level cache has `ROOMY` bytes, units are cut so that it holds most of what they
# touch, in these shares. Measured on a core with 2 MiB and 48 KiB of first-level cache.
ROOMY, ROOMIEST = 1 << 20, 2 << 20  # what is beyond is not counted on: it lies on the stack
ROOMY_DEPTH = 384
PANELS_SHARE, SUMS_SHARE = 0.2, 0.4  # of the packed panels of an operand, of sums that wait
LEAST_HEIGHT = 96  # rows of a unit, below which B is read too often
FLAT_DEPTH = 512  # sums so short that writing the result takes longer than reading operands


@dataclass(frozen=True, slots=True)
class Plan:
    """``rows`` and ``vectors`` of the tile; how many blocks the panels of rows and of columns are
    dealt out to; ``depth`` is the length of a block of the sum. ``a`` and ``b`` say how operands
    are read. ``splits`` parts of the
    sum are computed apart and added by a last launch."""

    rows: int
    vectors: int
    row_blocks: int
    col_blocks: int
    depth: int
    a: str
    b: str
    splits: int


def choose(problem: Problem, numbers: Numbers, target: Target, kept: bool = False) -> Plan:
    """The plan of a product; ``kept`` tells whether B, once packed, serves many of them."""
    m, n, k = problem.row.size, problem.col.size, problem.inner.size
    across_lines = n * numbers.bytes % LINE > 0
    flat = problem.depth <= FLAT_DEPTH or across_lines
    flat = flat and m * n * numbers.bytes >= target.cache
    rows, vectors = tile_shape(m, n, numbers.lanes, target, flat)
    columns = vectors * numbers.lanes
    row_panels, col_panels = -(-m // rows), -(-n // columns)
    one_row_block = row_panels * rows <= MOST_ROWS
    b = "direct" if _reads_b(problem, numbers, row_panels) else "local"
    once = kept and k * n * numbers.bytes > SMALL_BYTES and (b != "direct" or row_panels > 1)
    if once or (b != "direct" and not one_row_block):
        b = "shared"
    if target.cache >= ROOMY and not one_row_block and b == "shared":
        plan = _in_roomy_cache(problem, numbers, target, (rows, vectors), kept)
        if plan is not None:
            return plan
    depth, wide = PANEL_BYTES // (columns * numbers.bytes), 512
    most_col_blocks = col_panels
    if b == "local" and problem.col.b == 1:
        # Whole rows of a block are read: the fewer rows use them, the longer they should be.
        wide = 512 if m <= 16 else 320 if m <= 32 else 208
        most_col_blocks = max(1, n * numbers.bytes // SHORT_ROW_BYTES)
        depth = min(depth, max(96, COLUMNS_BYTES // (min(n, wide) * numbers.bytes)))
    if b == "direct" and row_panels > 1 and k > CLOSE_DEPTH:
        depth = CLOSE_DEPTH
    depth = even_parts(k, min(512, max(64, depth)), 4)
    row_blocks = 1
    if not one_row_block:
        row_blocks = -(-row_panels // max(1, BLOCK_BYTES // (depth * numbers.bytes * rows)))
    blocks = problem.sum_count * -(-k // depth)
    work = problem.outer_count * m * n * problem.depth
    sums = SUMS_BYTES // numbers.bytes // (-(-row_panels // row_blocks) * rows)
    most = sums if blocks > 1 else col_panels * columns
    col_blocks = -(-col_panels // max(1, min(wide, most) // columns))
    wanted = min(16, work // UNIT_WORK)
    units = problem.outer_count * row_blocks * col_blocks
    splits = 1
    if units < min(4, wanted) and blocks > 1 and problem.depth > 8 * max(m, n):
        parts = -(-8 // units)
        if problem.sum_count == 1 and k >= parts * 64:
            depth = even_parts(k, k // (-(-blocks // parts) * parts), 4)
            blocks = -(-k // depth)
        per = -(-blocks // min(blocks, parts))
        splits = -(-blocks // per)
    elif units < wanted and row_blocks > 1:
        row_blocks = min(-(-wanted // units) * row_blocks, -(-row_panels // 4))
    elif units < wanted:
        more = min(-(-wanted // units) * col_blocks, col_panels, most_col_blocks)
        col_blocks = max(col_blocks, more)
    a = "direct" if _reads_a(problem, numbers) else "local"
    narrow = problem.row.a == 1 and m // row_blocks * numbers.bytes < ROW_BYTES and row_blocks > 1
    block = -(-row_panels // row_blocks) * rows * depth * numbers.bytes
    too_long = block > MOST_BLOCK_BYTES or (b == "local" and block > BLOCK_BYTES)
    if a == "local" and (col_blocks > 1 or narrow or too_long):
        a = "shared"
    return Plan(rows, vectors, row_blocks, col_blocks, depth, a, b, splits)


def _in_roomy_cache(
    problem: Problem, numbers: Numbers, target: Target, tile: tuple[int, int], kept: bool
) -> Plan | None:
    """Operands are packed where they are used: each unit packs its rows of A, once if it computes
    all columns. B, which all units read, is packed before; only where B is much the larger, units
    take columns of it instead. None for products with too few units."""
    m, n, k = problem.row.size, problem.col.size, problem.inner.size
    rows, vectors = tile
    columns = vectors * numbers.lanes
    row_panels, col_panels = -(-m // rows), -(-n // columns)
    depth = even_parts(k, ROOMY_DEPTH, 4)
    panels, sums = (
        int(share * min(target.cache, ROOMIEST)) // numbers.bytes
        for share in (PANELS_SHARE, SUMS_SHARE)
    )
    several = problem.sum_count * -(-k // depth) > 1
    wanted = -(-8 // problem.outer_count)
    if n >= 2 * m and m <= 768 and not kept:
        width = min(panels * 2 // depth, sums // m if several else n, max(m, -(-n // wanted)))
        col_blocks = -(-col_panels // max(1, width // columns))
        a = "local" if m * depth <= panels * 2 and col_blocks <= 4 else "shared"
        return Plan(rows, vectors, 1, col_blocks, depth, a, "local", 1)
    height = max(rows, min(panels // depth, max(LEAST_HEIGHT, -(-m // wanted))))
    if several and n * height > sums:
        height = max(rows, min(height, LEAST_HEIGHT))
    row_blocks = -(-row_panels // (height // rows))
    width = max(columns, sums // height) if several else n
    col_blocks = -(-col_panels // (width // columns)) if width < n else 1
    if row_blocks * col_blocks < min(4, wanted) and problem.depth > 8 * max(m, n):
        return None
    a = "direct" if _reads_a(problem, numbers) else "local"
    return Plan(rows, vectors, row_blocks, col_blocks, depth, a, "shared", 1)


def tile_shape(m: int, n: int, lanes: int, target: Target, flat: bool = False) -> tuple[int, int]:
    """Rows and vectors of the tile that does the least work in all, counted in half cycles. With
    ``flat`` products, what the result costs matters most: it is written in long rows."""
    free = target.registers - 1
    most_sums = 24 if target.vector_bytes == 64 else free
    full = 6 if target.registers == 16 else 12 if target.vector_bytes == 64 else 8
    preferred = (8, 3) if flat and target.vector_bytes == 64 else (full, 2)
    best = (0.0, 0, 0, 0)
    for vectors in range(1, free // 2 + 1):
        most = min((free - vectors) // vectors, most_sums // vectors)
        if most < 1:
            break
        rows = min(m, most, full if vectors > 1 else 2 * full)
        panels = -(-m // rows)
        rows = -(-m // panels)
        columns = -(-n // (vectors * lanes))
        # two multiplications and two loads a cycle; sums of one chain wait for each other
        cost = max(rows * vectors, rows + vectors, LEAST_SUMS) + vectors / 8
        usual = (rows, vectors) == preferred
        rating = (
            panels * columns * cost * (1.0 if usual else 1.03),
            abs(rows - preferred[0]),
            rows,
            vectors,
        )
        if not best[2] or rating < best:
            best = rating
    return best[2], best[3]


def even_parts(total: int, most: int, multiple: int = 1) -> int:
    """The size of equal parts of ``total``, at most about ``most`` each."""
    parts = -(-total // most)
    size = -(-total // max(parts, 1))
    return max(1, -(-size // multiple) * multiple)


def _reads_a(problem: Problem, numbers: Numbers) -> bool:
    """Whether A is best read where it lies."""
    row, inner = problem.row, problem.inner
    if not numbers.as_stored or not (1 in (row.a, inner.a) or problem.depth * row.size < 1024):
        return False
    small = row.size * inner.size * numbers.bytes <= SMALL_BYTES
    seldom = problem.col.size <= 64 or row.size <= 32
    close = row.a == 1 and _close(inner.a, numbers)
    return small or (seldom and inner.a == 1) or close


def _reads_b(problem: Problem, numbers: Numbers, row_panels: int) -> bool:
    """Whether B is best read where it lies."""
    col, inner = problem.col, problem.inner
    if not numbers.as_stored or col.b != 1:
        return False
    small = inner.size * col.size * numbers.bytes <= SMALL_BYTES and not _collides(inner, numbers)
    return row_panels == 1 or small or _close(inner.b, numbers)


def _close(step: int, numbers: Numbers) -> bool:
    """Whether steps of the sum lie so close together that a block of them is one small piece of
    memory, if it is not longer than `CLOSE_DEPTH`."""
    return abs(step) * numbers.bytes <= 4 * LINE


def _collides(axis: Axis, numbers: Numbers) -> bool:
    """Whether lines of B a step of the sum apart push each other out of the first-level cache,
    which has 64 sets of 8 lines or more."""
    lines, rest = divmod(axis.b * numbers.bytes, LINE)
    return rest == 0 and axis.size > WAYS * (SETS // math.gcd(lines, SETS))
