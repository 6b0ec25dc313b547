"""Gradient clipping and flat parameter vectors, against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from nn_parity import assert_close, make_pair, to_thalweg

import thalweg
from thalweg import nn
from thalweg.tensor.trace import local


def trained_pair() -> tuple[Any, torch.nn.Module]:
    """Two equal layers with equal gradients, and one parameter without a gradient."""
    torch.manual_seed(0)
    ours, theirs = make_pair("Linear", 4, 3)
    x = torch.randn(5, 4)
    ours(to_thalweg(x)).pow(2).sum().backward()
    theirs(x).pow(2).sum().backward()
    ours.register_parameter("idle", nn.Parameter(thalweg.ones(1)))
    theirs.register_parameter("idle", torch.nn.Parameter(torch.ones(1)))
    return ours, theirs


def assert_same_gradients(ours: Any, theirs: Any) -> None:
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters()):
        assert (one.grad is None) == (other.grad is None), name
        if other.grad is not None:
            assert_close(one.grad, other.grad, what=name)


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
@pytest.mark.parametrize("norm_type", [2.0, 1, 3.5, math.inf, 0])
def test_clip_grad_norm(norm_type: float, max_norm: float) -> None:
    ours, theirs = trained_pair()
    norm = nn.utils.clip_grad_norm_(ours.parameters(), max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm, norm_type)
    assert_close(norm, expected, what="norm")
    assert_same_gradients(ours, theirs)


def test_clip_one_tensor_and_none() -> None:
    ours, theirs = trained_pair()
    assert_close(
        nn.utils.clip_grad_norm_(ours.weight, 0.1),
        torch.nn.utils.clip_grad_norm_(theirs.weight, 0.1),
    )
    assert_same_gradients(ours, theirs)
    assert float(nn.utils.clip_grad_norm_([], 1.0)) == 0.0
    assert float(nn.utils.clip_grad_norm_([ours.idle], 1.0)) == 0.0


def test_total_norm_and_scaling_apart() -> None:
    ours, theirs = trained_pair()
    grads = [ours.weight.grad, ours.bias.grad]
    total = nn.utils.get_total_norm(grads)
    assert_close(total, torch.nn.utils.get_total_norm([theirs.weight.grad, theirs.bias.grad]))
    nn.utils.clip_grads_with_norm_(ours.parameters(), 0.3, total)
    clipped = nn.utils.get_total_norm([ours.weight.grad, ours.bias.grad])
    assert abs(float(clipped) - 0.3) < 1e-4


def test_half_precision_norms_do_not_overflow() -> None:
    grads = [thalweg.full((300,), 200.0, dtype=thalweg.float16)]
    expected = torch.nn.utils.get_total_norm([torch.full((300,), 200.0, dtype=torch.float16)])
    total = nn.utils.get_total_norm(grads)
    assert total.dtype == thalweg.float16
    assert float(total) == float(expected)


def test_clip_grad_value() -> None:
    ours, theirs = trained_pair()
    nn.utils.clip_grad_value_(ours.parameters(), 0.2)
    torch.nn.utils.clip_grad_value_(theirs.parameters(), 0.2)
    assert_same_gradients(ours, theirs)
    assert float(ours.weight.grad.abs().max()) <= 0.2 + 1e-7


def test_nonfinite_norms_raise_only_when_asked() -> None:
    ours, _ = trained_pair()
    ours.weight.grad.fill_(math.inf)
    assert float(nn.utils.get_total_norm([ours.weight.grad])) == math.inf
    with pytest.raises(RuntimeError, match=r"total norm of order 2\.0 for gradients .* non-finite"):
        nn.utils.clip_grad_norm_(ours.parameters(), 1.0, error_if_nonfinite=True)


def test_parameters_to_vector_and_back() -> None:
    ours, theirs = trained_pair()
    vector = nn.utils.parameters_to_vector(ours.parameters())
    expected = torch.nn.utils.parameters_to_vector(theirs.parameters())
    assert_close(vector, expected)
    before = [id(p) for p in ours.parameters()]
    nn.utils.vector_to_parameters(to_thalweg(expected.detach() * 2), ours.parameters())
    assert [id(p) for p in ours.parameters()] == before
    assert_close(ours.weight, theirs.weight * 2)
    assert_close(ours.bias, theirs.bias * 2)
    assert all(p.requires_grad and p.is_leaf for p in ours.parameters())
    with pytest.raises(TypeError, match=r"expected .*Tensor, but got: list"):
        nn.utils.vector_to_parameters([1.0], ours.parameters())


def test_clipping_views_shared_arrays_and_one_gradient_twice() -> None:
    kept: list[list[Any]] = []
    for lib in (thalweg, torch):
        whole = lib.tensor([1.0, -5.0, 2.0, 9.0])
        array = np.array([3.0, 4.0], np.float32)
        one, other, third = (lib.nn.Parameter(lib.zeros(n)) for n in (3, 3, 2))
        one.grad = whole[:3]
        other.grad = one.grad
        third.grad = lib.from_numpy(array)
        norm = lib.nn.utils.clip_grad_norm_([one, other, third], 1.0)
        lib.nn.utils.clip_grad_value_([one, other, third], 0.05)
        kept.append([norm.numpy(), whole.numpy(), third.grad.numpy().copy(), array])
    for ours, theirs in zip(*kept):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_clipping_records_two_steps_whatever_the_number_of_gradients() -> None:
    parameters = [nn.Parameter(thalweg.ones(2)) for _ in range(9)]
    for parameter in parameters:
        parameter.grad = thalweg.ones(2)
    thalweg.synchronize()
    before = len(local.trace.tensors)
    nn.utils.clip_grad_norm_(parameters, 0.5)
    # Nine gradients bound, one norm, one bound number, nine new gradients; and nothing was run.
    assert len(local.trace.tensors) - before <= 9 + 1 + 1 + 9
    assert local.trace.tensors
