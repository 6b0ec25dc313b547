"""Fused kernels against PyTorch eager, one thread: `python -m benchmarks.fused_kernels [name...]`.

Every case is a function of tensors, run as the kernels into which the compiler makes its graph,
on buffers made beforehand, and by PyTorch. Figures are ratios of alternating runs (above 1: faster
than PyTorch), medians, in cache and in memory.
"""

from __future__ import annotations

import ctypes
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import thalweg
from thalweg.codegen.emit import emit
from thalweg.codegen.target import host
from thalweg.codegen.templates import instantiate
from thalweg.ir.graph import Graph
from thalweg.ir.loops import Kernel
from thalweg.lowering import lower_node
from thalweg.passes.fuse import fuse
from thalweg.tensor.inspect import graph_of
from thalweg.testing.native import compile_native

Array = np.ndarray[Any, Any]
_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Compiled:
    """A graph's kernels, with all buffers."""

    def __init__(self, graph: Graph, arrays: Sequence[Array]) -> None:
        self.graph = fuse(graph)
        self.known: dict[Any, Array] = dict(zip(self.graph.inputs, arrays))
        self.calls: list[tuple[Any, Any, int]] = []
        self.held: list[Any] = []
        self.kernels: list[Any] = []
        for node in self.graph.nodes:
            lowered = lower_node(node)
            if lowered is None:
                raise RuntimeError(f"{node.op.name} runs on the host")
            make = emit if isinstance(lowered, Kernel) else instantiate
            kernel = make(lowered, host())  # type: ignore[operator]
            self.kernels.append((lowered, kernel))
            for value in node.outputs:
                self.known[value] = np.zeros(value.shape, value.dtype.np)
            buffers = [self.known[v] for v in (*node.inputs, *node.outputs)]
            spaces = [np.zeros(n + 64, np.uint8) for n in kernel.workspaces]
            pointers = [b.ctypes.data for b in buffers]
            pointers += [(w.ctypes.data + 63) // 64 * 64 for w in spaces]
            table = (ctypes.c_void_p * len(pointers))(*pointers)
            library = compile_native(kernel)
            self.held.append((buffers, spaces, table, library))
            for launch in kernel.launches:
                entry = _ENTRY(library.addresses[launch.symbol])
                self.calls.append((entry, ctypes.addressof(table), launch.extent))

    def run(self) -> None:
        for entry, table, extent in self.calls:
            entry(table, 0, extent)

    @property
    def results(self) -> list[Array]:
        return [self.known[v] for v in self.graph.outputs]


def recorded(function: Callable[..., Any], arrays: Sequence[Array]) -> tuple[Graph, list[Array]]:
    tensors = [thalweg.from_numpy(a) for a in arrays]
    for tensor in tensors:
        if tensor.is_floating_point():
            tensor.requires_grad_(True)
    results = function(thalweg, *tensors)
    results = results if isinstance(results, (tuple, list)) else [results]
    graph = graph_of(*results)
    known = {t._meta.value: a for t, a in zip(tensors, arrays)}
    return graph, [known[v] for v in graph.inputs]


def measure(ours: Callable[[], None], theirs: Callable[[], None]) -> tuple[float, float, float]:
    """(ratio, our seconds, their seconds): medians of alternating runs."""
    ours(), theirs()
    begin = time.perf_counter()
    ours()
    once = max(time.perf_counter() - begin, 1e-6)
    repeat = max(1, int(2e-3 / once))
    pairs = []
    for _ in range(max(7, min(60, int(0.5 / (once * repeat))))):
        start = time.perf_counter()
        for _ in range(repeat):
            ours()
        middle = time.perf_counter()
        for _ in range(repeat):
            theirs()
        pairs.append(((middle - start) / repeat, (time.perf_counter() - middle) / repeat))
    ratio = statistics.median(b / a for a, b in pairs)
    return ratio, statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


_seeds = itertools.count()


def floats(*shape: int) -> Array:
    return np.random.default_rng(next(_seeds)).normal(size=shape).astype(np.float32)


def ints(high: int, *shape: int) -> Array:
    return np.random.default_rng(3).integers(0, high, shape)


def grads(t: Any, out: Any, *inputs: Any) -> Any:
    return (out, *t.autograd.grad(out.sum(), inputs))


def grads_of(t: Any, out: Any, g: Any, *inputs: Any) -> Any:
    return t.autograd.grad(out, inputs, g)


def adam(t: Any, *tensors: Any) -> Any:
    results = []
    with t.no_grad():
        for k in range(0, len(tensors), 4):
            p, g, m, v = tensors[k : k + 4]
            m = m + (g - m) * 0.1
            v = v * 0.999 + g * g * 0.001
            results += [p - m / (v.sqrt() / 0.9 + 1e-8) * 1e-3, m, v]
    return results


def cases(rows: int, width: int) -> dict[str, tuple[Callable[..., Any], list[Array]]]:
    x, y, w, b = floats(rows, width), floats(rows, width), floats(width), floats(width)

    def functional(t: Any) -> Any:
        return t.nn.functional

    many = [floats(rows * width // 16) for _ in range(16)]
    small = [np.abs(floats(n)) for n in (300, 4000, 64, 1000) * 6 for _ in range(4)]
    return {
        "chain": (lambda t, x, y: (x * y + x).tanh() * 0.5 - y, [x, y]),
        "gelu": (lambda t, x, w, b: functional(t).gelu(x * w + b), [x, w, b]),
        "swish gate": (lambda t, x, y: functional(t).silu(x) * y, [x, y]),
        "relu grad": (lambda t, x, g: grads_of(t, x.relu(), g, x), [x, y]),
        "gelu grad": (lambda t, x, g: grads_of(t, functional(t).gelu(x), g, x), [x, y]),
        "softmax": (lambda t, x: x.softmax(-1), [x]),
        "softmax grad": (lambda t, x, g: grads_of(t, x.softmax(-1), g, x), [x, y]),
        "softmax dim 0": (lambda t, x: x.softmax(0), [x]),
        "layer norm": (
            lambda t, x, w, b: functional(t).layer_norm(x, (width,), w, b), [x, w, b],
        ),
        "layer norm grad": (
            lambda t, x, w, b, g: grads_of(
                t, functional(t).layer_norm(x, (width,), w, b), g, x, w, b
            ),
            [x, w, b, y],
        ),
        "cross-entropy": (
            lambda t, x, i: functional(t).cross_entropy(x, i), [x, ints(width, rows)],
        ),
        "cross-entropy grad": (
            lambda t, x, i: grads(t, functional(t).cross_entropy(x, i), x), [x, ints(width, rows)],
        ),
        "embedding": (
            lambda t, w, i: functional(t).embedding(i, w), [floats(1000, width), ints(1000, rows)],
        ),
        "sum all": (lambda t, x: x.sum(), [x]),
        "sum rows": (lambda t, x: x.sum(1), [x]),
        "sum columns": (lambda t, x: x.sum(0), [x]),
        "sum middle": (lambda t, x: x.sum(1), [x.reshape(rows // 32, 32, width)]),
        "max rows": (lambda t, x: x.amax(1), [x]),
        "mean and var": (lambda t, x: (x.mean(1), x.var(1)), [x]),
        "transpose": (lambda t, x: x.t().contiguous(), [x]),
        "permute": (
            lambda t, x: x.permute(0, 2, 1, 3).contiguous(),
            [x.reshape(rows // 64, 64, 4, width // 4)],
        ),
        "concat": (lambda t, x, y: t.cat([x, y], 1), [x, y]),
        "pad": (
            lambda t, x: functional(t).pad(x, (1, 1, 1, 1)), [x.reshape(rows // 32, 32, width)],
        ),
        "batch norm": (
            lambda t, x, w, b: functional(t).batch_norm(x, None, None, w, b, True),
            [x.reshape(4, 32, -1), floats(32), floats(32)],
        ),
        "batch norm grad": (
            lambda t, x, w, b, g: grads_of(
                t, functional(t).batch_norm(x, None, None, w, b, True), g, x, w, b
            ),
            [x.reshape(4, 32, -1), floats(32), floats(32), y.reshape(4, 32, -1)],
        ),
        "adam": (adam, [np.abs(a) for a in many[:4]]),
        "adam, many small": (adam, small),
    }  # fmt: skip


def main(names: Sequence[str]) -> None:
    import torch

    torch.set_num_threads(1)
    ratios = []
    show = "show" in names
    names = [n for n in names if n != "show"]
    print(f"{'':22} {'in cache':>28} {'in memory':>28}")
    for name in cases(256, 256):
        if names and name not in names:
            continue
        line = f"{name:22}"
        for rows, width in ((256, 256), (8192, 1024)):
            function, arrays = cases(rows, width)[name]
            graph, given = recorded(function, arrays)
            compiled = Compiled(graph, given)
            if show:
                from thalweg.ir.loop_text import print_kernel

                print(compiled.graph)
                for lowered, kernel in compiled.kernels:
                    if isinstance(lowered, Kernel):
                        print(print_kernel(lowered), kernel.launches)
                show = False
            tensors = [torch.from_numpy(a) for a in arrays]
            for tensor in tensors:
                if tensor.is_floating_point():
                    tensor.requires_grad_("grad" in name)

            def theirs(function: Any = function, tensors: Any = tensors) -> Any:
                return function(torch, *tensors)

            compiled.run()
            expected = theirs()
            expected = expected if isinstance(expected, (tuple, list)) else [expected]
            worst = max(
                float(np.abs(a - e.detach().numpy()).max() / (1e-6 + np.abs(a).max()))
                for a, e in zip(compiled.results, expected)
            )
            ratio, mine, other = measure(compiled.run, theirs)
            ratios.append(ratio)
            mark = "" if worst < 1e-4 else f" WRONG {worst:.1e}"
            line += f" {ratio:6.2f} {mine * 1e6:9.1f}/{other * 1e6:9.1f}us{mark}"
        print(line, flush=True)
    print(f"geometric mean {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
