"""Views that memory shows as dense arrays: they take no kernel and no memory of their own."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.node import Node


def alias_of(node: Node) -> int | None:
    """Bytes between the operand of a view and its result, if memory shows the view as a dense
    array; None if it does not, or if the node is no view."""
    op = node.op
    if not getattr(op, "view", False) or len(node.inputs) != 1:
        return None
    source, target = node.inputs[0].type, node.types[0]
    if source.dtype is not target.dtype or target.numel == 0:
        return None
    strides = op.strides(source.shape, dense_strides(source.shape), **node.attrs)
    if strides is None or not _is_dense(target.shape, strides):
        return None
    offset: int = op.offset(source.shape, dense_strides(source.shape), **node.attrs)
    return offset * source.dtype.itemsize


def dense_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides, in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def _is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    wanted = dense_strides(shape)
    return all(n == 1 or s == w for n, s, w in zip(shape, strides, wanted))
