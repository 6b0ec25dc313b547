"""Training the same parameters with thalweg's optimizers and with PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import thalweg

SHAPES: tuple[tuple[int, ...], ...] = ((3, 4), (4,), (), (0, 2))
Steps = Callable[[int, Any, Any], None]


def start(shapes: Sequence[tuple[int, ...]] = SHAPES, seed: int = 0) -> list[np.ndarray]:
    """First values of the parameters."""
    random = np.random.default_rng(seed)
    return [np.asarray(random.standard_normal(shape)) for shape in shapes]


def parameters(t: Any, values: Sequence[np.ndarray], dtype: str = "float32") -> list[Any]:
    """Leaf parameters of framework ``t`` with these values."""
    kind = getattr(t, dtype)
    return [t.nn.Parameter(t.tensor(value).to(kind)) for value in values]


def set_gradients(t: Any, params: Sequence[Any], step: int) -> None:
    """Gradients that depend on the step and on the values, so that errors would add up."""
    random = np.random.default_rng(100 + step)
    for param in params:
        noise = np.asarray(random.standard_normal(tuple(param.shape)))
        with t.no_grad():
            param.grad = t.tensor(noise).to(param.dtype) + 0.5 * param.detach()


def numbers(value: Any) -> np.ndarray:
    """A tensor of either framework as float64 (complex128) numbers."""
    detached = value.detach()
    if detached.dtype in (torch.bfloat16, thalweg.bfloat16):
        detached = detached.float()
    array = detached.numpy()
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def assert_same_numbers(ours: Any, theirs: Any, tolerance: float, what: str) -> None:
    np.testing.assert_allclose(
        numbers(ours), numbers(theirs), rtol=tolerance, atol=tolerance, err_msg=what
    )


def assert_same_params(
    ours: Sequence[Any], theirs: Sequence[Any], tolerance: float, what: str
) -> None:
    for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert_same_numbers(one, other, tolerance, f"{what}, parameter {index}")


def assert_same_state(ours: Any, theirs: Any, tolerance: float, path: str = "state") -> None:
    """Equal structure, keys, kinds, dtypes, shapes and (within the tolerance) numbers."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), path
        assert ours.keys() == theirs.keys(), path
        for key in theirs:
            assert_same_state(ours[key], theirs[key], tolerance, f"{path}[{key!r}]")
    elif isinstance(theirs, (list, tuple)):
        assert type(ours) is type(theirs), path
        assert len(ours) == len(theirs), path
        for index, (one, other) in enumerate(zip(ours, theirs)):
            assert_same_state(one, other, tolerance, f"{path}[{index}]")
    elif isinstance(theirs, torch.Tensor):
        assert isinstance(ours, thalweg.Tensor), path
        assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1], path
        assert tuple(ours.shape) == tuple(theirs.shape), path
        assert_same_numbers(ours, theirs, tolerance, path)
    elif isinstance(theirs, float):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=path)
    else:
        assert ours == theirs, path


def converted(state: Any, t: Any) -> Any:
    """A state dict with its tensors as those of framework ``t``."""
    if isinstance(state, dict):
        return {key: converted(value, t) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(converted(value, t) for value in state)
    if isinstance(state, (torch.Tensor, thalweg.Tensor)):
        return t.tensor(np.array(state.detach().numpy()))
    return state
