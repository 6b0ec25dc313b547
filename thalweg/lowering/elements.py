"""Elements of values as loop-IR expressions: the ``lower`` rules of ops, applied from a result
back to what is in memory.

`Elements.at(value, index)` is the element of a value at an index. Values that are *sources* (the
kernel's operands, results stored earlier, registers) are read; all others are computed from the
elements of their operands. Index maps (views, padding, gathers) only change the index, so they
cost nothing. Every computed element gets a name and is computed once in the block it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.dtypes import bool_, int64
from ..core.errors import GraphError
from ..ir.loops import (
    COMPARISONS,
    Binary,
    Bitcast,
    Cast,
    Const,
    Expr,
    Fma,
    Load,
    Select,
    Unary,
    Var,
    operands,
)
from ..ir.node import Node, Value
from ..ir.types import Shape
from ..passes.fuse_space import is_reduction
from .index import ZERO, Affine, Indices
from .scopes import Scopes
from .sums import converted, sum_dtype

Source = Callable[[tuple[Affine, ...]], Expr]
_INVERTED = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}


class Elements:
    """``sources`` maps values to readers of their elements at an index."""

    def __init__(self, scopes: Scopes, indices: Indices) -> None:
        self.scopes = scopes
        self.indices = indices
        self.sources: dict[Value, Source] = {}

    def at(self, value: Value, index: Sequence[Affine]) -> Expr:
        """The element of ``value`` at ``index``: a name, a literal or an index."""
        place = tuple(index)
        key = (value, tuple(a.key for a in place))
        found: Expr | None = self.scopes.find(key)
        if found is not None:
            return found
        source = self.sources.get(value)
        if source is not None:
            expr = source(place)
        else:
            expr = self.computed(value, place)
        made = self.scopes.let(expr)
        # Not further out than the index: there its names mean other places, or lie elsewhere.
        names = [n for a in place for n in a.terms]
        depth = max([self.scopes.depth_of(made), *(self.scopes.depth[n] for n in names)])
        self.scopes.remember(key, made, depth)
        return made

    def computed(self, value: Value, index: tuple[Affine, ...]) -> Expr:
        """The element from those of the operands, whatever the sources say of it."""
        node = value.node
        op = node.op
        if getattr(op, "pointwise", False):
            scalars = [self.at(v, index) for v in node.inputs]
            return self._named(op.lower(*scalars, **node.attrs))
        if getattr(op, "indexed", False):
            positions = [self.indices.render(a) for a in index]
            tree = op.lower(node, [_Reader(k, v) for k, v in enumerate(node.inputs)], positions)
            return self._resolved(tree, node.inputs)
        if getattr(op, "reduces", "") and not is_reduction(node):
            return self._alone(node, index)
        raise GraphError(f"lowering: {op.name} has no elements to compute one by one")

    def _alone(self, node: Node, index: tuple[Affine, ...]) -> Expr:
        """A reduction of one element: combined with the identity, which may change a zero's
        sign."""
        place = list(index)
        for d in node.attrs["dims"]:
            place.insert(d, ZERO)
        (operand,) = node.inputs
        dtype = sum_dtype(operand.dtype)
        element = converted(self.at(operand, place), dtype)
        if node.op.reduces == "add":
            element = Binary("add", element, node.op.lower(dtype))
        return converted(element, operand.dtype)

    def load(self, buffer: str, shape: Shape, value: Value) -> Source:
        """A source that reads a buffer which holds the value densely."""

        def read(index: tuple[Affine, ...]) -> Expr:
            return Load(buffer, (self.flat(index, shape),), value.dtype)

        return read

    def flat(self, index: Sequence[Affine], shape: Shape) -> Expr:
        """The row-major position of an index, as an expression."""
        return self.indices.expr(self.linear(index, shape))

    def linear(self, index: Sequence[Affine], shape: Shape) -> Affine:
        """The row-major position of an index."""
        flat = ZERO
        for at, extent in zip(index, shape, strict=True):
            flat = flat.times(extent).plus(at)
        return self.indices.joined(flat)

    # What ``lower`` gives may share subexpressions; each is named once.

    def _named(self, tree: Expr) -> Expr:
        counts: dict[int, int] = {}
        _count(tree, counts)
        done: dict[int, Expr] = {}

        def rebuild(expr: Expr) -> Expr:
            if isinstance(expr, (Const, Var, Load)):
                return expr
            known = done.get(id(expr))
            if known is None:
                known = _with_operands(expr, [rebuild(e) for e in operands(expr)])
                if counts[id(expr)] > 1:
                    known = self.scopes.let(known)
                done[id(expr)] = known
            return known

        return rebuild(tree)

    def _resolved(self, tree: Expr, inputs: tuple[Value, ...]) -> Expr:
        """An indexed op's expression with its reads done and what ranges decide decided."""
        counts: dict[int, int] = {}
        _count(tree, counts)
        done: dict[int, Expr] = {}

        def resolve(expr: Expr) -> Expr:
            known = done.get(id(expr))
            if known is None:
                known = compute(expr)
                if counts[id(expr)] > 1 and not _is_index(expr):
                    known = self.scopes.let(known)
                done[id(expr)] = known
            return known

        def final(expr: Expr) -> Expr:
            found = resolve(expr)
            return self.indices.expr(self.indices.affine(found)) if _is_index(found) else found

        def compute(expr: Expr) -> Expr:
            match expr:
                case Const() | Var():
                    return expr
                case Load(buffer, index, _):
                    place = [self.indices.affine(resolve(e)) for e in index]
                    return self.at(inputs[int(buffer[1:])], place)
                case Select(cond, yes, no):
                    truth = resolve(cond)
                    if isinstance(truth, Const):
                        return resolve(yes if truth.value else no)
                    return Select(truth, final(yes), final(no))
                case Binary(op, left, right) if op in COMPARISONS and _is_index(left):
                    a, b = self.indices.affine(resolve(left)), self.indices.affine(resolve(right))
                    return self.indices.compare(op, a, b)
                case Binary("and" | "or" as op, left, right) if expr.dtype is bool_:
                    return _logic(op, resolve(left), resolve(right))
                case _ if _is_index(expr):
                    plain = _with_operands(expr, [resolve(e) for e in operands(expr)])
                    return self.indices.render(self.indices.affine(plain))
                case _:
                    return _with_operands(expr, [final(e) for e in operands(expr)])

        return final(tree)


class _Reader:
    """Stands for operand ``k`` in a ``lower`` rule: ``reader(index)`` is an element of it."""

    def __init__(self, k: int, value: Value) -> None:
        self.name = f"#{k}"
        self.dtype = value.dtype

    def __call__(self, index: Sequence[Any]) -> Load:
        return Load(self.name, tuple(index), self.dtype)


def _is_index(expr: Expr) -> bool:
    return expr.dtype is int64


def _logic(op: str, left: Expr, right: Expr) -> Expr:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, Const):
            return other if bool(one.value) == (op == "and") else one
    return Binary(op, left, right)


def _count(expr: Expr, counts: dict[int, int]) -> None:
    """How often each expression occurs in the graph of expressions, by identity."""
    stack = [expr]
    while stack:
        one = stack.pop()
        counts[id(one)] = counts.get(id(one), 0) + 1
        if counts[id(one)] == 1:
            stack.extend(operands(one))


def _with_operands(expr: Expr, new: Sequence[Expr]) -> Expr:
    old = operands(expr)
    if all(a is b for a, b in zip(old, new)):
        return expr
    match expr:
        case Unary(op, _):
            return Unary(op, new[0])
        case Binary(op, _, _):
            return Binary(op, new[0], new[1])
        case Select():
            return Select(new[0], new[1], new[2])
        case Cast(_, dtype):
            return Cast(new[0], dtype)
        case Bitcast(_, dtype):
            return Bitcast(new[0], dtype)
        case Fma():
            return Fma(new[0], new[1], new[2])
        case _:
            return expr


__all__ = ["Elements", "Source"]
