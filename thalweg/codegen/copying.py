"""The kernel that copies bytes."""

from __future__ import annotations

import functools

from ..runtime.native import Launch, NativeKernel
from .builder import Module

_CHUNK = 256 * 1024


@functools.cache
def _text() -> str:
    module = Module()
    with module.function("copy", [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f:
        source, target = (f.load("ptr", f.gep("ptr", f.param("args"), k)) for k in (0, 1))
        lo, hi = f.param("lo"), f.param("hi")
        module.declare("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        f.emit(
            f"call void @llvm.memcpy.p0.p0.i64({f.gep('i8', target, lo)}, "
            f"{f.gep('i8', source, lo)}, i64 {f.binary('sub', hi, lo).text}, i1 false)"
        )
    return module.text()


def copy_kernel(nbytes: int) -> NativeKernel:
    """From one operand of ``nbytes`` bytes to one result."""
    launches = (Launch("copy", nbytes, _CHUNK),) if nbytes else ()
    return NativeKernel("copy", _text(), launches, bytes=2 * nbytes)
