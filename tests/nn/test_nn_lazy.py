"""Layers without input sizes, buffers made by assignment, batch norm over whole batches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nn_parity import assert_close, text

import thalweg

LAZY: list[tuple[Callable[[Any], Any], tuple[int, ...]]] = [
    (lambda nn: nn.LazyLinear(4), (3, 5)),
    (lambda nn: nn.LazyConv1d(4, 3, bias=False), (6, 5)),
    (lambda nn: nn.LazyConv2d(4, 3, groups=2), (2, 6, 5, 5)),
    (lambda nn: nn.LazyConv3d(4, 2, padding=1), (1, 2, 3, 3, 3)),
    (lambda nn: nn.LazyConvTranspose1d(4, 3, stride=2), (2, 6, 5)),
    (lambda nn: nn.LazyConvTranspose2d(4, 3, groups=2), (2, 6, 5, 5)),
    (lambda nn: nn.LazyConvTranspose3d(2, 2), (1, 2, 3, 3, 3)),
]


@pytest.mark.parametrize("case", range(len(LAZY)))
def test_the_first_input_gives_the_sizes(case: int) -> None:
    make, shape = LAZY[case]
    ours, theirs = make(thalweg.nn), make(torch.nn)
    assert text(ours) == text(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    loaded = copy.deepcopy(ours)
    result = ours(thalweg.ones(shape))
    assert tuple(result.shape) == tuple(theirs(torch.ones(shape)).shape)
    assert text(ours) == text(theirs)
    for (name, one), (wanted, other) in zip(ours.named_parameters(), theirs.named_parameters()):
        assert name == wanted and tuple(one.shape) == tuple(other.shape) and one.requires_grad
    result.sum().backward()
    assert ours.weight.grad is not None
    loaded.load_state_dict(ours.state_dict())
    assert_close(loaded(thalweg.ones(shape)), result)
    assert type(loaded) is type(ours)


def test_parameters_without_a_shape_cannot_be_used() -> None:
    weight = thalweg.nn.LazyLinear(4).weight
    with pytest.raises(RuntimeError, match="shape of an uninitialized parameter"):
        _ = weight.shape
    for use in (lambda: weight + 1, lambda: weight.sum(), lambda: thalweg.ones(2) * weight):
        with pytest.raises(ValueError, match="use an uninitialized parameter"):
            use()
    assert repr(weight) == "<UninitializedParameter>"


def test_wrong_inputs_of_lazy_layers() -> None:
    with pytest.raises(RuntimeError, match="Expected 3D"):
        thalweg.nn.LazyConv2d(4, 3)(thalweg.ones((2, 2)))
    with pytest.raises(ValueError, match="divisible by groups"):
        thalweg.nn.LazyConv1d(4, 3, groups=2)(thalweg.ones((1, 3, 5)))


def test_assigned_buffers_are_registered() -> None:
    module = thalweg.nn.Module()
    module.kept = thalweg.nn.Buffer(thalweg.ones(2))
    module.hidden = thalweg.nn.Buffer(thalweg.ones(2), persistent=False)
    assert list(module.state_dict()) == ["kept"]
    assert list(dict(module.named_buffers())) == ["kept", "hidden"]
    module.hidden = thalweg.nn.Buffer(thalweg.zeros(2))
    assert list(module.state_dict()) == ["kept", "hidden"]
    assert (module.kept + 1).tolist() == [2.0, 2.0]


def test_sync_batch_norm_is_batch_norm() -> None:
    model = thalweg.nn.Sequential(thalweg.nn.Conv1d(2, 3, 1), thalweg.nn.BatchNorm1d(3))
    x = thalweg.randn((4, 2, 5))
    expected = model(x)
    state = list(model.state_dict())
    converted = thalweg.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(converted[1], thalweg.nn.SyncBatchNorm)
    assert list(converted.state_dict()) == state
    assert_close(converted(x), expected)
    with pytest.raises(ValueError, match="at least 2D"):
        thalweg.nn.SyncBatchNorm(3)(thalweg.ones(3))
    with pytest.raises(NotImplementedError, match="process group"):
        thalweg.nn.SyncBatchNorm(3, process_group="workers")
