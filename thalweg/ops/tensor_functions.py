"""Public functions that a tensor's identity needs: detach, clone, copies and fills."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import bool_, float64, int64
from ..core.errors import ShapeError
from ..ir.node import Value
from .arithmetic import Operand, broadcast_shapes, broadcast_to, cast, constant
from .function import Call, function
from .link import ops


def _one() -> Iterator[Call]:
    rng = np.random.default_rng(1)
    yield Call((rng.normal(size=(2, 3)),))
    yield Call((rng.integers(0, 5, (4,)),), grad=False)
    yield Call((np.zeros((0, 2)),))


@function("detach", method=True, view=True, calls=_one)
def detach(input: Value) -> Value:
    """A view of ``input`` through which no gradient flows."""
    return ops.stop_gradient(input)  # type: ignore[no-any-return]


@function("clone", method=True, calls=_one)
def clone(input: Value, *, memory_format: Any = None) -> Value:
    """A copy of ``input`` with storage of its own; gradients flow through."""
    return input


def _fills() -> Iterator[Call]:
    yield Call((np.zeros((2, 3)), 2.5))
    yield Call((np.zeros((2,), np.int64), 3), grad=False)
    yield Call((np.zeros((2,)), np.array(1.5)))


def _written(input: Value, new: Value) -> Value:
    """``new`` in the place of ``input``: what depended on gradients still does; they are zeros."""
    if input.dtype.category not in ("float", "complex"):
        return new
    never = constant(False, bool_, input.shape)
    return ops.where(never, input, new)  # type: ignore[no-any-return]


@function("fill", method=True, inplace=True, calls=_fills)
def fill(input: Value, value: Operand) -> Value:
    """A tensor like ``input``, every element ``value`` (a number or 0-d tensor)."""
    if isinstance(value, Value):
        if value.ndim:
            raise ShapeError(
                "fill_ only supports 0-dimension value tensor but got tensor with "
                f"{value.ndim} dimensions."
            )
        return _written(input, broadcast_to(cast(value, input.dtype), input.shape))
    return _written(input, constant(value, input.dtype, input.shape))


@function("zero", public=False, method="zero", inplace=True, calls=_one)
def zero(input: Value) -> Value:
    """Zeros like ``input``."""
    return _written(input, constant(0, input.dtype, input.shape))


def _copies() -> Iterator[Call]:
    rng = np.random.default_rng(1)
    yield Call((np.zeros((2, 3)), rng.normal(size=(2, 3))), grad=False)
    yield Call((np.zeros((2, 3)), rng.normal(size=(3,)).astype(np.float32)), grad=False)
    yield Call((np.zeros((2,), np.int64), rng.normal(size=(2,)) * 5), grad=False)
    yield Call((np.zeros((2,)), np.zeros((3,))), error=(RuntimeError, "must match"))


@function("copy", public=False, method="copy", inplace=True, calls=_copies)
def copy(input: Value, src: Value, non_blocking: bool = False) -> Value:
    """``src`` broadcast to the shape of ``input``, in its dtype."""
    if broadcast_shapes(input.shape, src.shape, op="copy_") != input.shape:
        raise ShapeError(
            f"copy_: output with shape {list(input.shape)} doesn't match the broadcast shape of "
            f"source {list(src.shape)}"
        )
    return broadcast_to(cast(src, input.dtype), input.shape)


def _casts() -> Iterator[Call]:
    yield Call((np.array([1.5, -2.5, 0.0]), int64), grad=False)
    yield Call((np.array([1.5, -2.5]), float64))


def _aliases() -> Iterator[Call]:
    yield Call((np.arange(6.0).reshape(2, 3),))


_casts.no_twin = "PyTorch reaches casts through Tensor.to"  # type: ignore[attr-defined]
_aliases.no_twin = "PyTorch has no public function for an alias"  # type: ignore[attr-defined]


@function("to_dtype", public=False, calls=_casts)
def to_dtype(input: Value, dtype: Any) -> Value:
    """``input`` as ``dtype`` (what ``Tensor.to`` records)."""
    return cast(input, dtype)


@function("alias", public=False, view=True, calls=_aliases)
def alias(input: Value) -> Value:
    """A view of all of ``input``: a second handle on the same storage."""
    return ops.reshape(input, shape=input.shape)  # type: ignore[no-any-return]
