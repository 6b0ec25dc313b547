"""Properties of random graphs: gradients, batching and simplification keep their meaning."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.ir.graph import Graph
from thalweg.ir.node import make_input
from thalweg.ops.evaluate import evaluate, run_graph
from thalweg.passes.autodiff import gradients
from thalweg.passes.batching import batch, batch_graph
from thalweg.passes.cse import eliminate_common
from thalweg.passes.decompose import decompose
from thalweg.testing.differences import check_gradients
from thalweg.testing.random_graphs import KINDS, random_arrays, random_graph, seeded

ALL = tuple(KINDS)
PROFILE = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def chooser(data):
    return lambda low, high: data.draw(st.integers(low, high))


def equal(ours, expected):
    for a, b in zip(ours, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@PROFILE
@given(st.data())
def test_gradients_of_any_graph_are_its_central_differences(data):
    choose = chooser(data)
    graph = random_graph(choose, ALL)
    arrays = random_arrays(choose, graph)
    found = check_gradients(graph.outputs, graph.inputs, arrays, kinks=True)
    assert not found, f"{found}\n{graph.nodes}"


@PROFILE
@given(st.data())
def test_batched_graph_equals_the_graph_on_each_example(data):
    choose = chooser(data)
    graph = random_graph(choose, ALL)
    examples = [random_arrays(choose, graph) for _ in range(3)]
    flags = [bool(choose(0, 1)) for _ in graph.inputs]
    examples = [[e[i] if f else examples[0][i] for i, f in enumerate(flags)] for e in examples]
    stacked, which = batch_graph(graph, flags, 3)
    operands = [
        np.stack([e[i] for e in examples]) if f else examples[0][i] for i, f in enumerate(flags)
    ]
    results = run_graph(stacked, operands)
    singles = [run_graph(graph, e) for e in examples]
    equal(
        results,
        [np.stack([s[i] for s in singles]) if w else singles[0][i] for i, w in enumerate(which)],
    )


@PROFILE
@given(st.data())
def test_gradient_of_a_batched_graph_is_the_batched_gradient(data):
    choose = chooser(data)
    graph = random_graph(choose, steps=5)
    x = graph.inputs[0]
    total = _total(graph)
    (dx,) = gradients([total], [_ones(total)], [x])
    if dx is None:
        return
    examples = [random_arrays(choose, graph) for _ in range(2)]
    examples[1][1:] = examples[0][1:]
    operands = [np.stack([e[0] for e in examples]), *examples[0][1:]]
    flags = [True] + [False] * (len(graph.inputs) - 1)
    stacked = [make_input(v.type.with_shape(a.shape)) for v, a in zip(graph.inputs, operands)]
    (batched,), (is_stack,) = batch([dx], graph.inputs, stacked, flags, 2)
    singles = [evaluate([dx], dict(zip(graph.inputs, e)))[0] for e in examples]
    expected = np.stack(singles) if is_stack else singles[0]
    equal(evaluate([batched], dict(zip(stacked, operands))), [expected])


def _total(graph):
    from thalweg.ops.link import ops

    sums = [ops.reduce_sum(v, dims=tuple(range(v.ndim))) for v in graph.outputs]
    total = sums[0]
    for s in sums[1:]:
        total = total + s
    return total


def _ones(value):
    from thalweg.ops.link import ops

    return ops.full(shape=value.shape, value=1.0, dtype=value.dtype)


@PROFILE
@given(st.data())
def test_simplification_keeps_the_meaning(data):
    choose = chooser(data)
    graph = random_graph(choose, ALL, steps=10)
    total = _total(graph)
    dxs = [d for d in gradients([total], [_ones(total)], graph.inputs) if d is not None]
    whole = Graph(graph.inputs, [*graph.outputs, *dxs])
    arrays = random_arrays(choose, whole)
    expected = run_graph(whole, arrays)
    small = eliminate_common(decompose(whole))
    assert len(small.nodes) <= len(decompose(whole).nodes)
    equal(run_graph(small, arrays), expected)


@pytest.mark.parametrize("kind", ALL)
def test_every_builder_takes_part(kind):
    """A kind alone, from seeds: its ops occur, and equal seeds give equal graphs."""
    names = set()
    for seed in range(30):
        graph = random_graph(seeded(seed), (kind,))
        assert graph == random_graph(seeded(seed), (kind,))
        names.update(node.op.name for node in graph.nodes)
    assert len(names) >= {"dot": 1}.get(kind, 2), names
