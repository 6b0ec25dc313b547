"""What this machine can do at best: its roofline (Williams, Waterman and Patterson 2009).

Two loops are timed, once per machine: fused multiply-adds on registers, and a sum over an array
far larger than the caches, each on one thread; the result is kept with the compiled kernels.
"""

from __future__ import annotations

import ctypes
import functools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from ..codegen.builder import Module, literal, vector
from ..codegen.objects import emit_object
from ..codegen.target import Target, host
from ..runtime.loader import load
from ..runtime.store import digest, store

_CHAINS = 10  # independent multiply-adds in flight: latency times units of current processors
_ROUNDS = 200_000
_BYTES = 128 << 20


@dataclass(frozen=True)
class Roofline:
    """Float32 operations and bytes read per second of one thread."""

    flops: float
    bandwidth: float

    def seconds(self, flops: int, nbytes: int) -> float:
        """The least time in which one thread can compute ``flops`` and move ``nbytes``."""
        return max(flops / self.flops, nbytes / self.bandwidth)

    def __str__(self) -> str:
        return (
            f"one thread at best: {self.flops / 1e9:.0f} GFLOP/s (float32), "
            f"{self.bandwidth / 1e9:.1f} GB/s"
        )


@functools.cache
def roofline() -> Roofline:
    """The figures of this machine: from the store, or measured now (about a second)."""
    target = host()
    name = digest("roofline", str(target))
    kept = store().read(name)
    if kept is not None:
        return Roofline(**json.loads(kept))
    found = measure(target)
    store().write(name, json.dumps(asdict(found)).encode())
    return found


def measure(target: Target) -> Roofline:
    """Time both loops: the best of several runs, for other programs only ever slow them down."""
    lanes = target.lanes(4)
    library = load(emit_object(_loops(lanes), target), ["multiply_add", "read"])
    entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
    data = np.ones(_BYTES // 4, np.float32)
    address = data.ctypes.data
    compute, read = (entry(library.addresses[s]) for s in ("multiply_add", "read"))
    flops = 2 * lanes * _CHAINS * _ROUNDS
    return Roofline(
        flops / _best(lambda: compute(address, _ROUNDS)),
        data.nbytes / _best(lambda: read(address, data.size)),
    )


def _best(run: Callable[[], None], times: int = 7) -> float:
    def once() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return min(once() for _ in range(times))


def _loops(lanes: int) -> str:
    module = Module()
    type = vector("float", lanes)
    with module.function("multiply_add", [("ptr", "data"), ("i64", "rounds")]) as f:
        factor = f.load(type, f.param("data"))
        start = [literal(float(k), type) for k in range(_CHAINS)]
        with f.carry(0, f.param("rounds"), start) as (_, values, slots):
            slots[:] = [f.intrinsic("fma", v, factor, factor) for v in values]
        total = slots[0]
        for value in slots[1:]:
            total = f.binary("fadd", total, value)
        # Stored, so that nothing is left out; the data read next are numbers all the same.
        f.store(f.binary("fmul", total, literal(0.0, type)), f.param("data"))
    step = 8 * lanes
    with module.function("read", [("ptr", "data"), ("i64", "count")]) as f:
        zero = [literal(0.0, type)] * 8
        with f.carry(0, f.param("count"), zero, step) as (i, values, slots):
            at = f.gep("float", f.param("data"), i)
            slots[:] = [
                f.binary("fadd", v, f.load(type, f.gep("float", at, k * lanes)))
                for k, v in enumerate(values)
            ]
        total = slots[0]
        for value in slots[1:]:
            total = f.binary("fadd", total, value)
        f.store(total, f.param("data"))
    return module.text()
