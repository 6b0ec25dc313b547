"""Batch rules of every primitive against one reference run per example, stacked."""

import itertools

import numpy as np
import pytest
from torch_parity import bind, calls_of, flat_values

from thalweg.ir.node import make_input
from thalweg.ops import FUNCTIONS, PRIMITIVES, Declined
from thalweg.ops.evaluate import evaluate
from thalweg.passes.batching import batch
from thalweg.testing.samples import apply, describe, redraw, samples_of, type_of

SIZE = 3
NAMES = [n for n in sorted(PRIMITIVES) if not isinstance(PRIMITIVES[n].field("batch"), Declined)]


def subsets(count):
    """Which operands are stacks: every choice for up to three operands, else one or all."""
    choices = [c for c in itertools.product((False, True), repeat=count) if any(c)]
    return choices if count <= 3 else [c for c in choices if sum(c) in (1, count)]


def examples(op, sample, flags, rng):
    """SIZE lists of operands, differing in the flagged ones; the first is the sample itself."""
    found = [list(sample.arrays)]
    for _ in range(10 * SIZE):
        if len(found) == SIZE:
            return found
        drawn = [redraw(rng, a) if f else a for a, f in zip(sample.arrays, flags)]
        try:
            op.run(drawn, sample.attrs)
        except (RuntimeError, ValueError, IndexError):  # data this op refuses
            continue
        found.append(drawn)
    return found + [found[0]] * (SIZE - len(found))


def check(outputs, inputs, per_example, flags, expected, where):
    """The batched graph on stacks of the examples against the stacked ``expected`` results."""
    stacks = [
        np.stack([e[i] for e in per_example]) if f else per_example[0][i]
        for i, f in enumerate(flags)
    ]
    values = [make_input(type_of(s)) for s in stacks]
    results, stacked = batch(outputs, inputs, values, flags, SIZE)
    arrays = evaluate(results, dict(zip(values, stacks)))
    for i, (array, is_stack) in enumerate(zip(arrays, stacked)):
        want = np.stack([e[i] for e in expected]) if is_stack else expected[0][i]
        assert array.dtype == want.dtype and array.shape == want.shape, (where, flags)
        assert array.shape == results[i].shape, (where, flags)
        tolerance = 1e-4 if array.dtype.itemsize <= 4 else 1e-9
        np.testing.assert_allclose(
            np.asarray(array, np.complex128), np.asarray(want, np.complex128), rtol=tolerance,
            atol=tolerance, err_msg=f"{where} batched {flags}", equal_nan=True,
        )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_batch_rule(name):
    op = PRIMITIVES[name]
    rng = np.random.default_rng(17)
    for sample in samples_of(op):
        if sample.error is not None:
            continue
        inputs, node = apply(op, sample.arrays, sample.attrs)
        for flags in subsets(len(inputs)):
            per_example = examples(op, sample, flags, rng)
            expected = [op.run(e, sample.attrs) for e in per_example]
            check(node.outputs, inputs, per_example, flags, expected, f"{name} {describe(sample)}")


@pytest.mark.parametrize("name", sorted(n for n, f in FUNCTIONS.items() if f.composite))
def test_composite_is_batched_through_its_body(name):
    done = 0
    for call in calls_of(FUNCTIONS[name]):
        if call.error is not None or FUNCTIONS[name].random or done == 3:
            continue
        bound = bind(call)
        outputs = flat_values(FUNCTIONS[name].impl(*bound.args, **bound.kwargs))
        flags = [a.dtype.kind in "fc" for a in bound.arrays]
        if not any(flags):
            continue
        done += 1
        rng = np.random.default_rng(3)
        per_example = [
            [redraw(rng, a) if f and k else a for a, f in zip(bound.arrays, flags)]
            for k in range(SIZE)
        ]
        expected = [evaluate(outputs, dict(zip(bound.inputs, e))) for e in per_example]
        check(outputs, bound.inputs, per_example, flags, expected, f"{name} {call}")


def test_what_no_stack_reaches_is_shared():
    x, w = (make_input(type_of(np.zeros(3))) for _ in range(2))
    shared = w * 2.0
    xs = make_input(type_of(np.zeros((4, 3))))
    results, stacked = batch([x + shared, shared], [x], [xs], [True], 4)
    assert stacked == [True, False] and results[1] is shared and results[0].shape == (4, 3)
