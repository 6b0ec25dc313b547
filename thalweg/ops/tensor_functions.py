"""Public functions that a tensor's identity needs: detach, clone, copies and fills."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

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


@function("fill", method=True, inplace=True, calls=_fills)
def fill(input: Value, value: Operand) -> Value:
    """A tensor like ``input``, every element ``value`` (a number or 0-d tensor)."""
    if isinstance(value, Value):
        if value.ndim:
            raise ShapeError(
                "fill_ only supports 0-dimension value tensor but got tensor with "
                f"{value.ndim} dimensions."
            )
        return broadcast_to(cast(value, input.dtype), input.shape)
    return constant(value, input.dtype, input.shape)


def _no_second_form() -> Iterator[Call]:
    """`torch.zero` and `torch.copy` do not exist: only their in-place forms do."""
    return iter(())


@function("zero", method="zero", inplace=True, calls=_no_second_form)
def zero(input: Value) -> Value:
    """Zeros like ``input``."""
    return constant(0, input.dtype, input.shape)


@function("copy", method="copy", inplace=True, calls=_no_second_form)
def copy(input: Value, src: Value, non_blocking: bool = False) -> Value:
    """``src`` broadcast to the shape of ``input``, in its dtype."""
    if broadcast_shapes(input.shape, src.shape, op="copy_") != input.shape:
        raise ShapeError(
            f"copy_: output with shape {list(input.shape)} doesn't match the broadcast shape of "
            f"source {list(src.shape)}"
        )
    return broadcast_to(cast(src, input.dtype), input.shape)


@function("to_dtype", method="", calls=_no_second_form)
def to_dtype(input: Value, dtype: Any) -> Value:
    """``input`` as ``dtype`` (what ``Tensor.to`` records)."""
    return cast(input, dtype)


@function("alias", method="", view=True, calls=_no_second_form)
def alias(input: Value) -> Value:
    """A view of all of ``input``: a second handle on the same storage."""
    return ops.reshape(input, shape=input.shape)  # type: ignore[no-any-return]
