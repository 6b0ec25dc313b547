"""Random graphs keep their meaning when fused, and when every fused node is lowered."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lowered import compare, run_lowered

from thalweg.ir.graph import Graph
from thalweg.ir.text import parse_graph, print_graph
from thalweg.ir.verify import verify
from thalweg.ops import COMPOSITES, PRIMITIVES
from thalweg.ops.evaluate import run_graph
from thalweg.ops.link import ops
from thalweg.passes.autodiff import gradients
from thalweg.passes.fuse import fuse
from thalweg.pipeline import PASSES
from thalweg.testing.random_graphs import KINDS, random_arrays, random_graph, seeded

OPS = {**COMPOSITES, **PRIMITIVES}
PROFILE = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def optimised(graph):
    for transform in PASSES:
        graph = transform(graph)
    return graph


def with_gradients(graph):
    """The graph with the gradients of the sum of its outputs as further outputs."""
    total = None
    for value in graph.outputs:
        part = ops.reduce_sum(value, dims=tuple(range(value.ndim)))
        total = part if total is None else total + part
    ones = ops.full(shape=(), value=1.0, dtype=total.dtype)
    found = [d for d in gradients([total], [ones], graph.inputs) if d is not None]
    return Graph(graph.inputs, [*graph.outputs, *found])


def check(graph, arrays, lower=True):
    graph = optimised(graph)
    fused = fuse(graph)
    verify(fused)
    text = print_graph(fused)
    assert print_graph(parse_graph(text, OPS)) == text
    expected = run_graph(graph, arrays)
    compare([np.ravel(a) for a in run_graph(fused, arrays)], expected, 1e-10, 1e-10)
    if lower:
        compare([np.ravel(a) for a in run_lowered(fused, arrays)], expected, 1e-9, 1e-9)


@PROFILE
@given(st.data())
def test_random_graphs(data):
    choose = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    graph = random_graph(choose, tuple(KINDS), steps=10)
    check(graph, random_arrays(choose, graph))


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs_with_gradients(seed):
    choose = seeded(seed)
    graph = random_graph(choose, tuple(KINDS), steps=12)
    check(with_gradients(graph), random_arrays(choose, graph))
