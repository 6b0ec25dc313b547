"""Collation against PyTorch's, type by type."""

import collections

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate as torch_collate
from torch.utils.data import default_convert as torch_convert

import thalweg
from thalweg.utils.data import default_collate, default_convert

Point = collections.namedtuple("Point", ["x", "y"])


def assert_same(ours, theirs):
    """Equal structure, types, dtypes and values."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, thalweg.Tensor)
        values = theirs.numpy()
        assert ours.numpy().dtype == values.dtype and tuple(ours.shape) == values.shape
        np.testing.assert_array_equal(ours.numpy(), values)
        return
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            assert_same(one, other)
    else:
        assert ours == theirs


SAMPLES = {
    "int": [1, 2, 3],
    "float": [1.5, 2.5],
    "int then float": [1, 2.5],
    "bool": [True, False],
    "str": ["a", "b"],
    "bytes": [b"a", b"b"],
    "array": [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    "0-d array": [np.array(1), np.array(2)],
    "numpy number": [np.float32(1), np.float32(2)],
    "numpy bool": [np.bool_(True), np.bool_(False)],
    "empty array": [np.ones((0, 2), np.int64)] * 2,
    "dict": [{"a": 1, "b": np.ones(2)}, {"a": 2, "b": np.zeros(2)}],
    "ordered dict": [collections.OrderedDict(b=1, a=2)] * 2,
    "namedtuple": [Point(1, 2.0), Point(3, 4.0)],
    "tuple": [(1, "a"), (2, "b")],
    "list": [[1, 2.0], [3, 4.0]],
    "nested": [({"a": [np.ones(2), (1, 2)]}, Point("s", 0))] * 3,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_collate_equals_pytorch(name):
    assert_same(default_collate(SAMPLES[name]), torch_collate(SAMPLES[name]))


@pytest.mark.parametrize("name", SAMPLES)
def test_convert_equals_pytorch(name):
    for sample in SAMPLES[name]:
        assert_same(default_convert(sample), torch_convert(sample))


def test_collate_stacks_tensors():
    batch = default_collate([thalweg.from_numpy(np.full(3, i)) for i in range(4)])
    np.testing.assert_array_equal(batch.numpy(), np.repeat(np.arange(4)[:, None], 3, 1))


def test_collate_keeps_gradients_of_samples():
    samples = [thalweg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2)]
    assert default_collate(samples).requires_grad


@pytest.mark.parametrize(
    ("batch", "error", "text"),
    [
        ([[1, 2], [1]], RuntimeError, r"equal size.*\[1, 2\]"),
        ([np.ones(2), np.ones(3)], RuntimeError, r"equal size.*\[2\], \[3\]"),
        ([object()], TypeError, "found builtins.object"),
        ([None], TypeError, "found builtins.NoneType"),
        ([np.array("text")], TypeError, "array of <U4"),
        ([], RuntimeError, "empty batch"),
    ],
)
def test_collate_says_what_it_cannot_stack(batch, error, text):
    with pytest.raises(error, match=text):
        default_collate(batch)
