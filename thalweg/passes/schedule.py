"""The order in which nodes run, so that little memory is in use at once.

Any order that respects the dependencies gives the same results. The graph's own order goes depth
first from the outputs, which keeps the gradient of a first layer waiting for all the others. The
order found here takes, of the nodes that are ready, one that gives back most memory and takes up
least; among equals the one that became ready last, whose operands are still in the cache.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from ..ir.graph import Graph
from ..ir.node import INPUT, Node, Value
from .alias import alias_of


class _Memory:
    """What stands in memory: which value's memory shows a value, how large it is (operands and
    results of the graph cost nothing: they are there in any order), and who reads it."""

    def __init__(self, graph: Graph) -> None:
        self.root: dict[Value, Value] = {}
        for node in graph.nodes:
            if alias_of(node) is not None:
                (source,) = node.inputs
                self.root[node.out] = self.root.get(source, source)
        free = {self.of(v) for v in (*graph.inputs, *graph.outputs)}
        self.size: dict[Value, int] = {}
        self.readers: dict[Value, set[Node]] = {}
        for node in graph.nodes:
            for value in node.outputs:
                if value not in self.root:
                    self.size[value] = 0 if value in free else value.type.nbytes
                    self.readers[value] = set()
            for value in node.inputs:
                root = self.of(value)
                if root.node.op is not INPUT:
                    self.readers[root].add(node)

    def of(self, value: Value) -> Value:
        return self.root.get(value, value)

    def roots(self, node: Node) -> set[Value]:
        """The values, other than inputs of the graph, that a node reads the memory of."""
        return {root for v in node.inputs if (root := self.of(v)).node.op is not INPUT}

    def written(self, node: Node) -> int:
        return sum(self.size.get(v, 0) for v in node.outputs)


def peak(graph: Graph, order: Sequence[Node]) -> int:
    """The most bytes of temporary values at once."""
    memory = _Memory(graph)
    left = {value: len(readers) for value, readers in memory.readers.items()}
    now = most = 0
    for node in order:
        now += memory.written(node)
        most = max(most, now)
        for value in memory.roots(node):
            left[value] -= 1
            if not left[value]:
                now -= memory.size[value]
        now -= sum(memory.size.get(v, 0) for v in node.outputs if not memory.readers.get(v))
    return most


def schedule(graph: Graph) -> tuple[Node, ...]:
    """The nodes of the graph in a good order; the graph's own where that is no worse."""
    found = greedy(graph)
    return found if peak(graph, found) < peak(graph, graph.nodes) else graph.nodes


def greedy(graph: Graph) -> tuple[Node, ...]:
    """The nodes of the graph, of those that are ready the one first that costs least memory."""
    memory = _Memory(graph)
    left = {value: set(readers) for value, readers in memory.readers.items()}
    consumers: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    waiting: dict[Node, int] = {}
    position = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        before = {v.node for v in node.inputs if v.node.op is not INPUT}
        waiting[node] = len(before)
        for other in before:
            consumers[other].append(node)
    heap: list[tuple[int, int, int, Node]] = []
    cost: dict[Node, int] = {}
    clock = 0

    def offer(node: Node) -> None:
        nonlocal clock
        freed = sum(memory.size[v] for v in memory.roots(node) if left[v] == {node})
        cost[node] = memory.written(node) - freed
        clock += 1
        heapq.heappush(heap, (cost[node], -clock, position[node], node))

    done: set[Node] = set()
    order: list[Node] = []
    for node in reversed(graph.nodes):
        if not waiting[node]:
            offer(node)
    while heap:
        price, _, _, node = heapq.heappop(heap)
        if node in done or price != cost[node]:
            continue  # it was offered again, cheaper
        done.add(node)
        order.append(node)
        for value in memory.roots(node):
            left[value].discard(node)
            if len(left[value]) == 1:
                (last,) = left[value]
                if not waiting[last] and last not in done:
                    offer(last)
        for other in reversed(consumers[node]):
            waiting[other] -= 1
            if not waiting[other]:
                offer(other)
    return tuple(order)
