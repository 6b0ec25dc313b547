"""Running one function in PyTorch and here, and comparing everything it returns or raises."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import thalweg

Body = Callable[[Any], Any]


def outcome(body: Body, package: Any) -> Any:
    """What ``body(package)`` returns, tensors as plain data, or the exception it raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return plain(body(package))
    except Exception as error:
        return error


def plain(value: Any) -> Any:
    if isinstance(value, (torch.Tensor, thalweg.Tensor)):
        return Shown(value)
    if isinstance(value, (list, tuple)) and not isinstance(value, str):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (torch.dtype, thalweg.dtype, torch.device, thalweg.device)):
        return str(value).replace("thalweg.", "torch.")
    if isinstance(value, (float, complex)):
        return Rounded(value)
    if isinstance(value, (type(None), bool, int, str, slice)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return ["numpy", str(value.dtype), plain(np.asarray(value).tolist())]
    raise TypeError(f"a twin test returned a {type(value).__name__}")


class Rounded:
    """A number, compared with rounding."""

    def __init__(self, value: float | complex) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rounded) and np.allclose(
            self.value, other.value, 1e-5, 1e-6, equal_nan=True
        )

    def __repr__(self) -> str:
        return repr(self.value)


class Shown:
    """A tensor as data, compared with rounding."""

    def __init__(self, tensor: Any) -> None:
        self.head = (
            tuple(tensor.shape), str(tensor.dtype).rpartition(".")[2], tensor.requires_grad,
            tensor.is_leaf,
        )  # fmt: skip
        kind = complex if tensor.dtype.is_complex else float
        self.array = np.array(tensor.detach().tolist(), kind)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Shown) or self.head != other.head:
            return False
        return np.allclose(self.array, other.array, 1e-5, 1e-6, equal_nan=True)

    def __repr__(self) -> str:
        shape, dtype, grad, leaf = self.head
        return f"<{dtype}{list(shape)} grad={grad} leaf={leaf} {self.array.tolist()}>"


def agree(body: Body) -> Any:
    """Assert that PyTorch and thalweg do the same; what PyTorch did (a result or an exception)."""
    theirs = outcome(body, torch)
    ours = outcome(body, thalweg)
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        assert isinstance(ours, type(theirs)), f"got {ours!r}, PyTorch: {theirs!r}"
    else:
        assert ours == theirs, f"\ngot     {ours!r}\nPyTorch {theirs!r}"
    return theirs


def succeed(body: Body) -> None:
    """As `agree`, for programs that PyTorch runs without an error."""
    theirs = agree(body)
    if isinstance(theirs, Exception):
        raise theirs


def fail(body: Body, kind: type[Exception] = RuntimeError) -> None:
    """As `agree`, for programs in which PyTorch raises ``kind``."""
    theirs = agree(body)
    assert isinstance(theirs, kind), f"PyTorch did not raise {kind.__name__}: {theirs!r}"
