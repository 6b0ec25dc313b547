"""The backward pass over recorded traces.

Without Python code in it, the backward pass of a trace is *one* transition of the trie: on a miss
the gradient graph is built by `passes.autodiff`, on a hit nothing is. Values where Python takes
part (hooks, custom functions) and values computed before an earlier flush are *points*: the pass
is cut there into regions, latest point first, each region again one transition.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..core.device import META
from ..core.errors import AutogradError
from ..ir.graph import substitute
from ..ir.node import INPUT, Node, Value, make_input
from ..ops.arithmetic import cast, constant
from ..ops.link import ops
from ..passes.autodiff import gradients, requires_grad
from ..runtime.buffer import NO_DATA
from .alias import bind
from .exclusive import exclusive
from .flush import History, flush
from .places import on_meta
from .points import FunctionPoint, HistoryPoint, HookPoint, Point
from .record import result
from .residuals import Forward, canonical, forward_nodes, grad_sources
from .tensor import Tensor
from .trace import LeafKey, State, Trace, local, set_grad_mode, transition


class Pass:
    """One run of the engine. ``found`` collects, per leaf or requested tensor, the gradient."""

    def __init__(self, retain: bool, create: bool, wanted: Sequence[Tensor] | None) -> None:
        self.retain = retain
        self.create = create
        self.wanted = wanted
        self.wanted_ids = None if wanted is None else {id(t): t for t in wanted}
        self.found: dict[int, tuple[Tensor, Tensor]] = {}
        self.histories: dict[History, dict[Value, Tensor]] = {}

    def add(self, tensor: Tensor, grad: Tensor) -> None:
        key = id(tensor)
        if self.wanted_ids is not None and key not in self.wanted_ids:
            return
        known = self.found.get(key)
        self.found[key] = (tensor, grad if known is None else known[1] + grad)

    # ---- the current trace

    def run(self, roots: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        if any(not isinstance(p, HistoryPoint) for p in local.trace.boundaries.values()):
            # Python code in the backward pass may read values, and so flush. What it needs of
            # this trace then has to outlive it: flush now, and run from the history.
            flush()
        trace = local.trace
        slots = [bind(trace, t) for t in roots]
        for grad in grads:
            if grad is not None:
                bind(trace, grad)
        if self.wanted is not None:
            for tensor in self.wanted:
                bind(trace, tensor)
        segment = TraceSegment(trace)
        self.sweep(segment, dict_of(slots, grads))
        while self.histories:
            history = max(self.histories, key=lambda h: h.order)
            pending = self.histories.pop(history)
            old = HistorySegment(history, self)
            here = {v: g for v, g in pending.items() if v in old.points}
            rest = {v: g for v, g in pending.items() if v not in old.points}
            self.sweep(old, rest, here)
            if not self.retain:
                history.free(frozenset(old.visited))

    def sweep(
        self, segment: Any, pending: dict[Any, Any], points: dict[Any, Tensor] | None = None
    ) -> None:
        """Differentiate one segment from ``pending`` (root -> gradient), point by point;
        ``points`` are gradients that have already arrived at points."""
        limit: int | None = None
        points = points or {}
        while True:
            if pending:
                for root, grad in segment.region(self, pending, limit):
                    point = segment.points.get(root)
                    if point is not None and (limit is None or point.slot < limit):
                        known = points.get(root)
                        points[root] = grad if known is None else known + grad
                    else:
                        self.add(segment.tensor(root), grad)
            if not points:
                return
            root = max(points, key=lambda r: segment.points[r].slot)
            limit = segment.points[root].slot
            pending = self.cross(segment, root, points)

    def cross(self, segment: Any, root: Any, points: dict[Any, Tensor]) -> dict[Any, Any]:
        """Run the Python code of the latest point; the roots from which to go on."""
        point = segment.points[root]
        grad = points.pop(root)
        if isinstance(point, HistoryPoint):
            tensor = segment.point_tensor(root)
            if tensor is not None:
                self.add_requested(tensor, grad)
            waiting = self.histories.setdefault(point.history, {})
            known = waiting.get(point.value)
            waiting[point.value] = grad if known is None else known + grad
            return {}
        if isinstance(point, HookPoint):
            tensor = point.tensor
            grad = run_hooks(tensor, grad)
            extra = tensor._ensure_extra()
            if extra.retain and self.wanted is None:
                extra.grad = grad if extra.grad is None else extra.grad + grad
            self.add_requested(tensor, grad)
            return {root: grad}
        assert isinstance(point, FunctionPoint)
        call = point.call
        grads: list[Tensor | None] = [None] * call.outputs
        grads[point.index] = grad
        for other in list(points):
            mate = segment.points[other]
            if isinstance(mate, FunctionPoint) and mate.call is call:
                grads[mate.index] = points.pop(other)
        following: dict[Any, Any] = {}
        for tensor, value in call.backward(grads, self.retain):
            for place, contribution in segment.place(self, tensor, value):
                known = following.get(place)
                following[place] = contribution if known is None else known + contribution
        return following

    def add_requested(self, tensor: Tensor, grad: Tensor) -> None:
        if self.wanted_ids is not None and id(tensor) in self.wanted_ids:
            self.add(tensor, grad)


def dict_of(slots: Sequence[int], grads: Sequence[Tensor | None]) -> dict[int, Any]:
    pending: dict[int, Any] = {}
    for slot, grad in zip(slots, grads):
        if slot in pending:
            known = pending[slot]
            if known is None or grad is None:
                raise AutogradError("backward: a root is given twice without explicit gradients")
            pending[slot] = known + grad
        else:
            pending[slot] = grad
    return pending


def run_hooks(tensor: Tensor, grad: Tensor) -> Tensor:
    """Apply a tensor's hooks to its gradient, in order of registration."""
    extra = tensor._extra
    if extra is None or not extra.hooks:
        return grad
    for hook in list(extra.hooks.values()):
        changed = hook(grad)
        if changed is not None:
            if not isinstance(changed, Tensor):
                raise TypeError(
                    f"hook of a tensor must return a Tensor or None, got {type(changed).__name__}"
                )
            if changed.shape != grad.shape:
                raise AutogradError(
                    f"hook has changed the size of value: expected {list(grad.shape)}, got "
                    f"{list(changed.shape)}"
                )
            grad = changed
    return grad


class TraceSegment:
    """The part of the graph recorded in the current trace; its places are slots."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.points: dict[int, Point] = {p.slot: p for p in trace.boundaries.values()}

    def tensor(self, slot: int) -> Tensor:
        leaf = self.trace.leaves.get(slot)
        if leaf is not None:
            return leaf
        handle = self.trace.tensors[slot]
        assert handle is not None
        return handle

    def point_tensor(self, slot: int) -> Tensor | None:
        return self.trace.tensors[slot]

    def place(self, run: Pass, tensor: Tensor, grad: Tensor) -> list[tuple[int, Tensor]]:
        """Where a gradient for ``tensor`` continues: here, or nowhere if it is a leaf."""
        slot = bind(self.trace, tensor)
        self.points.update({p.slot: p for p in self.trace.boundaries.values()})
        if tensor._meta.requires_grad and tensor._meta.is_leaf:
            run.add(tensor, grad)
            return []
        return [(slot, grad)]

    def region(
        self, run: Pass, pending: dict[int, Tensor | None], limit: int | None
    ) -> list[tuple[int, Tensor]]:
        """Gradients that reach leaves, earlier points and requested tensors from ``pending``."""
        trace = self.trace
        roots = tuple(pending)
        cotangents = tuple(-1 if g is None else bind(trace, g) for g in pending.values())
        points = tuple(s for s in self.points if limit is None or s < limit)
        wanted: tuple[int, ...] = ()
        if run.wanted is not None:
            wanted = tuple(t._slot for t in run.wanted if current_slot(trace, t))
        key = ("backward", roots, cotangents, points, wanted, run.wanted is None, run.retain,
               run.create)  # fmt: skip
        before = trace.state
        reached: list[int] = []
        freed: set[Value] = set()
        kept: dict[Value, Value] = {}

        def build() -> list[Value]:
            metas = before.path_metas()
            values = [metas[s].value for s in roots]
            seeds = [
                constant(1, v.dtype, v.shape) if s < 0 else cast(metas[s].value, v.dtype)
                for v, s in zip(values, cotangents)
            ]
            slot_of = {m.value: m.slot for m in reversed(metas)}
            at = [metas[s].value for s in points]
            asked = [metas[s].value for s in wanted]
            ends = [v for v in grad_sources(values) if v in slot_of]
            if run.wanted is not None:
                ends = [v for v in ends if v in set(asked) or v in set(at)]
            wrt = list(dict.fromkeys([*ends, *at, *asked]))
            through = set(asked) - set(at) - set(ends)
            forbidden = Forbidden(Forward(values), before.path_overwritten(), before.path_freed())
            grads = gradients(values, seeds, wrt, through, forbidden.check)
            kept.update(forbidden.kept)
            if not run.retain:
                freed.update(forbidden.saved)
            found = [(slot_of[v], g) for v, g in zip(wrt, grads) if g is not None]
            reached.extend(slot for slot, _ in found)
            return [finish(at_home(g, v), run.create) for v, g in zip(wrt, grads) if g is not None]

        def fill(state: State) -> None:
            state.info = tuple(reached)
            state.freed = frozenset(freed)
            state.overwritten = tuple(kept.items())

        state = transition(trace, key, "backward", build, fill)
        return [(slot, result(trace, meta)) for slot, meta in zip(state.info, state.metas)]


def current_slot(trace: Trace, tensor: Tensor) -> bool:
    extra = tensor._extra
    return tensor._trace is trace or (extra is not None and extra.trace is trace)


def at_home(grad: Value, of: Value) -> Value:
    """A gradient on the device of what it is the gradient of. NotImplementedError where that is on
    the CPU and the gradient has no data."""
    if of.type.device is META:
        return on_meta(grad)
    if grad.type.device is META:
        raise NotImplementedError(NO_DATA)
    return grad


def finish(grad: Value, create: bool) -> Value:
    """A gradient as the user gets it: without history unless ``create_graph``."""
    if not create and requires_grad(grad):
        return ops.stop_gradient(grad)  # type: ignore[no-any-return]
    if grad.node.op is INPUT:
        # A cotangent handed through unchanged: a result of its own, not a leaf again.
        return ops.reshape(grad, shape=grad.shape)  # type: ignore[no-any-return]
    return grad


class Forbidden:
    """Checks what gradient rules read: freed graphs and values modified in place since.

    ``overwritten`` maps a value to the one that an in-place operation put in its place (None if
    no operation may still read the old one; the value itself if all may). ``saved`` collects
    results whose rules read, ``kept`` old values that a rule was allowed to read.
    """

    def __init__(
        self,
        forward: Forward,
        overwritten: Mapping[Value, Value | None],
        freed: Collection[Value] = (),
    ) -> None:
        self.forward = forward
        self.overwritten = {canonical(v): (v, by) for v, by in overwritten.items()}
        self.freed = freed
        self.saved: set[Value] = set()
        self.kept: dict[Value, Value] = {}

    def check(
        self, node: Node, grads: Sequence[Value | None], results: Sequence[Value | None]
    ) -> None:
        present = [r for r in results if r is not None]
        read = self.forward.read(present, [g for g in grads if g is not None])
        if not read:
            return
        self.saved.update(node.outputs)
        if any(v in self.freed for v in node.outputs):
            raise AutogradError(FREED)
        for found in map(canonical, read):
            if found in self.overwritten:
                value, by = self.overwritten[found]
                if by is value:
                    continue
                if by is not None and _made_by(by, value, node):
                    # The operation kept the old value; so may whatever differentiates it again.
                    self.kept[value] = value
                    continue
                raise AutogradError(
                    "one of the variables needed for gradient computation has been modified by an "
                    f"inplace operation: [{value.type}], which is output of {value.node.op.name}, "
                    f"was needed by the gradient of {node.op.name} in its original version. Hint: "
                    "clone() it before the in-place operation."
                )


def _made_by(by: Value, old: Value, node: Node) -> bool:
    """Whether ``node`` is part of the in-place operation that replaced ``old`` with ``by``: such
    an operation may read what it overwrites."""
    return node in set(forward_nodes([by])) and node not in set(forward_nodes([old]))


FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you "
    "call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward "
    "through the graph a second time or if you need to access saved tensors after calling backward."
)


class HistorySegment:
    """The part of the graph behind an earlier flush; its places are values of that graph."""

    def __init__(self, history: History, run: Pass) -> None:
        self.history = history  # `visited`: results whose saved values this pass has read
        self.points: dict[Value, Point] = dict(history.boundaries)
        self.run = run
        self.visited: set[Value] = set()
        if history.handles is None:
            history.handles = {v: self._handle(v) for v in history.residuals}

    def _handle(self, value: Value) -> Tensor:
        leaf = self.history.leaves.get(value)
        buffer = self.history.residuals[value]
        if leaf is not None and leaf._buffer is buffer:
            return leaf
        grad = requires_grad(value)
        handle = Tensor._from_buffer(buffer, LeafKey(value.type, grad, not grad))
        if grad:
            handle._ensure_extra().history = (self.history, value)
        return handle

    def tensor(self, value: Value) -> Tensor:
        return self.history.leaves[value]

    def point_tensor(self, value: Value) -> Tensor | None:
        return None

    def place(self, run: Pass, tensor: Tensor, grad: Tensor) -> list[tuple[Value, Tensor]]:
        extra = tensor._extra
        if tensor._meta.requires_grad and tensor._meta.is_leaf:
            run.add(tensor, grad)
        elif extra is not None and extra.history is not None:
            history, value = extra.history
            if history is self.history:
                return [(value, grad)]
            waiting = run.histories.setdefault(history, {})
            known = waiting.get(value)
            waiting[value] = grad if known is None else known + grad
        return []

    def region(
        self, run: Pass, pending: dict[Value, Tensor], limit: int | None
    ) -> list[tuple[Value, Tensor]]:
        trace = local.trace
        handles = self.history.handles
        assert handles is not None
        cotangents = tuple(bind(trace, g) for g in pending.values())
        saved = tuple(bind(trace, t) for t in handles.values())
        roots = tuple(pending)
        points = tuple(v for v, p in self.points.items() if limit is None or p.slot < limit)
        asked: tuple[Value, ...] = ()
        owner: dict[Value, Tensor] = {}
        if run.wanted is not None:
            for tensor in run.wanted:
                extra = tensor._extra
                if extra is not None and extra.history is not None:
                    history, value = extra.history
                    if history is self.history:
                        owner[value] = tensor
            leaf_ids = {id(t) for t in run.wanted}
            leaves = tuple(v for v, t in self.history.leaves.items() if id(t) in leaf_ids)
            asked = tuple(owner)
        else:
            leaves = tuple(self.history.leaves)
        written = self.history.written_since()
        freed = self.history.freed
        key = ("history", roots, cotangents, tuple(handles), saved, points, asked, leaves, written,
               freed, run.create)  # fmt: skip
        before = trace.state
        reached: list[Value] = []
        visited: set[Value] = set()

        def build() -> list[Value]:
            metas = before.path_metas()
            seeds = [cast(metas[s].value, v.dtype) for v, s in zip(roots, cotangents)]
            wrt = list(dict.fromkeys([*leaves, *points, *asked]))
            through = set(asked) - set(points) - set(leaves)
            overwritten = {**self.history.overwritten, **dict.fromkeys(written)}
            forbidden = Forbidden(self.history.forward, overwritten, freed)
            # Fresh inputs stand for the cotangents, as they did when the residuals were chosen: so
            # what is merged with the forward pass is what was kept of it.
            cotangent_inputs = [make_input(v.type) for v in roots]
            grads = gradients(roots, cotangent_inputs, wrt, through, forbidden.check)
            found = [(v, g) for v, g in zip(wrt, grads) if g is not None]
            reached.extend(v for v, _ in found)
            visited.update(forbidden.saved)
            here = {v: metas[s].value for v, s in zip(handles, saved)}
            merged = forbidden.forward.merge([at_home(g, v) for v, g in found])
            rebuilt = substitute(merged, {**here, **dict(zip(cotangent_inputs, seeds))})
            return [finish(g, run.create) for g in rebuilt]

        def fill(state: State) -> None:
            state.info = (tuple(reached), frozenset(visited))

        state = transition(trace, key, "backward", build, fill)
        found, passed = state.info
        self.visited |= passed
        gathered = []
        for value, meta in zip(found, state.metas):
            grad = result(trace, meta)
            if value in owner and value not in self.points:
                run.add_requested(owner[value], grad)
            else:
                gathered.append((value, grad))
        return gathered


@exclusive
def run_backward(
    roots: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Sequence[Tensor] | None,
    retain: bool,
    create: bool,
) -> Pass:
    """Run the engine; see `thalweg.autograd.backward` and `grad` for what is checked before."""
    run = Pass(retain, create, wanted)
    before = set_grad_mode(create)
    try:
        run.run(roots, grads)
    finally:
        set_grad_mode(before)
    return run
