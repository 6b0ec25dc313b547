"""Random graphs keep their meaning, and stay well-formed, after every prefix of the pipeline."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.core.dtypes import bfloat16, bool_, float16, float32, float64, int8, int32, uint8
from thalweg.ir.graph import Graph
from thalweg.ir.node import make_input
from thalweg.ir.text import parse_graph, print_graph
from thalweg.ir.types import TensorType
from thalweg.ir.verify import verify
from thalweg.ops import COMPOSITES, PRIMITIVES
from thalweg.ops.evaluate import run_graph
from thalweg.ops.link import ops
from thalweg.passes.autodiff import gradients
from thalweg.passes.scan_prune import prune_scans
from thalweg.passes.simplify import RULES, simplify
from thalweg.pipeline import PASSES
from thalweg.testing.random_graphs import KINDS, random_arrays, random_graph, seeded

OPS = {**COMPOSITES, **PRIMITIVES}
DTYPES = (float32, float64, float16, bfloat16, int8, int32, uint8, bool_)
NUMBERS = (0, -0.0, 0.0, 1, 1.0, -1, 2.5, float("inf"), float("nan"))
SPECIAL = (-0.0, 0.0, np.nan, np.inf, -np.inf, 1.0, -2.5, 100.0, 0.3)
PROFILE = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def prefixes():
    for end in range(1, len(PASSES) + 1):
        yield PASSES[:end]


def run_prefix(graph, passes):
    for transform in passes:
        graph = transform(graph)
        verify(graph, "primitive")
        text = print_graph(graph)
        assert print_graph(parse_graph(text, OPS)) == text
    return graph


def redundant_graph(choose, steps=10):
    """A graph of ops that move bits about or compute each element by one rounding, full of
    constants, identities and chains; every result is defined to the bit."""
    inputs = [
        make_input(TensorType((choose(1, 2), choose(1, 3)), DTYPES[choose(0, len(DTYPES) - 1)]))
        for _ in range(choose(1, 2))
    ]
    values = list(inputs)
    for _ in range(choose(2, steps)):
        x = values[choose(max(0, len(values) - 2), len(values) - 1)]
        values.append(BUILDERS[choose(0, len(BUILDERS) - 1)](choose, x))
    used = {v for made in values for v in made.node.inputs}
    return Graph(inputs, [v for v in values if v not in used] or [values[-1]])


def constant_like(choose, x):
    number = NUMBERS[choose(0, len(NUMBERS) - 1)]
    if x.dtype.category != "float":
        number = 0 if number != number or number in (float("inf"), -1, 2.5) else int(number)
    return ops.full(shape=x.shape, value=number, dtype=x.dtype)


def arithmetic(choose, x):
    names = {"float": ("add", "sub", "mul", "div"), "int": ("add", "sub", "mul")}
    chosen = names.get(x.dtype.category, ("add", "mul"))
    pair = [x, constant_like(choose, x)]
    if choose(0, 1):
        pair.reverse()
    return getattr(ops, chosen[choose(0, len(chosen) - 1)])(*pair)


def negation(choose, x):
    return ops.neg(x) if x.dtype.category in ("int", "float") else x


def converted(choose, x):
    last = DTYPES[choose(0, len(DTYPES) - 1)]
    # Out of the range of integers, NumPy leaves the result of a conversion to the machine.
    if x.dtype.category == "float" and last.category == "int":
        last = float64
    return ops.cast(x, dtype=last)


def reshaped(choose, x):
    rows = [n for n in range(1, x.type.numel + 1) if x.type.numel % n == 0]
    n = rows[choose(0, len(rows) - 1)] if rows else 0
    return ops.reshape(x, shape=(n, x.type.numel // n) if n else (0, choose(1, 2)))


def permuted(choose, x):
    return ops.permute(x, dims=(1, 0) if choose(0, 2) else (0, 1))


def expanded(choose, x):
    """One dimension of one element expanded, so that chains come about."""
    dim = choose(0, 1)
    extent = choose(1, 2) if x.shape[dim] == 1 else x.shape[dim]
    return ops.expand(x, shape=(*x.shape[:dim], extent, *x.shape[dim + 1 :]))


def sliced(choose, x):
    starts = tuple(choose(0, 1) if n > 1 else 0 for n in x.shape)
    steps = tuple(choose(1, 2) for _ in x.shape)
    return ops.slice(x, starts=starts, stops=x.shape, steps=steps)


def padded(choose, x):
    low, none = (choose(0, 1), 0), (0, 0)
    return ops.pad(x, low=low, high=none, interior=none, value=1)


def flipped(choose, x):
    return ops.flip(x, dims=((), (0,), (1,), (0, 1))[choose(0, 3)])


def joined(choose, x):
    return ops.concat(*(x,) * choose(1, 2), dim=choose(0, 1))


def selected(choose, x):
    flag = ops.full(shape=x.shape, value=bool(choose(0, 1)), dtype=bool_)
    if choose(0, 1):
        flag = ops.cast(x, dtype=bool_)
    return ops.where(flag, x, constant_like(choose, x) if choose(0, 1) else x)


def reduced(choose, x):
    names = ["reduce_max", "reduce_min"]
    if x.dtype.category in ("int", "float"):
        names += ["reduce_prod", "reduce_sum"]
    return getattr(ops, names[choose(0, len(names) - 1)])(x, dims=())


BUILDERS = (
    arithmetic, arithmetic, negation, negation, converted, converted, reshaped, permuted,
    expanded, expanded, sliced, padded, flipped, joined, selected, reduced, constant_like,
)  # fmt: skip


def special_arrays(choose, graph):
    rng = np.random.default_rng(choose(0, 2**31 - 1))
    found = []
    for t in graph.input_types:
        if t.dtype.category == "int":
            info = np.iinfo(t.dtype.np)
            found.append(rng.choice([0, 1, info.min, info.max], t.shape).astype(t.dtype.np))
        else:
            found.append(rng.choice(SPECIAL, t.shape).astype(t.dtype.np))
    return found


def same_bits(ours, expected):
    for a, b in zip(ours, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.dtype.kind not in "iub":
            a, b = (np.where(v != v, np.array(np.nan, v.dtype), v) for v in (a, b))
        assert a.tobytes() == b.tobytes(), f"{a}\n{b}"


@PROFILE
@given(st.data())
def test_bits_stay_the_same(data):
    choose = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    graph = redundant_graph(choose)
    verify(graph)
    arrays = special_arrays(choose, graph)
    expected = run_graph(graph, arrays)
    for passes in prefixes():
        same_bits(run_graph(run_prefix(graph, passes), arrays), expected)


def test_seeded_graphs_exercise_the_rules():
    applied = Counter()
    for seed in range(400):
        choose = seeded(seed)
        graph = redundant_graph(choose)
        arrays = special_arrays(choose, graph)
        small = simplify(graph, applied)
        assert len(small.nodes) <= len(graph.nodes)
        assert print_graph(simplify(small)) == print_graph(small), "not a fixed point"
        same_bits(run_graph(small, arrays), run_graph(graph, arrays))
    # Their shapes have elements: that rule has cases of its own.
    assert set(applied) == {rule.name for rule in RULES} - {"no elements"}, applied


@PROFILE
@given(st.data())
def test_numbers_stay_the_same_with_gradients(data):
    choose = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    graph = random_graph(choose, tuple(KINDS), steps=8)
    seeds = [ops.full(shape=v.shape, value=1.0, dtype=v.dtype) for v in graph.outputs]
    found = [g for g in gradients(graph.outputs, seeds, graph.inputs) if g is not None]
    whole = Graph(graph.inputs, [*graph.outputs, *found])
    verify(whole)
    arrays = random_arrays(choose, whole)
    expected = run_graph(whole, arrays)
    for passes in prefixes():
        results = run_graph(run_prefix(whole, passes), arrays)
        for ours, wanted in zip(results, expected, strict=True):
            assert ours.shape == wanted.shape
            # Merging two permutations changes the order of memory, hence of summation.
            np.testing.assert_allclose(ours, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("seed", range(10))
def test_scans_and_their_gradients_stay_the_same(seed):
    choose = seeded(seed)
    s, x, w = (make_input(TensorType((2,), float64)) for _ in range(3))
    body = Graph([s, x, w], [ops.tanh(s * w + x), s * x])
    init, xs, shared = (make_input(TensorType(n, float64)) for n in [(2,), (3, 2), (2,)])
    attrs = {"body": body, "num_carry": 1, "num_xs": 1, "length": 3, "reverse": bool(seed % 2)}
    results = ops.scan(init, xs, shared, **attrs)
    chosen = [v for v in results if choose(0, 1)] or [results[0]]
    seeds = [ops.full(shape=v.shape, value=1.0, dtype=v.dtype) for v in chosen]
    wanted = [v for v in (init, xs, shared) if choose(0, 1)]
    found = [g for g in gradients(chosen, seeds, wanted) if g is not None]
    graph = Graph([init, xs, shared], [*chosen, *found])
    arrays = random_arrays(choose, graph)
    small = run_prefix(graph, (*PASSES, prune_scans))
    assert len(small.nodes) <= len(graph.nodes)
    for ours, expected in zip(run_graph(small, arrays), run_graph(graph, arrays), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-13)
