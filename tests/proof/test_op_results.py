"""Every primitive: declared types against the reference's results, errors, and completeness."""

import numpy as np
import pytest

from thalweg.ops import COMPOSITES, FUNCTIONS, PRIMITIVES, Declined
from thalweg.ops.contract import FIELDS
from thalweg.ops.families import Pointwise
from thalweg.testing.samples import apply, describe, samples_of

NAMES = sorted(PRIMITIVES)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_given_or_declined_with_a_reason(name):
    op = PRIMITIVES[name]
    for field in FIELDS:
        value = op.field(field)
        assert value is not None, f"{name}.{field} is missing"
        if isinstance(value, Declined):
            assert len(value.split()) >= 3, f"{name}.{field}: '{value}' is not a reason"
    notes = [getattr(op, note, "") for note in ("sbp_incomplete", "surrogate", "fixed_data")]
    assert all(not n or len(n.split()) >= 3 for n in notes), notes
    assert samples_of(op) or isinstance(op.field("samples"), Declined)


@pytest.mark.parametrize("name", NAMES)
def test_reference_results_have_the_inferred_types(name):
    op = PRIMITIVES[name]
    for sample in samples_of(op):
        if sample.error is not None:
            continue
        node = apply(op, sample.arrays, sample.attrs)[1]
        kept = [a.copy() for a in sample.arrays]
        results = op.run(sample.arrays, sample.attrs)
        where = describe(sample)
        assert all(isinstance(r, (np.ndarray, np.generic)) for r in results), where
        got = [(np.shape(r), r.dtype) for r in results]
        assert got == [(t.shape, t.dtype.np) for t in node.types], where
        assert len(results) == op.num_outputs(sample.attrs), f"{where}: num_outputs"
        for before, after in zip(kept, sample.arrays):
            np.testing.assert_array_equal(before, after, f"{where}: an operand was modified")


@pytest.mark.parametrize("name", NAMES)
def test_bad_calls_fail_with_the_stated_error(name):
    op = PRIMITIVES[name]
    for sample in samples_of(op):
        if sample.error is None:
            continue
        kind, fragment = sample.error
        with pytest.raises(kind) as caught:
            apply(op, sample.arrays, sample.attrs)
            op.run(sample.arrays, sample.attrs)
        assert fragment in str(caught.value), describe(sample)


ONE_OF_EACH = {"bool": bool, "int": np.int64, "float": np.float64, "complex": np.complex128}


@pytest.mark.parametrize("name", [n for n in NAMES if isinstance(PRIMITIVES[n], Pointwise)])
def test_pointwise_ops_refuse_what_they_do_not_accept(name):
    """Dtypes outside ``accepts``, operands of two dtypes, operands of two shapes."""
    op = PRIMITIVES[name]
    sample = next(s for s in samples_of(op) if s.error is None)
    attrs, count = sample.attrs, len(sample.arrays)
    for category, dtype in ONE_OF_EACH.items():
        if category not in op.accepts:
            with pytest.raises(RuntimeError, match=name):
                apply(op, [np.ones(3, dtype)] * count, attrs)
    for i in range(1, count):
        for other in (np.ones((3, 2)), np.ones(4)):
            operands = [a if j != i else other for j, a in enumerate(sample.arrays)]
            with pytest.raises(RuntimeError, match=name):
                apply(op, operands, attrs)
        kind = sample.arrays[i].dtype
        wrong = sample.arrays[i].astype(np.int8 if kind != np.int8 else np.int16)
        operands = [a if j != i else wrong for j, a in enumerate(sample.arrays)]
        with pytest.raises(RuntimeError, match=name):
            apply(op, operands, attrs)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_number_of_operands_is_refused(name):
    op = PRIMITIVES[name]
    usable = [s for s in samples_of(op) if s.error is None]
    if op.inputs is None or not usable:
        assert op.inputs is None or isinstance(op.field("samples"), Declined)
        return
    one_more = (*usable[0].arrays, np.zeros(2))
    with pytest.raises(TypeError, match="operands"):
        apply(op, one_more, usable[0].attrs)


def test_primitives_stay_few():
    assert len(PRIMITIVES) <= 130, "compose first: each primitive multiplies every backend"


def test_public_composites_are_registered_as_ops():
    public = {f.composite.name: f.composite for f in FUNCTIONS.values() if f.composite}
    assert all(COMPOSITES.get(name) is op for name, op in public.items())


@pytest.mark.parametrize("name", sorted(COMPOSITES))
def test_composites_are_documented(name):
    assert (COMPOSITES[name].body.__doc__ or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_public_functions_are_documented_and_called(name):
    function = FUNCTIONS[name]
    body = function.composite.body if function.composite else function.impl
    assert (body.__doc__ or "").strip(), f"{name} has no docstring"
    assert function.calls is not None, f"{name} gives no calls and does not decline them"
    if isinstance(function.calls, Declined):
        assert len(function.calls.split()) >= 3, f"{name}: '{function.calls}' is not a reason"
    else:
        assert len(list(function.calls())) >= 1, name
