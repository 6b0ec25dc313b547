"""Graphs in which values are computed again: the same bits, in the memory that was promised."""

import numpy as np
import pytest

from thalweg.core.dtypes import float32, float64
from thalweg.ir.graph import Graph
from thalweg.ir.node import INPUT, make_input
from thalweg.ir.types import TensorType
from thalweg.ir.verify import verify
from thalweg.ops.evaluate import run_graph
from thalweg.ops.link import ops
from thalweg.passes.autodiff import gradients
from thalweg.passes.fuse import fuse
from thalweg.passes.rematerialize import Costs, recomputed
from thalweg.passes.schedule import peak
from thalweg.pipeline import optimise
from thalweg.testing.random_graphs import KINDS, random_arrays, random_graph, seeded

EVERYTHING = Costs(small=0)


def differentiated(choose):
    """A random graph with its gradients, optimised: forward values are read late."""
    graph = random_graph(choose, tuple(KINDS), steps=14)
    seeds = [ops.full(shape=v.shape, value=1.0, dtype=v.dtype) for v in graph.outputs]
    found = [g for g in gradients(graph.outputs, seeds, graph.inputs) if g is not None]
    return optimise(Graph(graph.inputs, [*graph.outputs, *found]))


def check(graph, found):
    """The result is well-formed, and its order is one: every node once, after its operands."""
    verify(found.graph)
    assert set(found.order) == set(found.graph.nodes)
    assert len(found.order) == len(found.graph.nodes)
    done = set()
    for node in found.order:
        assert all(v.node.op is INPUT or v.node in done for v in node.inputs)
        done.add(node)
    # What it promises is what an independent count gives, up to the alignment of each value.
    counted = peak(found.graph, found.order)
    assert counted <= found.peak <= counted + 64 * len(found.order)


@pytest.mark.parametrize("fused", [False, True])
def test_random_graphs_keep_their_bits(fused):
    smaller = 0
    for seed in range(40):
        choose = seeded(seed)
        graph = differentiated(choose)
        graph = fuse(graph) if fused else graph
        arrays = random_arrays(choose, graph)
        before = recomputed(graph, 1 << 40, EVERYTHING)
        assert len(before.graph.nodes) == len(graph.nodes) and not before.seconds
        after = recomputed(graph, 0, EVERYTHING)
        check(graph, before)
        check(graph, after)
        smaller += after.peak < before.peak
        assert after.peak <= before.peak
        for ours, expected in zip(
            run_graph(after.graph, arrays), run_graph(graph, arrays), strict=True
        ):
            assert ours.tobytes() == expected.tobytes()
    assert smaller >= 5


def chain(length, costly=False):
    """Products one after another, and their gradient: each product is read twice."""
    x, w = (make_input(TensorType((64, 64), float32)) for _ in range(2))
    values = [x]
    for _ in range(length):
        values.append(ops.tanh(ops.dot(values[-1], w, spec="mk,kn->mn")))
    gradient = ops.full(shape=(64, 64), value=1.0, dtype=float32)
    for value in reversed(values[1:]):
        gradient = ops.dot(gradient * (value * value), w, spec="mk,nk->mn")
    return Graph([x, w], [gradient])


def test_memory_falls_with_the_limit_and_work_rises():
    graph = fuse(chain(24))
    whole = recomputed(graph, 1 << 40, Costs()).peak
    assert whole >= 24 * 64 * 64 * 4
    seconds = 0.0
    for share in (0.8, 0.6, 0.5):
        found = recomputed(graph, round(whole * share), Costs())
        check(graph, found)
        assert found.peak <= whole * share
        assert found.seconds >= seconds
        seconds = found.seconds
    # Computing everything again from the start would take 24 * 25 / 2 kernels.
    assert len(found.graph.nodes) < 2.2 * len(graph.nodes)


def test_no_more_is_computed_again_than_the_limit_asks_for():
    graph = fuse(chain(12))
    whole = recomputed(graph, 1 << 40, Costs()).peak
    found = recomputed(graph, whole - 1, Costs())
    assert len(found.graph.nodes) == len(graph.nodes) + 1


def test_results_of_one_kernel_are_made_from_one_another():
    """A product and a function of it leave one kernel; the function alone is computed again."""
    x, w = (make_input(TensorType((64, 64), float64)) for _ in range(2))
    product = ops.dot(x, w, spec="mk,kn->mn")
    active = ops.tanh(product)
    y = active
    for _ in range(3):
        y = ops.dot(y, w, spec="mk,kn->mn")
    graph = fuse(Graph([x, w], [product, ops.dot(y, active, spec="mk,kn->mn")]))
    found = recomputed(graph, 0, Costs())
    check(graph, found)
    more = [n for n in found.graph.nodes if n not in set(graph.nodes)]
    products = [n for n in graph.nodes if "dot" in repr(n.attrs.get("body", n.op.name))]
    again = [n for n in found.graph.nodes if "dot" in repr(n.attrs.get("body", n.op.name))]
    assert more and len(again) == len(products)
    arrays = [np.random.default_rng(0).normal(size=(64, 64)) / 8 for _ in range(2)]
    for ours, expected in zip(run_graph(found.graph, arrays), run_graph(graph, arrays)):
        assert ours.tobytes() == expected.tobytes()


def test_what_must_not_run_twice_does_not():
    never = Costs(seconds=lambda node: None)
    graph = fuse(chain(6))
    assert recomputed(graph, 0, never).graph == recomputed(graph, 1 << 40, never).graph
