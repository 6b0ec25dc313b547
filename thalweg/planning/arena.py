"""Where values lie in an arena: intervals of time with sizes become offsets.

A value occupies its bytes from the step that writes it to the last that reads it, both included.
At no step may two values overlap; the arena should be hardly larger than the most bytes that live
at one step, which no arrangement can beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..runtime.memory import ALIGNMENT

_SLACK = 0.01  # of the bound: not worth another attempt
_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Interval:
    """``size`` bytes from step ``first`` to step ``last``."""

    size: int
    first: int
    last: int


def rounded(size: int) -> int:
    """Bytes that a value takes up, so that the next one is aligned."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def live_bytes(intervals: Sequence[Interval]) -> int:
    """The most bytes that live at one step: the least size of any arena."""
    if not intervals:
        return 0
    change = np.zeros(max(i.last for i in intervals) + 2, np.int64)
    for interval in intervals:
        change[interval.first] += rounded(interval.size)
        change[interval.last + 1] -= rounded(interval.size)
    return int(change.cumsum().max())


def arrange(intervals: Sequence[Interval]) -> tuple[list[int], int]:
    """Offsets of the intervals, and the size of the arena.

    Values are placed one after another, each in the smallest gap that it fits. Which order is good
    depends on the graph, so several are tried; then, as long as that helps, what came to lie
    highest is placed first. The first arrangement near the bound, or else the best, is taken.
    """
    if not intervals:
        return [], 0
    enough = live_bytes(intervals) * (1 + _SLACK)
    best: tuple[int, list[int]] | None = None
    for order in _orders(intervals):
        for _ in range(_ROUNDS):
            offsets, total = _place(intervals, order)
            if best is None or total < best[0]:
                best = total, offsets
            if total <= enough:
                return offsets, total
            top = [i for i in order if offsets[i] + rounded(intervals[i].size) == total]
            if order[: len(top)] == top:
                break
            order = [*top, *(i for i in order if i not in top)]
    assert best is not None
    return best[1], best[0]


def _orders(intervals: Sequence[Interval]) -> list[list[int]]:
    everything = range(len(intervals))

    def by_size(i: int) -> tuple[int, ...]:
        it = intervals[i]
        return (-it.size, it.first - it.last, i)

    def by_area(i: int) -> tuple[int, ...]:
        it = intervals[i]
        return (-it.size * (it.last - it.first + 1), i)

    def by_length(i: int) -> tuple[int, ...]:
        it = intervals[i]
        return (it.first - it.last, -it.size, i)

    def by_time(i: int) -> tuple[int, ...]:
        it = intervals[i]
        return (it.first, -it.last, i)

    return [sorted(everything, key=key) for key in (by_size, by_length, by_area, by_time)]


def _place(intervals: Sequence[Interval], order: Sequence[int]) -> tuple[list[int], int]:
    count = len(intervals)
    first, last, start, end = (np.zeros(count, np.int64) for _ in range(4))
    offsets = [0] * count
    total = 0
    for position, i in enumerate(order):
        interval, size = intervals[i], rounded(intervals[i].size)
        placed = slice(0, position)
        meets = (first[placed] <= interval.last) & (last[placed] >= interval.first)
        offset = _smallest_gap(start[placed][meets], end[placed][meets], size)
        first[position], last[position] = interval.first, interval.last
        start[position], end[position] = offset, offset + size
        offsets[i] = offset
        total = max(total, offset + size)
    return offsets, total


def _smallest_gap(
    starts: np.ndarray[tuple[int], np.dtype[np.int64]],
    ends: np.ndarray[tuple[int], np.dtype[np.int64]], size: int,
) -> int:  # fmt: skip
    """The beginning of the smallest gap of at least ``size`` bytes between the given ranges; what
    lies behind them all counts as the largest."""
    if not len(starts):
        return 0
    order = np.argsort(starts, kind="stable")
    begins = starts[order]
    reach = np.concatenate([[0], np.maximum.accumulate(ends[order])])
    gaps = begins - reach[:-1]
    fits = gaps >= size
    if fits.any():
        return int(reach[:-1][fits][np.argmin(gaps[fits])])
    return int(reach[-1])
