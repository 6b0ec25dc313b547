"""Which operands of a kernel may share their memory with a result.

That is so where every element of the operand is read for the last time before the result's element
in its place is written, by the same task: loads at the index of the store only, in passes over a
row that end before the first pass that stores, or in the same iteration before the store. It is
also so where a kernel begins by copying the operand to the result, to change some of it: in place,
the copy is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..ir.anchor import AnchorCall
from ..ir.loops import (
    Accumulate,
    Buffer,
    Expr,
    For,
    Kernel,
    Let,
    Load,
    Stmt,
    Store,
    Var,
    blocks,
    expressions,
    walk,
    walk_expr,
)


def in_place_pairs(kernel: Kernel, position: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """Pairs of argument positions (operand, result), in order."""
    copied = copied_first(kernel)
    if copied is not None:
        return (tuple(position[buffer.name] for buffer in copied),)  # type: ignore[return-value]
    nests = [stmt for stmt in kernel.body if not isinstance(stmt, Let)]
    if len(nests) != 1 or not isinstance(nests[0], For):
        return ()
    steps = _steps(kernel.body)
    pairs = []
    for operand in kernel.params:
        for result in kernel.params:
            if operand.mode == "in" and result.mode == "out" and _fits(steps, operand, result):
                pairs.append((position[operand.name], position[result.name]))
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class _Step:
    """A statement without its blocks, the loops around it, on which variables of loops each name
    depends that it may use, and what it loads."""

    stmt: Stmt
    loops: frozenset[str]
    depends: Mapping[str, frozenset[str]]
    loads: tuple[Load, ...]

    def distinct(self, index: tuple[Expr, ...]) -> bool:
        """Whether the index names another element in every iteration of the loops."""
        used: set[str] = set()
        for expr in index:
            for each in walk_expr(expr):
                if isinstance(each, Var):
                    used |= self.depends.get(each.name, frozenset((each.name,)))
        return self.loops <= used


def _steps(body: Sequence[Stmt]) -> list[_Step]:
    """The statements of a kernel in the order in which one iteration of its outer loops runs
    them: a later pass over a row begins when the one before has ended."""
    found: list[_Step] = []
    depends: dict[str, frozenset[str]] = {}

    def used(exprs: Sequence[Expr]) -> frozenset[str]:
        names = [e.name for expr in exprs for e in walk_expr(expr) if isinstance(e, Var)]
        return frozenset().union(*(depends.get(n, frozenset((n,))) for n in names))

    def visit(body: Sequence[Stmt], loops: frozenset[str]) -> None:
        for stmt in body:
            if isinstance(stmt, Let):
                depends[stmt.name] = used((stmt.value,))
            if isinstance(stmt, For):
                depends[stmt.var] = frozenset((stmt.var,)) | used((stmt.lo, stmt.hi))
            every = (each for expr in expressions(stmt) for each in walk_expr(expr))
            loads = tuple(each for each in every if isinstance(each, Load))
            found.append(_Step(stmt, loops, depends, loads))
            inner = loops | {stmt.var} if isinstance(stmt, For) else loops
            for block in blocks(stmt):
                visit(block, inner)

    visit(body, frozenset())
    return found


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


def _fits(steps: Sequence[_Step], operand: Buffer, result: Buffer) -> bool:
    """Whether an operand's elements are read at no other index than that at which the result is
    stored, and never after that."""
    if operand.size != result.size or operand.dtype.itemsize != result.dtype.itemsize:
        return False
    if operand.shape != result.shape:
        return False
    index: tuple[Expr, ...] | None = None
    for step in steps:
        if isinstance(step.stmt, Store) and step.stmt.buffer == result.name:
            index = step.stmt.index
            break
    if index is None:
        return False
    stored = False
    for step in steps:
        for each in step.loads:
            if each.buffer not in (operand.name, result.name):
                continue
            late = stored and each.buffer == operand.name
            if late or each.index != index or not step.distinct(index):
                return False
        if isinstance(step.stmt, Store) and step.stmt.buffer == result.name:
            if step.stmt.index != index or not step.distinct(index):
                return False
            stored = True
        elif isinstance(step.stmt, Accumulate) and step.stmt.target == result.name:
            return False
    return True


def epilogue_pairs(call: AnchorCall) -> tuple[tuple[int, int], ...]:
    """The same for a template that runs the epilogue of each element once, when the element is
    complete, and writes nothing else: operands of the epilogue alone may share memory."""
    anchors = {operand.buffer for operand in call.operands}
    steps = _steps(call.epilogue.body)
    return tuple(
        (i, k)
        for i, operand in enumerate(call.params)
        for k, result in enumerate(call.params)
        if operand.mode == "in" and result.mode == "out" and i not in anchors
        and _fits(steps, operand, result)
    )  # fmt: skip
