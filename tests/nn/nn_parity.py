"""Comparing a thalweg module with PyTorch's of the same name, on the same weights and inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import thalweg


def to_thalweg(value: torch.Tensor) -> Any:
    """The same numbers as a thalweg leaf tensor, with the same ``requires_grad``."""
    copied = thalweg.tensor(value.detach().numpy())
    return copied.requires_grad_() if value.requires_grad else copied


def to_numpy(value: Any) -> np.ndarray:
    return value.detach().numpy()


def assert_close(ours: Any, theirs: Any, tolerance: float = 2e-5, what: str = "output") -> None:
    """Equal structure, shapes, dtypes and (within the tolerance) numbers."""
    if isinstance(theirs, (torch.Tensor, thalweg.Tensor)):
        expected, given = to_numpy(theirs), to_numpy(ours)
        assert given.dtype == expected.dtype, f"{what}: {given.dtype}, expected {expected.dtype}"
        assert given.shape == expected.shape, f"{what}: {given.shape}, expected {expected.shape}"
        np.testing.assert_allclose(given, expected, rtol=tolerance, atol=tolerance, err_msg=what)
    elif isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs), f"{what}: {len(ours)} parts, expected {len(theirs)}"
        for number, (one, other) in enumerate(zip(ours, theirs)):
            assert_close(one, other, tolerance, f"{what}[{number}]")
    else:
        assert ours == theirs, what


def text(module: Any) -> str:
    """A repr in which the two packages' names are the same."""
    return repr(module).replace("thalweg.", "torch.")


def message(error: BaseException) -> str:
    """An error message in which the two packages' names are the same."""
    return re.sub(r"\b(thalweg|torch)\.?", "", str(error))


def load_weights(ours: Any, theirs: torch.nn.Module) -> None:
    """Give our module the state of PyTorch's; every key must fit."""
    state = {key: to_thalweg(value) for key, value in theirs.state_dict().items()}
    result = ours.load_state_dict(state)
    assert not result.missing_keys and not result.unexpected_keys


def make_pair(name: str, *args: Any, **kwargs: Any) -> tuple[Any, torch.nn.Module]:
    """``nn.<name>(*args, **kwargs)`` of both packages, with PyTorch's weights in both."""
    theirs = getattr(torch.nn, name)(*args, **kwargs)

    def ours_of(value: Any) -> Any:
        return to_thalweg(value) if isinstance(value, torch.Tensor) else value

    ours = getattr(thalweg.nn, name)(
        *map(ours_of, args), **{key: ours_of(value) for key, value in kwargs.items()}
    )
    load_weights(ours, theirs)
    return ours, theirs


def flat(value: Any) -> list[Any]:
    """The tensors of a nested result."""
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in flat(part)]
    return [] if value is None else [value]


def assert_same_behaviour(
    ours: Any, theirs: torch.nn.Module, inputs: Sequence[Any], tolerance: float = 2e-5
) -> None:
    """Outputs, gradients of inputs and parameters, and buffers afterwards agree."""
    for tensor in inputs:
        if isinstance(tensor, torch.Tensor):
            tensor.grad = None
    ours_in = [to_thalweg(x) if isinstance(x, torch.Tensor) else x for x in inputs]
    theirs.zero_grad()
    ours.zero_grad()
    our_result, their_result = ours(*ours_in), theirs(*inputs)
    assert_close(our_result, their_result, tolerance)

    # A fixed random weighting, so that no gradient is trivially constant.
    generator = torch.Generator().manual_seed(7)
    pairs = [
        (one, other)
        for one, other in zip(flat(our_result), flat(their_result))
        if other.requires_grad
    ]
    if pairs:
        total_ours, total_theirs = 0, 0
        for one, other in pairs:
            weight = torch.rand(other.shape, generator=generator, dtype=other.dtype) + 0.5
            total_ours = total_ours + (one * to_thalweg(weight)).sum()
            total_theirs = total_theirs + (other * weight).sum()
        total_ours.backward()
        total_theirs.backward()
    for number, (one, other) in enumerate(zip(ours_in, inputs)):
        if isinstance(other, torch.Tensor) and other.grad is not None:
            assert one.grad is not None, f"input {number} has no gradient"
            assert_close(one.grad, other.grad, tolerance, f"gradient of input {number}")
    their_parameters = dict(theirs.named_parameters())
    our_parameters = dict(ours.named_parameters())
    assert list(our_parameters) == list(their_parameters)
    for name, parameter in their_parameters.items():
        if parameter.grad is None:
            assert our_parameters[name].grad is None, name
        else:
            assert our_parameters[name].grad is not None, f"{name} has no gradient"
            assert_close(our_parameters[name].grad, parameter.grad, tolerance, f"grad of {name}")
    for (name, one), (_, other) in zip(ours.named_buffers(), theirs.named_buffers()):
        assert_close(one, other, tolerance, f"buffer {name}")
