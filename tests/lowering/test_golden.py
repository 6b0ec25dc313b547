"""Kernels of well-known computations, word for word, and what they compute.

A text that changed on purpose is written anew by `python tests/lowering/test_golden.py`.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from lowered import compare, run_lowered

from thalweg.core.dtypes import float32
from thalweg.ir.anchor import AnchorCall
from thalweg.ir.graph import Graph
from thalweg.ir.loop_text import print_kernel, print_stmt
from thalweg.ir.node import make_input
from thalweg.ir.types import TensorType
from thalweg.lowering import lower_node
from thalweg.ops import FUNCTIONS
from thalweg.ops.evaluate import run_graph
from thalweg.ops.link import ops
from thalweg.passes.autodiff import gradients
from thalweg.passes.fuse import fuse
from thalweg.pipeline import optimise

GOLDEN = Path(__file__).parent / "golden"


def inputs(*shapes):
    return [make_input(TensorType(shape, float32)) for shape in shapes]


def public(name, *args, **kwargs):
    return FUNCTIONS[name].impl(*args, **kwargs)


def softmax():
    (x,) = inputs((8, 40))
    return Graph([x], [public("softmax", x, -1)])


def layer_norm():
    x, w, b, g = inputs((64, 24), (24,), (24,), (64, 24))
    y = public("nn.functional.layer_norm", x, (24,), w, b)
    return Graph([x, w, b, g], [y, *gradients([y], [g], [x, w, b])])


def adam():
    """Three parameters: each a kernel of its own, as nothing is shared between them."""
    shapes = [(40,), (3, 5), ()]
    rate = make_input(TensorType((), float32))
    given, results = [rate], []
    for shape in shapes:
        p, g, m, v = inputs(shape, shape, shape, shape)
        given += [p, g, m, v]
        m = m + (g - m) * 0.1
        v = v * 0.999 + g * g * 0.001
        step = m / (public("sqrt", v) + 1e-8)
        results += [p - step * rate, m, v]
    return Graph(given, results)


def gelu_epilogue():
    """A linear layer with its activation: the sum before it is kept for the gradient."""
    x, w, b = inputs((4, 6, 8), (16, 8), (16,))
    y = ops.dot(x, w, spec="abk,nk->abn") + b
    return Graph([x, w, b], [public("nn.functional.gelu", y), y])


CASES = {f.__name__: f for f in (softmax, layer_norm, adam, gelu_epilogue)}


def text_of(graph):
    """What every node of the fused graph is lowered to."""
    parts = []
    for node in fuse(graph).nodes:
        lowered = lower_node(node)
        if isinstance(lowered, AnchorCall):
            params = ", ".join(f"{b.mode} {b.name}: {b.dtype.name}{list(b.shape)}"
                               for b in lowered.params)  # fmt: skip
            body = "\n".join(f"  {print_stmt(s)}" for s in lowered.epilogue.body)
            strides = [(o.buffer, o.offset, o.shape, o.strides) for o in lowered.operands]
            index = ", ".join(lowered.epilogue.index)
            head = f"epilogue of {lowered.epilogue.value} at [{index}] of {list(lowered.shape)}"
            parts.append(
                f"{lowered.template} {dict(lowered.attrs)} of {strides}\n  ({params})\n"
                f"{head}\n{body}\n"
            )
        else:
            parts.append(print_kernel(lowered))
    return "\n".join(parts)


@pytest.mark.parametrize("name", CASES)
def test_text(name):
    graph = optimise(CASES[name]())
    assert text_of(graph) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_results(name):
    graph = optimise(CASES[name]())
    rng = np.random.default_rng(2)
    arrays = [rng.uniform(0.1, 1.0, t.shape).astype(t.dtype.np) for t in graph.input_types]
    found = [np.ravel(a) for a in run_lowered(fuse(graph), arrays)]
    compare(found, run_graph(graph, arrays), 2e-4, 1e-5)


if __name__ == "__main__":
    for name, make in CASES.items():
        (GOLDEN / f"{name}.txt").write_text(text_of(optimise(make())), encoding="utf-8")
        sys.stdout.write(f"wrote {name}\n")
