"""Work moved between scans and out of them: the same results, and as little as promised inside."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.core.dtypes import float64
from thalweg.ir.graph import Graph
from thalweg.ir.node import Node, Value, make_input
from thalweg.ir.types import TensorType
from thalweg.ir.verify import verify
from thalweg.ops import FUNCTIONS
from thalweg.ops.arithmetic import constant
from thalweg.ops.evaluate import run_graph
from thalweg.ops.link import ops
from thalweg.passes.assemble import assemble_pieces
from thalweg.passes.autodiff import gradients
from thalweg.passes.bodies import prepare_bodies
from thalweg.passes.hoist import hoist_from_scans
from thalweg.passes.keep import keep_steps
from thalweg.passes.scan_prune import prune_scans
from thalweg.pipeline import PASSES, optimise
from thalweg.testing.random_graphs import KINDS, random_graph, seeded

LENGTH = 3


def scans(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if "body" in n.attrs]


def names(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes]


def same(small: Graph, graph: Graph, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    arrays = [rng.uniform(-1, 1, t.shape) for t in graph.input_types]
    pairs = zip(run_graph(small, arrays), run_graph(graph, arrays), strict=True)
    for ours, expected in pairs:
        np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12)


def random_body(choose, carries: int, xs: int) -> tuple[Graph, int]:
    """A random body of which the first ``carries`` results have the types of the first inputs."""
    for _ in range(100):
        made = random_graph(choose, tuple(KINDS), steps=9)
        values = [*made.inputs, *(v for n in made.nodes for v in n.outputs)]
        carried, ends = [], []
        for state in made.inputs[:carries]:
            alike = [v for v in values if v.type == state.type]
            carried.append(alike[choose(0, len(alike) - 1)])
        ends = [values[choose(0, len(values) - 1)] for _ in range(choose(0, 3))]
        if len(made.inputs) >= carries:
            return Graph(made.inputs, [*carried, *ends]), min(xs, len(made.inputs) - carries)
    raise AssertionError("no graph of enough inputs")


def random_scan(seed: int) -> tuple[list[Value], tuple[Value, ...]]:
    choose = seeded(seed)
    carries = choose(1, 2)
    body, xs = random_body(choose, carries, choose(0, 2))
    types = [
        t.with_shape((LENGTH, *t.shape)) if carries <= i < carries + xs else t
        for i, t in enumerate(body.input_types)
    ]
    inputs = [make_input(t) for t in types]
    results = ops.scan(
        *inputs, body=body, num_carry=carries, num_xs=xs, length=LENGTH, reverse=bool(seed % 2)
    )
    return inputs, results


@pytest.mark.parametrize("seed", range(40))
def test_random_scans_and_their_gradients(seed):
    inputs, results = random_scan(seed)
    seeds = [ops.full(shape=v.shape, value=0.5, dtype=v.dtype) for v in results]
    found = [g for g in gradients(results, seeds, inputs) if g is not None]
    graph = Graph(inputs, [*results, *found])
    small = graph
    for transform in (*PASSES, hoist_from_scans, keep_steps, prune_scans):
        small = transform(small)
        verify(small)
    same(small, graph, seed)


def test_the_random_scans_exercise_the_passes():
    """Among the graphs of the test above, both passes find something to do."""
    hoisted = kept = 0
    for seed in range(40):
        inputs, results = random_scan(seed)
        seeds = [ops.full(shape=v.shape, value=0.5, dtype=v.dtype) for v in results]
        found = [g for g in gradients(results, seeds, inputs) if g is not None]
        graph = prune_scans(prepare_bodies(Graph(inputs, [*results, *found])))
        hoisted += hoist_from_scans(graph) != graph
        kept += keep_steps(graph) != graph
    assert hoisted >= 10 and kept >= 10, (hoisted, kept)


def layer(kind: str, gates: int, states: int) -> Graph:
    """A recurrent layer and the gradients of all its operands."""
    t, b, i, h = 4, 2, 3, 5
    shapes = [(t, b, i), *[(b, h)] * states, (gates * h, i), (gates * h, h), *[(gates * h,)] * 2]
    inputs = [make_input(TensorType(s, float64), requires_grad=True) for s in shapes]
    y = FUNCTIONS[kind].impl(*inputs)[0]
    loss = ops.reduce_sum(y * y, dims=(0, 1, 2))
    found = gradients([loss], [constant(1, float64)], inputs)
    return Graph(inputs, [loss, *(g for g in found if g is not None)])


@pytest.mark.parametrize(("kind", "gates", "states"), [
    ("lstm_layer", 4, 2), ("gru_layer", 3, 1), ("rnn_layer", 1, 1),
])  # fmt: skip
def test_a_recurrent_step_has_one_product_each_way(kind, gates, states):
    graph = layer(kind, gates, states)
    small = optimise(graph)
    verify(small)
    same(small, graph)
    forward, backward = scans(small)
    for scan in (forward, backward):
        assert names(scan.attrs["body"]).count("dot") == 1
    # The backward step evaluates no function again and joins the gates' gradients at once.
    inner = names(backward.attrs["body"])
    assert not {"tanh", "sigmoid", "exp", "slice_update"} & set(inner), inner
    assert inner.count("concat") <= 2


def test_what_depends_on_xs_alone_becomes_one_product():
    s, x, w, u = (make_input(TensorType(n, float64)) for n in [(2,), (3,), (3, 2), (2, 2)])
    product = ops.dot(x, w, spec="k,kn->n")
    y = ops.exp(ops.reduce_sum(x, dims=(0,)))
    body = Graph([s, x, w, u], [ops.tanh(ops.dot(s, u, spec="k,kn->n") + product), y, s])
    shapes = [(2,), (LENGTH, 3), (3, 2), (2, 2)]
    inputs = [make_input(TensorType(n, float64)) for n in shapes]
    results = ops.scan(
        *inputs, body=body, num_carry=1, num_xs=1, length=LENGTH, reverse=False
    )  # fmt: skip
    graph = Graph(inputs, results)
    small = prune_scans(hoist_from_scans(graph))
    verify(small)
    same(small, graph)
    (scan,) = scans(small)
    assert names(scan.attrs["body"]) == ["dot", "add", "tanh"]
    assert sorted(names(small)) == ["dot", "exp", "reduce_sum", "scan"]


def test_views_of_what_is_hoisted_stay_inside():
    s, x, w = (make_input(TensorType(n, float64)) for n in [(2,), (3,), (3, 4)])
    product = ops.dot(x, w, spec="k,kn->n")
    halves = [ops.slice(product, starts=(a,), stops=(a + 2,), steps=(1,)) for a in (0, 2)]
    body = Graph([s, x, w], [ops.tanh(s * halves[0] + halves[1])])
    inputs = [make_input(TensorType(n, float64)) for n in [(2,), (LENGTH, 3), (3, 4)]]
    attrs = {"body": body, "num_carry": 1, "num_xs": 1, "length": LENGTH, "reverse": True}
    graph = Graph(inputs, ops.scan(*inputs, **attrs))
    small = prune_scans(hoist_from_scans(graph))
    same(small, graph)
    (scan,) = scans(small)
    assert scan.attrs["num_xs"] == 1 and scan.inputs[1].shape == (LENGTH, 4)
    assert names(scan.attrs["body"]).count("slice") == 2


def test_an_empty_loop_computes_nothing_outside():
    s, w = make_input(TensorType((2,), float64)), make_input(TensorType((2,), float64))
    body = Graph([s, w], [s * ops.exp(w)])
    inputs = [make_input(TensorType((2,), float64)) for _ in range(2)]
    attrs = {"body": body, "num_carry": 1, "num_xs": 0, "length": 0, "reverse": False}
    graph = Graph(inputs, ops.scan(*inputs, **attrs))
    assert hoist_from_scans(graph) == graph


def pieces(bounds: list[tuple[int, int]], size: int, extra: bool) -> Graph:
    inputs = [make_input(TensorType((2, b - a), float64)) for a, b in bounds]
    zeros = constant(0, float64, (2, size))
    total: Value | None = None
    for x, (a, b) in zip(inputs, bounds):
        put = ops.slice_update(zeros, x, starts=(0, a), stops=(2, b), steps=(1, 1))
        total = put if total is None else total + put
    more = make_input(TensorType((2, size), float64))
    assert total is not None
    return Graph([*inputs, more], [total + more if extra else total])


@pytest.mark.parametrize(("bounds", "joined"), [
    ([(0, 2), (2, 5)], True),
    ([(3, 5), (0, 1), (1, 3)], True),
    ([(0, 2), (3, 5)], False),
    ([(0, 3), (2, 5)], False),
    ([(0, 2), (0, 2), (2, 5)], False),
    ([(0, 5)], False),
])  # fmt: skip
@pytest.mark.parametrize("extra", [False, True])
def test_pieces_are_joined_where_they_fill_the_whole(bounds, joined, extra):
    graph = pieces(bounds, 5, extra)
    small = assemble_pieces(graph)
    verify(small)
    same(small, graph)
    assert ("concat" in names(small)) == joined
    assert ("slice_update" in names(small)) != joined


def test_a_sum_that_is_read_elsewhere_stays():
    graph = pieces([(0, 2), (2, 3), (3, 5)], 5, False)
    inner = graph.outputs[0].node.inputs[0]
    small = assemble_pieces(Graph(graph.inputs, [*graph.outputs, inner]))
    same(small, Graph(graph.inputs, [*graph.outputs, inner]))
