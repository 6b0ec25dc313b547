"""Flushing: everything the program still holds is computed, in one program, nothing twice.

What is live is read off the reference counts of the trace's handles. Values that a later
backward pass will need (its *residuals*) are computed in the same program and kept in a
`History`, which the live tensors that require gradients share; so a loss read before
``backward()`` never runs the forward pass again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core import flags
from ..core.budget import Budget
from ..core.collector import uncollected
from ..core.device import META
from ..ir.graph import Graph
from ..ir.node import INPUT, Value, topological
from ..runtime.buffer import Buffer, absent
from ..runtime.executor import executor
from .budget import budget_of, note
from .exclusive import exclusive, shared
from .residuals import Forward, canonical, residual_values
from .trace import State, Trace, enter, local, trie

if TYPE_CHECKING:
    from ..pipeline import Executable
    from ..runtime.ready import Ready
    from .tensor import Tensor


# Called with the recorded graph of each flush (see `tensor.inspect.watch`).
observers: list[Callable[[Graph], None]] = []
# Called after a flush that had to be compiled.
after_planning: list[Callable[[], None]] = []


# Machine code that runs a flush which is ready (see `codegen.hit_flush`): True if it did. Given two
# arguments it also runs what is heavy; given one it runs nothing: the live slots, or False where it
# cannot tell.
quick: Callable[..., bool | tuple[int, ...]] | None = None


class History:
    """What is left of a flushed trace for differentiation.

    ``residuals`` hold the buffers of forward values that gradients read, ``leaves`` the tensors
    whose gradients end there, ``boundaries`` where Python code takes part. ``saved`` are the
    results whose gradients read residuals, ``freed`` those that a backward pass has been through
    without retaining the graph; ``overwritten`` are the values that in-place
    operations had replaced before the flush, ``writes`` the counts of writes at that time.
    """

    __slots__ = (
        "boundaries", "forward", "freed", "handles", "leaves", "order", "overwritten", "residuals",
        "saved", "slots", "writes",
    )  # fmt: skip
    _count = 0

    def __init__(
        self,
        plan: Plan,
        residuals: dict[Value, Buffer],
        leaves: dict[Value, Tensor],
        boundaries: dict[Value, Any],
    ) -> None:
        History._count += 1
        self.order = History._count
        self.residuals = residuals
        self.leaves = leaves
        self.boundaries = boundaries
        self.freed: frozenset[Value] = plan.freed
        self.saved = plan.saved
        self.overwritten = plan.overwritten
        self.forward = plan.forward
        self.slots = plan.slots
        self.writes = {v: b.overwritten for v, b in residuals.items()}
        self.handles: dict[Value, Tensor] | None = None

    def free(self, visited: frozenset[Value]) -> None:
        """Note that a backward pass went through ``visited``; drop the residuals when none of
        what reads them is left."""
        self.freed |= visited
        if self.saved <= self.freed:
            self.handles = None
            self.residuals = {}

    def written_since(self) -> tuple[Value, ...]:
        """Residuals whose tensors were modified in place after the flush."""
        return tuple(v for v, b in self.residuals.items() if b.overwritten != self.writes[v])


class Plan:
    """A compiled flush: which trace inputs to pass, where each live slot's result is, and where
    the residuals are (('out', i) or ('in', i)). What is on the meta device is nowhere: its place
    is -1, and where nothing else is live there is no program. ``ready`` is the program for machine
    code to run, where that was made, ``tried`` the settings under which it was asked for."""

    __slots__ = (
        "forward", "freed", "graph", "inputs", "leaves", "outs", "overwritten", "program",
        "ready", "residuals", "saved", "slots", "tried", "with_history",
    )  # fmt: skip

    def __init__(
        self, graph: Graph, program: Executable | None, inputs: list[int], outs: list[int],
        residuals: list[tuple[Value, str, int]], with_history: list[int],
        freed: frozenset[Value], saved: frozenset[Value],
        leaves: dict[int, Value], overwritten: dict[Value, Value | None], forward: Forward,
        slots: dict[Value, int],
    ) -> None:  # fmt: skip
        self.forward = forward
        self.slots = slots
        self.leaves = leaves
        self.overwritten = overwritten
        self.graph = graph
        self.program = program
        self.ready: Ready | None = None
        self.tried: object = None
        self.inputs = inputs
        self.outs = outs
        self.residuals = residuals
        self.with_history = with_history
        self.freed = freed
        self.saved = saved


def _baseline() -> int:
    """Reference count of a handle that only its trace holds, measured the way `live_slots` does."""
    handles: list[Any] = [object()]
    for handle in handles:
        return sys.getrefcount(handle)
    raise AssertionError


_UNREFERENCED = _baseline()


def live_slots(trace: Trace) -> list[int]:
    """Slots of pending values that something outside the trace still refers to. A view that only
    the trace holds does not keep its base alive."""
    live = []
    count = sys.getrefcount
    viewed: dict[int, int] = {}  # how many dead views refer to a base, by its id
    for handle in trace.tensors:
        if handle is not None and handle._extra is not None:
            base = handle._extra.base
            if base is not None and count(handle) == _UNREFERENCED:
                viewed[id(base)] = viewed.get(id(base), 0) + 1
    base = None
    i = -1
    for handle in trace.tensors:
        i += 1
        if (
            handle is not None
            and count(handle) > _UNREFERENCED
            and handle._buffer is None
            and (not viewed or count(handle) > _UNREFERENCED + viewed.get(id(handle), 0))
        ):
            live.append(i)
    return live


def flush(waiting: bool = False) -> None:
    """Submit the current thread's trace and begin a new one. A function under trace runs later, as
    part of the graph around it, so there is nothing to run then. ``waiting`` tells that the caller
    will wait for a result at once."""
    if (
        quick is None
        or local.budget is not None
        or (quick(None, None) if waiting else quick()) is not True
    ):
        _flush(waiting)


@exclusive
def _flush(waiting: bool) -> None:
    # Finalizers that the collector runs may record and flush as well: not in the middle of this.
    with uncollected():
        trace = local.trace
        if not trace.tensors or trace.scope is not None:
            return
        live = quick is not None and quick(trace)
        slots = live if isinstance(live, tuple) else tuple(live_slots(trace))
        note(trace)
        try:
            if slots:
                _run(trace, slots, waiting)
        except KeyboardInterrupt:
            if trace.closed:
                close(trace)
            raise  # before anything ran: all of it is still recorded
        except BaseException:
            close(trace)
            raise
        close(trace)


def restart() -> None:
    """Submit what is recorded and begin a new trace, under the flags as they are now."""
    flush()
    close(local.trace)


def close(trace: Trace) -> None:
    """End a trace: drop what it holds, so that leaves still pointing at it keep nothing alive."""
    trace.closed = True
    trace.tensors = []
    trace.inputs = []
    trace.leaves = {}
    trace.boundaries = {}
    trace.rng = {}
    shared.settle()
    enter(Trace(local.grad))
    if trie.size > flags.trie_limit:
        trie.prune()


def _run(trace: Trace, live: tuple[int, ...], waiting: bool) -> None:
    state = trace.state
    plan = state.plans.get(live)
    if plan is None:
        plan = state.plans[live] = make_plan(state, live)
        for listener in after_planning:
            listener()
    for observer in observers:
        observer(plan.graph)
    trie.clock += 1
    state.used = trie.clock
    held = {i: trace.inputs[i] for _, where, i in plan.residuals if where == "in"}
    inputs = [trace.inputs[i] for i in plan.inputs]
    trace.closed = True
    trace.inputs = []  # what nobody else holds, results may take over
    if quick is not None and plan.tried is not shared.settings:
        _make_ready(plan, live, trie.root(trace.mode))
    outputs = executor.submit(plan.program, inputs, waiting) if plan.program is not None else []
    tensors = trace.tensors
    history: History | None = None
    if plan.with_history:
        history = make_history(trace, plan, outputs, held)
    for slot, out in zip(live, plan.outs):
        tensor: Any = tensors[slot]
        tensor._buffer = outputs[out] if out >= 0 else absent()
        tensor._trace = None
        if tensor._extra is not None:
            tensor._extra.trace = None
    if history is not None:
        for slot in plan.with_history:
            tensor = tensors[slot]
            tensor._ensure_extra().history = (history, tensor._meta.value)
    executor.raise_interrupt()


def _make_ready(plan: Plan, live: tuple[int, ...], root: State) -> None:
    """Make a program ready for machine code, once it is native."""
    if plan.program is None or -1 in plan.outs:
        return  # handles of tensors without data are made by Python code
    loaded = plan.program.loaded
    plain = not plan.with_history and not plan.residuals and flags.backend != "reference"
    if plain and loaded is None:
        return  # asked again at the next flush
    plan.tried, plan.ready = shared.settings, None
    if plain and loaded is not None:
        from ..runtime.ready import make_ready

        plan.ready = make_ready(loaded, plan.inputs, live, plan.outs, root, shared.settings)


def make_history(
    trace: Trace, plan: Plan, outputs: Sequence[Buffer], inputs: Mapping[int, Buffer]
) -> History:
    """The history of a flushed trace; ``inputs`` are those that residuals stand in."""
    residuals = {
        value: absent() if i < 0 else outputs[i] if where == "out" else inputs[i]
        for value, where, i in plan.residuals
    }
    leaves = {plan.leaves[slot]: t for slot, t in trace.leaves.items() if slot in plan.leaves}
    return History(plan, residuals, leaves, dict(trace.boundaries))


def compiled(graph: Graph, budget: Budget | None = None) -> Executable:
    """What computes ``graph`` within a budget of memory. The pipeline is imported when there is
    first something to compile: `import thalweg` does not wait for compilers."""
    from ..pipeline import compile_graph

    return compile_graph(graph, budget)


def make_plan(state: State, live: Sequence[int]) -> Plan:
    """Compile the graph of the live slots, with the residuals of those that need gradients."""
    metas = state.path_metas()
    with_history = [i for i in live if metas[i].requires_grad and not metas[i].is_leaf]
    # A residual may be what a composite stands for: one value then, and one buffer.
    values = [canonical(metas[i].value) if with_history else metas[i].value for i in live]
    leaves = state.path_leaves()
    histories = [metas[i].value for i in with_history]
    forward = Forward(histories)
    freed = frozenset(state.path_freed()) if histories else frozenset()
    kept, saved = residual_values(histories, freed, forward)
    outputs: dict[Value, int] = {}
    for value in values:
        if value.type.device is not META:
            outputs.setdefault(value, len(outputs))
    residuals: list[tuple[Value, str, int]] = []
    position = {v: i for i, v in enumerate(leaves)}
    for value in kept:
        if value in position:
            residuals.append((value, "in", position[value]))
        elif value.type.device is META:
            residuals.append((value, "out", -1))
        else:
            residuals.append((value, "out", outputs.setdefault(value, len(outputs))))
    order = topological(outputs)
    used = {n.out for n in order if n.op is INPUT}
    inputs = [i for i, v in enumerate(leaves) if v in used]
    graph = Graph([leaves[i] for i in inputs], list(outputs), order)
    program = compiled(graph, budget_of(state)) if outputs else None
    positions = [outputs.get(v, -1) for v in values]
    ends = {m.slot: m.value for m in metas if m.requires_grad and m.is_leaf}
    return Plan(
        graph, program, inputs, positions, residuals, with_history, freed, saved, ends,
        state.path_overwritten(), forward, {metas[i].value: i for i in with_history},
    )  # fmt: skip


def compute_foreign(tensor: Tensor) -> None:
    """Materialise a tensor that is pending in another thread's open trace.

    That trace only grows, so the path up to the tensor is read without disturbing its owner.
    """
    trace = tensor._trace or (tensor._extra.trace if tensor._extra is not None else None)
    if trace is not None and trace.scope is not None:
        raise RuntimeError(
            "this tensor belongs to a function that was traced (cond, while_loop, scan, vmap, "
            "grad, ...) and has no value outside of it: return it from the function"
        )
    if trace is None or trace.closed:
        raise RuntimeError(
            "internal error: a value was dropped while still referenced; please report this "
            "with the program that caused it"
        )
    inputs, state = list(trace.inputs), trace.state
    slot = tensor._slot
    plan = make_plan(state, [slot])
    outputs = []
    if plan.program is not None:
        outputs = executor.submit(plan.program, [inputs[i] for i in plan.inputs], waiting=True)
    if plan.with_history:
        history = make_history(trace, plan, outputs, dict(enumerate(inputs)))
        tensor._ensure_extra().history = (history, tensor._meta.value)
    tensor._buffer = outputs[plan.outs[0]] if plan.outs[0] >= 0 else absent()
