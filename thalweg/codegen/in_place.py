"""Which operands of a kernel may share their memory with a result.

That is so where every element of the operand is read for the last time by the iteration that
writes the result's element in its place: one store, loads at the same index only, and none of
them after the store. It is also so where a kernel begins by copying the operand to the result, to
change some of it: in place, the copy is left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.anchor import AnchorCall
from ..ir.loops import (
    Buffer,
    For,
    Kernel,
    Let,
    Load,
    Stmt,
    Store,
    expressions,
    walk,
    walk_expr,
)


def in_place_pairs(kernel: Kernel, position: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """Pairs of argument positions (operand, result), in order."""
    copied = copied_first(kernel)
    if copied is not None:
        return (tuple(position[buffer.name] for buffer in copied),)  # type: ignore[return-value]
    if len(kernel.body) != 1:
        return ()
    body = _straight_body(kernel.body[0])
    if body is None:
        return ()
    pairs = []
    for operand in kernel.params:
        for result in kernel.params:
            if operand.mode == "in" and result.mode == "out" and _fits(body, operand, result):
                pairs.append((position[operand.name], position[result.name]))
    return tuple(pairs)


def copied_first(kernel: Kernel) -> tuple[Buffer, Buffer] | None:
    """The operand and the result, if a kernel begins by copying an operand to a result and reads it
    no more: where both are one buffer, that is not to be done."""
    if len(kernel.body) < 2:
        return None
    body = _straight_body(kernel.body[0])
    if body is None or len(body) != 1:
        return None
    (store,) = body
    if not isinstance(store, Store) or not isinstance(store.value, Load):
        return None
    buffers = {buffer.name: buffer for buffer in kernel.params}
    operand, result = buffers[store.value.buffer], buffers[store.buffer]
    read_later = any(
        isinstance(each, Load) and each.buffer == operand.name
        for stmt in walk(kernel.body[1:])
        for expr in expressions(stmt)
        for each in walk_expr(expr)
    )
    alike = operand.shape == result.shape and operand.dtype is result.dtype
    plain = store.index == store.value.index and not read_later
    return (operand, result) if alike and plain and result.mode == "out" else None


def _straight_body(stmt: Stmt) -> tuple[Stmt, ...] | None:
    """The statements inside a perfect nest of independent loops, if they are lets and stores."""
    body: tuple[Stmt, ...] = (stmt,)
    while len(body) == 1 and isinstance(inner := body[0], For):
        if inner.kind == "serial":
            return None
        body = inner.body
    return body if all(isinstance(each, (Let, Store)) for each in body) else None


def _fits(body: tuple[Stmt, ...], operand: Buffer, result: Buffer) -> bool:
    if operand.size != result.size or operand.dtype.itemsize != result.dtype.itemsize:
        return False
    if operand.shape != result.shape:
        return False
    stores = [stmt for stmt in body if isinstance(stmt, Store) and stmt.buffer == result.name]
    if len(stores) != 1:
        return False
    done = False
    for stmt in body:
        for expr in expressions(stmt):
            for each in walk_expr(expr):
                if isinstance(each, Load) and each.buffer in (operand.name, result.name):
                    same = each.buffer == operand.name and each.index == stores[0].index
                    if done or not same:
                        return False
        done = done or stmt is stores[0]
    return True


def epilogue_pairs(call: AnchorCall) -> tuple[tuple[int, int], ...]:
    """The same for a template that runs the epilogue of each element once, when the element is
    complete, and writes nothing else: operands of the epilogue alone may share memory."""
    anchors = {operand.buffer for operand in call.operands}
    return tuple(
        (i, k)
        for i, operand in enumerate(call.params)
        for k, result in enumerate(call.params)
        if operand.mode == "in" and result.mode == "out" and i not in anchors
        and _fits(call.epilogue.body, operand, result)
    )  # fmt: skip
