"""Statements under construction: nested blocks, and names put where they can be computed first.

A kernel is built from the inside of its innermost loop. A named expression goes into the
outermost open block in which all names that it uses are known, so what depends on the row alone
is computed once per row, without a pass that would move it there.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.dtypes import DType
from ..ir.loops import Const, Expr, For, Let, Local, Stmt, Var, expressions, walk_expr


@dataclass(slots=True)
class Block:
    """An open block: its statements so far, and what is known as long as it is open."""

    stmts: list[Stmt] = field(default_factory=list)
    memo: dict[Hashable, Any] = field(default_factory=dict)


class Scopes:
    """A stack of open blocks, outermost first."""

    def __init__(self) -> None:
        self.blocks: list[Block] = [Block()]
        self.depth: dict[str, int] = {}
        # The loops outside this depth stand alone inside one another, so that the iterations of
        # all of them can be spread over threads: no name goes between them.
        self.row = 0
        self._lets = 0

    @property
    def here(self) -> Block:
        return self.blocks[-1]

    def open(self, *names: str) -> None:
        """Enter a block in which ``names`` are known."""
        self.blocks.append(Block())
        for name in names:
            self.depth[name] = len(self.blocks) - 1

    def close(self) -> tuple[Stmt, ...]:
        """Leave the innermost block: its statements."""
        return tuple(self.blocks.pop().stmts)

    def loop(self, var: str, lo: Expr, hi: Expr, kind: str, step: int = 1) -> None:
        """Leave the innermost block as the body of a loop."""
        body = self.close()
        if body:
            self.add(For(var, lo, hi, step, body, kind))

    def add(self, stmt: Stmt) -> None:
        self.here.stmts.append(stmt)

    def declare(self, name: str) -> None:
        """A name (of registers) made in the innermost block."""
        self.depth[name] = len(self.blocks) - 1

    def depth_of(self, expr: Expr) -> int:
        """The outermost block in which ``expr`` can be computed."""
        depth = 0
        for inner in walk_expr(expr):
            if isinstance(inner, (Var, Local)):
                depth = max(depth, self.depth[inner.name])
        return max(depth, min(self.row, len(self.blocks) - 1)) if depth else 0

    def let(self, expr: Expr, minimum: int = 0) -> Expr:
        """A name for ``expr``, or ``expr`` itself where it is one already."""
        if isinstance(expr, (Const, Var)):
            return expr
        depth = max(self.depth_of(expr), minimum)
        block = self.blocks[depth]
        key = ("let", expr) if _small(expr) else None
        if key is not None and key in block.memo:
            return block.memo[key]  # type: ignore[no-any-return]
        name = f"t{self._lets}"
        self._lets += 1
        block.stmts.append(Let(name, expr))
        self.depth[name] = depth
        made = Var(name, dtype_of(expr))
        if key is not None:
            block.memo[key] = made
        return made

    def find(self, key: Hashable) -> Any:
        """What is remembered under ``key`` in some open block."""
        for block in reversed(self.blocks):
            if key in block.memo:
                return block.memo[key]
        return None

    def remember(self, key: Hashable, value: Any, depth: int) -> None:
        self.blocks[depth].memo[key] = value


def without_unused(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """The statements without names that nothing uses."""
    return _pruned(body, set())


def _pruned(body: tuple[Stmt, ...], needed: set[str]) -> tuple[Stmt, ...]:
    """``body`` without names that are not ``needed`` after it; adds what it needs itself."""
    kept: list[Stmt] = []
    for stmt in reversed(body):
        if isinstance(stmt, Let) and stmt.name not in needed:
            continue
        if isinstance(stmt, For):
            inner = _pruned(stmt.body, needed)
            if not inner:
                continue
            stmt = replace(stmt, body=inner)
        kept.append(stmt)
        for expr in expressions(stmt):
            needed.update(e.name for e in walk_expr(expr) if isinstance(e, Var))
    return tuple(reversed(kept))


def dtype_of(expr: Expr) -> DType:
    return expr.dtype


def _small(expr: Expr) -> bool:
    """Whether comparing by structure is cheap; registers change, so they are never shared."""
    return not any(
        count > 12 or isinstance(inner, Local) for count, inner in enumerate(walk_expr(expr))
    )


__all__ = ["Block", "Scopes", "dtype_of", "without_unused"]
