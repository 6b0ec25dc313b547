"""A graph of kernels becomes a native program.

Each node turns into a step: a kernel, a scan of kernels, or Python on the host. Views that memory
shows as they are take no step. Then memory is planned, and the launches of all steps are written
down as records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir import loops
from ..ir.graph import Graph, substitute
from ..ir.node import Node, Value, topological
from ..ops.contract import IndexRange
from ..ops.kernels.bounds import extent_kernel
from ..passes.alias import alias_of
from ..runtime.memory import round_size
from ..runtime.native import Launch, NativeKernel
from ..runtime.native_program import (
    ARENA,
    FIRST_INPUT,
    Check,
    HostStep,
    NativeProgram,
    Packing,
    Place,
    Record,
    Segment,
    View,
)
from .layout import Layout, Planner
from .scans import ScanStep, packed_sizes
from .steps import COPY, EXTENT, PythonStep, Step, copied, copy_step, extent_of, kernel_step

# How a node is computed natively: its kernel, or why it has none; positions of the operands that
# many launches of the kernel find unchanged, and of those of which that is likely.
Lower = Callable[[Node, tuple[int, ...], tuple[int, ...]], NativeKernel | str]
# Runs a graph on arrays: for nodes that carry graphs and run on the host.
RunGraph = Callable[[Graph, Sequence[Any]], Sequence[Any]]


# A node inside of another, and what the inputs of the graph it stands in are outside of that.
Part = tuple[Node, Mapping[Value, Value]]


@dataclass(frozen=True)
class Tools:
    """What planning asks of its caller: ``lower`` for kernels of nodes, ``compile`` for loop nests,
    ``prepare`` for the graph of a scan's body (fusion and the like), ``order`` for the nodes of a
    graph, ``run_graph`` for host steps, ``parts`` for the nodes that a node computes."""

    lower: Lower
    compile: Callable[[loops.Kernel], NativeKernel]
    prepare: Callable[[Graph], Graph]
    order: Callable[[Graph], Sequence[Node]]
    run_graph: RunGraph
    parts: Callable[[Node], Sequence[Part]]


def plan_layout(graph: Graph, tools: Tools) -> Layout:
    """The steps and the memory of a graph that is ready for kernels."""
    return _planned(graph, tools, _watches(graph, tools))


def _planned(graph: Graph, tools: Tools, watches: Sequence[_Watch]) -> Layout:
    extents = list({w.extent: None for w in watches})
    steps, views, outputs, _ = _steps(graph, tools, extents, lasting=_lasting(graph))
    return Planner(graph.inputs, outputs, steps, views).plan()


def plan_program(graph: Graph, tools: Tools) -> NativeProgram:
    """The program of a graph that is ready for kernels."""
    watches = _watches(graph, tools)
    layout = _planned(graph, tools, watches)
    checks = [
        Check(layout.places[w.extent], w.range.low, w.range.high, w.range.message, w.location)
        for w in watches
    ]
    return _assemble(graph, layout, checks)


# --- steps


def _steps(
    graph: Graph,
    tools: Tools,
    further: Sequence[Value] = (),
    distinct: bool = False,
    kept: Collection[Value] = (),
    lasting: Collection[Value] = (),
) -> tuple[list[Step], dict[Value, tuple[Value, int]], list[Value], bool]:
    """The steps of a graph, its views, and its outputs; copies are added where an output cannot
    stand where it is computed. ``distinct`` asks for memory of its own for every output; ``kept``
    are inputs that many runs of the steps find unchanged, ``lasting`` those that are likely to
    be. The last result tells whether all of it is native."""
    steps: list[Step] = []
    views: dict[Value, tuple[Value, int]] = {}
    native = True
    nodes = tools.order(graph) if not further else _with_further(graph, further, tools)
    for node in nodes:
        offset = alias_of(node)
        if offset is not None:
            views[node.out] = node.inputs[0], offset
            continue
        roots = [_root(v, views)[0] for v in node.inputs]
        still, likely = (
            tuple(i for i, root in enumerate(roots) if root in values) for values in (kept, lasting)
        )
        step = _step(node, tools, still, likely)
        native = native and not isinstance(step, PythonStep)
        steps.append(step)
    outputs: list[Value] = []
    taken: set[Value] = set()
    inputs = set(graph.inputs)
    for value in (*graph.outputs, *further):
        root, offset = _root(value, views)
        whole = not offset and root.type.nbytes == value.type.nbytes
        if not whole or (distinct and (root in inputs or root in taken)):
            value = copied(value)
            steps.append(copy_step(value.node))
            root = value
        taken.add(root)
        outputs.append(value)
    return steps, views, outputs, native


def _with_further(graph: Graph, further: Sequence[Value], tools: Tools) -> Sequence[Node]:
    known = set(tools.order(graph))
    more = [n for n in topological(further, stop=lambda n: n in known) if n not in known]
    inputs = {v.node for v in graph.inputs}
    return [*tools.order(graph), *(n for n in more if n not in inputs)]


def _root(value: Value, views: dict[Value, tuple[Value, int]]) -> tuple[Value, int]:
    offset = 0
    while value in views:
        value, more = views[value]
        offset += more
    return value, offset


def _lasting(graph: Graph) -> frozenset[Value]:
    """Inputs that the next run is likely to find unchanged: those of which the graph computes no
    gradient and no new value, which would be an output of the same type. Where that is wrong,
    kernels are slower than need be, no more."""
    made = {v.type for v in graph.outputs}
    return frozenset(v for v in graph.inputs if v.type not in made)


def _step(
    node: Node, tools: Tools, kept: tuple[int, ...], lasting: tuple[int, ...] = ()
) -> Step:  # fmt: skip
    if node.op is COPY:
        return copy_step(node)
    if node.op is EXTENT:
        return kernel_step(node, tools.compile(extent_kernel(node.inputs[0].type)), Counter())
    counts = Counter(part.op.name for part, _ in tools.parts(node))
    if hasattr(node.op, "run_with"):
        scan = _scan(node, tools, counts)
        return scan or _host(node, tools, counts, "runs the programs of its graphs")
    kernel = tools.lower(node, kept, lasting)
    if isinstance(kernel, str):
        return _host(node, tools, counts, kernel)
    return kernel_step(node, kernel, counts, kept)


def _host(node: Node, tools: Tools, counts: Counter[str], reason: str) -> PythonStep:
    run = node.op.run
    if hasattr(node.op, "run_with"):

        def run(arrays: Any, attrs: Any) -> Any:
            return node.op.run_with(arrays, attrs, tools.run_graph)

    return PythonStep(
        node.op.name, node.inputs, node.outputs, node.location, (), (), counts, run, node.attrs,
        reason,
    )  # fmt: skip


def _scan(node: Node, tools: Tools, counts: Counter[str]) -> ScanStep | None:
    """The native steps of a scan; None if the node is no scan or its body is not all native."""
    if "length" not in node.attrs:
        return None
    body = tools.prepare(node.attrs["body"])
    if _watches(body, tools):
        return None
    moving = node.attrs["num_carry"] + node.attrs["num_xs"]
    steps, views, outputs, native = _steps(
        body, tools, distinct=True, kept=frozenset(body.inputs[moving:])
    )
    if not native:
        return None
    layout = Planner(body.inputs, outputs, steps, views).plan()
    inside: Counter[str] = Counter()
    for step in steps:
        inside.update(step.counts)
    for name, count in inside.items():
        counts[name] += count * node.attrs["length"]
    return ScanStep(
        f"scan of {node.attrs['length']}", node.inputs, node.outputs, node.location,
        (layout.arena, *packed_sizes(steps)), (), counts, node=node, body=layout,
    )  # fmt: skip


# --- positions that must lie in a range


@dataclass(frozen=True)
class _Watch:
    """``extent`` holds the smallest and the largest of positions that ``range`` is about."""

    extent: Value
    range: IndexRange
    location: tuple[str, int] | None


def _watches(graph: Graph, tools: Tools) -> list[_Watch]:
    """What has to be watched of the positions that the graph's nodes take or put at."""
    found = []
    extents: dict[Value, Value] = {}
    for node in graph.nodes:
        for part, outer in tools.parts(node):
            ranges = getattr(part.op, "index_ranges", None)
            for each in ranges(part) if ranges is not None else ():
                (positions,) = substitute([part.inputs[each.operand]], outer)
                if not positions.type.numel:
                    continue
                if positions not in extents:
                    extents[positions] = extent_of(positions)
                found.append(_Watch(extents[positions], each, part.location or node.location))
    return found


# --- records


def _assemble(graph: Graph, layout: Layout, checks: Sequence[Check]) -> NativeProgram:
    count = len(layout.inputs)
    bases = [Place(i, 0) for i in range(1 + count + len(layout.results))]
    assert bases[0].base == ARENA
    kernels: dict[NativeKernel, int] = {}
    args: list[Place] = []
    records: list[Record] = []
    packings = _Packings(count)
    program: list[Segment | HostStep] = []
    begun = 0
    for number, launches in layout.emit(bases):
        step = layout.steps[number]
        if isinstance(step, PythonStep):
            if len(records) > begun:
                program.append(Segment(begun, len(records)))
                begun = len(records)
            program.append(_host_step(step, layout))
            continue
        for kernel, places in launches:
            at = len(args)
            args.extend(places)
            index = kernels.setdefault(kernel, len(kernels))
            for launch in kernel.launches:
                if not launch.extent:
                    continue
                packings.note(index, kernel, launch, at, places, len(records))
                records.append(
                    Record(index, launch.symbol, at, launch.extent, launch.chunk, number)
                )
    if len(records) > begun:
        program.append(Segment(begun, len(records)))
    counts: Counter[str] = Counter()
    for step in layout.steps:
        counts.update(step.counts)
    return NativeProgram(
        kernels=tuple(kernels),
        records=tuple(records),
        args=tuple(args),
        steps=tuple(program),
        checks=tuple(checks),
        packings=tuple(packings.found),
        packed=packings.nbytes,
        inputs=count,
        arena=layout.arena,
        least=layout.least,
        results=layout.results,
        donors=layout.donors,
        outputs=tuple(
            View(place, value.shape, value.dtype.np)
            for place, value in zip(layout.outputs, graph.outputs)
        ),
        counts=counts,
        elements=sum(v.type.numel for step in layout.steps for v in step.writes),
        names=tuple(step.name for step in layout.steps),
    )


class _Packings:
    """Finds the launches that pack one of so many ``inputs``, and lays out what they make."""

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs
        self._offsets: dict[tuple[int, str, Place], int] = {}
        self.found: list[Packing] = []
        self.nbytes = 0

    def note(
        self, number: int, kernel: NativeKernel, launch: Launch, at: int, places: Sequence[Place],
        record: int,
    ) -> None:  # fmt: skip
        """Launch ``launch`` of kernel ``number`` on ``places`` becomes record ``record``."""
        if launch.packs is None:
            return
        operand, workspace = launch.packs
        source = places[operand]
        if not FIRST_INPUT <= source.base < FIRST_INPUT + self._inputs:
            return
        key = number, launch.symbol, source
        if key not in self._offsets:
            self._offsets[key] = self.nbytes
            first = len(places) - len(kernel.workspaces)
            self.nbytes += round_size(kernel.workspaces[workspace - first])
        packing = Packing(record, at + workspace, source.base - FIRST_INPUT, self._offsets[key])
        self.found.append(packing)


def _host_step(step: PythonStep, layout: Layout) -> HostStep:
    def view(value: Value) -> View:
        return View(layout.places[value], value.shape, value.dtype.np)

    return HostStep(
        step.name, step.run, step.attrs, tuple(map(view, step.reads)),
        tuple(map(view, step.writes)), step.location, step.reason,
    )  # fmt: skip
