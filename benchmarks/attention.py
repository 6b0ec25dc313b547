"""Attention kernels against PyTorch's, forward alone and with the backward pass.

    python -m benchmarks.attention [--rounds 15]

Both run on one thread of one process, in turn; the ratio is PyTorch's processor time by ours, as
the median over rounds. Operands lie as projections leave them ([batch, rows, heads, width], seen
with heads first), which PyTorch sees through strides too.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from thalweg.codegen.target import host
from thalweg.codegen.templates import instantiate
from thalweg.core.dtypes import float32
from thalweg.ir.anchor import AnchorCall, Epilogue, Operand
from thalweg.ir.loops import Buffer, Store, Var
from thalweg.runtime.native import NativeKernel
from thalweg.testing.native import compile_native

Array = np.ndarray[Any, Any]
# batch, heads, heads of keys, queries, keys, width, causal
SHAPES = {
    "GPT b8 h6 t256": (8, 6, 6, 256, 256, 64, True),
    "GPT b1 h12 t1024": (1, 12, 12, 1024, 1024, 64, True),
    "same, not causal": (1, 12, 12, 1024, 1024, 64, False),
    "BERT b1 h12 t128": (1, 12, 12, 128, 128, 64, False),
    "Llama b1 h16 g4 t512 e128": (1, 16, 4, 512, 512, 128, True),
}
_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def kernel(name: str, arrays: list[Array], results: list[Array], causal: bool) -> NativeKernel:
    """The template's kernel for [b, h, rows, width] views of dense [b, rows, h, width] arrays; of
    lower rank, arrays are dense as they are."""
    operands = []
    for n, x in enumerate(arrays):
        strides = tuple(s // x.itemsize for s in x.strides)
        operands.append(Operand(n, 0, x.shape, strides, float32))
    params = [Buffer(f"x{n}", float32, (x.size,)) for n, x in enumerate(arrays)]
    params += [Buffer(f"y{n}", float32, x.shape, "out") for n, x in enumerate(results)]
    index = ("b", "h", "i", "j")
    store = Store("y0", tuple(map(Var, index)), Var("value", float32))
    scale = arrays[0].shape[-1] ** -0.5
    call = AnchorCall(
        name, (("scale", scale), ("causal", causal)), tuple(operands), results[0].shape, float32,
        tuple(params), Epilogue(index, "value", (store,)),
    )  # fmt: skip
    return instantiate(call, host())


def bound(made: NativeKernel, arrays: list[Array]) -> Callable[[], None]:
    """The kernel on these arrays, all launches at once."""
    library = compile_native(made)
    room = [np.empty(size + 64, np.uint8) for size in made.workspaces]
    addresses = [a.ctypes.data for a in arrays]
    addresses += [-(-w.ctypes.data // 64) * 64 for w in room]
    table = (ctypes.c_void_p * len(addresses))(*addresses)
    launches = [(_ENTRY(library.addresses[x.symbol]), x.extent) for x in made.launches]

    def run(_keep: object = (arrays, room)) -> None:
        for entry, extent in launches:
            entry(ctypes.addressof(table), 0, extent)

    return run


def ratio(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """(PyTorch's time by ours, our best time in ms)."""

    def timed(run: Callable[[], Any], count: int) -> float:
        start = time.thread_time()
        for _ in range(count):
            run()
        return (time.thread_time() - start) / count

    ours(), theirs()
    count = max(1, int(0.02 / max(timed(ours, 1), 1e-6)))
    pairs = [(timed(ours, count), timed(theirs, count)) for _ in range(rounds)]
    return statistics.median(b / a for a, b in pairs), 1e3 * min(a for a, _ in pairs)


def measure(name: str, rounds: int) -> str:
    b, h, g, queries, keys, e, causal = SHAPES[name]
    rng = np.random.default_rng(0)

    def drawn(heads: int, rows: int) -> Array:
        return rng.normal(size=(b, rows, heads, e)).astype(np.float32).transpose(0, 2, 1, 3)

    q, k, v, given = drawn(h, queries), drawn(g, keys), drawn(g, keys), drawn(h, queries)
    out, lse = np.empty((b, h, queries, e), np.float32), np.empty((b, h, queries), np.float32)
    forward_kernel = kernel("attention", [q, k, v], [out, lse], causal)
    forward = bound(forward_kernel, [q, k, v, out, lse])
    forward()
    delta = np.einsum("bhlw,bhlw->bhl", out, given)
    grads = [np.empty(x.shape, np.float32) for x in (q, k, v)]
    operands = [q, k, v, lse, delta, given]
    backward = bound(kernel("attention_grad", operands, grads, causal), [*operands, *grads])

    def both() -> None:
        forward()
        np.einsum("bhlw,bhlw->bhl", out, given, out=delta)
        backward()

    tensors = [torch.from_numpy(x).requires_grad_() for x in (q, k, v)]
    seed = torch.from_numpy(given)

    def theirs(*inputs: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            *inputs, is_causal=causal, enable_gqa=g != h
        )

    plain = [x.detach() for x in tensors]
    first, best = ratio(forward, lambda: theirs(*plain), rounds)
    second, whole = ratio(
        both, lambda: torch.autograd.grad(theirs(*tensors), tensors, seed), rounds
    )  # fmt: skip
    speed = forward_kernel.flops / best / 1e6
    return f"{name:28}{first:8.2f}{best:10.2f}{speed:8.1f}{second:12.2f}{whole:10.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    heads = ("forward", "ms", "GF/s", "with grad", "ms")
    print(f"{'PyTorch / thalweg':28}{heads[0]:>8}{heads[1]:>10}{heads[2]:>8}", end="")
    print(f"{heads[3]:>12}{heads[4]:>10}")
    for name in SHAPES:
        print(measure(name, options.rounds), flush=True)


if __name__ == "__main__":
    main()
