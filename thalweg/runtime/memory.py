"""Memory for results and arenas: aligned, at known addresses, and used again.

A large fresh allocation is paid for twice, page by page, when it is first written. So memory of
values that died is kept and given out again; a training step that repeats allocates nothing. What
is in use and what is kept are together at most what has been in use at once, and some more
(`KEPT_SHARE`); what is kept is given up when the system runs out.

Nothing here takes a lock, because memory dies wherever the garbage collector runs: lists are
appended to and popped from, which Python does in one step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import OutOfMemoryError

ALIGNMENT = 64
_PAGE = 4096
KEPT_SHARE = 0.5  # of the most bytes ever in use at once
_KEPT_LEAST = 64 << 20

Array = np.ndarray[Any, Any]


class Memory:
    """Bytes that belong to whoever holds this object. Few bytes, as machine code makes them for
    the results of small programs (`codegen.hit_flush`), are the interpreter's own and not
    counted."""

    __slots__ = ("__weakref__", "_raw", "address", "size")

    def __init__(self, raw: Any, address: int, size: int) -> None:
        self._raw = raw
        self.address = address
        self.size = size


class PooledMemory(Memory):
    """Bytes that are used again when this object dies."""

    __slots__ = ()

    def __del__(self, give_back: Any = None) -> None:
        (give_back or _give_back)(self._raw, self.address, self.size)


class Statistics:
    """Bytes handed out now and at most, bytes kept for later, and how often the system was
    asked."""

    def __init__(self) -> None:
        self.used = self.peak = self.kept = self.fresh = 0

    def reset_peak(self) -> None:
        self.peak = self.used


statistics = Statistics()
_free: dict[int, list[tuple[Array, int]]] = {}


def round_size(nbytes: int) -> int:
    """The size of the block that ``nbytes`` are given: few distinct sizes, little waste."""
    unit = ALIGNMENT if nbytes <= _PAGE else _PAGE
    return max(-(-nbytes // unit) * unit, ALIGNMENT)


def allocate(nbytes: int) -> Memory:
    """Memory of at least ``nbytes`` bytes, undefined. OutOfMemoryError if there is none."""
    size = round_size(nbytes)
    blocks = _free.get(size)
    if blocks:
        try:
            raw, address = blocks.pop()
        except IndexError:  # another thread was faster
            raw, address = _fresh(size)
        else:
            statistics.kept -= size
    else:
        raw, address = _fresh(size)
    statistics.used += size
    if statistics.used > statistics.peak:
        statistics.peak = statistics.used
    return PooledMemory(raw, address, size)


def _spare() -> int:
    """Bytes that may be kept: an arena that most of the memory was in use for must be among them,
    or every step would fault its pages in again."""
    peak = statistics.peak
    return max(_KEPT_LEAST, int(KEPT_SHARE * peak), peak - statistics.used)


def _fresh(size: int) -> tuple[Array, int]:
    statistics.fresh += 1
    if size >= _KEPT_LEAST:  # what is kept did not fit: programs of another size run now
        trim(max(_spare() - size, 0))
    try:
        raw = np.empty(size + ALIGNMENT, np.uint8)
    except MemoryError:
        trim(0)
        try:
            raw = np.empty(size + ALIGNMENT, np.uint8)
        except MemoryError:
            raise OutOfMemoryError(
                f"out of memory: {size / 2**30:.2f} GiB were asked for, "
                f"{statistics.used / 2**30:.2f} GiB are in use by tensors and programs"
            ) from None
    start: int = raw.__array_interface__["data"][0]
    return raw, -(-start // ALIGNMENT) * ALIGNMENT


def _give_back(raw: Array, address: int, size: int) -> None:
    statistics.used -= size
    if statistics.kept + size > _spare():
        return
    statistics.kept += size
    _free.setdefault(size, []).append((raw, address))


def trim(keep: int = 0) -> None:
    """Give memory that is kept back to the system until at most ``keep`` bytes are left, the
    largest blocks first."""
    for size in sorted(_free, reverse=True):
        blocks = _free[size]
        while blocks and statistics.kept > keep:
            try:
                blocks.pop()
            except IndexError:
                break
            statistics.kept -= size


class _Window:
    """What makes NumPy see memory, and keep its owner alive as long as it does."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, owner: Any, address: int, nbytes: int) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "data": (address, False), "shape": (nbytes,), "typestr": "|u1", "version": 3,
        }  # fmt: skip


def array_at(
    owner: Any, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:  # fmt: skip
    """A dense array over memory that ``owner`` keeps alive."""
    count = dtype.itemsize
    for extent in shape:
        count *= extent
    if count == 0:
        return np.empty(shape, dtype)
    flat = np.asarray(_Window(owner, address, count))
    return flat.view(dtype).reshape(shape)


def address_of(array: Array) -> int:
    """Where an array begins."""
    return array.ctypes.data


__all__ = ["ALIGNMENT", "Array", "Memory", "PooledMemory", "address_of", "allocate", "array_at",
           "round_size", "statistics", "trim"]  # fmt: skip
