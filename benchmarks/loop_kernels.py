"""Sort, argmax, running results and scattered sums beside PyTorch's, on one thread.

    python -m benchmarks.loop_kernels [pattern ...]

The ratio is PyTorch's processor time by ours, the median over rounds in which both take turns.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from thalweg.codegen.emit import emit
from thalweg.codegen.target import host
from thalweg.core.dtypes import from_numpy
from thalweg.ir.node import Node, make_input
from thalweg.ir.types import TensorType
from thalweg.ops import PRIMITIVES

from .attention import bound, ratio

Array = np.ndarray[Any, Any]


def ours(name: str, arrays: list[Array], attrs: dict[str, Any]) -> Callable[[], None]:
    types = tuple(TensorType(a.shape, from_numpy(a.dtype)) for a in arrays)
    op = PRIMITIVES[name]
    node = Node(op, tuple(map(make_input, types)), attrs, op.infer_types(types, attrs))
    results = [np.empty(t.shape, t.dtype.np) for t in node.types]
    return bound(emit(op.lower.build(node), host()), [*arrays, *results])


def cases() -> Iterator[tuple[str, Callable[[], None], Callable[[], Any]]]:
    rng = np.random.default_rng(0)

    def of(name: str, shape: tuple[int, ...], dim: int, dtype: str = "float32") -> Any:
        x = (rng.normal(size=shape) * 1000).astype(dtype)
        attrs: dict[str, Any] = {"dim": dim, **({"descending": False} if name == "sort" else {})}
        function = getattr(torch, name)
        tensor = torch.from_numpy(x)
        title = f"{name} {dtype} {list(shape)} dim {dim}"
        return title, ours(name, [x], attrs), lambda: function(tensor, dim=dim)

    for name in ("argmax", "cumsum", "cummax", "logcumsumexp"):
        yield of(name, (64, 50_000) if name == "argmax" else (64, 4096), 1)
        yield of(name, (512, 1000), 0)
        yield of(name, (1_000_000,), 0)
    for shape in [(1000, 20), (100, 1000), (1_000_000,)]:
        for dtype in ("float32", "int64"):
            yield of("sort", shape, len(shape) - 1, dtype)
    logits = rng.normal(size=(8, 50_257)).astype(np.float32)
    scores = torch.from_numpy(logits)
    attrs = {"dim": 1, "descending": True, "keep": 50}
    yield "topk 50 of [8, 50257]", ours("sort", [logits], attrs), lambda: scores.topk(50)
    for vocabulary, width, count in [(50_257, 64, 2048), (10_000, 650, 700), (65, 384, 2048)]:
        grad = rng.normal(size=(count, width)).astype(np.float32)
        at = rng.integers(0, vocabulary, count)
        zeros = np.zeros((vocabulary, width), np.float32)
        tensors = [torch.from_numpy(a) for a in (grad, at)]
        yield (
            f"embedding gradient {vocabulary} x {width}, {count} rows",
            ours("index_put", [zeros, at, grad], {"batch": 0, "combine": "sum"}),
            functools.partial(
                torch.ops.aten.embedding_dense_backward, *tensors, vocabulary, -1, False
            ),
        )
    n = 1_000_000
    at, new, x = rng.integers(0, 1000, n), rng.normal(size=n).astype(np.float32), np.zeros(1000)
    x = x.astype(np.float32)
    a, b, c = (torch.from_numpy(v) for v in (x, at, new))
    yield (
        "scatter_add of 1000000 numbers to 1000",
        ours("index_put", [x, at, new], {"batch": 0, "combine": "sum"}),
        lambda: a.scatter_add(0, b, c),
    )


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:]
    for title, mine, theirs in cases():
        if not wanted or any(w in title for w in wanted):
            times, best = ratio(mine, theirs, 7)
            print(f"{title:48}{times:8.2f}{best:10.3f} ms", flush=True)


if __name__ == "__main__":
    main()
