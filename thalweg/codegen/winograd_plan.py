"""Whether Winograd's minimal filtering pays for a convolution, and how its work is cut."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core.dtypes import DType
from .conv_problem import Problem
from .conv_tile import Tile, ceil_div, round_up, tile_for
from .target import Target
from .winograd_transforms import Maps, maps

OUTPUTS = 2  # a tile's elements per dimension; 4 gained a tenth at most and lose half a digit
SCRATCH = 480 * 1024
DEPTH = 256  # channels of one call of the tile
ROWS = 48  # rows whose products are held before they are transformed back
BLOCK = 8  # channels whose patches are gathered at a time
TASKS = 8
TOGETHER = 4 << 20  # bytes of the patches that tasks share: they stay in the last cache
FETCHED = 8  # multiplications in the time that a filter's element takes to come from memory


def suits(problem: Problem) -> bool:
    """Whether a problem is two-dimensional, with 3 by 3 or 5 by 5 neighbouring taps and a stride
    of one."""
    taps = len(problem.axes[0].parts[0])
    return (
        taps in (3, 5)
        and len(problem.axes) == 2
        and all(
            a.step == 1
            and len(a.parts) == 1
            and sorted(t.offset for t in a.parts[0]) == list(range(taps))
            for a in problem.axes
        )
    )


def tile_of(dtype: DType, target: Target, problem: Problem) -> Tile:
    """The tile of the products, whose columns are the tiles of the result."""
    return tile_for(dtype, target, problem.rows, count_tiles(problem))


def count_tiles(problem: Problem) -> int:
    return problem.batch * math.prod(ceil_div(a.count, OUTPUTS) for a in problem.axes)


def pays(problem: Problem, tile: Tile, lasting: bool = False) -> bool:
    """Whether Winograd is expected to beat the direct product, both counted in multiplications.

    Transforms cost about as much as so many multiplications for every element of a patch and
    channel, tile and row, filter and channel (measured with AVX2). Filters that are transformed
    once for many calls (``lasting``) cost what it takes to read them from memory.
    """
    if not suits(problem) or tile.type.startswith("i"):
        return False
    tiles = count_tiles(problem)
    taps = len(problem.axes[0].parts[0])
    transform = maps(OUTPUTS, taps)
    if choose_cut(problem, tiles, transform, tile) is None:
        return False
    rows, channels = round_up(problem.rows, tile.rows), problem.channels
    padded = round_up(tiles, tile.columns)
    filters = (FETCHED if lasting else 16) * rows * channels
    transforms = 10 * padded * channels + 7 * padded * rows + filters
    indirect = transform.size**2 * (padded * rows * channels + transforms)
    direct = taps**2 * round_up(problem.batch * problem.positions, tile.columns) * rows * channels
    return indirect < 0.85 * direct


@dataclass(frozen=True, slots=True)
class Cut:
    """``panels`` of tiles and ``rows`` filters a task; ``together`` rows of the patch at a time.
    ``shared`` patches are transformed before the tasks, once for all of them."""

    panels: int
    rows: int
    together: int
    shared: bool = False


def choose_cut(problem: Problem, tiles: int, transform: Maps, tile: Tile) -> Cut | None:
    """The largest pieces that fit the scratch memory; None if nothing does."""
    rows = round_up(problem.rows, tile.rows)
    depth = problem.channels
    best: tuple[float, Cut] | None = None
    most = max(ceil_div(tiles, tile.columns), 1)
    ways = [(together, False) for together in (transform.size, 2, 1)]
    for together, shared in [*ways, (transform.size, True)]:
        for panels in (1, 2, 3, 4):
            for split in (1, 2, 4, 8):
                height = round_up(ceil_div(rows, split), tile.rows)
                columns = panels * tile.columns
                patches = together * transform.size * depth * columns
                elements = transform.outputs**2 * height * columns
                elements += together * transform.size * min(ROWS, height) * columns
                elements += BLOCK * transform.size**2 * tile.columns  # gathered patches
                blocks = ceil_div(tiles, columns)
                if shared and patches * blocks * problem.groups * tile.size > TOGETHER:
                    continue
                elements += 0 if shared else patches
                if elements * tile.size > SCRATCH or panels > most or height < min(rows, 48):
                    continue
                tasks = blocks * ceil_div(rows, height) * problem.groups
                filters = transform.size**2 * rows * depth * tile.size
                # Measured on one core of 16 MiB of third-level cache:
                cost = 1 + (0.02 + 0.08 * filters / 2**22) / panels  # filters come once for all
                cost += 16.0 * (1 if shared else split) / rows  # transforms, for each split again
                cost += 0.06 if shared else 0.06 / together  # sources are read again for each row
                held = (elements + (patches if shared else 0)) * tile.size
                cost += 0.16 * held / SCRATCH  # what leaves the first cache
                cost *= 1.0 if tasks >= TASKS else TASKS / tasks
                if best is None or cost < best[0]:
                    best = cost, Cut(panels, height, together, shared)
    return best[1] if best else None
