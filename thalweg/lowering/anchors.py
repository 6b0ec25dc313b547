"""Template calls: an anchor, the views of its operands as strides, what follows as its epilogue.

The body of a group of kind "anchor" holds one op whose ``lower`` is a `Template`. Views between
the group's operands and the op become offsets and strides. Results are expressions of the op's
element at its place; a result that shows another value in another order (a transposition) is
stored where that order puts the element. Further results of the op are stored by the template
itself: they are the last parameters.

Buffers with as many elements as the op's result are seen in its shape, so that a template finds
out by itself which dimensions may be merged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..core.errors import GraphError
from ..ir.anchor import AnchorCall, Epilogue, Operand
from ..ir.graph import Graph
from ..ir.loops import Buffer, Expr, Load, Stmt, Store, Var, compute_dtype
from ..ir.node import INPUT, Node, Value
from ..ir.types import Shape
from ..passes.fuse_reads import reordering, strided_root
from ..passes.fuse_space import is_anchor
from .elements import Elements, Source
from .index import Affine, Indices, variable
from .layout import unravel
from .scopes import Scopes, without_unused
from .sums import converted

VALUE = "v"


def anchor_call(body: Graph) -> AnchorCall:
    """The call that computes ``body``. GraphError if it is no anchor with an epilogue."""
    found = [n for n in body.nodes if is_anchor(n)]
    if len(found) != 1:
        raise GraphError(f"lowering: expected one template in a group, found {len(found)}")
    return _Call(body, found[0]).build()


def seen_shape(anchor: Node) -> Shape:
    """The shape in which the template sees its result, as the op's ``seen`` tells."""
    shape = anchor.types[0].shape
    return anchor.op.seen(shape) if hasattr(anchor.op, "seen") else shape


class _Call:
    def __init__(self, body: Graph, anchor: Node) -> None:
        self.body, self.anchor = body, anchor
        self.shape = seen_shape(anchor)
        self.names = tuple(f"i{d}" for d in range(len(self.shape)))
        self.scopes = Scopes()
        self.indices = Indices(self._bind, dict(zip(self.names, self.shape)))
        for name in (*self.names, VALUE):
            self.scopes.depth[name] = 0
        self.elements = Elements(self.scopes, self.indices)
        # Also along extents of 1: a template may emit code for neighbours there, and not run it.
        self.at = tuple(variable(n) for n in self.names)

    def _bind(self, expr: Expr) -> Var:
        made = self.scopes.let(expr)
        assert isinstance(made, Var)
        return made

    def build(self) -> AnchorCall:
        body = self.body
        shapes = [self._seen(v) for v in body.inputs]
        params = [Buffer(f"x{k}", v.dtype, s) for k, (v, s) in enumerate(zip(body.inputs, shapes))]
        for k, value in enumerate(body.inputs):
            self.elements.sources[value] = self._reader(f"x{k}", value, shapes[k])
        result, *sides = self.anchor.outputs
        self.elements.sources[result] = self._own(result)
        stores: list[Stmt] = []
        for k, value in enumerate(body.outputs):
            if value in sides:
                params.append(Buffer(f"y{k}", value.dtype, value.shape, "out"))
                continue
            chain = reordering(value)
            if chain and chain[-1].inputs[0].node.op is INPUT:
                chain = []
            source = chain[-1].inputs[0] if chain else value
            element = self.elements.at(source, self._place(source.shape))
            if chain:
                shape = value.shape
                index = self._forward(chain)
            else:
                shape, index = self.shape, self.at
            params.append(Buffer(f"y{k}", value.dtype, shape, "out"))
            places = tuple(self.indices.expr(a) for a in index)
            stores.append(Store(f"y{k}", places, converted(element, value.dtype)))
        statements = without_unused((*self.scopes.close(), *stores))
        return AnchorCall(
            str(self.anchor.op.lower), tuple(sorted(self.anchor.attrs.items())),
            tuple(self._operands()), self.shape, result.dtype, tuple(params),
            Epilogue(self.names, VALUE, statements),
        )  # fmt: skip

    # Places

    def _seen(self, value: Value) -> Shape:
        return self.shape if value.type.numel == math.prod(self.shape) else value.shape

    def _place(self, shape: Shape) -> Sequence[Affine]:
        """The index of the current element in a value of ``shape``, which has as many."""
        if shape == self.shape:
            return self.at
        return unravel(self.indices, self.elements.linear(self.at, self.shape), shape)

    def _forward(self, chain: Sequence[Node]) -> Sequence[Affine]:
        """Where the current element stands after a chain of views, last first."""
        index = self._place(chain[-1].inputs[0].shape)
        for view in reversed(chain):
            exprs = view.op.place(view, [self.indices.render(a) for a in index])
            index = [self.indices.affine(e) for e in exprs]
        return index

    # Sources

    def _reader(self, buffer: str, value: Value, seen: Shape) -> Source:
        def read(index: tuple[Affine, ...]) -> Expr:
            place: Sequence[Affine] = index
            if seen != value.shape:
                flat = self.elements.linear(index, value.shape)
                whole = self.elements.linear(self.at, self.shape)
                place = (
                    self.at
                    if self.indices.same([flat], [whole])
                    else unravel(self.indices, flat, seen)
                )
            return Load(buffer, tuple(self.indices.expr(a) for a in place), value.dtype)

        return read

    def _own(self, value: Value) -> Source:
        dtype = compute_dtype(value.dtype)

        def read(index: tuple[Affine, ...]) -> Expr:
            if not self.indices.same(index, self._place(value.shape)):
                raise GraphError(f"lowering: {value} is read elsewhere than at its own element")
            return converted(Var(VALUE, dtype), value.dtype)

        return read

    def _operands(self) -> list[Operand]:
        position = {v: k for k, v in enumerate(self.body.inputs)}
        found: list[Operand] = []
        for value in self.anchor.inputs:
            root = strided_root(value)
            if root.strides is None or root.base not in position:
                raise GraphError(f"lowering: {value} is no strided view of an operand")
            at = position[root.base]
            found.append(Operand(at, root.offset, value.shape, root.strides, value.dtype))
        return found


__all__ = ["anchor_call", "seen_shape"]
