"""Building and running kernel templates in tests: operands between guard pages, chunks shuffled."""

from __future__ import annotations

import ctypes
import functools
import mmap
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import host
from thalweg.core.dtypes import BY_NAME
from thalweg.ir.anchor import AnchorCall, Epilogue, Operand
from thalweg.ir.loops import Buffer, Store, Var
from thalweg.runtime.loader import Library, load
from thalweg.runtime.native import NativeKernel

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Guarded:
    """Memory whose last byte (or first, with ``front``) borders on a page that faults."""

    def __init__(self, size: int, front: bool = False, fill: int = 0xFF) -> None:
        pages = -(-max(size, 1) // PAGE) * PAGE
        self.length = pages + 2 * PAGE
        self.base = _libc.mmap(None, self.length, 3, 0x22, -1, 0)
        assert self.base not in (None, ctypes.c_void_p(-1).value)
        for at in (self.base, self.base + PAGE + pages):
            assert _libc.mprotect(at, PAGE, 0) == 0
        self.address = self.base + PAGE + (0 if front else pages - size)
        ctypes.memset(self.base + PAGE, fill, pages)

    def __del__(self) -> None:
        _libc.munmap(self.base, self.length)


def operand(buffer: int, array: np.ndarray[Any, Any]) -> Operand:
    strides = tuple(s // array.itemsize for s in array.strides)
    return Operand(buffer, 0, array.shape, strides, dtype_of(array))


def dtype_of(array: np.ndarray[Any, Any]) -> Any:
    return BY_NAME[array.dtype.name]


def plain_call(
    template: str, operands: Sequence[Operand], params: Sequence[Buffer], attrs: Mapping[str, Any],
    shape: tuple[int, ...], dtype: Any, result_dtype: Any = None,
) -> AnchorCall:  # fmt: skip
    """A call that stores its result as it is, of ``shape``."""
    out = Buffer("out", result_dtype or dtype, shape, "out")
    index = tuple(f"i{d}" for d in range(len(shape)))
    value = Var("x", dtype)
    store = Store("out", tuple(Var(i) for i in index), value)
    return AnchorCall(
        template, tuple(sorted(attrs.items())), tuple(operands), shape, dtype,
        (*params, out), Epilogue(index, "x", (store,)),
    )  # fmt: skip


@functools.lru_cache(maxsize=256)
def compiled(text: str, symbols: tuple[str, ...]) -> Library:
    return load(emit_object(text, host()), symbols)


def library(kernel: NativeKernel) -> Library:
    return compiled(kernel.text, tuple(dict.fromkeys(x.symbol for x in kernel.launches)))


def run_guarded(
    kernel: NativeKernel, inputs: Sequence[np.ndarray[Any, Any]],
    results: Sequence[tuple[tuple[int, ...], np.dtype[Any]]], seed: int = 0, front: bool = False,
) -> list[np.ndarray[Any, Any]]:  # fmt: skip
    """Runs a kernel on copies of ``inputs``; results start as 0xFF bytes (NaN), workspaces as
    ``seed``-dependent garbage, and the chunks of every launch run in a random order."""
    order = random.Random(seed)
    memory = [Guarded(a.nbytes, front) for a in inputs]
    for m, a in zip(memory, inputs):
        flat = np.ascontiguousarray(a)
        ctypes.memmove(m.address, flat.ctypes.data, a.nbytes)
    sizes = [int(np.prod(shape)) * dtype.itemsize for shape, dtype in results]
    out = [Guarded(size, front) for size in sizes]
    spaces = [Guarded(-(-size // 64) * 64) for size in kernel.workspaces]
    pointers = [m.address for m in (*memory, *out, *spaces)]
    args = (ctypes.c_void_p * max(len(pointers), 1))(*pointers)
    code = library(kernel)
    for launch in kernel.launches:
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(
            code.addresses[launch.symbol]
        )
        starts = list(range(0, launch.extent, launch.chunk))
        order.shuffle(starts)
        for lo in starts:
            call(ctypes.addressof(args), lo, min(lo + launch.chunk, launch.extent))
    for m, a in zip(memory, inputs):
        kept = np.frombuffer(ctypes.string_at(m.address, a.nbytes), a.dtype).reshape(a.shape)
        assert kept.tobytes() == np.ascontiguousarray(a).tobytes(), "an operand was written"
    return [
        np.frombuffer(ctypes.string_at(m.address, size), dtype).reshape(shape).copy()
        for m, size, (shape, dtype) in zip(out, sizes, results)
    ]
