"""Gradients of every primitive by central differences in float64, first and second order.

Ops whose gradient is deliberately not their derivative say so with ``surrogate``.
"""

import functools

import numpy as np
import pytest
from torch_parity import bind, calls_of, flat_values, no_twin, shown

from thalweg.ir.node import make_input, topological
from thalweg.ops import COMPOSITES, FUNCTIONS, PRIMITIVES, Composite, Declined, ops
from thalweg.ops.evaluate import evaluate
from thalweg.ops.families import Unary
from thalweg.passes.autodiff import gradients
from thalweg.testing.differences import check_gradients
from thalweg.testing.samples import apply, describe, samples_of, type_of, widen

DIFFERENTIABLE = [
    n for n in sorted(PRIMITIVES)
    if not isinstance(PRIMITIVES[n].field("vjp"), Declined)
]  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_primitive(name):
    op = PRIMITIVES[name]
    if getattr(op, "surrogate", ""):
        return
    problems, tried = [], 0
    for sample in samples_of(op):
        if not sample.grad or sample.error is not None:
            continue
        arrays = [widen(a) for a in sample.arrays]
        try:
            inputs, node = apply(op, arrays, sample.attrs)
        except (RuntimeError, TypeError):  # attributes that ask for the sample's own precision
            arrays = list(sample.arrays)
            inputs, node = apply(op, arrays, sample.attrs)
        if any(a.dtype in (np.float32, np.complex64) for a in arrays):
            continue
        tried += 1
        for text in check_gradients(node.outputs, inputs, arrays):
            problems.append(f"{name} {describe(sample)}: {text}")
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
    assert tried, f"{name} has a vjp but no sample with grad=True in double precision"


def _without_ties(rng, array):
    """The array moved a little: where elements tie, rules may differ by choice of subgradient."""
    wide = widen(array)
    if wide.dtype.kind != "f":
        return wide
    return np.asarray(wide + 1e-4 * rng.normal(size=array.shape))


@functools.cache
def nodes_with_own_rule():
    """Composite -> its nodes with a gradient rule of their own in any call of any function."""
    found = {}
    move = functools.partial(_without_ties, np.random.default_rng(2))
    for function in FUNCTIONS.values():
        for call in [] if function.host or function.random else calls_of(function):
            if call.error is not None or not call.grad:
                continue
            bound = bind(call, move)
            try:
                outputs = flat_values(function.impl(*bound.args, **bound.kwargs))
            except (AttributeError, RuntimeError, TypeError):  # reported by the other tests
                continue
            for node in topological(outputs):
                if isinstance(node.op, Composite) and node.op.vjp is not None:
                    found.setdefault(node.op.name, []).append((node, bound))
    return found


@pytest.mark.parametrize("name", sorted(n for n, c in COMPOSITES.items() if c.vjp is not None))
def test_rule_of_composite_agrees_with_its_body(name):
    compared = 0
    if getattr(COMPOSITES[name], "surrogate", ""):
        return
    # Calls on plain operands first: what other functions compute may tie by construction.
    nodes = sorted(nodes_with_own_rule().get(name, []), key=lambda n: len(topological(n[0].inputs)))
    for node, bound in nodes[:12]:
        rng = np.random.default_rng(5)
        body = node.op.expand(node.inputs, node.attrs)
        wrt = [v for v in dict.fromkeys(node.inputs) if v.dtype.category in ("float", "complex")]
        pairs = [(o, b) for o, b in zip(node.outputs, body) if o.dtype.category == "float"]
        cotangents = [make_input(o.type) for o, _ in pairs]
        known = dict(zip(bound.inputs, bound.arrays))
        known |= {c: np.asarray(rng.normal(size=c.shape), c.dtype.np) for c in cotangents}
        ruled = gradients([o for o, _ in pairs], cotangents, wrt)
        derived = gradients([b for _, b in pairs], cotangents, wrt)
        for i, (value, mine, theirs) in enumerate(zip(wrt, ruled, derived)):
            ours, expected = (
                np.zeros(value.shape) if g is None else evaluate([g], known)[0]
                for g in (mine, theirs)
            )
            np.testing.assert_allclose(
                ours, expected, rtol=1e-6, atol=1e-9, err_msg=f"{name}: operand {i}"
            )
            compared += 1
    assert compared, f"{name} has a vjp that no call with grad=True reaches"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_public_function_to_second_order(name):
    """PyTorch proves the first order, where it has the function; it may choose a gradient that
    is no derivative (as of a padding row), but the second order must follow from the first."""
    function = FUNCTIONS[name]
    if function.host or function.random:
        return
    done = 0
    for call in calls_of(function):
        if call.error is not None or not call.grad or done == 2:
            continue
        bound = bind(call, widen)
        if not any(a.dtype.kind in "fc" and a.size for a in bound.arrays):
            continue
        outputs = flat_values(function.impl(*bound.args, **bound.kwargs))
        first = 1 if no_twin(function) else 2
        found = check_gradients(outputs, bound.inputs, bound.arrays, first=first, kinks=True)
        assert not found, f"{name}{shown(call)}: {found}"
        done += 1


class _Cube(Unary):
    """x**3 with a rule that can be made wrong in either order."""

    name = "cube_for_the_check"
    reference = staticmethod(lambda x: x**3)
    first, second = 3.0, 0.0

    def vjp(self, node, g):
        x = node.inputs[0]
        frozen = ops.stop_gradient(x)
        return (g * x * x * self.first + g * (x - frozen) * self.second,)


def _check_cube(first, second, x):
    op = type("_Made", (_Cube,), {"first": first, "second": second})()
    inputs, node = apply(op, [x], {})
    return check_gradients(node.outputs, inputs, [x])


def test_check_accepts_a_right_rule_and_locates_a_wrong_one():
    x = np.array([[0.5, -1.0], [0.0, 2.0]])
    assert _check_cube(3.0, 0.0, x) == []
    (found,) = _check_cube(2.9, 0.0, x)
    assert found.startswith("gradient: operand 0 (float64[2,2]) at (1, 1): rule gives")


def test_check_finds_an_error_of_second_order_only():
    (found,) = _check_cube(3.0, 0.5, np.array([1.0, -2.0, 0.5]))
    assert found.startswith("second-order gradient: operand 0")


def test_check_tells_a_kink_from_an_error():
    x = make_input(type_of(np.zeros(2)))
    kink = [ops.maximum(x, x * 0.0)]
    (found,) = check_gradients(kink, [x], [np.zeros(2)])
    assert "kink" in found
    assert check_gradients(kink, [x], [np.zeros(2)], kinks=True) == []
    assert check_gradients(kink, [x], [np.ones(2)]) == []
