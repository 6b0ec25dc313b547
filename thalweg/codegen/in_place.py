"""Which operands of a kernel may share their memory with a result.

That is so where every element of the operand is read for the last time by the iteration that
writes the result's element in its place: one store, loads at the same index only, and none of
them after the store.
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
    walk_expr,
)


def in_place_pairs(kernel: Kernel, position: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """Pairs of argument positions (operand, result), in order."""
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
