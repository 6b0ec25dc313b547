"""Operands that overlap in memory what an in-place operation writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import AliasError
from .tensor import Tensor
from .trace import Meta


def check_overlap(tensor: Tensor, others: Sequence[Any]) -> None:
    """AliasError where an in-place operation would read what it has just written: an operand in
    the same memory must show exactly the elements of ``tensor`` or none of them."""
    storage = _storage(tensor)
    mine: tuple[int, int] | None = None
    for other in others:
        if other.__class__ is not Tensor or other is tensor or _storage(other) is not storage:
            continue
        mine = mine or _span(tensor._meta)
        yours = _span(other._meta)
        if mine is None or yours is None:
            continue
        same = mine == yours and _steps(tensor._meta) == _steps(other._meta)
        if not same and mine[0] < yours[1] and yours[0] < mine[1]:
            raise AliasError(
                "unsupported operation: some elements of the input tensor and the written-to "
                "tensor refer to a single memory location. Please clone() the tensor before "
                "performing the operation."
            )


def _storage(tensor: Tensor) -> Tensor:
    extra = tensor._extra
    return tensor if extra is None or extra.base is None else extra.base


def _steps(meta: Meta) -> tuple[int, list[tuple[int, int]]]:
    """The rank, and extents and strides of the dimensions that have more than one element."""
    steps = zip(meta.shape, meta.element_strides())
    return len(meta.shape), [(n, s) for n, s in steps if n != 1]


def _span(meta: Meta) -> tuple[int, int] | None:
    """The storage elements a dense tensor covers, as (first, end); None if it leaves gaps."""
    expected = 1
    for stride, extent in sorted(zip(meta.element_strides(), meta.shape)):
        if extent == 0:
            return None
        if extent != 1:
            if stride != expected:
                return None
            expected *= extent
    return meta.offset, meta.offset + expected
