"""Chains of view ops: what a view shows of its base, as a value, in memory, and when written to."""

from __future__ import annotations

from typing import Any

from ..ir.node import Node, Value
from ..ops.movement import View, contiguous_strides
from ..runtime.buffer import Array
from .trace import Chain, Meta


def apply_chain(value: Value, chain: Chain) -> Value:
    """The view that ``chain`` shows of ``value``."""
    for op, attrs in chain:
        value = op(value, **dict(attrs))
    return value


def shown_array(array: Array, chain: Chain) -> Array:
    """The view that ``chain`` shows of an array: of its memory where that is possible."""
    for op, attrs in chain:
        array = _shown(op).reference(array, **dict(attrs))
    return array


def write_chain(base: Value, chain: Chain, new: Value) -> Value:
    """``base`` with what ``chain`` shows of it replaced by ``new``."""
    if not chain:
        return new
    stages = [base]
    for op, attrs in chain[:-1]:
        stages.append(op(stages[-1], **dict(attrs)))
    for stage, (op, attrs) in zip(reversed(stages), reversed(chain)):
        new = _shown(op).write(stage, new, **dict(attrs))
    return new


def view_chain(source: Value, result: Value) -> Chain | None:
    """The view ops from ``source`` to ``result``, or None if some step is not a view."""
    chain: list[tuple[Any, tuple[tuple[str, Any], ...]]] = []
    value = result
    while value is not source:
        node: Node = value.node
        if _shown(node.op) is None or len(node.inputs) != 1:
            return None
        chain.append((node.op, tuple(sorted(node.attrs.items()))))
        value = node.inputs[0]
    chain.reverse()
    return tuple(chain)


def _shown(op: Any) -> Any:
    """What tells how a view op shows its operand's memory; None for other ops."""
    return op if isinstance(op, View) else getattr(op, "alias", None)


def describe_view(meta: Meta, source: Meta, chain: Chain | None) -> bool:
    """Fill strides, offset and chain of a view's Meta. False if memory cannot show it."""
    if chain is None:
        return False
    shape, strides = source.shape, source.element_strides()
    offset = source.offset
    for op, attrs in chain:
        keywords = dict(attrs)
        known = _shown(op)
        moved = known.strides(shape, strides, **keywords)
        if moved is None:
            return False
        scale, shift = getattr(known, "scale", None), getattr(known, "offset", None)
        if scale is not None:
            offset = scale(offset)
        if shift is not None:
            offset += shift(shape, strides, **keywords)
        value_shape = op.infer_types((source.value.type.with_shape(shape),), keywords)[0].shape
        shape, strides = value_shape, moved
    meta.chain = chain
    meta.strides = None if strides == contiguous_strides(shape) else strides
    meta.offset = offset
    return True
