"""Compute values again where they are read late, instead of keeping them until then.

    graph(%0: float32[64,64], %1: float32[64,64]) {
      %2 = exp(%0)
      %3 = dot(%2, %1) spec='mk,kn->mn'
      %4 = dot(%3, %1) spec='mk,kn->mn'
      %5 = dot(%4, %1) spec='mk,kn->mn'
      %6 = mul(%5, %2)
      return %6
    }

becomes

    graph(%0: float32[64,64], %1: float32[64,64]) {
      %2 = exp(%0)
      %3 = dot(%2, %1) spec='mk,kn->mn'
      %4 = dot(%3, %1) spec='mk,kn->mn'
      %5 = dot(%4, %1) spec='mk,kn->mn'
      %6 = exp(%0)
      %7 = mul(%5, %6)
      return %7
    }

Most memory of a training step holds results of the forward pass that the backward pass reads.
The profile of what lives when comes from the order of the kernels (`schedule`). As long as more
bytes live at some step than are allowed, one of the values that wait there for a later reader is
given up: its last reader before that step is its end, and the readers after it get a copy, which is
computed just before the first of them. What the copy is computed from must live until then, so
that may be given up as well, and so chains and whole segments are computed again. The choice is
greedy, by bytes freed at that step over the time to compute the value again, the rule of XLA's
rematerialisation and, at run time, of Kirisame et al., "Dynamic Tensor Rematerialization"
(ICLR 2021). Where that does not reach far enough, values are given up evenly over long
chains, as in that paper and, before it, in Chen et al., "Training Deep Nets with Sublinear Memory
Cost" (2016). In the end whatever turns out not to be needed is kept after all, costly ones first.

The pass works on the kernels of a graph, after fusion; nothing behind it shares equal values,
which would undo it. A copy is computed by the same kernel, or, where it follows from other results
of that kernel element by element, from these; so it has the same bits, random ones included.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.graph import Graph
from ..ir.node import INPUT, Node, Value, topological
from .alias import alias_of
from .recompute_choice import Choice
from .recompute_plan import Costs, Kernels, Unfolded
from .schedule import greedy


def rematerialize(graph: Graph, limit: int = 0, costs: Costs | None = None) -> Graph:
    """The graph in which at most ``limit`` bytes of temporary values live at once, in the order
    that `recomputed` tells, or else as few as can be reached."""
    return recomputed(graph, limit, costs or Costs()).graph


@dataclass(frozen=True)
class Recomputed:
    """A graph, the order of its nodes for which memory was counted, the most bytes of temporary
    values that live at once, and about how many seconds the copies take."""

    graph: Graph
    order: tuple[Node, ...]
    peak: int
    seconds: float


def recomputed(graph: Graph, limit: int, costs: Costs) -> Recomputed:
    """`rematerialize`, with all that is known of the result."""
    best: Choice | None = None
    known = Kernels(graph, greedy(graph), costs)
    for kernels, spread in (known, False), (known, True), (None, True):
        if kernels is None:
            kernels = Kernels(graph, graph.nodes, costs)
        choice = Choice(kernels, limit, spread)
        choice.run()
        if best is None or choice.now.peak < best.now.peak:
            best = choice
        if best.now.peak <= limit:
            break
    assert best is not None
    best.take_back()
    found = best.now
    made, ordered = _Writer(found).write()
    return Recomputed(made, ordered, found.peak, found.seconds)


class _Writer:
    """Writes down what was chosen as a graph. ``first`` and ``again`` are what stands for a value
    as computed first and as computed again."""

    def __init__(self, chosen: Unfolded) -> None:
        self.kernels, self.chosen = chosen.kernels, chosen
        self.first: dict[Value, Value] = {}
        self.again: dict[Value, Value] = {}
        self.order: dict[Node, None] = {}
        self.shown: dict[tuple[Value, Value], Value] = {}

    def write(self) -> tuple[Graph, tuple[Node, ...]]:
        graph = self.kernels.graph
        for entry in self.chosen.entries:
            late = entry.time
            if entry.clone is None:
                node = self.kernels.nodes[entry.kernel]
                self._keep(node, self._moved(node, late), self.first)
            elif entry.clone.recipe is None:
                node = self.kernels.nodes[entry.kernel]
                self._keep(node, self._moved(node, late, fresh=True), self.again)
            else:
                recipe = entry.clone.recipe
                operands = [self._operand(v, late) for v in recipe.operands]
                (made,) = recipe.graph.repeat(operands)
                for node in topological([made], stop=lambda n: n in self.order):
                    if node.op is not INPUT:
                        self.order.setdefault(node)
                self.again[recipe.value] = made
        outputs = [self._operand(v, -1) for v in graph.outputs]
        return Graph(graph.inputs, outputs), tuple(self.order)

    def _moved(self, node: Node, time: int, fresh: bool = False) -> Node:
        inputs = tuple(self._operand(v, time) for v in node.inputs)
        return node if inputs == node.inputs and not fresh else node.moved(inputs)

    def _keep(self, node: Node, made: Node, known: dict[Value, Value]) -> None:
        self.order.setdefault(made)
        known.update(zip(node.outputs, made.outputs))

    def _operand(self, value: Value, time: int) -> Value:
        """What stands for a value that is read at some time (-1: when all is done)."""
        chain: list[Node] = []
        root = value
        while root.node.op is not INPUT and alias_of(root.node) is not None:
            chain.append(root.node)
            (root,) = root.node.inputs
        late = root in self.again and self.chosen.is_late(root, time)
        found = self.again[root] if late else self.first.get(root, root)
        for node in reversed(chain):
            key = node.out, found
            if key not in self.shown:
                same = node.inputs == (found,)
                self.shown[key] = node.out if same else node.moved((found,)).out
            found = self.shown[key]
            self.order.setdefault(found.node)
        return found


__all__ = ["Costs", "Recomputed", "recomputed", "rematerialize"]
