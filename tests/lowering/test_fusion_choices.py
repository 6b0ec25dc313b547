"""What is fused with what: the number of kernels of well-known computations, and why not fewer."""

import numpy as np
import pytest
from lowered import agree, run_lowered, run_natively

from thalweg.core import flags
from thalweg.core.dtypes import bfloat16, float16, float32, int64
from thalweg.ir.graph import Graph
from thalweg.ir.loop_text import print_kernel
from thalweg.ir.node import make_input
from thalweg.ir.types import TensorType
from thalweg.lowering.lower import lower_node
from thalweg.ops import FUNCTIONS
from thalweg.ops.evaluate import run_graph
from thalweg.ops.link import ops
from thalweg.passes.autodiff import gradients
from thalweg.passes.fuse import explain, fuse, traffic
from thalweg.pipeline import optimise
from thalweg.testing.random_graphs import seeded
from thalweg.testing.random_typed import typed_arrays, typed_graph


def given(*shapes, dtype=float32):
    return [make_input(TensorType(shape, dtype)) for shape in shapes]


def public(name, *args, **kwargs):
    return FUNCTIONS[name].impl(*args, **kwargs)


def fused(inputs, outputs):
    graph = optimise(Graph(inputs, outputs))
    return graph, fuse(graph)


def test_a_norm_with_its_gradients_is_one_kernel():
    x, w, b, g = given((64, 24), (24,), (24,), (64, 24))
    y = public("nn.functional.layer_norm", x, (24,), w, b)
    _, made = fused([x, w, b, g], [y, *gradients([y], [g], [x, w, b])])
    assert len(made.nodes) == 1


def test_a_loss_with_its_gradient_counts_its_targets_first():
    x = given((32, 10))[0]
    target = given((32,), dtype=int64)[0]
    loss = public("nn.functional.cross_entropy", x, target)
    ones = ops.full(shape=(), value=1.0, dtype=float32)
    _, made = fused([x, target], [loss, *gradients([loss], [ones], [x])])
    assert len(made.nodes) <= 3


def test_expensive_values_are_computed_once():
    """A sigmoid that two far-apart kernels read is stored; its half is computed twice."""
    x, w = given((16, 16), (16, 16))
    y = public("sigmoid", x) * 0.5
    z = ops.dot(ops.dot(y, w, spec="mk,kn->mn"), w, spec="mk,kn->mn")
    _, made = fused([x, w], [z * y])
    bodies = [n.attrs["body"].nodes if "body" in n.attrs else (n,) for n in made.nodes]
    assert sum(n.op.name == "sigmoid" for body in bodies for n in body) == 1


def test_views_of_operands_and_results_of_products_cost_nothing():
    x, w = given((4, 6, 8), (8, 8))
    heads = ops.permute(ops.reshape(x, shape=(4, 6, 2, 4)), dims=(0, 2, 1, 3))
    scores = ops.dot(heads, heads, spec="bhqd,bhkd->bhqk")
    mixed = ops.dot(scores, heads, spec="bhqk,bhkd->bhqd")
    joined = ops.reshape(ops.permute(mixed, dims=(0, 2, 1, 3)), shape=(4, 6, 8))
    graph, made = fused([x, w], [ops.dot(joined, w, spec="abk,nk->abn")])
    assert len(made.nodes) == 3
    arrays = [np.random.default_rng(1).normal(size=t.shape).astype(np.float32)
              for t in graph.input_types]  # fmt: skip
    agree(run_lowered(made, arrays), run_graph(graph, arrays))
    agree(run_natively(made, arrays), run_graph(graph, arrays))


def test_an_update_follows_its_gradient():
    """The weight's gradient, and the step along it, in the epilogue of one product."""
    x, w, g = given((32, 8), (16, 8), (32, 16))
    y = ops.dot(x, w, spec="mk,nk->mn")
    (dw,) = gradients([y], [g], [w])
    _, made = fused([x, w, g], [w - dw * 0.1])
    assert len(made.nodes) == 1


@pytest.mark.parametrize("terms", [64, 512])
def test_a_short_product_is_not_held_up_by_an_epilogue_of_many_buffers(terms):
    """Adam's update: three buffers are read and written besides the gradient."""
    x, g, p, m0, v0 = given((terms, 24), (terms, 40), (24, 40), (24, 40), (24, 40))
    dw = ops.dot(x, g, spec="km,kn->mn")
    m = m0 * 0.9 + dw * 0.1
    v = v0 * 0.99 + dw * dw * 0.01
    graph = optimise(Graph([x, g, p, m0, v0], [p - m / (ops.sqrt(v) + 1e-8), m, v]))
    refusals = []
    made = fuse(graph, refusals)
    assert len(made.nodes) == (2 if terms < 256 else 1)
    assert any("buffers that its epilogue reads" in why for _, why in refusals) == (terms < 256)
    arrays = [np.random.default_rng(5).random(size=t.shape, dtype=np.float32)
              for t in graph.input_types]  # fmt: skip
    agree(run_natively(made, arrays), run_graph(graph, arrays), 1e-4)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish"])
def test_the_slope_of_an_activation_is_kept_instead_of_what_it_depends_on(name):
    """Between the two products only the activation and its slope pass through memory."""
    x, w, v, g = given((16, 24), (24, 32), (32, 8), (16, 8))
    before = ops.dot(x, w, spec="mk,kn->mn")
    y = ops.dot(public(f"nn.functional.{name}", before), v, spec="mk,kn->mn")
    graph, made = fused([x, w, v, g], [y, *gradients([y], [g], [x, w, v])])
    first = next(n for n in made.nodes if n.inputs[:2] == (x, w) and n.types[0].shape == (16, 32))
    assert len(first.types) == 2
    arrays = [np.random.default_rng(5).normal(size=t.shape).astype(np.float32)
              for t in graph.input_types]  # fmt: skip
    agree(run_natively(made, arrays), run_graph(graph, arrays), 1e-4)


def test_heads_that_are_put_side_by_side_are_read_in_runs():
    """Gradients of queries, keys and values, as rows of one matrix whose columns are summed."""
    heads = given(*[(4, 3, 20, 16)] * 3)
    rows = [ops.reshape(ops.permute(x, dims=(0, 2, 1, 3)), shape=(4, 20, 48)) for x in heads]
    y = ops.concat(*rows, dim=2)
    graph, made = fused(heads, [y, ops.reduce_sum(y, dims=(0, 1))])
    text = print_kernel(lower_node(made.nodes[0]))
    assert "select" not in text
    arrays = [np.random.default_rng(5).normal(size=t.shape).astype(np.float32)
              for t in graph.input_types]  # fmt: skip
    agree(run_natively(made, arrays), run_graph(graph, arrays))


def test_softmax_down_long_columns():
    x = given((1100, 128))[0]
    graph, made = fused([x], [public("softmax", x, 0)])
    arrays = [np.random.default_rng(5).normal(size=(1100, 128)).astype(np.float32)]
    agree(run_natively(made, arrays), run_graph(graph, arrays))


def test_what_stays_apart_is_explained(capsys):
    x, w = given((8, 8), (8, 8))
    y = ops.dot(x, w, spec="mk,kn->mn")
    graph = optimise(Graph([x, w], [ops.reduce_sum(y, dims=(1,))]))
    refusals = []
    made = fuse(graph, refusals)
    assert [reason for _, reason in refusals] == ["an epilogue reduces nothing"]
    assert "2 kernels" in explain(graph, made, refusals) and traffic(made) == traffic(graph)
    before = flags.log
    try:
        flags.log = "fuse"
        fuse(graph)
    finally:
        flags.log = before
    assert "reduce_sum -> float32[8] stays apart" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [float16, bfloat16])
def test_halves_are_computed_in_float32(dtype):
    x, w = given((6, 40), (40,), dtype=dtype)
    y = public("softmax", x * public("exp", w), -1)
    total = ops.reduce_sum(y + 1.0, dims=(0,))
    graph, made = fused([x, w], [y, total])
    arrays = [np.random.default_rng(1).uniform(-1, 1, t.shape).astype(dtype.np)
              for t in graph.input_types]  # fmt: skip
    wide = optimise(Graph([x, w], [y, total]))
    expected = [np.asarray(a).astype(np.float32) for a in run_graph(wide, arrays)]
    for run in (run_lowered, run_natively):
        found = [np.asarray(a).astype(np.float32) for a in run(made, arrays)]
        agree(found, expected, 2e-2)


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_random_graphs_of_all_dtypes(start):
    for seed in range(start, start + 20):
        choose = seeded(seed)
        graph = optimise(typed_graph(choose))
        arrays = typed_arrays(choose, graph)
        made = fuse(graph)
        agree(run_lowered(made, arrays), run_graph(graph, arrays))
