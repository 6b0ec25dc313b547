"""Indexing and view arithmetic against PyTorch and NumPy: getitem, setitem, strides, writes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.dtypes import from_numpy
from thalweg.ir.node import make_input
from thalweg.ir.types import TensorType
from thalweg.ops import PRIMITIVES
from thalweg.ops.evaluate import evaluate
from thalweg.ops.index import Slice, getitem, setitem
from thalweg.ops.movement import View, contiguous_strides
from thalweg.passes.autodiff import gradients
from thalweg.testing.samples import samples_of


class Bindings(dict):
    def input(self, array):
        value = make_input(TensorType(array.shape, from_numpy(array.dtype)))
        self[value] = array
        return value


def translated(index, bound):
    """One index for PyTorch and one for values, out of NumPy arrays and Python objects."""
    ours = tuple(
        bound.input(i)
        if isinstance(i, np.ndarray)
        else Slice(i.start, i.stop, i.step)
        if isinstance(i, slice)
        else i
        for i in index
    )
    theirs = tuple(torch.from_numpy(i) if isinstance(i, np.ndarray) else i for i in index)
    return ours, theirs


def check(shape, index, value=None):
    array = np.random.default_rng(0).normal(size=shape)
    bound = Bindings()
    x = bound.input(array)
    ours, theirs = translated(index, bound)
    t = torch.from_numpy(array.copy()).requires_grad_()
    wanted = t[theirs]
    found = getitem(x, ours)
    g = np.random.default_rng(1).normal(size=wanted.shape)
    wanted.backward(torch.from_numpy(g))
    (gx,) = gradients([found], [bound.input(g)], [x])
    new = np.random.default_rng(2).normal(size=wanted.shape) if value is None else value
    done = setitem(x, ours, bound.input(np.asarray(new)))
    results = evaluate([found, gx, done], bound)
    np.testing.assert_array_equal(results[0], wanted.detach().numpy())
    np.testing.assert_allclose(results[1], t.grad.numpy(), rtol=1e-12, atol=1e-12)
    changed = torch.from_numpy(array.copy())
    changed[theirs] = torch.from_numpy(np.asarray(new))
    np.testing.assert_array_equal(results[2], changed.numpy())


A, B = np.array([1, 0, -1]), np.array([[0], [2]])
ZERO = np.array(1)


@pytest.mark.parametrize(
    "index",
    [
        (), (0,), (-1, 2), (slice(1, None),), (slice(None, None, 2), 1), (None, 0), (..., 1),
        (0, ..., None), (slice(-2, 9), slice(1, -1)), (A,), (slice(None), A), (A, A),
        (A, slice(None), A), (slice(None), A, A), (0, A), (0, slice(None), A), (A, 0),
        (None, A), (A, None), (B, A), (slice(None), B, A), (..., A), (ZERO,), (ZERO, A),
        (ZERO, slice(None), A), (A, slice(None), ZERO), (ZERO, ZERO), (slice(1, 3), A, ZERO),
        (None, A, None, A), (slice(3, 1),), (slice(0, 0), A), (np.zeros((0,), np.int64),),
        (A[:2].astype(np.int32),), (True,), (False,), (A, ..., None),
    ],
)  # fmt: skip
def test_like_pytorch(index):
    distinct = [i for i in index if isinstance(i, np.ndarray)]
    check((3, 3, 4), index)
    assert all(isinstance(i, np.ndarray) for i in distinct)


@pytest.mark.parametrize("value", [2.5, np.ones(4), np.ones((1, 1, 1, 4)), np.ones((3, 1))])
def test_values_are_broadcast(value):
    check((3, 3, 4), (np.array([2, 0, 1]),), np.asarray(value))
    check((3, 3, 4), (1,), np.asarray(value))


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ((3,), IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
        ((0, -4), IndexError, "index -4 is out of bounds for dimension 1 with size 3"),
        ((0, 0, 0, 0), IndexError, "too many indices for tensor of dimension 3"),
        ((slice(None, None, -1),), ValueError, "step must be greater than zero"),
        ((slice(None, None, 0),), ValueError, "step"),
        ((..., ...), IndexError, "single ellipsis"),
        ((1.5,), (TypeError, IndexError), "only integers"),
        ((np.array([0.5]),), IndexError, "tensors used as indices must be long"),
        ((np.array([0, 1]), np.array([0, 1, 2])), IndexError, "shape mismatch"),
        ((np.array([0, 3]),), IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
        ((np.array([0, -4]),), IndexError, "index -4 is out of bounds for dimension 0 with size 3"),
    ],
)
def test_errors(index, error, message):
    bound = Bindings()
    x = bound.input(np.zeros((3, 3, 4)))
    ours, theirs = translated(index, bound)
    with pytest.raises(error) as raised:
        evaluate([getitem(x, ours)], bound)
    assert message in str(raised.value)
    if message == "single ellipsis":
        return
    with pytest.raises(error):
        torch.zeros(3, 3, 4)[theirs]


def test_value_that_does_not_fit():
    bound = Bindings()
    x, new = bound.input(np.zeros((3, 4))), bound.input(np.zeros(3))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        setitem(x, (0,), new)


items = st.one_of(
    st.integers(-3, 2),
    st.builds(slice, st.none() | st.integers(-4, 4), st.none() | st.integers(-4, 4),
              st.none() | st.integers(1, 3)),
    st.none(),
    st.sampled_from([A, B, ZERO]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(items, max_size=4), st.booleans())
def test_any_index(index, ellipsis):
    while sum(i is not None for i in index) > 3:
        index.pop()
    if ellipsis:
        index.insert(len(index) // 2, ...)
    bound = Bindings()
    array = np.random.default_rng(0).normal(size=(3, 3, 3))
    x = bound.input(array)
    ours, theirs = translated(tuple(index), bound)
    found = getitem(x, ours)
    wanted = torch.from_numpy(array)[theirs]
    np.testing.assert_array_equal(evaluate([found], bound)[0], wanted.numpy())


VIEWS = sorted(n for n, op in PRIMITIVES.items() if isinstance(op, View))


@pytest.mark.parametrize("name", VIEWS)
def test_view_reads_and_writes_the_same_memory(name):
    """The strides and offset a view declares show its reference's elements; a write through it
    changes the operand as assigning through NumPy's strides does."""
    op = PRIMITIVES[name]
    for sample in samples_of(op):
        if sample.error or len(sample.arrays) != 1:
            continue
        array = np.array(sample.arrays[0], order="C")
        try:
            (out,) = op.run([array], sample.attrs)
        except Exception:
            continue
        strides = contiguous_strides(array.shape)
        mapped = op.strides(array.shape, strides, **sample.attrs)
        if mapped is None:
            continue
        offset = op.offset(array.shape, strides, **sample.attrs)
        memory = array.reshape(-1).copy()

        def alias(memory, out=out, mapped=mapped, offset=offset):
            size = memory.itemsize
            return np.lib.stride_tricks.as_strided(
                memory[offset:], out.shape, [s * size for s in mapped]
            )

        if out.size:
            np.testing.assert_array_equal(alias(memory), out)
        if 0 in mapped or (name == "windows" and sample.attrs["step"] < sample.attrs["size"]):
            continue
        new = np.random.default_rng(3).normal(size=out.shape).astype(array.dtype)
        if out.size:
            alias(memory)[...] = new
        bound = Bindings()
        done = op.write(bound.input(array), bound.input(new), **sample.attrs)
        np.testing.assert_array_equal(evaluate([done], bound)[0], memory.reshape(array.shape))
