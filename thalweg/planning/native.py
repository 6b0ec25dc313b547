"""Graphs to programs that run: fusion, lowering and code generation around planning."""

from __future__ import annotations

import functools
import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..codegen.emit import emit
from ..codegen.kernels import load_kernels, running_pool
from ..codegen.target import Target, host
from ..codegen.templates import instantiate
from ..core import flags
from ..core.budget import Budget
from ..ir import loops
from ..ir.anchor import AnchorCall
from ..ir.graph import Graph, substitute
from ..ir.node import Node, Value, attrs_key
from ..ir.text import print_graph
from ..lowering.lower import lower_node
from ..ops.contract import PRIMITIVES, Host
from ..passes.fuse import fuse
from ..passes.schedule import schedule
from ..runtime import saved
from ..runtime.native import NativeKernel
from ..runtime.native_program import NativeProgram
from ..runtime.native_run import LoadedProgram
from ..runtime.store import digest, store
from .budget import plan_within, warn_if_over
from .layout import Layout
from .plan import Part, RunGraph, Tools, plan_layout, plan_program

_KEPT = 4096
_kernels: OrderedDict[Any, NativeKernel | str] = OrderedDict()
_lock = threading.Lock()


def build(graph: Graph, run_graph: RunGraph, budget: Budget | None = None) -> LoadedProgram:
    """The program of an optimised graph, loaded: found in the store, or made and stored.
    ``run_graph`` computes graphs inside of nodes; ``budget`` is one of memory."""
    place = store()
    name = digest("program", _describe(graph), repr(budget))
    data = place.read(name)
    program = None if data is None else saved.load(data)
    if program is None:
        program = plan_native(graph, run_graph, budget)
        data = saved.dump(program)
        if data is not None:
            place.write(name, data)
    report(program)
    warn_if_over(program)
    return LoadedProgram(program, load_kernels(program.kernels), running_pool)


def _describe(graph: Graph) -> str:
    """All that a program depends on: the graph, where its nodes were recorded, the machine, and
    this package."""
    locations = [node.location for node in graph.nodes]
    around = (host(), flags.winograd, _package(), sys.version)
    return f"{print_graph(graph)}\n{locations}\n{around}"


@functools.cache
def _package() -> str:
    """A name for the source as it is: programs made by other source are not used."""
    folder = Path(__file__).resolve().parents[1]
    parts = []
    for name in ("core", "ir", "ops", "passes", "lowering", "codegen", "planning", "runtime"):
        for path in sorted((folder / name).rglob("*.py")):
            status = path.stat()
            parts.append(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}")
    return digest(*parts)


def _tools(run_graph: RunGraph) -> Tools:
    return Tools(kernel_of, _compile, _fuse, schedule, run_graph, parts)


def layout_of(graph: Graph, run_graph: RunGraph) -> tuple[Graph, Layout]:
    """The kernels of an optimised graph, as a graph, and the plan of their steps and memory: for
    those who want to look at it."""
    fused = _fuse(graph)
    return fused, plan_layout(fused, _tools(run_graph))


def plan_native(
    graph: Graph, run_graph: RunGraph, budget: Budget | None = None
) -> NativeProgram:  # fmt: skip
    """The program of an optimised graph, as plain data."""
    tools = _tools(run_graph)
    fused = _fuse(graph)
    if budget is None:
        return plan_program(fused, tools)
    return plan_within(fused, tools, budget, _fuse)


def _fuse(graph: Graph) -> Graph:
    """The graph in groups. A group for which no kernel can be made is taken apart again: its ops
    are computed one by one."""

    def rebuild(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
        if _is_group(node) and not _has_kernel(node):
            body: Graph = node.attrs["body"]
            return body.apply(inputs)
        return node.outputs if inputs == node.inputs else node.with_inputs(inputs).outputs

    fused = fuse(graph)
    return Graph(fused.inputs, substitute(fused.outputs, {}, rebuild))


def _has_kernel(node: Node) -> bool:
    try:
        return isinstance(kernel_of(node, quiet=True), NativeKernel)
    except Exception as error:
        if "fuse" in flags.log.split(","):
            print(f"# taken apart: {node!r}: {type(error).__name__}: {error}", file=sys.stderr)
        return False


def parts(node: Node) -> list[Part]:
    """The ops that a node computes, those inside of groups one by one."""
    return list(_parts(node, {}))


def _parts(node: Node, outer: Mapping[Value, Value]) -> Iterator[Part]:
    if not _is_group(node):
        yield node, outer
        return
    body: Graph = node.attrs["body"]
    inside = {v: outer.get(w, w) for v, w in zip(body.inputs, node.inputs)}
    for part in body.nodes:
        yield from _parts(part, inside)


def _is_group(node: Node) -> bool:
    return node.op is PRIMITIVES["fused"]


def kernel_of(
    node: Node, kept: tuple[int, ...] = (), lasting: tuple[int, ...] = (), quiet: bool = False
) -> NativeKernel | str:  # fmt: skip
    """The kernel of a node, or why it runs on the host. Equal nodes have one kernel. ``kept`` are
    operands that many launches find unchanged, ``lasting`` those of which that is likely. A kernel
    that cannot be made is an error if ``quiet``; else it is warned of, and the node runs on the
    host."""
    key = (
        flags.winograd,
        node.op.name,
        attrs_key(node.attrs),
        tuple(v.type for v in node.inputs),
        node.types,
        kept,
        lasting,
    )
    with _lock:
        found = _kernels.get(key)
        if found is not None:
            _kernels.move_to_end(key)
            return found
    made = (_native if quiet else _lower)(node, kept, lasting)
    with _lock:
        _kernels[key] = made
        if len(_kernels) > _KEPT:
            _kernels.popitem(last=False)
    return made


def _lower(node: Node, kept: tuple[int, ...], lasting: tuple[int, ...]) -> NativeKernel | str:
    try:
        return _native(node, kept, lasting)
    except Exception as error:
        if flags.backend == "native":
            raise
        warnings.warn(
            f"no kernel could be made for {node!r}, which runs on NumPy instead; please report "
            f"this: {type(error).__name__}: {error}",
            RuntimeWarning, stacklevel=2,
        )  # fmt: skip
        return f"its lowering failed: {error}"


def _native(node: Node, kept: tuple[int, ...], lasting: tuple[int, ...]) -> NativeKernel | str:
    lowered = lower_node(node)
    if lowered is None:
        rule = getattr(node.op, "lower", None)
        if isinstance(rule, Host):
            return str(rule)
        if callable(rule):
            kinds = dict.fromkeys(v.dtype.name for v in (*node.inputs, *node.outputs))
            return f"it has no lowering for {', '.join(kinds)}"
        return "it has no lowering" if rule is None else f"it has no lowering yet ({rule})"
    if isinstance(lowered, AnchorCall):
        return instantiate(replace(lowered, kept=kept, lasting=lasting), host())
    return _compile(lowered)


def _compile(kernel: loops.Kernel) -> NativeKernel:
    return emit(kernel, host())


def report(program: NativeProgram) -> None:
    """Say what a program consists of, where the flag ``log`` asks for 'native' or 'host'."""
    topics = flags.log.split(",")
    if "host" in topics:
        for step in program.host_steps:
            print(f"# on the host: {step.name}: {step.reason}", file=sys.stderr)
    if "native" in topics:
        print(program.describe(), file=sys.stderr)


Build = Callable[[Graph, RunGraph], LoadedProgram]

__all__ = ["Build", "Target", "build", "kernel_of", "layout_of", "parts", "plan_native"]
