"""Gather nodes into groups that one kernel computes, so that values between them need no memory.

    graph(%0: float32[4,8], %1: float32[8]) {
      %2 = reshape(%1) shape=(1, 8)
      %3 = expand(%2) shape=(4, 8)
      %4 = add(%0, %3)
      %5 = exp(%4)
      %6 = reduce_sum(%5) dims=(1,)
      %7 = reshape(%6) shape=(4, 1)
      %8 = expand(%7) shape=(4, 8)
      %9 = div(%5, %8)
      return %9
    }

becomes

    graph(%0: float32[4,8], %1: float32[8]) {
      %2: float32[4,8] = fused(%0, %1) body=graph(%0: float32[4,8], %1: float32[8]) {
        %2: float32[1,8] = reshape(%1) shape=(1, 8)
        %3: float32[4,8] = expand(%2) shape=(4, 8)
        %4: float32[4,8] = add(%0, %3)
        %5: float32[4,8] = exp(%4)
        %6: float32[4] = reduce_sum(%5) dims=(1,)
        %7: float32[4,1] = reshape(%6) shape=(4, 1)
        %8: float32[4,8] = expand(%7) shape=(4, 8)
        %9: float32[4,8] = div(%5, %8)
        return %9
      } domain=(4, 8) inner=(1,) kind='loops'
      return %2
    }

Nodes are visited in order; each joins the groups it reads from, where `fuse_groups.unite` allows
it and no other group lies between. Then groups that read the same values join, and index maps are
moved into their only reader. What stays apart, and why, is told by `refusals` and, with
``THALWEG_LOG=fuse``, printed.
"""

from __future__ import annotations

import sys

from ..core import flags
from ..ir.graph import Graph
from ..ir.node import INPUT, Node, Value
from .fuse_build import build
from .fuse_groups import (
    ANCHOR,
    FULL,
    LATE,
    LOOPS,
    MOST_BUFFERS,
    MOST_SERIAL,
    MOVED,
    OPAQUE,
    ROW_LEVEL,
    SIDE,
    Group,
    Groups,
    Refusal,
    Union,
    unite,
)
from .fuse_lift import lift
from .fuse_reads import Access, Form, Reads, reordering
from .fuse_space import has_elements, is_anchor, is_reduction

Refusals = list[tuple[Node, str]]


def fuse(graph: Graph, refusals: Refusals | None = None) -> Graph:
    """The graph with groups as `fused` nodes. ``refusals``, if given, collects nodes that read a
    value of another kernel although it has their elements, and why they did not join it."""
    reasons: Refusals = [] if refusals is None else refusals
    before = len(reasons)
    fusion = _Fusion(graph, reasons)
    fusion.run()
    if bare := fusion.burdened():
        del reasons[before:]
        fusion = _Fusion(graph, reasons, bare)
        fusion.run()
    fused = build(graph, fusion.reads, fusion.groups)
    if "fuse" in flags.log.split(","):
        print(explain(graph, fused, reasons), file=sys.stderr)
    return fused


def explain(graph: Graph, fused: Graph, refusals: Refusals) -> str:
    """What fusion did, as text: kernels and bytes before and after, and what stayed apart."""
    lines = [
        f"# fuse: {len(graph.nodes)} ops moving {traffic(graph) / 1e6:.2f} MB became "
        f"{len(fused.nodes)} kernels moving {traffic(fused) / 1e6:.2f} MB"
    ]
    for node, reason in refusals:
        place = f" ({node.location[0]}:{node.location[1]})" if node.location else ""
        lines.append(f"#   {node.op.name} -> {node.types[0]} stays apart: {reason}{place}")
    return "\n".join(lines)


def traffic(graph: Graph) -> int:
    """Bytes that the kernels of a graph read and write, one kernel a node."""
    read = sum(v.type.nbytes for n in graph.nodes for v in dict.fromkeys(n.inputs))
    return read + sum(t.nbytes for n in graph.nodes for t in n.types)


class _Fusion:
    def __init__(
        self, graph: Graph, refusals: Refusals, bare: frozenset[Node] = frozenset()
    ) -> None:
        """``bare`` templates get no epilogue."""
        self.bare = bare
        self.graph = graph
        self.reads = Reads(graph)
        self.groups = Groups()
        self.refusals = refusals

    def burdened(self) -> frozenset[Node]:
        """Templates that are better without the epilogue they got."""
        groups = (g for g in self.groups.all.values() if g.burdened)
        return frozenset(n for g in groups for n in g.nodes if is_anchor(n))

    def run(self) -> None:
        for number, node in enumerate(self.graph.nodes):
            form = self.reads.form[node]
            if form is Form.INLINE:
                continue
            group = self._alone(number, node, form)
            self.groups.add(group)
            if form is Form.COMPUTE:
                self._join_sources(group, node)
        self._join_siblings()
        self._sink()
        order = {node: number for number, node in enumerate(self.graph.nodes)}
        lift(
            self.reads, self.groups, order,
            lambda node: self._alone(order[node], node, Form.COMPUTE),
        )  # fmt: skip
        self._move_maps()

    # A node by itself

    def _alone(self, number: int, node: Node, form: Form) -> Group:
        domain, inner, level = node.types[0].shape if node.types else (), None, FULL
        kind = {Form.ANCHOR: ANCHOR, Form.OPAQUE: OPAQUE}.get(form, LOOPS)
        if kind == LOOPS and is_reduction(node):
            domain, inner, level = self._reduction(node)
        group = Group(number, kind, domain, inner, [node], late=level == LATE)
        group.bare = node in self.bare
        group.level = dict.fromkeys(node.outputs, level)
        if kind == ANCHOR:
            group.level.update(dict.fromkeys(node.outputs[1:], SIDE))
        accesses = self.reads.by(node) if kind == LOOPS else self._operands(node)
        for access in accesses:
            if access.base.node.op is not INPUT or access.base.type.numel > 1:
                group.reads.setdefault(access.base, []).append((node.outputs[0], access))
        if kind == LOOPS and self._reorders(node):
            group.placed = node.out
        return group

    def _reorders(self, node: Node) -> bool:
        """Whether a copy of a computed value only reorders its elements, runs of which stay."""
        chain = reordering(node.outputs[0])
        if not chain:
            return False
        (source,) = chain[-1].inputs
        accesses = self.reads.by(node)
        runs = all(a.strides is not None and _last(a.shape, a.strides) == 1 for a in accesses)
        return runs and all(a.dense for a in self.reads.of(source))

    def _operands(self, node: Node) -> list[Access]:
        """Anchors and opaque nodes read buffers, in ways of their own."""
        found = [a for v in node.inputs for a in self.reads.of(v)]
        return [Access(a.base, a.shape, None, 0) for a in dict.fromkeys(found)]

    def _reduction(self, node: Node) -> tuple[tuple[int, ...], frozenset[int] | None, str]:
        """Domain, inner dimensions and level of a reduction: over rows if its results are read
        again for each element, else over columns, where those are the outer dimensions."""
        shape, dims = node.inputs[0].shape, node.attrs["dims"]
        every = frozenset(d for d, n in enumerate(shape) if n != 1)
        reduced = every.intersection(dims)
        again = self._read_again(node)
        if reduced == every:
            if again and node.inputs[0].type.numel <= MOST_SERIAL:
                return shape, every, ROW_LEVEL
            return shape, None, LATE
        leading = max(reduced) < min(every - reduced)
        if leading and not again:
            return shape, every - reduced, LATE
        return shape, reduced, ROW_LEVEL

    def _read_again(self, node: Node) -> bool:
        """Whether results are spread over as many elements as were reduced."""
        size = node.inputs[0].type.numel
        seen: set[Node] = set()
        front: list[Node] = [node]
        for _ in range(8):
            following: list[Node] = []
            for one in front:
                for value in one.outputs:
                    for reader in self.reads.consumers.get(value, ()):
                        if reader in seen or self.reads.form[reader] is Form.OPAQUE:
                            continue
                        seen.add(reader)
                        numel = reader.types[0].numel
                        if numel == size:
                            return True
                        if numel <= value.type.numel:
                            following.append(reader)
            front = following
        return False

    # Joining

    def _join_sources(self, group: Group, node: Node) -> None:
        """Merge the group of ``node`` with those it reads from, matrix products first."""
        sources = self.groups.sources(group)
        sources.sort(key=lambda g: (g.kind != ANCHOR, -g.size, g.number))
        for source in sources:
            if source.kind == OPAQUE:
                continue
            merged = self._try(source, self.groups.of[node.outputs[0]])
            if merged:
                self.refusals.append((node, merged))

    def _try(self, into: Group, other: Group) -> str:
        """Merge two groups: '' or the reason why not."""
        if into is other:
            return ""
        try:
            union = unite(into, other)
        except Refusal as refusal:
            return str(refusal)
        if self.groups.circular(into, other):
            return "another kernel has to run in between"
        if len({*into.reads, *other.reads}) > MOST_BUFFERS:
            return "the kernel would have too many operands"
        self.groups.merge(into, other, union)
        return ""

    def _join_siblings(self) -> None:
        """Groups that read the same large value for the same elements become one, and so do
        those that read values of one epilogue."""
        readers: dict[object, list[Group]] = {}
        for group in self.groups.all.values():
            if group.kind == LOOPS:
                for base, uses in group.reads.items():
                    if base not in group.level and any(a.dense for _, a in uses):
                        source = self.groups.of.get(base)
                        one = source is not None and source.kind == ANCHOR
                        key = source.number if source is not None and one else base
                        readers.setdefault(key, []).append(group)
        for found in readers.values():
            for other in found[1:]:
                first, second = self._current(found[0]), self._current(other)
                if first.kind == second.kind == LOOPS and first.size == second.size:
                    self._try(first, second)

    def _current(self, group: Group) -> Group:
        return self.groups.of[group.nodes[0].outputs[0]]

    def _sink(self) -> None:
        """Move values that only one other kernel reads into that kernel, where less is then
        written and read: what was saved for a gradient is often cheaper to read than to write."""
        for node in reversed(self.graph.nodes):
            group = self.groups.of.get(node.outputs[0]) if node.outputs else None
            if (
                group is None or len(group.nodes) == 1 or node.outputs[0] in self.reads.whole
                or self.reads.form[node] is not Form.COMPUTE or not has_elements(node)
                or node.outputs[0] in group.reads
            ):  # fmt: skip
                continue
            readers = [g for g in self.groups.all.values() if node.outputs[0] in g.reads]
            if len(readers) == 1 and readers[0].kind != OPAQUE:
                self._move(node, group, readers[0])

    def _move(self, node: Node, group: Group, reader: Group) -> None:
        alone = self._alone(group.number, node, Form.COMPUTE)
        more = 0
        for base in alone.reads:
            size = base.type.nbytes
            if base not in reader.level and base not in reader.reads:
                more += size
            if base in group.level:
                more += 0 if self._is_result(base, group) else size
            elif all(use[0] is node.out for use in group.reads[base]):
                more -= size
        if more >= 2 * node.out.type.nbytes:
            return
        try:
            union = unite(reader, alone)
        except Refusal:
            return
        group.without(node)
        self.groups.absorb(reader, alone, union)

    def _is_result(self, value: Value, group: Group) -> bool:
        return value in self.reads.whole or any(
            value in g.reads for g in self.groups.all.values() if g is not group
        )

    def _move_maps(self) -> None:
        """Element-wise groups with one reader, which reads them at other indices, are computed
        there."""
        for group in sorted(self.groups.all.values(), key=lambda g: -g.number):
            if group.kind != LOOPS or not group.flat:
                continue
            readers = self._readers(group)
            if (
                readers is None
                or len(readers) != 1
                or any(v in self.reads.whole for v in group.level)
            ):
                continue
            ((reader, count),) = readers.values()
            if reader.kind != LOOPS or count > group.size * 1.5:
                continue
            level = {**reader.level, **dict.fromkeys(group.level, MOVED)}
            union = Union(reader.kind, reader.domain, reader.inner, level, reader.late)
            self.groups.merge(reader, group, union)

    def _readers(self, group: Group) -> dict[int, tuple[Group, int]] | None:
        """The groups that read from one, and how many elements."""
        found: dict[int, tuple[Group, int]] = {}
        for other in self.groups.all.values():
            if other is group:
                continue
            for base, uses in other.reads.items():
                if base in group.level:
                    count = sum(_elements(a) for _, a in uses)
                    before = found.get(other.number, (other, 0))[1]
                    found[other.number] = (other, before + count)
        return found


def _last(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """The stride of the last dimension of more than one element."""
    return next((s for n, s in reversed(list(zip(shape, strides))) if n != 1), 1)


def _elements(access: Access) -> int:
    size = 1
    for extent in access.shape:
        size *= extent
    return size


__all__ = ["Refusals", "explain", "fuse", "traffic"]
