"""From groups to a graph of `fused` nodes."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph
from ..ir.node import INPUT, Node, Value, make_input
from ..ops.link import ops
from .fuse_groups import ANCHOR, OPAQUE, SIDE, Group, Groups
from .fuse_reads import Form, Reads, strided_root


def build(graph: Graph, reads: Reads, groups: Groups) -> Graph:
    """The graph in which each group is one node."""
    return _Builder(graph, reads, groups).build()


class _Builder:
    def __init__(self, graph: Graph, reads: Reads, groups: Groups) -> None:
        self.graph, self.reads, self.groups = graph, reads, groups
        self.results = self._results()
        self.made: dict[Value, Value] = {v: v for v in graph.inputs}
        self.order: list[Node] = []

    def build(self) -> Graph:
        for group in self._ordered():
            self._emit(group)
        return Graph(self.graph.inputs, [self._buffer(v) for v in self.graph.outputs])

    def _results(self) -> dict[int, list[Value]]:
        """The values of each group that are read outside of it, in order of computation."""
        wanted: set[Value] = set(self.reads.whole)
        for group in self.groups.all.values():
            for base in group.reads:
                if self.groups.of.get(base) is not group:
                    wanted.add(base)
        found: dict[int, list[Value]] = {}
        for node in self.graph.nodes:
            for value in node.outputs:
                source = self.groups.of.get(value)
                if source is not None and value in wanted:
                    found.setdefault(source.number, []).append(value)
        return found

    def _ordered(self) -> list[Group]:
        """Groups, each after those it reads from; otherwise in the order of their last nodes."""
        place = {n: i for i, n in enumerate(self.graph.nodes)}
        order: list[Group] = []
        done: set[int] = set()
        # Groups all of whose nodes moved into their readers are left empty.
        groups = [g for g in self.groups.all.values() if g.nodes]
        stack = sorted(groups, key=lambda g: -max(place[n] for n in g.nodes))
        entered: set[int] = set()
        while stack:
            group = stack[-1]
            if group.number in done:
                stack.pop()
                continue
            if group.number in entered:
                stack.pop()
                done.add(group.number)
                order.append(group)
                continue
            entered.add(group.number)
            stack.extend(g for g in self.groups.sources(group) if g.number not in done)
        return order

    def _buffer(self, value: Value) -> Value:
        """A value that is in memory, or another shape of one."""
        known = self.made.get(value)
        if known is None:
            node = value.node
            inputs = tuple(self._buffer(v) for v in node.inputs)
            known = Node(node.op, inputs, node.attrs, node.types, node.location).out
            self.made[value] = known
        return known

    def _emit(self, group: Group) -> None:
        if group.kind == OPAQUE or self._is_plain(group):
            (node,) = group.nodes
            inputs = tuple(self._buffer(v) for v in node.inputs)
            made = Node(node.op, inputs, node.attrs, node.types, node.location)
            self.made.update(zip(node.outputs, made.outputs))
            return
        results = self.results.get(group.number)
        if not results:
            return
        # A template has its further results last among the parameters, wanted or not.
        sides = [v for n in group.nodes for v in n.outputs if group.level[v] == SIDE]
        results = [*(v for v in results if v not in sides), *sides]
        body, operands = self._body(group, results)
        kind = "anchor" if group.kind == ANCHOR else "loops"
        inner = tuple(sorted(group.inner or ()))
        attrs = {"body": body, "kind": kind, "domain": group.domain, "inner": inner}
        inputs = tuple(self._buffer(v) for v in operands)
        op = ops.fused
        types = op.infer_types(tuple(v.type for v in inputs), attrs)
        made = Node(op, inputs, attrs, types, group.nodes[0].location)
        self.made.update(zip(results, made.outputs))

    def _is_plain(self, group: Group) -> bool:
        """Whether the group is one node that reads nothing but buffers."""
        if len(group.nodes) != 1:
            return False
        (node,) = group.nodes
        return all(
            v.node.op is INPUT or self.reads.form[v.node] is not Form.INLINE for v in node.inputs
        )

    def _body(self, group: Group, results: Sequence[Value]) -> tuple[Graph, list[Value]]:
        """The computation of ``results`` on fresh inputs, and what those stand for."""
        members = set(group.nodes)
        inside: dict[Value, Value] = {}
        operands: list[Value] = []
        inputs: list[Value] = []
        anchor_reads: set[Value] = set()
        if group.kind == ANCHOR:
            for node in group.nodes:
                if self.reads.form[node] is Form.ANCHOR:
                    anchor_reads.update(strided_root(v).base for v in node.inputs)

        def outside(value: Value) -> Value:
            made = make_input(value.type)
            inside[value] = made
            operands.append(value)
            inputs.append(made)
            return made

        stack = list(reversed(results))
        while stack:
            value = stack[-1]
            if value in inside:
                stack.pop()
                continue
            node = value.node
            inline = node.op is not INPUT and self.reads.form[node] is Form.INLINE
            if node not in members and not inline:
                outside(value)
                stack.pop()
                continue
            missing = [v for v in node.inputs if v not in inside]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            new = tuple(inside[v] for v in node.inputs)
            made = Node(node.op, new, node.attrs, node.types, node.location)
            inside.update(zip(node.outputs, made.outputs))
        body = Graph(inputs, [inside[v] for v in results])
        return body, operands
