"""The pipeline from graph to program, readable as one list, and when to compile.

Each pass is a pure ``Graph -> Graph`` function; `PASSES` is their order. With the flag ``check``
the graph is verified after every pass; with ``log=passes`` each stage is printed.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .core import flags
from .core.budget import Budget
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
from .runtime.buffer import Buffer
from .runtime.program import Array, Instruction, Kernel, Program

if TYPE_CHECKING:
    from .runtime.native_run import LoadedProgram

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    decompose, prepare_bodies, simplify, prune_scans, eliminate_common, assemble_pieces,
    keep_steps, hoist_from_scans, eliminate_common,
)  # fmt: skip

# What `auto` compiles at once: programs that write so many elements, or have so many nodes; all
# others when they ran so often.
LARGE = 1 << 16
LONG = 256
HOT = 3

_CACHE_SIZE = 1024
_cache: OrderedDict[tuple[object, ...], Executable] = OrderedDict()
_cache_lock = threading.Lock()


class Executable:
    """What computes a graph: its native program, or its reference program while that is the better
    choice (see `_native_now`). ``outputs`` has an entry for each result."""

    def __init__(self, graph: Graph, budget: Budget | None = None) -> None:
        self.graph = graph
        self.budget = budget
        self.outputs: Sequence[Any] = graph.outputs
        self._elements = sum(t.numel for n in graph.nodes for t in n.types)
        self.runs = 0
        # Whether native code is worth its making at once, or after some runs. Random numbers must
        # be the same however often they were drawn, so what draws them never changes its ways.
        random = any(getattr(node.op, "random", False) for node in graph.nodes)
        draws_only = random and len(graph.inputs) <= 1
        self._at_once = (
            self._elements >= LARGE or len(graph.nodes) >= LONG or (random and not draws_only)
        )
        self._hot = None if random else HOT
        self._reference: Program | None = None
        self._native: LoadedProgram | None = None
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[Buffer], outputs: Sequence[Buffer]) -> None:
        """Compute the results of ``inputs`` into ``outputs``."""
        native = self._native
        if native is not None and flags.backend != "reference":
            native.run(inputs, outputs)
            return
        self.runs += 1
        (self.native() if self._native_now() else self.reference()).run(inputs, outputs)

    def _native_now(self) -> bool:
        """Whether to run native code from now on. Compiling takes longer than a few runs of a small
        graph do; but where results must not depend on how often something ran, it is always
        compiled."""
        backend = flags.backend
        if backend != "auto" or not _supported():
            return backend == "native"
        if flags.deterministic or self._at_once:
            return True
        return self._hot is not None and self.runs >= self._hot

    @property
    def elements(self) -> int:
        """The work of the next run (see `runtime.executor.Runnable`), a compilation included: that
        is nothing to wait for on the thread that records."""
        if self._native is not None:
            return self._native.elements
        return sys.maxsize if self._native_now() else self._elements

    @property
    def loaded(self) -> LoadedProgram | None:
        """The native program, if it was made."""
        return self._native

    def native(self) -> LoadedProgram:
        """The native program, compiled on first use."""
        from .planning.native import build

        with self._lock:
            if self._native is None:
                self._native = build(self.graph, run_graph, self.budget)
            return self._native

    def reference(self) -> Program:
        """The program of NumPy functions."""
        with self._lock:
            if self._reference is None:
                self._reference = plan(self.graph)
            return self._reference


@functools.cache
def _supported() -> bool:
    """Whether native code can be made for this machine."""
    from .codegen.target import host

    try:
        host()
    except RuntimeError as error:
        print(f"thalweg: {error}; running on NumPy", file=sys.stderr)
        return False
    return True


def compile_graph(graph: Graph, budget: Budget | None = None) -> Executable:
    """What computes a graph. Executables are cached by the structure of the optimised graph, so
    equal computations recorded along different paths share one (unless they stand on different
    lines, which their errors must name). ``budget`` is one of memory: see `planning.budget`."""
    graph = optimise(graph)
    key = (graph, tuple(n.location for n in graph.nodes), type(budget), budget)
    with _cache_lock:
        found = _cache.get(key)
        if found is None:
            found = _cache[key] = Executable(graph, budget)
            while len(_cache) > _CACHE_SIZE:
                _cache.popitem(last=False)
        else:
            _cache.move_to_end(key)
        return found


_inner: OrderedDict[int, tuple[Graph, Executable]] = OrderedDict()


def run_graph(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """The outputs of a graph that a node holds, on arrays: how native programs run control flow
    on the host."""
    with _cache_lock:
        found = _inner.get(id(graph))
    if found is None:
        found = graph, compile_graph(graph)
        with _cache_lock:
            _inner[id(graph)] = found
            if len(_inner) > _CACHE_SIZE:
                _inner.popitem(last=False)
    outputs = [Buffer() for _ in graph.outputs]
    found[1].run([Buffer(array) for array in arrays], outputs)
    return [buffer.get() for buffer in outputs]


def optimise(graph: Graph) -> Graph:
    """The graph after all passes."""
    last: dict[object, Graph] = {}
    for transform in PASSES:
        # A pass has nothing to do on what it returned last.
        if last.get(transform) is not graph:
            graph = last[transform] = transform(graph)
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
        counts=Counter(node.op.name for node in graph.nodes),
    )


def _kernel(op: Any) -> Kernel:
    """The reference backend: an op's NumPy function, with plain results made arrays."""

    def run(arrays: Sequence[Array], attrs: Mapping[str, Any]) -> Sequence[Array]:
        return op.run(arrays, attrs)  # type: ignore[no-any-return]

    return run
