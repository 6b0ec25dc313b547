"""Hand-written loop kernels against PyTorch eager, one thread, in one process.

    taskset -c 0 python -m benchmarks.elementwise [name ...]

Rows of 256 in the L2 cache (128 KB), in the L3 cache (2 MB) and in memory (64 MB); times are
medians of alternating runs, PyTorch writes into tensors allocated before. Printed: our time, and
PyTorch's time divided by ours.
"""

from __future__ import annotations

import ctypes
import re
import statistics
import sys
import time

import numpy as np

from thalweg.codegen.emit import emit
from thalweg.codegen.target import host
from thalweg.ir.loop_text import parse_kernel
from thalweg.testing.native import compile_native

UNARY = """
kernel unary(in x: float32[T], out y: float32[T]) {{
  for i in 0..T vector {{ y[i] = {0}(x[i]) }}
}}
"""
KERNELS = {
    "exp": UNARY.format("exp"),
    "log": UNARY.format("log"),
    "tanh": UNARY.format("tanh"),
    "erf": UNARY.format("erf"),
    "sin": UNARY.format("sin"),
    "log1p": UNARY.format("log1p"),
    "expm1": UNARY.format("expm1"),
    "atan": UNARY.format("atan"),
    "sigmoid": """
kernel sigmoid(in x: float32[T], out y: float32[T]) {
  for i in 0..T vector {
    let e = exp(-abs(x[i]))
    y[i] = select(x[i] >= 0.0:float32, 1.0:float32, e) / (e + 1.0:float32)
  }
}""",
    "pow": """
kernel power(in x: float32[T], in w: float32[T], out y: float32[T]) {
  for i in 0..T vector { y[i] = pow(x[i], w[i]) }
}""",
    "gelu": """
kernel gelu(in x: float32[R, N], in w: float32[N], in b: float32[N], out y: float32[R, N]) {
  for i in 0..R parallel {
    for j in 0..N vector {
      let t = x[i, j] * w[j] + b[j]
      y[i, j] = 0.5:float32 * t * (1.0:float32 + erf(t * 0.7071067811865476:float32))
    }
  }
}""",
    "softmax": """
kernel softmax(in x: float32[R, N], out y: float32[R, N]) {
  for i in 0..R parallel {
    var peak: float32 = -inf:float32
    for j in 0..N vector { peak max= x[i, j] }
    var total: float32 = 0.0:float32
    for j in 0..N vector {
      let e = exp(x[i, j] - peak)
      total += e
      y[i, j] = e
    }
    let scale = 1.0:float32 / total
    for j in 0..N vector { y[i, j] = y[i, j] * scale }
  }
}""",
    "layer_norm": """
kernel norm(in x: float32[R, N], in w: float32[N], in b: float32[N], out y: float32[R, N]) {
  for i in 0..R parallel {
    var sum: float32 = 0.0:float32
    for j in 0..N vector { sum += x[i, j] }
    let mean = sum * INVERSE:float32
    var square: float32 = 0.0:float32
    for j in 0..N vector {
      let d = x[i, j] - mean
      square += d * d
    }
    let scale = rsqrt(square * INVERSE:float32 + 1e-05:float32)
    for j in 0..N vector { y[i, j] = (x[i, j] - mean) * scale * w[j] + b[j] }
  }
}""",
    "sum_rows": """
kernel sums(in x: float32[R, N], out y: float32[R]) {
  for i in 0..R parallel {
    var sum: float32 = 0.0:float32
    for j in 0..N vector { sum += x[i, j] }
    y[i] = sum
  }
}""",
    "sum_columns": """
kernel sums(in x: float32[R, N], out y: float32[N]) {
  for j in 0..N vector {
    var sum: float32 = 0.0:float32
    for i in 0..R { sum += x[i, j] }
    y[j] = sum
  }
}""",
    "sum_all": """
kernel sums(in x: float32[R, N], workspace w: float32[R], out y: float32[1]) {
  for i in 0..R parallel {
    var sum: float32 = 0.0:float32
    for j in 0..N vector { sum += x[i, j] }
    w[i] = sum
  }
  var all: float32 = 0.0:float32
  for i in 0..R vector { all += w[i] }
  y[0] = all
}""",
    "transpose": """
kernel transpose(in x: float32[N, R], out y: float32[R, N]) {
  for i in 0..R parallel {
    for j in 0..N vector { y[i, j] = x[j, i] }
  }
}""",
    "adam": """
kernel adam(in g: float32[T], inout p: float32[T], inout m: float32[T], inout v: float32[T]) {
  for i in 0..T vector {
    let a = m[i] + (g[i] - m[i]) * 0.1:float32
    let b = v[i] * 0.999:float32 + g[i] * g[i] * 0.001:float32
    m[i] = a
    v[i] = b
    p[i] = p[i] - a / (sqrt(b) * 1.5:float32 + 1e-08:float32) * 0.001:float32
  }
}""",
    "copy": """
kernel copy(in x: float32[T], out y: float32[T]) {
  for i in 0..T vector { y[i] = x[i] + 1.0:float32 }
}""",
}


def peer(name, tensors):
    """PyTorch's form of a kernel, as a function without arguments."""
    import torch
    import torch.nn.functional as F

    x, out = tensors[0], tensors[-1]
    rows = (lambda t: t) if x.dim() == 2 else (lambda t: t.view(-1, 256))
    if name in ("exp", "log", "tanh", "sin", "log1p", "expm1", "sigmoid", "atan"):
        return lambda: getattr(torch, name)(x, out=out)
    match name:
        case "erf":
            return lambda: torch.special.erf(x, out=out)
        case "pow":
            return lambda: torch.pow(x, tensors[1], out=out)
        case "copy":
            return lambda: torch.add(x, 1.0, out=out)
        case "gelu":
            buffer = torch.empty_like(x)
            return lambda: F.gelu(
                torch.add(torch.mul(x, tensors[1], out=buffer), tensors[2], out=out)
            )
        case "softmax":
            return lambda: torch.softmax(rows(x), -1, out=out)
        case "layer_norm":
            return lambda: F.layer_norm(x, (x.shape[1],), tensors[1], tensors[2])
        case "sum_rows":
            return lambda: torch.sum(x, 1, out=out)
        case "sum_columns":
            return lambda: torch.sum(x, 0, out=out)
        case "sum_all":
            return lambda: torch.sum(x)
        case "transpose":
            return lambda: out.copy_(x.t())
        case "adam":
            g, p, m, v = (t.clone() for t in tensors)
            p.grad = g
            step = torch.tensor(10.0)
            from torch.optim.adam import _fused_adam  # noqa: F401

            return lambda: torch._fused_adam_(
                [p], [g], [m], [v], [], [step], lr=1e-3, beta1=0.9, beta2=0.999,
                weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
            )  # fmt: skip
    raise KeyError(name)


def aligned(shape, dtype, fill):
    count = int(np.prod(shape))
    raw = np.zeros(count + 16, dtype)
    start = (-raw.ctypes.data // raw.itemsize) % 16
    part = raw[start : start + count]
    part[:] = fill(count)
    return part.reshape(shape)


def measure(name, rows, size):
    """(our seconds, PyTorch's seconds, compile seconds)."""
    import torch

    text = KERNELS[name].replace("INVERSE", repr(1 / size))
    for key, value in (("T", rows * size), ("R", rows), ("N", size)):
        text = re.sub(rf"\b{key}\b", str(value), text)
    kernel = parse_kernel(text)
    start = time.thread_time()
    native = emit(kernel, host())
    emitted = time.thread_time() - start
    library = compile_native(native)
    compiled = time.thread_time() - start - emitted
    rng = np.random.default_rng(0)
    params = [b for b in kernel.params if b.mode != "workspace"]
    arrays = [
        aligned(b.shape, b.dtype.np, lambda n: np.abs(rng.standard_normal(n, np.float32)) + 0.1)
        for b in params
    ]
    spaces = [aligned((size // 4 + 1,), np.float32, lambda n: 0) for size in native.workspaces]
    pointers = (ctypes.c_void_p * 8)(*[a.ctypes.data for a in (*arrays, *spaces)])
    entry_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    calls = [(entry_type(library.addresses[n.symbol]), n.extent) for n in native.launches]
    address = ctypes.addressof(pointers)

    def ours():
        for entry, extent in calls:
            entry(address, 0, extent)

    theirs = peer(name, [torch.from_numpy(a.copy()) for a in arrays])
    ours(), theirs()
    repeat = max(1, int(2e-3 / max(timed(ours, 1), 1e-6)))
    pairs = [(timed(ours, repeat), timed(theirs, repeat)) for _ in range(15)]
    us, them = (statistics.median(column) for column in zip(*pairs))
    return us, them, emitted, compiled


def timed(function, repeat):
    start = time.thread_time()
    for _ in range(repeat):
        function()
    return (time.thread_time() - start) / repeat


def main():
    import torch

    torch.set_num_threads(1)
    print(f"{'kernel':12s} {'L2':>18s} {'L3':>18s} {'DRAM':>18s}   emit + compile")
    for name in sys.argv[1:] or KERNELS:
        cells = []
        for rows in (128, 2048, 65536):
            us, them, emitted, compiled = measure(name, rows, 256)
            cells.append(f"{us * 1e6:10.1f}us {them / us:5.2f}x")
        print(
            f"{name:12s} {' '.join(cells)}   {emitted * 1e3:.1f} + {compiled * 1e3:.1f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
