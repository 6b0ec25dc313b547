"""Groups of nodes that one kernel computes, and the rules by which two of them may become one.

A group walks a *domain* of elements. Its values have a level:

full     an element for each of the domain
row      an element for each row: results of reductions over the ``inner`` dimensions, and what is
         computed of them
late     known when all rows have been walked: reductions over columns, or over everything, and
         what is computed of these alone
moved    computed for whoever reads it, at whatever index: index maps that have one reader
placed   a full value in another order, stored where that puts each element; nothing reads it
side     a further result of a template, which does not pass through the epilogue

Inside a group, values are read where they are computed: a full value at the same element, a row
value in the same row. Everything else is read from memory, in any way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..ir.node import Node, Value
from ..ir.types import Shape
from ..ops.movement import contiguous_strides
from .fuse_reads import Access, on_domain, same_strides
from .fuse_space import covered, is_anchor

FULL, ROW_LEVEL, LATE, MOVED, PLACED, SIDE = "full", "row", "late", "moved", "placed", "side"
LOOPS, ANCHOR, OPAQUE = "loops", "anchor", "opaque"
MOST_NODES = 160
MOST_BUFFERS = 40
FEW_TERMS, MANY_STREAMS = 256, 3  # see `Group.burdened`
MOST_SERIAL = 1 << 16  # elements of a domain of one row that depends on itself


@dataclass(slots=True)
class Group:
    """``number`` is also the group's bit in `Groups.before`. ``reads`` lists, for every base,
    how members read it."""

    number: int
    kind: str
    domain: Shape
    inner: frozenset[int] | None
    nodes: list[Node]
    level: dict[Value, str] = field(default_factory=dict)
    late: bool = False  # whether it has late values
    reads: dict[Value, list[tuple[Value, Access]]] = field(default_factory=dict)
    placed: Value | None = None  # of a lone copy: the value, if it only reorders its operand
    bare: bool = False  # a template that has no epilogue

    def without(self, node: Node) -> None:
        """Drop a member that no other member reads."""
        self.nodes = [n for n in self.nodes if n is not node]
        for value in node.outputs:
            del self.level[value]
        for base, uses in list(self.reads.items()):
            kept = [use for use in uses if use[0].node is not node]
            if kept:
                self.reads[base] = kept
            else:
                del self.reads[base]

    @property
    def size(self) -> int:
        return math.prod(self.domain)

    @property
    def burdened(self) -> bool:
        """Whether this is a template that sums few terms for an element, with an epilogue that
        reads many buffers. Templates finish their results tile by tile, so all those buffers are
        walked in many places at once, which takes longer than in a loop of their own; where there
        is little else to do, it shows (Adam's update behind a product of 64 terms: 1.1 ns an
        element, alone 0.5)."""
        if self.kind != ANCHOR:
            return False
        (anchor,) = (n for n in self.nodes if is_anchor(n))
        streams = {
            base
            for base, uses in self.reads.items()
            if base not in self.level
            and base.type.numel == self.size
            and any(v.node is not anchor for v, _ in uses)
        }
        first, second = (v.type.numel for v in anchor.inputs[:2])
        # Of a product of m x k and k x n elements, k; of convolutions roughly the same.
        terms = math.isqrt(first * second // max(self.size, 1))
        return len(streams) >= MANY_STREAMS and terms < FEW_TERMS

    @property
    def rows(self) -> int:
        """How many rows the domain has; all of it is one row where nothing is reduced."""
        inner = self.inner or ()
        return math.prod(n for d, n in enumerate(self.domain) if d not in inner)

    @property
    def upright(self) -> bool:
        """Whether rows lie side by side: the last dimension is none of the inner ones."""
        last = max((d for d, n in enumerate(self.domain) if n != 1), default=-1)
        return bool(self.inner) and last not in (self.inner or ())

    @property
    def flat(self) -> bool:
        """Whether every value has an element for each of the domain."""
        return self.inner is None and all(s == FULL for s in self.level.values())


class Refusal(Exception):
    """Why two groups stay apart."""


@dataclass(frozen=True, slots=True)
class Union:
    """What becomes of two groups: their common domain, and the levels of the members."""

    kind: str
    domain: Shape
    inner: frozenset[int] | None
    level: dict[Value, str]
    late: bool


def unite(first: Group, second: Group) -> Union:
    """The two groups as one. Refusal if a value would be read elsewhere than it is computed."""
    if len(first.nodes) + len(second.nodes) > MOST_NODES:
        raise Refusal("the kernel would be too long")
    if ANCHOR in (first.kind, second.kind):
        union = _around_anchor(first, second)
    elif first.size == second.size:
        union = _side_by_side(first, second)
    else:
        union = _of_rows(first, second)
    for one, other in ((first, second), (second, first)):
        for base, uses in one.reads.items():
            if base in other.level:
                for reader, access in uses:
                    _check(union, base, reader, access)
    return union


def _around_anchor(first: Group, second: Group) -> Union:
    if first.kind == second.kind:
        raise Refusal("a kernel has one template")
    anchor, other = (first, second) if first.kind == ANCHOR else (second, first)
    if anchor.bare:
        raise Refusal("so short a sum would wait for the buffers that its epilogue reads")
    if other.size != anchor.size:
        raise Refusal("an epilogue has the elements of the template's result")
    if not other.flat:
        raise Refusal("an epilogue reduces nothing")
    level = {**first.level, **second.level}
    if other.placed is not None:
        level[other.placed] = PLACED
    return Union(ANCHOR, anchor.domain, None, level, False)


def _side_by_side(first: Group, second: Group) -> Union:
    level = {**first.level, **second.level}
    late = first.late or second.late
    if first.inner is None and second.inner is None:
        domain = second.domain if first.flat else first.domain
        return Union(LOOPS, domain, None, level, late)
    leader, other = (second, first) if first.inner is None else (first, second)
    if other.inner is not None:
        same = covered(other.domain, other.inner, leader.domain)
        if same != _proper(leader.domain, leader.inner or frozenset()):
            raise Refusal("they reduce other dimensions")
    if leader.upright and late:
        raise Refusal("rows side by side cannot sum columns as well")
    return Union(LOOPS, leader.domain, leader.inner, level, late)


def _proper(domain: Shape, dims: Iterable[int]) -> frozenset[int]:
    return frozenset(d for d in dims if domain[d] != 1)


def _of_rows(first: Group, second: Group) -> Union:
    """A group with one element for each row of the other, or for each of its late values."""
    wide, narrow = (first, second) if first.size > second.size else (second, first)
    if narrow.inner is not None:
        raise Refusal("they have different numbers of elements")
    level = dict(wide.level)
    if wide.inner is not None and narrow.size == wide.rows and not _reads_late(wide, narrow):
        if narrow.late and wide.upright:
            raise Refusal("rows side by side cannot sum columns as well")
        for value, old in narrow.level.items():
            level[value] = ROW_LEVEL if old == FULL else old
        return Union(LOOPS, wide.domain, wide.inner, level, wide.late or narrow.late)
    if _reads_late(wide, narrow) and narrow.flat:
        for value in narrow.level:
            level[value] = LATE
        return Union(LOOPS, wide.domain, wide.inner, level, wide.late)
    raise Refusal("they have different numbers of elements")


def _reads_late(wide: Group, narrow: Group) -> bool:
    return any(wide.level.get(base) == LATE for base in narrow.reads)


def _check(union: Union, base: Value, reader: Value, access: Access) -> None:
    """Refusal unless ``reader`` reads ``base`` where both are computed."""
    written, read = union.level[base], union.level[reader]
    size = math.prod(union.domain)
    wide = math.prod(access.shape) == size
    if read == MOVED or written == MOVED or (read == PLACED and written == FULL):
        return
    if written == SIDE:
        raise Refusal("only the first result of a template passes through the epilogue")
    if written == LATE or (read == LATE and not wide and written != ROW_LEVEL):
        if written == read == LATE and access.dense and base.type.numel == reader.type.numel:
            return
        raise Refusal("a sum is known when the kernel ends")
    if written == FULL:
        if wide and access.dense:
            return
        raise Refusal("it is read at other elements than those computed")
    if not wide:
        if access.dense:
            return
        raise Refusal("it is read in other rows than those computed")
    strides = on_domain(access, union.domain)
    if strides is None or access.offset:
        raise Refusal("it is read in other rows than those computed")
    inner = union.inner or frozenset()
    outer = [d for d in range(len(union.domain)) if d not in inner]
    expected = dict(zip(outer, contiguous_strides(tuple(union.domain[d] for d in outer))))
    wanted = tuple(expected.get(d, 0) for d in range(len(union.domain)))
    if not same_strides(union.domain, strides, wanted):
        raise Refusal("it is read in other rows than those computed")


class Groups:
    """All groups of a graph, and which come before which. ``of`` maps values to groups."""

    def __init__(self) -> None:
        self.all: dict[int, Group] = {}
        self.of: dict[Value, Group] = {}
        self.before: dict[int, int] = {}  # bits of all groups that must run before one

    def add(self, group: Group) -> None:
        self.all[group.number] = group
        bits = 0
        for base in group.reads:
            source = self.of.get(base)
            if source is not None:
                bits |= self.before[source.number] | 1 << source.number
        self.before[group.number] = bits
        for node in group.nodes:
            for value in node.outputs:
                self.of[value] = group

    def sources(self, group: Group) -> list[Group]:
        """The groups from which ``group`` reads."""
        found = (self.of.get(base) for base in group.reads)
        return list({g.number: g for g in found if g is not None and g is not group}.values())

    def circular(self, one: Group, other: Group) -> bool:
        """Whether some third group lies between the two, so that they cannot be one."""
        for a, b in ((one, other), (other, one)):
            for source in self.sources(b):
                if source is not a and self.before[source.number] >> a.number & 1:
                    return True
        return False

    def merge(self, into: Group, other: Group, union: Union) -> None:
        """Make ``other`` part of ``into``."""
        self.absorb(into, other, union)
        del self.all[other.number]
        own, gone = 1 << into.number, 1 << other.number
        bits = (self.before[into.number] | self.before.pop(other.number)) & ~(own | gone)
        self.before[into.number] = bits
        for number, before in self.before.items():
            if before & (own | gone):
                self.before[number] = (before | own | bits) & ~gone

    def absorb(self, into: Group, other: Group, union: Union) -> None:
        """Make the members of ``other`` members of ``into``."""
        into.kind, into.domain, into.inner = union.kind, union.domain, union.inner
        into.level, into.late = union.level, union.late
        into.nodes = [*into.nodes, *other.nodes]
        into.placed = None
        for base, uses in other.reads.items():
            into.reads.setdefault(base, []).extend(uses)
        for node in other.nodes:
            for value in node.outputs:
                self.of[value] = into
