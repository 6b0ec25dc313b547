"""All that becomes of one graph on its way to a program, as plain data for a page.

The passes run as the pipeline runs them; nothing is executed and no machine code is made.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..core import flags
from ..ir.graph import Graph
from ..ir.loop_text import print_kernel
from ..ir.loops import Kernel as LoopKernel
from ..ir.node import Node, Value
from ..ir.text import value_names
from ..lowering.lower import lower_node
from ..passes.fuse import Refusals, fuse, traffic
from ..pipeline import PASSES, run_graph
from ..planning.layout import Layout
from ..planning.native import kernel_of, layout_of
from ..runtime.native import NativeKernel

_NAME = re.compile(r"%\d+")
_LONG = 1500  # lines, from which on frequent lines do not count as equal: that takes too long


@dataclass(frozen=True)
class Stage:
    """The graph after a pass. ``changes`` tell how its lines come from those of the stage before:
    (kind, from, to, from, to) as of `difflib`, 'equal' up to the numbers of values."""

    name: str
    about: str
    lines: list[str]
    nodes: int
    ops: dict[str, int]
    changes: list[tuple[str, int, int, int, int]]


@dataclass(frozen=True)
class Kernel:
    """One kernel, however many steps run it. ``text`` is its loop nest or template call."""

    name: str
    kind: str
    text: str
    reads: list[str]
    writes: list[str]
    flops: int
    nbytes: int
    scratch: int
    size: int  # of its LLVM text
    launches: int
    reason: str = ""


@dataclass(frozen=True)
class Step:
    """A kernel's turn: the bytes of the arena that live then, and the user's line."""

    kernel: int
    name: str
    where: str
    reads: list[str]
    writes: list[str]
    live: int


@dataclass(frozen=True)
class Report:
    """A graph: ``blocks`` of memory are (offset, bytes, first step, last step, what); ``refused``
    are (op, why, where)."""

    nodes: int
    runs: int
    stages: list[Stage]
    refused: list[tuple[str, str, str]]
    traffic: tuple[int, int]
    kernels: list[Kernel]
    steps: list[Step]
    blocks: list[tuple[int, int, int, int, str]]
    arena: int
    least: int
    results: int = 0
    inputs: int = 0


def report(graph: Graph, runs: int = 1) -> Report:
    """What becomes of a recorded graph."""
    stages = [_stage("recorded", "The graph as it was recorded.", graph, None)]

    def add(name: str, about: str, made: Graph) -> None:
        stages.append(_stage(name, about, made, stages[-1]))

    optimised = graph
    for transform in PASSES:
        optimised = transform(optimised)
        add(transform.__name__, _about(transform), optimised)
    refusals: Refusals = []
    with flags.override(log=""):
        fuse(optimised, refusals)
        fused, layout = layout_of(optimised, run_graph)
    add("fuse", _about(fuse), fused)
    kernels, steps = _Kernels(fused, layout).gather()
    names = value_names(fused)
    return Report(
        nodes=len(graph.nodes), runs=runs, stages=stages,
        refused=[(f"{n.op.name} → {n.types[0]}", why, _place(n.location)) for n, why in refusals],
        traffic=(traffic(optimised), traffic(fused)), kernels=kernels, steps=steps,
        blocks=[
            (b.offset, b.nbytes, b.first, b.last, _described(b.value, names))
            for b in layout.blocks
        ],
        arena=layout.arena, least=layout.least, results=sum(layout.results),
        inputs=sum(v.type.nbytes for v in layout.inputs),
    )  # fmt: skip


def _about(function: Any) -> str:
    """What a pass does: the first sentence of its module, or of itself."""
    module = __import__(function.__module__, fromlist=["__doc__"])
    text = (module.__doc__ or function.__doc__ or "").split("\n\n")[0]
    return " ".join(text.split())


def _place(location: tuple[str, int] | None) -> str:
    return f"{location[0]}:{location[1]}" if location else ""


def _described(value: Value | None, names: dict[Value, str]) -> str:
    return "scratch" if value is None else f"{names.get(value, 'copy')}: {value.type}"


def _stage(name: str, about: str, graph: Graph, before: Stage | None) -> Stage:
    lines = repr(graph).splitlines()
    changes = [] if before is None else changed(before.lines, lines)
    ops = Counter(node.op.name for node in graph.nodes)
    return Stage(name, about, lines, len(graph.nodes), dict(ops.most_common()), changes)


def changed(before: list[str], after: list[str]) -> list[tuple[str, int, int, int, int]]:
    """How lines change. A line is the same if it says the same of other values, as all values
    behind a change are numbered anew."""
    old, new = ([_NAME.sub("%", line) for line in lines] for lines in (before, after))
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    end, stop = len(old) - last, len(new) - last
    matcher = difflib.SequenceMatcher(
        None, old[first:end], new[first:stop], autojunk=max(end, stop) - first > _LONG
    )
    found = [("equal", 0, first, 0, first)] if first else []
    found += [
        (kind, a + first, b + first, c + first, d + first)
        for kind, a, b, c, d in matcher.get_opcodes()
    ]
    if last:
        found.append(("equal", end, len(old), stop, len(new)))
    return found


@dataclass
class _Kernels:
    """Gathers the kernels of planned steps, each once."""

    graph: Graph
    layout: Layout
    kernels: list[Kernel] = field(default_factory=list)
    known: dict[Any, int] = field(default_factory=dict)

    def gather(self) -> tuple[list[Kernel], list[Step]]:
        maker = {node.outputs: node for node in self.graph.nodes}
        names = value_names(self.graph)
        live = self._live()
        steps = []
        for i, step in enumerate(self.layout.steps):
            node = maker.get(step.writes)
            number = self._kernel(step, node)
            reads, writes = (
                [f"{names.get(v, '%?')}: {v.type}" for v in values]
                for values in (step.reads, step.writes)
            )
            where = _place(step.location)
            steps.append(Step(number, step.name, where, reads, writes, live[i]))
        return self.kernels, steps

    def _live(self) -> list[int]:
        found = [0] * len(self.layout.steps)
        for block in self.layout.blocks:
            for i in range(max(block.first, 0), min(block.last + 1, len(found))):
                found[i] += block.nbytes
        return found

    def _kernel(self, step: Any, node: Node | None) -> int:
        native = getattr(step, "kernel", None)
        key = native if isinstance(native, NativeKernel) else (step.name, step.writes)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = len(self.kernels)
            self.kernels.append(self._described(step, node, native))
        return found

    def _described(self, step: Any, node: Node | None, native: Any) -> Kernel:
        reads, writes = ([str(v.type) for v in vs] for vs in (step.reads, step.writes))
        if not isinstance(native, NativeKernel):
            reason = getattr(step, "reason", "")
            kind = "host" if reason else "loop"
            text = "" if node is None else repr(node)
            return Kernel(step.name, kind, text, reads, writes, 0, 0, 0, 0, 0, reason)
        kind, text = "copy", "the bytes of one value, copied"
        if node is not None and isinstance(kernel_of(node), NativeKernel):
            kind, text = _loops(node)
        return Kernel(
            native.name, kind, text, reads, writes, native.flops, native.bytes,
            sum(native.workspaces), len(native.text), len(native.launches),
        )  # fmt: skip


def _loops(node: Node) -> tuple[str, str]:
    lowered = lower_node(node)
    if isinstance(lowered, LoopKernel):
        return "loops", print_kernel(lowered)
    if lowered is None:
        return "copy", "the bytes of one value, copied"
    attrs = " ".join(f"{name}={value!r}" for name, value in lowered.attrs)
    lines = [f"template {lowered.template} {attrs}"]
    lines += [f"  operand {o.dtype.name}{list(o.shape)} strides {list(o.strides)}"
              for o in lowered.operands]  # fmt: skip
    lines.append(f"  result {lowered.dtype.name}{list(lowered.shape)}")
    epilogue = lowered.epilogue
    if epilogue is not None:
        lines.append(f"  for each element {epilogue.value} at [{', '.join(epilogue.index)}]:")
        lines += [f"    {line}" for stmt in epilogue.body for line in _statement(stmt)]
    return "template", "\n".join(lines)


def _statement(stmt: Any) -> list[str]:
    from ..ir.loop_text import print_stmt

    return print_stmt(stmt).splitlines()
