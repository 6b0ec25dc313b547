"""Runs native kernels on NumPy arrays in this process, without the runtime."""

import ctypes
import mmap
import random
from functools import lru_cache

import numpy as np

from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import host
from thalweg.runtime.loader import load

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
LIBC = ctypes.CDLL(None, use_errno=True)
NO_ACCESS = 0


@lru_cache(maxsize=256)
def library(text, symbols):
    return load(emit_object(text, host()), symbols)


class Runner:
    """A loaded kernel. ``workspaces`` are filled with NaN bytes, as nobody may rely on them."""

    def __init__(self, kernel):
        self.kernel = kernel
        symbols = tuple(dict.fromkeys(launch.symbol for launch in kernel.launches))
        self.library = library(kernel.text, symbols) if symbols else None
        self.entries = {s: ENTRY(self.library.addresses[s]) for s in symbols}
        self.workspaces = [aligned(np.uint8, size) for size in kernel.workspaces]
        for workspace in self.workspaces:
            workspace.fill(0xFF)

    def bind(self, arrays):
        """The argument array for operands and results, which it keeps alive."""
        buffers = [*arrays, *self.workspaces]
        args = (ctypes.c_void_p * max(1, len(buffers)))(*(b.ctypes.data for b in buffers))
        args.keep = buffers
        return args

    def run(self, args, seed=None):
        """All launches, chunk by chunk; in random order for a ``seed``."""
        for launch in self.kernel.launches:
            starts = list(range(0, launch.extent, launch.chunk))
            if seed is not None:
                random.Random(seed).shuffle(starts)
            for lo in starts:
                hi = min(lo + launch.chunk, launch.extent)
                self.entries[launch.symbol](ctypes.addressof(args), lo, hi)

    def __call__(self, *arrays, seed=None):
        self.run(self.bind(arrays), seed)


def aligned(dtype, size, alignment=64):
    """A flat array that starts at a multiple of ``alignment`` bytes."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.empty(size * itemsize + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size * itemsize].view(dtype)


def guarded(array, end):
    """A copy that touches a page without access: with its last byte if ``end``, else its first."""
    page = mmap.PAGESIZE
    pages = -(-max(array.nbytes, 1) // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    whole = np.frombuffer(memory, np.uint8)
    for guard in (0, pages + 1):
        address = ctypes.c_void_p(whole.ctypes.data + guard * page)
        if LIBC.mprotect(address, page, NO_ACCESS):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = (1 + pages) * page - array.nbytes if end else page
    copy = whole[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
