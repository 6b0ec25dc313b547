"""The pipeline from graph to program, readable as one list.

Each pass is a pure ``Graph -> Graph`` function; `PASSES` is their order. With the flag ``check``
the graph is verified after every pass; with ``log=passes`` each stage is printed.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .core import flags
from .ir.graph import Graph
from .ir.node import Value
from .passes.assemble import assemble_pieces
from .passes.bodies import prepare_bodies
from .passes.cse import eliminate_common
from .passes.decompose import decompose
from .passes.hoist import hoist_from_scans
from .passes.keep import keep_steps
from .passes.scan_prune import prune_scans
from .passes.simplify import simplify
from .runtime.program import Array, Instruction, Kernel, Program

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    decompose, prepare_bodies, simplify, prune_scans, eliminate_common, assemble_pieces,
    keep_steps, hoist_from_scans, eliminate_common,
)  # fmt: skip

_CACHE_SIZE = 1024
_cache: OrderedDict[tuple[Graph, object], Program] = OrderedDict()
_cache_lock = threading.Lock()


def compile_graph(graph: Graph) -> Program:
    """The program of a graph: passes, then a plan in dependency order. Programs are cached by
    the structure of the optimised graph, so equal computations recorded along different paths
    share one (unless they stand on different lines, which their errors must name)."""
    graph = optimise(graph)
    key = (graph, tuple(n.location for n in graph.nodes))
    with _cache_lock:
        program = _cache.get(key)
        if program is not None:
            _cache.move_to_end(key)
            return program
    program = plan(graph)
    with _cache_lock:
        _cache[key] = program
        while len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    return program


def optimise(graph: Graph) -> Graph:
    """The graph after all passes."""
    for transform in PASSES:
        graph = transform(graph)
        _observe(transform.__name__, graph)
    return graph


def _observe(stage: str, graph: Graph) -> None:
    if flags.check:
        from .ir.verify import verify

        verify(graph)
    if "passes" in flags.log.split(","):
        print(f"# after {stage}\n{graph!r}", file=sys.stderr)


def plan(graph: Graph) -> Program:
    """Number the values, order the kernels, and mark where each value is last read."""
    register: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
    for node in graph.nodes:
        for value in node.outputs:
            register[value] = len(register)
    keep = {register[v] for v in graph.outputs}
    last_read: dict[int, int] = {}
    for step, node in enumerate(graph.nodes):
        for value in (*node.inputs, *node.outputs):
            last_read[register[value]] = step
    dead_after: dict[int, list[int]] = {}
    for number, step in last_read.items():
        if number not in keep:
            dead_after.setdefault(step, []).append(number)
    instructions = tuple(
        Instruction(
            name=node.op.name,
            kernel=_kernel(node.op),
            attrs=node.attrs,
            ins=tuple(register[v] for v in node.inputs),
            outs=tuple(register[v] for v in node.outputs),
            dead=tuple(dead_after.get(step, ())),
            location=node.location,
        )
        for step, node in enumerate(graph.nodes)
    )
    return Program(
        registers=len(register),
        inputs=tuple(range(len(graph.inputs))),
        outputs=tuple(register[v] for v in graph.outputs),
        instructions=instructions,
        elements=sum(t.numel for n in graph.nodes for t in n.types),
    )


def _kernel(op: Any) -> Kernel:
    """The reference backend: an op's NumPy function, with plain results made arrays."""

    def run(arrays: Sequence[Array], attrs: Mapping[str, Any]) -> Sequence[Array]:
        return op.run(arrays, attrs)  # type: ignore[no-any-return]

    return run
