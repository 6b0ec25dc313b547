"""Promotion compared with PyTorch over every pair, every priority class, and random many-tuples."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core import dtypes
from thalweg.core.dtypes import ALL, default_dtype, set_default_dtype
from thalweg.core.promotion import can_cast, promote_types, result_type, scalar_dtype

SCALARS = (True, 3, 2.5, 1j)


def outcome(call):
    """The name of the dtype a call gives, or 'error' where it raises RuntimeError."""
    try:
        return repr(call()).split(".")[-1]
    except RuntimeError:
        return "error"


def ours_or_complex64(name):
    return "complex64" if name == "complex32" else name  # complex32 does not exist here


def twin(dtype):
    return getattr(torch, dtype.name)


def tensor(dtype, rank):
    return torch.empty((2,) * rank, dtype=twin(dtype), device="meta")


@pytest.fixture(params=["float16", "float32", "float64"])
def default(request):
    before, theirs = default_dtype(), torch.get_default_dtype()
    set_default_dtype(dtypes.BY_NAME[request.param])
    torch.set_default_dtype(getattr(torch, request.param))
    yield
    set_default_dtype(before)
    torch.set_default_dtype(theirs)


def test_promote_types_all_pairs():
    results = set()
    for a, b in itertools.product(ALL, ALL):
        expected = outcome(lambda a=a, b=b: torch.promote_types(twin(a), twin(b)))
        assert outcome(lambda a=a, b=b: promote_types(a, b)) == expected, (a, b)
        results.add(expected)
    assert "error" in results and len(results) == len(ALL) + 1


def test_can_cast_all_pairs():
    for a, b in itertools.product(ALL, ALL):
        assert can_cast(a, b) == torch.can_cast(twin(a), twin(b)), (a, b)


def test_result_type_two_tensors_of_every_rank():
    for a, b in itertools.product(ALL, ALL):
        for rank_a, rank_b in itertools.product((0, 1), (0, 1)):
            operands = [(a, rank_a), (b, rank_b)]
            expected = outcome(lambda o=operands: torch.result_type(*(tensor(*x) for x in o)))
            dims = [d for d, rank in operands if rank]
            zeros = [d for d, rank in operands if not rank]
            got = outcome(lambda d=dims, z=zeros: result_type(d, z))
            assert got == ours_or_complex64(expected), operands


def test_result_type_tensor_and_scalar(default):
    for a, rank, scalar in itertools.product(ALL, (0, 1), SCALARS):
        expected = outcome(lambda a=a, r=rank, s=scalar: torch.result_type(tensor(a, r), s))
        classes = ([a], []) if rank else ([], [a])
        got = outcome(lambda c=classes, s=scalar: result_type(*c, [s]))
        assert got == ours_or_complex64(expected), (a, rank, scalar)


def test_result_type_two_scalars(default):
    for a, b in itertools.product(SCALARS, SCALARS):
        expected = outcome(lambda a=a, b=b: torch.result_type(a, b))
        assert outcome(lambda a=a, b=b: result_type([], [], [a, b])) == ours_or_complex64(expected)


PROMOTABLE = [d for d in ALL if d.name not in ("uint16", "uint32", "uint64")]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PROMOTABLE), st.integers(0, 1)), min_size=3, max_size=3))
def test_result_type_three_tensors(operands):
    theirs = torch.addcmul(*(tensor(d, rank) for d, rank in operands)).dtype
    ours = result_type([d for d, r in operands if r], [d for d, r in operands if not r])
    assert ours.name == ours_or_complex64(repr(theirs).removeprefix("torch."))


def test_three_classes_at_once():
    # int8 with dims, a float16 0-d tensor and a complex scalar: each class raises the category.
    assert result_type([dtypes.int8], [dtypes.float16], [1j]) is dtypes.complex64
    assert result_type([dtypes.int8], [dtypes.float16], [2.0]) is dtypes.float16
    assert result_type([dtypes.int8], [dtypes.int64], [2]) is dtypes.int8
    assert result_type([dtypes.bool_], [dtypes.bool_], [2]) is dtypes.int64
    assert result_type([dtypes.bfloat16], [dtypes.float64], [2.0]) is dtypes.bfloat16


def test_scalar_dtype():
    for scalar in SCALARS:
        assert repr(torch.tensor(scalar).dtype) == f"torch.{scalar_dtype(scalar).name}"
    same = [(np.bool_(1), True), (np.int8(1), 1), (np.float64(1), 1.0), (np.complex64(1), 1j)]
    for numpy_scalar, python_scalar in (*same, (dtypes.bfloat16.np.type(1), 1.0)):
        assert scalar_dtype(numpy_scalar) is scalar_dtype(python_scalar)
    for bad in ("1", None, [1], np.zeros(2)):
        with pytest.raises(TypeError, match=f"got {type(bad).__name__}"):
            scalar_dtype(bad)


def test_errors_say_what_was_given():
    with pytest.raises(RuntimeError, match="uint16 and int8"):
        promote_types(dtypes.uint16, dtypes.int8)
    with pytest.raises(TypeError, match=r"'type1' .* not int"):
        promote_types(1, dtypes.int8)
    with pytest.raises(TypeError, match=r"'to' .* not str"):
        can_cast(dtypes.int8, "int8")
    with pytest.raises(ValueError, match="at least one operand"):
        result_type([])
