"""Let the scan of a backward pass read what the forward scan computed, instead of computing it
again.

The gradient of a scan recomputes each step from the carries before it. Where the forward scan
stands in the same graph, values of its steps that are costly (products, exponentials) become
results of it instead, one more stack each, and operands of the backward scan.

    graph(%0: float32[4], %1: float32[5,4], %2: float32[4], %3: float32[5,4]) {
      %4, %5 = scan(%0, %1) body=graph(%0: float32[4], %1: float32[4]) {
        %2 = mul(%0, %1)
        %3 = tanh(%2)
        %4 = neg(%3)
        return %4
      } length=5 num_carry=1 num_xs=1 reverse=False
      %6, %7 = scan(%2, %5, %1) body=graph(%0: float32[4], %1: float32[4], %2: float32[4]) {
        %3 = mul(%1, %2)
        %4 = tanh(%3)
        %5 = mul(%0, %4)
        return %5
      } length=5 num_carry=1 num_xs=2 reverse=True
      return %4, %6
    }

becomes

    graph(%0: float32[4], %1: float32[5,4], %2: float32[4], %3: float32[5,4]) {
      %4, %5, %6 = scan(%0, %1) body=graph(%0: float32[4], %1: float32[4]) {
        %2 = mul(%0, %1)
        %3 = tanh(%2)
        %4 = neg(%3)
        return %4, %3
      } length=5 num_carry=1 num_xs=1 reverse=False
      %7, %8 = scan(%2, %5) body=graph(%0: float32[4], %1: float32[4]) {
        %2 = mul(%0, %1)
        return %2
      } length=5 num_carry=1 num_xs=1 reverse=True
      return %4, %7
    }
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..ir.graph import Graph, substitute
from ..ir.node import Node, Value, attrs_key, make_input
from ..ops.control import Scan
from .effort import is_costly
from .rebuild import rebuilt
from .scan_prune import prune_scans


@dataclass
class _Scan:
    """A scan of the graph: its node, its groups, and what later scans want it to keep."""

    node: Node
    wanted: dict[Value, None] = field(default_factory=dict)  # values of the body to stack

    @property
    def body(self) -> Graph:
        return self.node.attrs["body"]  # type: ignore[no-any-return]

    @property
    def carries(self) -> int:
        return self.node.attrs["num_carry"]  # type: ignore[no-any-return]

    @property
    def last(self) -> int:
        """Behind the last of the xs among the operands."""
        return self.carries + self.node.attrs["num_xs"]  # type: ignore[no-any-return]

    def stacks(self) -> Iterator[tuple[Value, Value]]:
        """(value outside, value of a step inside) of everything that is stacked over the steps."""
        ends = self.body.outputs
        yield from zip(self.node.inputs[self.carries : self.last], self.body.inputs[self.carries :])
        yield from zip(self.node.outputs[self.carries : len(ends)], ends[self.carries :])
        yield from zip(self.node.outputs[len(ends) :], self.body.inputs)

    def constants(self) -> Iterator[tuple[Value, Value]]:
        yield from zip(self.node.inputs[self.last :], self.body.inputs[self.last :])


def keep_steps(graph: Graph) -> Graph:
    """The graph in which scans read costly values of earlier scans' steps."""
    scans = {n: _Scan(n) for n in graph.nodes if n.op is Scan}
    reads: dict[Node, dict[Value, tuple[_Scan, Value]]] = {}
    for scan in scans.values():
        for source in _sources(scan, scans):
            for mine, theirs in _shared(scan, source).items():
                reads.setdefault(scan.node, {}).setdefault(mine, (source, theirs))
                if theirs not in source.body.outputs[source.carries :]:
                    source.wanted[theirs] = None
    if not reads:
        return graph
    stacks: dict[tuple[Node, Value], Value] = {}

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node not in scans:
            return None
        return _remade(scans[node], inputs, reads.get(node, {}), stacks)

    return prune_scans(rebuilt(graph, replace))


def _sources(scan: _Scan, scans: dict[Node, _Scan]) -> list[_Scan]:
    """The scans over as many steps that make xs of this one."""
    found = dict.fromkeys(v.node for v in scan.node.inputs[scan.carries : scan.last])
    length = scan.node.attrs["length"]
    return [scans[n] for n in found if n in scans and n.attrs["length"] == length]


def _shared(scan: _Scan, source: _Scan) -> dict[Value, Value]:
    """The costly values of ``scan``'s step that ``source``'s step computes too, and which those
    are, as far as something else in the step reads them."""
    outside = dict(source.stacks())
    fixed = dict(source.constants())
    alike: dict[Value, Value] = {}
    for value, inner in zip(scan.node.inputs[scan.carries :], scan.body.inputs[scan.carries :]):
        same = outside.get(value) if inner in scan.body.inputs[: scan.last] else fixed.get(value)
        if same is not None:
            alike[inner] = same
    known = {_key(n, n.inputs): n for n in source.body.nodes}
    for node in scan.body.nodes:
        if all(v in alike for v in node.inputs):
            twin = known.get(_key(node, tuple(alike[v] for v in node.inputs)))
            if twin is not None:
                alike.update(zip(node.outputs, twin.outputs))
    given = set(scan.body.inputs)
    needed = [v for n in scan.body.nodes if n.outputs[0] not in alike for v in n.inputs]
    found: dict[Value, Value] = {}
    for value in (*needed, *scan.body.outputs):
        if value in alike and value not in given:
            for kept in _cut(value, given):
                found[kept] = alike[kept]
    return found


def _key(node: Node, inputs: tuple[Value, ...]) -> tuple[Any, ...]:
    return node.op.name, inputs, attrs_key(node.attrs), node.types


def _cut(value: Value, given: set[Value]) -> list[Value]:
    """The values to keep for ``value``: itself if it is costly, else those costly ones from which
    it follows by light work, unless they are several."""
    if value in given or not value.node.inputs:
        return []
    if is_costly(value.node):
        return [value]
    below = dict.fromkeys(v for x in value.node.inputs for v in _cut(x, given))
    return list(below) if len(below) < 2 else [value]


def _remade(
    scan: _Scan,
    inputs: tuple[Value, ...],
    reads: dict[Value, tuple[_Scan, Value]],
    stacks: dict[tuple[Node, Value], Value],
) -> Sequence[Value]:
    """The results of the scan that reads and keeps more; ``stacks`` gains what it keeps."""
    node, body, carries, last = scan.node, scan.body, scan.carries, scan.last
    fresh = {mine: make_input(mine.type) for mine in reads}
    outputs = substitute([*body.outputs, *scan.wanted], fresh) if fresh else body.outputs
    if not fresh:
        outputs = (*body.outputs, *scan.wanted)
    more = [stacks[source.node, theirs] for source, theirs in reads.values()]
    made = node.outputs
    if reads or scan.wanted or inputs != node.inputs:
        attrs = {
            **node.attrs,
            "body": Graph([*body.inputs[:last], *fresh.values(), *body.inputs[last:]], outputs),
            "num_xs": node.attrs["num_xs"] + len(fresh),
        }
        made = node.op(*inputs[:last], *more, *inputs[last:], **attrs)
    end = len(body.outputs)
    for value, stack in zip((*body.outputs, *scan.wanted)[carries:], made[carries:]):
        stacks[node, value] = stack
    return (*made[:end], *made[end + len(scan.wanted) :])
