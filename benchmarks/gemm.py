"""Matrix products beside PyTorch's, on one thread.

    taskset -c 0 python -m benchmarks.gemm [pattern ...]
    taskset -c 0 python -m benchmarks.gemm --gpt
    python -m benchmarks.gemm --threads=2 [pattern ...]

Both run in one process and take turns; the table gives the median over rounds of PyTorch's time
over ours (above 1: ours is faster), our best rate and its part of the measured peak of this core's
multiply-add units. Times are those of the thread's processor time, so that other load on the
machine disturbs little. With several threads they are times of the clock, and a further column
says how much faster we are than on one. Packing is part of the time, compiling is not.

``--gpt`` runs all products of a training step of a GPT (6 layers of 384 channels in 6 heads, 8
sequences of 256, vocabulary 65), forward and backward, and adds up their times.
"""

from __future__ import annotations

import ctypes
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from thalweg.codegen.builder import Module, literal, vector
from thalweg.codegen.kernels import running_pool
from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import host
from thalweg.codegen.templates import instantiate
from thalweg.core import dtypes
from thalweg.ir.anchor import AnchorCall, Epilogue, Operand
from thalweg.ir.loops import Buffer, Store, Var
from thalweg.runtime.loader import Library, load
from thalweg.runtime.native import NativeKernel

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

Case: TypeAlias = tuple[str, tuple[int, ...], tuple[int, ...]]

SQUARES = [("mk,kn->mn", (n, n), (n, n)) for n in (16, 32, 64, 96, 128, 256, 512, 1024, 2048)]
LAYOUTS = [
    case
    for n in (64, 256, 1024)
    for case in [
        ("mk,nk->mn", (n, n), (n, n)),
        ("km,kn->mn", (n, n), (n, n)),
        ("km,nk->mn", (n, n), (n, n)),
    ]
]
TRANSFORMER = [
    ("mk,kn->mn", (1024, 768), (768, 3072)),
    ("mk,nk->mn", (1024, 768), (3072, 768)),
    ("mk,nk->mn", (1024, 3072), (768, 3072)),
    ("km,kn->mn", (1024, 768), (1024, 3072)),
    ("mk,nk->mn", (2048, 384), (1536, 384)),
    ("mk,nk->mn", (2048, 384), (1152, 384)),
    ("mk,nk->mn", (2048, 1536), (384, 1536)),
    ("mk,kn->mn", (2048, 1536), (1536, 384)),
    ("mk,kn->mn", (2048, 1152), (1152, 384)),
    ("km,kn->mn", (2048, 384), (2048, 1536)),
    ("km,kn->mn", (2048, 1536), (2048, 384)),
    ("bmk,bnk->bmn", (48, 256, 64), (48, 256, 64)),
    ("bmk,bkn->bmn", (48, 256, 256), (48, 256, 64)),
    ("bkm,bkn->bmn", (48, 256, 256), (48, 256, 64)),
    ("bmk,bnk->bmn", (12, 1024, 64), (12, 1024, 64)),
    ("bmk,bkn->bmn", (12, 1024, 1024), (12, 1024, 64)),
    ("bmk,bkn->bmn", (512, 16, 16), (512, 16, 16)),
]
SKINNY = [
    case
    for m in (1, 2, 4, 8, 16, 32)
    for case in [
        ("mk,kn->mn", (m, 768), (768, 3072)),
        ("mk,nk->mn", (m, 768), (3072, 768)),
        ("mk,kn->mn", (3072, 768), (768, m)),
        ("mk,nk->mn", (3072, 768), (m, 768)),
    ]
]
DEEP = [
    ("km,kn->mn", (65536, 10), (65536, 512)),
    ("km,kn->mn", (4096, 64), (4096, 64)),
    ("km,kn->mn", (8192, 32), (8192, 32)),
]

T, C, H, D, F, V = 2048, 384, 6, 64, 1536, 65
HEADS, SCORES = (8, 256, H, D), (8, H, 256, 256)


def _linear(inputs: int, outputs: int, count: int) -> list[tuple[int, Case]]:
    """A linear layer: forward, gradient of its input, gradient of its weight."""
    return [
        (count, ("mk,nk->mn", (T, inputs), (outputs, inputs))),
        (count, ("mn,nk->mk", (T, outputs), (outputs, inputs))),
        (count, ("mn,mk->nk", (T, outputs), (T, inputs))),
    ]


GPT = [
    *_linear(C, 3 * C, 6), *_linear(C, C, 6), *_linear(C, F, 6), *_linear(F, C, 6),
    *_linear(C, V, 1),
    (12, ("bqhd,bkhd->bhqk", HEADS, HEADS)),  # scores, and the gradient of the weights
    (12, ("bhqk,bkhd->bqhd", SCORES, HEADS)),  # the result, and the gradient of the queries
    (12, ("bhqk,bqhd->bkhd", SCORES, HEADS)),  # gradients of keys and values
]  # fmt: skip
CASES = [*SQUARES, *LAYOUTS, *TRANSFORMER, *SKINNY, *DEEP]


def call_of(spec: str, x: Any, y: Any, shape: tuple[int, ...]) -> AnchorCall:
    """The contraction of two dense arrays, its result stored as it is."""
    operands = tuple(
        Operand(k, 0, a.shape, tuple(s // a.itemsize for s in a.strides), dtypes.float32)
        for k, a in enumerate((x, y))
    )
    params = [Buffer(n, dtypes.float32, a.shape) for n, a in (("x", x), ("y", y))]
    params.append(Buffer("out", dtypes.float32, shape, "out"))
    index = tuple(f"i{k}" for k in range(len(shape)))
    store = Store("out", tuple(Var(i) for i in index), Var("v", dtypes.float32))
    return AnchorCall(
        "gemm", (("spec", spec),), operands, shape, dtypes.float32, tuple(params),
        Epilogue(index, "v", (store,)),
    )  # fmt: skip


class Ours:
    """A compiled kernel bound to arrays; called, it runs all launches, on the threads of the pool
    if ``parallel`` is set."""

    def __init__(self, kernel: NativeKernel, arrays: list[Any]) -> None:
        start = time.thread_time()
        code = emit_object(kernel.text, host())
        self.compile_seconds = time.thread_time() - start
        self.kernel = kernel
        self.library: Library = load(code, {launch.symbol for launch in kernel.launches})
        self.keep = [*arrays, *(_aligned(size) for size in kernel.workspaces)]
        args = (ctypes.c_void_p * len(self.keep))(*(a.ctypes.data for a in self.keep))
        self.args, self.address = args, ctypes.addressof(args)
        self.parallel = False
        self.calls = [
            (ENTRY(self.library.addresses[launch.symbol]), launch.extent)
            for launch in kernel.launches
        ]

    def __call__(self) -> None:
        if self.parallel:
            pool = running_pool()
            for launch in self.kernel.launches:
                function = self.library.addresses[launch.symbol]
                pool.parallel(pool.address, function, self.address, launch.extent, launch.chunk)
            return
        for entry, extent in self.calls:
            entry(self.address, 0, extent)


def _aligned(size: int) -> Any:
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def _array(shape: tuple[int, ...]) -> Any:
    """Memory for float32 numbers as both libraries would make it."""
    return _aligned(4 * math.prod(shape)).view(np.float32).reshape(shape)


def peak() -> float:
    """Multiply-adds a second, times two, of one core in a loop of nothing else: the best in a time
    that is longer than what disturbs it."""
    target = host()
    lanes, count, rounds = target.lanes(4), 10, 1 << 16
    module, type = Module(), vector("float", target.lanes(4))
    with module.function("peak", [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f:
        start = [literal(float(i), type) for i in range(count)]
        x = f.load(type, f.param("args"))
        with f.carry(f.param("lo"), f.param("hi"), start) as (_, now, following):
            following[:] = [f.intrinsic("fma", v, x, x) for v in now]
        total = following[0]
        for v in following[1:]:
            total = f.binary("fadd", total, v)
        f.store(total, f.param("args"))
    library = load(emit_object(module.text(), target), ["peak"])
    data = _aligned(64)
    best, finish = 0.0, time.perf_counter() + 0.5
    while time.perf_counter() < finish:
        begin = time.thread_time()
        ENTRY(library.addresses["peak"])(data.ctypes.data, 0, rounds)
        best = max(best, 2.0 * lanes * count * rounds / (time.thread_time() - begin))
    return best


def compare(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    clock: Callable[[], float] = time.thread_time,
    seconds: float = 0.4,
) -> tuple[float, float]:
    """Their time over ours (median over rounds), and our best time."""
    ours(), theirs()
    begin = time.perf_counter()
    ours(), theirs()
    inner = max(1, int(0.002 / max(time.perf_counter() - begin, 1e-7)))
    ratios, best = [], float("inf")
    finish = time.perf_counter() + seconds
    while len(ratios) < 5 or time.perf_counter() < finish:
        times = []
        for run in (ours, theirs):
            begin = clock()
            for _ in range(inner):
                run()
            times.append((clock() - begin) / inner)
        ratios.append(times[1] / times[0])
        best = min(best, times[0])
    return statistics.median(ratios), best


def main(patterns: list[str]) -> None:
    import torch

    threads = 1
    for option in [p for p in patterns if p.startswith("--threads=")]:
        threads = int(option.partition("=")[2])
        patterns = [p for p in patterns if p != option]
    torch.set_num_threads(threads)
    top = threads * peak()
    print(f"peak {top / 1e9:.1f} GFLOP/s")
    print(f"{'contraction':60} ratio  GFLOP/s  of peak  compile ms      ms")
    cases = [(1, case) for case in CASES]
    whole_step = patterns == ["--gpt"]
    if whole_step:
        cases, patterns = GPT, []
    total_ours = total_theirs = 0.0
    for count, case in cases:
        title = f"{case[0]} {list(case[1])} {list(case[2])}"
        if patterns and not any(p in title for p in patterns):
            continue
        ours, ratio, best = measure(case, threads)
        rate = ours.kernel.flops / best
        total_ours += count * best
        total_theirs += count * best * ratio
        print(
            f"{title:60} {ratio:5.2f}  {rate / 1e9:7.1f}  {100 * rate / top:5.0f} %"
            f"  {1e3 * ours.compile_seconds:6.0f}  {1e3 * best:9.3f}"
            + f" x{count}" * (count > 1)
            + (f"  {speedup(ours):.2f}" if threads > 1 else ""),
            flush=True,
        )
    if whole_step:
        print(f"sum: {1e3 * total_theirs:.1f} ms, {1e3 * total_ours:.1f} ms ours: "
              f"{total_theirs / total_ours:.2f}")  # fmt: skip


def speedup(ours: Ours) -> float:
    """Our time on one thread over that on those of the pool."""

    def alone() -> None:
        ours.parallel = False
        ours()
        ours.parallel = True

    return compare(ours, alone, time.perf_counter)[0]


def measure(case: Case, threads: int) -> tuple[Ours, float, float]:
    """Our kernel for a case, PyTorch's time over ours, our best time."""
    import torch

    spec, x_shape, y_shape = case
    rng = np.random.default_rng(0)
    x, y = (_array(s) for s in (x_shape, y_shape))
    for each in (x, y):
        each[...] = rng.normal(size=each.shape)
    theirs, result = _torch_call(spec, torch.from_numpy(x), torch.from_numpy(y))
    out = _array(tuple(result.shape))
    ours = Ours(instantiate(call_of(spec, x, y, out.shape), host()), [x, y, out])
    ours(), theirs()
    np.testing.assert_allclose(out, result.numpy(), rtol=2e-3, atol=2e-3)
    if threads > 1:
        running_pool().resize(threads)
        ours.parallel = True
        return ours, *compare(ours, theirs, time.perf_counter)
    return ours, *compare(ours, theirs)


def _torch_call(spec: str, x: Any, y: Any) -> tuple[Callable[[], object], Any]:
    """PyTorch's product without einsum's overhead, on views, into a preallocated result; its result
    in the order of the specification."""
    import torch

    left, right, result = spec.replace("->", ",").split(",")
    batch = [c for c in result if c in left and c in right]
    inner = [c for c in left if c in right and c not in result]
    rows, cols = ([c for c in result if c not in other] for other in (right, left))

    def view(letters: str, order: list[str], array: Any) -> Any:
        return array.permute([letters.index(c) for c in order])

    a, b = view(left, batch + rows + inner, x), view(right, batch + inner + cols, y)
    out = torch.matmul(a, b)
    made = "".join(batch + rows + cols)
    return (lambda: torch.matmul(a, b, out=out)), view(made, list(result), out)


if __name__ == "__main__":
    main(sys.argv[1:])
