"""Runs native kernels on NumPy arrays, one chunk after the other, in any order.

    run_native(kernel, [x, w], [y])                   # chunks in order
    run_native(kernel, [x, w], [y], order=seed)       # chunks shuffled: results must be the same

Operands and results are copied to memory that ends at a page nobody may touch and starts behind
a canary, aligned to the element only: reading past the end crashes, writing past either end
fails. Workspaces are aligned to 64 bytes and start out as garbage.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..codegen.objects import emit_object
from ..codegen.target import Target, host
from ..runtime.loader import Library, load
from ..runtime.native import NativeKernel

Array = np.ndarray[Any, Any]
_PAGE = mmap.PAGESIZE
_CANARY = 0xA5
_Entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@functools.lru_cache(maxsize=256)
def _compiled(text: str, symbols: tuple[str, ...], target: Target) -> Library:
    return load(emit_object(text, target), symbols)


def compile_native(kernel: NativeKernel, target: Target | None = None) -> Library:
    """The kernel's loaded code; equal kernels share it."""
    symbols = tuple(dict.fromkeys(launch.symbol for launch in kernel.launches))
    return _compiled(kernel.text, symbols, target or host())


def run_native(
    kernel: NativeKernel,
    operands: Sequence[Array],
    results: Sequence[Array],
    order: int | None = None,
    target: Target | None = None,
) -> None:
    """Run all launches of a kernel; ``results`` are read (for those that are updated) and written.

    ``order`` seeds a shuffle of each launch's chunks. AssertionError if the kernel writes outside
    of a buffer or changes an operand.
    """
    library = compile_native(kernel, target)
    guarded = [_Guarded(array) for array in (*operands, *results)]
    workspaces = [_workspace(size) for size in kernel.workspaces]
    pointers = [g.address for g in guarded] + [_aligned(w) for w in workspaces]
    table = (ctypes.c_void_p * max(1, len(pointers)))(*pointers)
    for launch in kernel.launches:
        entry = _Entry(library.addresses[launch.symbol])
        starts = list(range(0, launch.extent, launch.chunk))
        if order is not None:
            random.Random(order).shuffle(starts)
        for lo in starts:
            entry(ctypes.addressof(table), lo, min(lo + launch.chunk, launch.extent))
    for position, (memory, array) in enumerate(zip(guarded, (*operands, *results))):
        assert memory.intact(), f"{kernel.name}: wrote before the start of buffer {position}"
        if position < len(operands):
            same = memory.view().tobytes() == array.tobytes()
            assert same, f"{kernel.name}: changed operand {position}"
        else:
            array[...] = memory.view().reshape(array.shape)


def _workspace(size: int) -> Array:
    return np.full(size + 64, _CANARY, np.uint8)


def _aligned(workspace: Array) -> int:
    return (int(workspace.ctypes.data) + 63) // 64 * 64


class _Guarded:
    """A copy of an array that ends at a protected page."""

    def __init__(self, array: Array) -> None:
        pages = max(1, -(-array.nbytes // _PAGE))
        self._map = mmap.mmap(-1, (pages + 1) * _PAGE)
        self._bytes = np.frombuffer(self._map, np.uint8)
        start = int(self._bytes.ctypes.data)
        self._offset = pages * _PAGE - array.nbytes
        self._dtype, self._size = array.dtype, array.nbytes
        self.address = start + self._offset
        self._bytes[: self._offset] = _CANARY
        self._bytes[self._offset : pages * _PAGE] = np.frombuffer(array.tobytes(), np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        guard = ctypes.c_void_p(start + pages * _PAGE)
        if libc.mprotect(guard, ctypes.c_size_t(_PAGE), 0) != 0:
            raise OSError(ctypes.get_errno(), "mprotect failed")

    def view(self) -> Array:
        part = self._bytes[self._offset : self._offset + self._size]
        return part.view(self._dtype)

    def intact(self) -> bool:
        return bool((self._bytes[: self._offset] == _CANARY).all())
