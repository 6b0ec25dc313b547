"""Finding iterations of a parallel loop that touch the same element of a buffer.

Every iteration of a running parallel loop has a number, and numbers are never used again. For each
loop depth, buffer and kind of access, the lowest and highest number that touched each element are
kept; two accesses by different iterations conflict unless both read or both accumulate alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
_NONE_YET = np.iinfo(np.int64).max
READ, WRITE = "read", "write"


class RaceDetector:
    """One stack entry per running parallel loop: its first number and those running now."""

    def __init__(self) -> None:
        self._next = 0
        self._loops: list[tuple[int, Numbers]] = []
        self._touched: dict[tuple[int, str], dict[str, tuple[Numbers, Numbers]]] = {}

    def enter(self) -> None:
        self._loops.append((self._next, np.zeros(1, np.int64)))

    def begin(self, lanes: int) -> None:
        """The innermost loop starts `lanes` iterations, which run at once from here on."""
        first, _ = self._loops[-1]
        self._loops[-1] = (first, np.arange(self._next, self._next + lanes))
        self._next += lanes

    def leave(self) -> None:
        self._loops.pop()

    def touch(
        self,
        name: str,
        size: int,
        kind: str,
        at: Numbers,
        active: npt.NDArray[Any] | None,
    ) -> tuple[int, str] | None:
        """Note an access at positions `at`. The first conflict: position and the other's kind.

        `at` has one entry per lane, or one for all; `active` masks the lanes. `kind` is READ,
        WRITE or the name of an accumulating operation.
        """
        for depth, (first, running) in enumerate(self._loops):
            positions, numbers = np.broadcast_arrays(at, running)
            if active is not None:
                positions, numbers, chosen = np.broadcast_arrays(positions, numbers, active)
                positions, numbers = positions[chosen], numbers[chosen]
            tables = self._touched.setdefault((depth, name), {})
            if kind not in tables:
                tables[kind] = (np.full(size, -1, np.int64), np.full(size, -1, np.int64))
            low, high = tables[kind]
            low[positions[low[positions] < first]] = _NONE_YET
            np.minimum.at(low, positions, numbers)
            np.maximum.at(high, positions, numbers)
            for other, (lowest, highest) in tables.items():
                if other == kind and kind != WRITE:
                    continue
                a, b = lowest[positions], highest[positions]
                bad = (b >= first) & ((a != numbers) | (b != numbers))
                if bad.any():
                    return int(positions[bad][0]), other
        return None
