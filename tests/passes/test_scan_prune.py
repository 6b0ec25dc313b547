"""Pruned scans compute the same, and keep nothing that nobody reads."""

import numpy as np
import pytest

from thalweg.core.dtypes import float64
from thalweg.ir.graph import Graph
from thalweg.ir.node import make_input
from thalweg.ir.types import TensorType
from thalweg.ir.verify import verify
from thalweg.ops.evaluate import run_graph
from thalweg.ops.link import ops
from thalweg.passes.scan_prune import prune_scans

LENGTH = 4


def scan_of(reverse=False):
    """Three carries, of which the first feeds the second; two xs, one constant, two ys."""
    step = [make_input(TensorType(s, float64)) for s in [(), (2,), (), (2,), (), (2,)]]
    a, b, c, x, y, w = step
    spread = ops.expand(ops.reshape(a, shape=(1,)), shape=(2,))
    body = Graph(step, [ops.tanh(a + y), ops.tanh(b * spread + x), c * 0.5, b * w, c - y])
    types = [(), (2,), (), (LENGTH, 2), (LENGTH,), (2,)]
    inputs = [make_input(TensorType(s, float64)) for s in types]
    attrs = {"body": body, "num_carry": 3, "num_xs": 2, "length": LENGTH, "reverse": reverse}
    return inputs, ops.scan(*inputs, **attrs)


# Results: last a, b, c; stacks of the ys b*w and c-y; stacks of a, b, c.
KEPT = {
    (0,): (1, 1, 0, 2),
    (1,): (2, 2, 0, 4),
    (2,): (1, 0, 0, 2),
    (3,): (2, 2, 1, 5),
    (4,): (1, 1, 0, 3),
    (5,): (1, 1, 0, 2),
    (6, 2): (3, 2, 0, 6),
    (7,): (1, 0, 0, 2),
    (0, 3, 4): (3, 2, 1, 8),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("wanted", KEPT, ids=str)
def test_what_is_read_stays(wanted, reverse):
    inputs, results = scan_of(reverse)
    graph = Graph(inputs, [ops.neg(results[i]) for i in wanted])
    small = prune_scans(graph)
    verify(small)
    (scan,) = [n for n in small.nodes if "body" in n.attrs]
    carries, xs, consts, count = KEPT[wanted]
    assert (scan.attrs["num_carry"], scan.attrs["num_xs"]) == (carries, xs)
    assert len(scan.inputs) == carries + xs + consts and len(scan.outputs) == count
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=t.shape) for t in graph.input_types]
    for ours, expected in zip(run_graph(small, arrays), run_graph(graph, arrays), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_scan_that_is_read_in_full_stays_the_same_node():
    inputs, results = scan_of()
    graph = Graph(inputs, [results[1], results[2], results[3], results[4]])
    assert prune_scans(graph).nodes == graph.nodes


def test_what_only_a_dropped_carry_needed_goes_too():
    inputs, first = scan_of()
    body_in = [make_input(TensorType((), float64)) for _ in range(4)]
    s, t, x = body_in[:3]
    body = Graph(body_in, [s + x, t * t, x])
    second = ops.scan(
        first[2], first[0], first[4], first[7], body=body, num_carry=2, num_xs=2, length=LENGTH,
        reverse=False,
    )  # fmt: skip
    small = prune_scans(Graph(inputs, [second[2]]))
    verify(small)
    early, late = small.nodes
    assert late.attrs["num_carry"] == 0 and len(late.inputs) == 1
    assert early.attrs["num_carry"] == 1 and len(early.inputs) == 2


def test_graphs_without_scans_are_left_alone():
    x = make_input(TensorType((3,), float64))
    graph = Graph([x], [ops.neg(x), x])
    assert prune_scans(graph).nodes == graph.nodes and prune_scans(graph) == graph
