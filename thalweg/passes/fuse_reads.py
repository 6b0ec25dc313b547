"""What every node reads, seen through the nodes that cost nothing.

Nodes are told apart by `Form`:

inline   computed by whoever reads it: views, constants and index ramps, and cheap pointwise ops
         of one large operand (``x * 0.5``), for which memory would hold nothing that is not there
         already. They are copied into every group that needs them.
compute  an element-wise op or a reduction: a member of one group
anchor   a matrix product or convolution: the heart of a group
opaque   whatever else; its operands and results are buffers

An `Access` says where a node's element comes from: which buffer or member of a group, and with
which strides in its elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from ..ir.graph import Graph
from ..ir.node import INPUT, Node, Value
from ..ir.types import Shape
from ..ops.movement import contiguous_strides, reshape_strides
from .fuse_space import cost_of, has_elements, is_anchor, is_complex

CHEAP = 4  # instructions of an op that may be computed several times
CHAIN = 8  # instructions of a chain of such ops


class Form(Enum):
    INLINE = "inline"
    COMPUTE = "compute"
    ANCHOR = "anchor"
    OPAQUE = "opaque"


class Access(NamedTuple):
    """``base`` read at ``offset + sum(index * strides)`` for an index into ``shape``; strides
    None: in some other way."""

    base: Value
    shape: Shape
    strides: Shape | None
    offset: int

    @property
    def dense(self) -> bool:
        """Whether element i is read for element i."""
        return (
            self.strides is not None
            and not self.offset
            and self.base.type.numel == _size(self.shape)
            and same_strides(self.shape, self.strides, contiguous_strides(self.shape))
        )


def _size(shape: Shape) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size


def same_strides(shape: Shape, one: Shape, other: Shape) -> bool:
    return all(n == 1 or a == b for n, a, b in zip(shape, one, other))


def is_view(node: Node) -> bool:
    return bool(getattr(node.op, "view", False)) and has_elements(node) and len(node.inputs) == 1


class Reads:
    """The forms of a graph's nodes and the accesses of its values."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.consumers: dict[Value, list[Node]] = {}
        for node in graph.nodes:
            for value in dict.fromkeys(node.inputs):
                self.consumers.setdefault(value, []).append(node)
        self.form: dict[Node, Form] = {}
        self.whole: set[Value] = set()  # values that must be in memory
        self._needed: set[Node] = set()
        self._spread: dict[Value, int] = {}
        self._accesses: dict[Value, tuple[Access, ...]] = {}
        self._chain: dict[Value, int] = {}
        self._find_needed()
        for node in graph.nodes:
            self.form[node] = self._form(node)

    # Forms

    def _find_needed(self) -> None:
        """Nodes whose results must be in memory as they are, and how often values are repeated."""
        for value in self.graph.outputs:
            self._need(value)
        for node in reversed(self.graph.nodes):
            if is_anchor(node):
                for value in node.inputs:
                    self._need_strided(value)
            elif not has_elements(node) and not _reduces(node):
                for value in node.inputs:
                    self._need(value)
            if is_view(node):
                (source,) = node.inputs
                ratio = self._spread.get(node.out, 1) * node.types[0].numel
                ratio //= max(source.type.numel, 1)
                self._spread[source] = max(ratio, self._spread.get(source, 1))

    def _need(self, value: Value) -> None:
        """``value`` is read as a whole buffer: it, or what it is another shape of."""
        while is_alias(value.node):
            (value,) = value.node.inputs
        self._needed.add(value.node)
        self.whole.add(value)

    def _need_strided(self, value: Value) -> None:
        root = strided_root(value)
        self._needed.add(root.base.node)
        self.whole.add(root.base)

    def _form(self, node: Node) -> Form:
        if is_anchor(node):
            return Form.ANCHOR
        if _reduces(node):
            return Form.COMPUTE
        if not has_elements(node):
            return Form.INLINE if is_alias(node) else Form.OPAQUE
        if node in self._needed:
            return Form.COMPUTE
        op: Any = node.op
        if op.view or not node.inputs:
            return Form.INLINE
        return Form.INLINE if op.pointwise and self._is_free(node) else Form.COMPUTE

    def _is_free(self, node: Node) -> bool:
        """Whether reading the op's only large operand again is as good as keeping its result."""
        value = node.out
        cost = cost_of(node)
        chain = cost + sum(self._chain.get(v, 0) for v in dict.fromkeys(node.inputs))
        spread = self._spread.get(value, 1)
        if cost > CHEAP or chain > CHAIN or (spread >= 4 and chain > 2):
            return False
        large = {
            (a.base, a.strides, a.offset)
            for a in self._inputs(node)
            if a.base.type.numel * 8 > value.type.numel
        }
        if len(large) > 1:
            return False
        if any(base.dtype.itemsize > value.dtype.itemsize for base, _, _ in large):
            return value.type.numel == 1
        self._chain[value] = chain
        return True

    # Accesses

    def of(self, value: Value) -> tuple[Access, ...]:
        """Where an element of ``value`` comes from."""
        found = self._accesses.get(value)
        if found is None:
            found = self._accesses[value] = self._find(value)
        return found

    def _find(self, value: Value) -> tuple[Access, ...]:
        node, shape = value.node, value.shape
        if node.op is INPUT or self.form[node] is not Form.INLINE:
            return (Access(value, shape, contiguous_strides(shape), 0),)
        if not is_view(node):
            return self._inputs(node)
        (source,) = node.inputs
        return tuple(dict.fromkeys(through(node, a) for a in self.of(source)))

    def _inputs(self, node: Node) -> tuple[Access, ...]:
        return tuple(dict.fromkeys(a for v in dict.fromkeys(node.inputs) for a in self.of(v)))

    def by(self, node: Node) -> tuple[Access, ...]:
        """Where the node's elements come from: of a reduction, for elements of its operand; of
        an op that maps indices by itself, with strides None."""
        found = self._inputs(node)
        if getattr(node.op, "pointwise", False) or _reduces(node):
            return found
        return tuple(dict.fromkeys(self._moved(node, a) for a in found))

    def _moved(self, node: Node, access: Access) -> Access:
        if is_view(node):
            return through(node, access)
        return Access(access.base, node.types[0].shape, None, 0)


def through(view: Node, access: Access) -> Access:
    """The access to the base of the view's operand, for elements of the view."""
    (source,) = view.inputs
    strides = None
    offset = access.offset
    if access.strides is not None:
        strides = view.op.strides(source.shape, access.strides, **view.attrs)
        offset += view.op.offset(source.shape, access.strides, **view.attrs)
    return Access(access.base, view.types[0].shape, strides, offset)


def is_alias(node: Node) -> bool:
    """Whether the node's result is its operand's memory under another shape."""
    if not is_view(node) or is_complex(node):
        return False
    (source,) = node.inputs
    if source.type.numel != node.types[0].numel:
        return False
    dense = Access(source, source.shape, contiguous_strides(source.shape), 0)
    return through(node, dense).dense


def reordering(value: Value) -> list[Node]:
    """The views, last first, that put the elements of another value into another order."""
    chain: list[Node] = []
    node = value.node
    while is_view(node) and hasattr(node.op, "place"):
        chain.append(node)
        (source,) = node.inputs
        node = source.node
    return chain


def strided_root(value: Value) -> Access:
    """The furthest operand that ``value`` shows with strides, and how."""
    access = Access(value, value.shape, contiguous_strides(value.shape), 0)
    node = value.node
    views: list[Node] = []
    while is_view(node):
        views.append(node)
        (source,) = node.inputs
        found = Access(source, source.shape, contiguous_strides(source.shape), 0)
        for view in reversed(views):
            found = through(view, found)
        if found.strides is None:
            break
        access = found
        node = source.node
    return access


def on_domain(access: Access, domain: Shape) -> Shape | None:
    """The strides of an access in the dimensions of ``domain``, which orders as many elements."""
    if access.strides is None:
        return None
    if access.shape == domain:
        return access.strides
    return reshape_strides(access.shape, access.strides, domain)


def _reduces(node: Node) -> bool:
    return bool(getattr(node.op, "reduces", "")) and not is_complex(node)


def bases_of(accesses: Sequence[Access]) -> list[Value]:
    return list(dict.fromkeys(a.base for a in accesses))
