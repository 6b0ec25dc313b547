"""The adaptive softmax and the older response normalisation against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nn_parity import assert_close, text

import thalweg


def pair(**options: object) -> tuple[thalweg.nn.Module, torch.nn.Module]:
    """Ours and PyTorch's with the same weights."""
    ours = thalweg.nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 10], 2.0, **options)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 10], 2.0, **options)
    assert text(ours) == text(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: thalweg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.parametrize("head_bias", [False, True])
def test_probabilities_losses_and_gradients(head_bias: bool) -> None:
    ours, theirs = pair(head_bias=head_bias)
    x = np.random.default_rng(1).normal(size=(12, 16)).astype(np.float32)
    target = np.array([0, 4, 5, 9, 10, 19, 3, 12, 7, 1, 15, 6])
    output, loss = ours(thalweg.tensor(x), thalweg.tensor(target))
    expected = theirs(torch.tensor(x), torch.tensor(target))
    assert_close(output, expected.output)
    assert_close(loss, expected.loss)
    loss.backward()
    expected.loss.backward()
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters()):
        assert one.grad is not None, name
        assert_close(one.grad, other.grad)
    assert_close(ours.log_prob(thalweg.tensor(x)), theirs.log_prob(torch.tensor(x)))
    assert ours.predict(thalweg.tensor(x)).tolist() == theirs.predict(torch.tensor(x)).tolist()
    one, single = (
        ours(thalweg.tensor(x[0]), thalweg.tensor(3)),
        theirs(torch.tensor(x[0]), torch.tensor(3)),
    )
    assert one.output.shape == tuple(single.output.shape)
    assert_close(one.output, single.output)


@pytest.mark.parametrize("cutoffs", [[], [25], [5, 5], [10, 5], [0, 5], [5.5]])
def test_cutoffs_that_make_no_clusters(cutoffs: list[int]) -> None:
    for nn in (torch.nn, thalweg.nn):
        with pytest.raises(ValueError, match="cutoffs should be"):
            nn.AdaptiveLogSoftmaxWithLoss(16, 20, cutoffs)


def test_wrong_inputs() -> None:
    ours, theirs = pair()
    x = np.zeros((3, 16), np.float32)
    for target in ([1, 7], [[1, 7, 2]]):
        for model, lib in ((ours, thalweg), (theirs, torch)):
            with pytest.raises(RuntimeError):
                model(lib.tensor(x), lib.tensor(target))
    for target in ([1, 7, 20], [1, -1, 2]):
        with pytest.raises(IndexError):
            ours(thalweg.tensor(x), thalweg.tensor(target)).loss.item()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_response_normalisation_across_maps(size: int) -> None:
    """As `LocalResponseNorm`: PyTorch's sums never lose the first channel."""
    ours, theirs = (lib.nn.CrossMapLRN2d(size, 0.1, 0.6, 2.0) for lib in (thalweg, torch))
    assert text(ours) == text(theirs)
    x = np.random.default_rng(2).normal(size=(2, 7, 3, 4)).astype(np.float32)
    expected = torch.nn.LocalResponseNorm(size, 0.1, 0.6, 2.0)(torch.tensor(x))
    assert_close(ours(thalweg.tensor(x)), expected)
    if size > 1:
        assert not torch.allclose(theirs(torch.tensor(x)), expected)
    with pytest.raises(ValueError, match="to be 4D, got 3D"):
        ours(thalweg.ones(2, 3, 4))
