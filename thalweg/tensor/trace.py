"""The recorder: a trie of recorded ops, and the trace that walks it.

Recording an op looks up ``(op, slots of its operands, static arguments)`` in the current state of
the trie. A hit moves to the next state, which already knows the result's shape, dtype and whether
it requires gradients, so nothing is inferred. A miss builds the graph nodes once and adds a state.

A *trace* is one walk from the root to the next flush. Slot i of a trace is the i-th value
recorded in it; ``trace.tensors[i]`` is the handle that shows it (None once the handle moved on).

Invariants
- everything a state holds depends only on the path to it, never on data;
- a tensor is *pending* iff its ``_buffer`` is None, and then ``tensors[_slot]`` is that tensor;
- a view has ``_trace`` set only while it was made in that trace from a tensor of it that was not
  written to since (`alias.loosen` sees to that); any other use of a view goes through `bind`, which
  compares versions and derives it anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import device as devices
from ..core import flags
from ..core.collector import uncollected
from ..core.device import META, Device
from ..core.dtypes import DType, default_dtype, default_listeners
from ..core.errors import placed
from ..ir.node import INPUT, Value, make_input
from ..ir.types import CPU, Shape, TensorType
from ..ops.gradient_control import AsLeaf
from ..ops.link import ops
from ..ops.movement import contiguous_strides
from ..passes.autodiff import requires_grad
from ..runtime.buffer import Buffer
from .exclusive import NoTrace, shared

if TYPE_CHECKING:
    from .tensor import Tensor

Chain = tuple[tuple[Any, tuple[tuple[str, Any], ...]], ...]


class LeafKey:
    """Trie key of a tensor that enters a trace with a buffer. Interned, compared by identity.

    Everything that later states may depend on is part of it: also the strides and offset of a
    view, and the ``name`` of the function that computed a tensor with a history.
    """

    __slots__ = ("is_leaf", "name", "offset", "requires_grad", "strides", "type", "weak")
    _interned: dict[tuple[Any, ...], LeafKey] = {}

    type: TensorType
    requires_grad: bool
    is_leaf: bool
    weak: bool
    strides: Shape | None
    offset: int
    name: str

    def __new__(
        cls,
        type: TensorType,
        requires_grad: bool,
        is_leaf: bool,
        weak: bool = False,
        strides: Shape | None = None,
        offset: int = 0,
        name: str = "",
    ) -> LeafKey:
        key = (type, requires_grad, is_leaf, weak, strides, offset, name)
        found = cls._interned.get(key)
        if found is None:
            if len(cls._interned) > flags.trie_limit:
                cls._interned.clear()
            found = cls._interned[key] = object.__new__(cls)
            found.type, found.requires_grad, found.is_leaf, found.weak = key[:4]
            found.strides, found.offset, found.name = key[4:]
        return found

    def meta(self, slot: int) -> Meta:
        """The Meta of a leaf of this kind in slot ``slot``, on a fresh graph input."""
        value = make_input(self.type, self.requires_grad, self.weak)
        meta = Meta(value, slot, self.requires_grad, self.is_leaf, self.name)
        meta.strides, meta.offset, meta.leaf_key = self.strides, self.offset, self
        return meta


_NO_VIEWS: list[Any] = []


class Meta:
    """What is known of a slot without running anything; shared by every walk over the path.

    ``is_leaf`` is autograd's notion: no recorded history. ``strides`` (elements; None: row-major)
    and ``chain`` (the view ops from the viewed tensor) describe views. ``name`` names the recorded
    function, for ``grad_fn`` and messages. ``root`` is the Meta of the tensor at the far end of
    all views on the path, ``views`` are those of the views of a tensor.
    """

    __slots__ = (
        "chain", "dtype", "is_leaf", "leaf_key", "name", "offset", "requires_grad", "root", "shape",
        "slot", "strides", "value", "views",
    )  # fmt: skip

    def __init__(self, value: Value, slot: int, grad: bool, is_leaf: bool, name: str = "") -> None:
        self.value = value
        self.slot = slot
        self.shape = value.shape
        self.dtype = value.dtype
        self.requires_grad = grad
        self.is_leaf = is_leaf
        self.name = name
        self.strides: Shape | None = None
        self.offset = 0
        self.chain: Chain | None = None
        self.leaf_key: LeafKey | None = None
        self.root: Meta | None = None
        self.views: list[Meta] = _NO_VIEWS

    def shown_by(self, view: Meta) -> None:
        """Note that ``view`` is a view of what this describes."""
        root = view.root = self.root or self
        if root.views is _NO_VIEWS:
            root.views = []
        root.views.append(view)

    @property
    def device(self) -> Device:
        return self.value.type.device

    def element_strides(self) -> Shape:
        return contiguous_strides(self.shape) if self.strides is None else self.strides

    def key(self) -> LeafKey:
        """The trie key under which this value enters a later trace."""
        if self.leaf_key is None:
            kind = TensorType(self.shape, self.dtype, self.value.type.device)
            name = "" if self.is_leaf else self.name
            self.leaf_key = LeafKey(
                kind, self.requires_grad, self.is_leaf, False, self.strides, self.offset, name
            )
        return self.leaf_key


class State:
    """A node of the trie. ``metas`` are the slots its transition added (``meta`` if it is one);
    ``info`` is what the transition's recorder wants to remember; ``plans`` are the programs of
    flushes here. ``plain`` is set where a handle of that Meta is all that a hit has to deliver,
    ``view`` where it has to be made a view of the first operand besides. ``shortcuts`` are backward
    passes from here, by the slot of their root (see `repeat`)."""

    __slots__ = (
        "freed", "info", "key", "meta", "metas", "next", "overwritten", "parent", "plain", "plans",
        "random", "shortcuts", "used", "view",
    )  # fmt: skip

    def __init__(self, parent: State | None, key: Hashable) -> None:
        self.parent = parent
        self.key = key
        self.next: dict[Any, State] = {}
        self.metas: tuple[Meta, ...] = ()
        self.meta: Meta | None = None
        self.plain: Meta | None = None
        self.view: Meta | None = None
        self.info: Any = None
        self.plans: dict[tuple[int, ...], Any] = {}
        self.shortcuts: dict[int, tuple[Any, ...]] = {}
        self.overwritten: tuple[tuple[Value, Value | None], ...] = ()
        self.freed: frozenset[Value] = frozenset()
        self.random = 0
        self.used = 0

    def path(self) -> list[State]:
        """States from the root's child to this one."""
        states: list[State] = []
        state: State | None = self
        while state is not None and state.parent is not None:
            states.append(state)
            state = state.parent
        states.reverse()
        return states

    def path_metas(self) -> list[Meta]:
        """The Meta of every slot, in slot order."""
        return [meta for state in self.path() for meta in state.metas]

    def path_overwritten(self) -> dict[Value, Value | None]:
        """Values that in-place operations on the way replaced, and by what."""
        found: dict[Value, Value | None] = {}
        for state in self.path():
            found.update(state.overwritten)
        return found

    def path_freed(self) -> set[Value]:
        """Results whose saved values a backward pass on the way has freed."""
        return {value for state in self.path() for value in state.freed}

    def path_leaves(self) -> list[Value]:
        """The graph inputs bound on the way, in the order of ``Trace.inputs``."""
        return [s.metas[0].value for s in self.path() if isinstance(s.key, LeafKey)]


class Mode:
    """What decides, besides a call's arguments, which nodes the call builds: whether gradients are
    recorded, the default dtype, and whether new tensors are on the meta device. A part of every
    path: each mode has a root of its own, and a change on the way is an edge. Interned, compared
    by identity."""

    __slots__ = ("dtype", "grad", "meta")
    _interned: dict[tuple[bool, DType, bool], Mode] = {}

    grad: bool
    dtype: DType
    meta: bool

    def __new__(cls, grad: bool) -> Mode:
        key = (grad, default_dtype(), devices.get_default_device() is META)
        found = cls._interned.get(key)
        if found is None:
            found = object.__new__(cls)
            found.grad, found.dtype, found.meta = key
            found = cls._interned.setdefault(key, found)
        return found

    def __repr__(self) -> str:
        text = f"{'grad' if self.grad else 'no_grad'}, {self.dtype.name}"
        return text + ", meta" if self.meta else text


class Trie:
    """The roots, one for each mode, and the bound on the number of states."""

    def __init__(self) -> None:
        self.roots: dict[Mode, State] = {}
        self.size = 0
        self.clock = 0
        # Fast paths do not look at the length limit: states beyond this one are not for them.
        self.limit = flags.trace_limit
        self.lock = threading.Lock()

    def root(self, mode: Mode) -> State:
        """Where traces begin in ``mode``."""
        found = self.roots.get(mode)
        return found or self.roots.setdefault(mode, State(None, mode))

    def add(self, parent: State, key: Hashable) -> State:
        """A new state under ``parent``; the caller fills it and then calls `publish`."""
        self.size += 1
        return State(parent, key)

    def prune(self) -> None:
        """Forget the least recently flushed half of all paths, so that the trie stays bounded
        whatever a program does. Traces under way keep the states they stand on."""
        with self.lock:
            if self.size <= flags.trie_limit:
                return
            ends = [s for root in self.roots.values() for s in _walk(root) if s.plans]
            ends.sort(key=lambda s: s.used, reverse=True)
            kept: set[State] = set(self.roots.values())
            for end in ends:
                path = [s for s in end.path() if s not in kept]
                if len(kept) + len(path) > flags.trie_limit // 2:
                    break
                kept.update(path)
            for state in list(kept):
                state.next = {k: s for k, s in state.next.items() if s in kept}
                state.shortcuts = {k: s for k, s in state.shortcuts.items() if s[0] in kept}
            self.size = len(kept) - len(self.roots)


def _walk(root: State) -> list[State]:
    found = [root]
    for state in found:
        found.extend(state.next.values())
    return found


trie = Trie()


class Trace:
    """One walk. ``inputs`` are the buffers of the leaves bound so far, in order; ``leaves`` maps
    slots that require gradients and have no history here to their tensors; ``boundaries`` maps
    values at which Python code takes part in the backward pass (hooks, custom functions,
    values with a history in an earlier trace) to that code."""

    __slots__ = (
        "boundaries", "closed", "inputs", "leaves", "limit", "mode", "owner", "rng", "scope",
        "state", "tensors",
    )  # fmt: skip

    def __init__(self, grad: bool) -> None:
        self.mode = Mode(grad)
        self.state = trie.root(self.mode)
        self.tensors: list[Tensor | None] = []
        self.inputs: list[Buffer] = []
        self.leaves: dict[int, Tensor] = {}
        self.boundaries: dict[Value, Any] = {}
        self.rng: dict[Any, list[Any]] = {}
        self.scope: Any = None  # of the trace of a function: its `capture.Scope`
        self.owner = threading.get_ident()
        self.closed = False
        # The slot at which it is flushed: every one under `eager`.
        self.limit = 0 if flags.eager else flags.trace_limit


class Local(threading.local):
    """Per-thread recording state."""

    def __init__(self) -> None:
        shared.enter()
        self.grad = True
        self.inference = False
        self.budget: int | float | None = None  # see `budget`
        self.trace = Trace(True)


local = Local()


def enter(trace: Trace) -> None:
    """Make ``trace`` the one that the current thread records into."""
    local.trace = trace
    follow(trace)
    if not shared.active:
        shared.trace = trace if trace.limit == trie.limit else NoTrace()


def follow(trace: Trace) -> None:
    """Take ``trace``, of the current thread, to the mode that is in force now."""
    mode = Mode(local.grad)
    if trace.mode is mode:
        return
    trace.mode = mode
    if trace.state.parent is None and not trace.tensors:
        trace.state = trie.root(mode)
        return
    found = trace.state.next.get(mode)
    if found is None:
        found = trace.state.next[mode] = trie.add(trace.state, mode)
    trace.state = found


def _catch_up() -> None:
    """`follow` for the current thread, whose mode another may have changed."""
    follow(local.trace)


enter(local.trace)
default_listeners.append(_catch_up)
devices.listeners.append(_catch_up)
shared.resume = _catch_up
os.register_at_fork(after_in_child=shared.after_fork)


def set_grad_mode(enabled: bool) -> bool:
    """Switch gradient recording; the switch is itself a transition, so ops need not look at it."""
    before = local.grad
    if before is not enabled:
        local.grad = enabled
        follow(local.trace)
    return before


def bind_leaf(trace: Trace, tensor: Tensor, key: LeafKey) -> None:
    """Enter a tensor that has a buffer into the trace as an input."""
    state = trace.state
    found = state.next.get(key)
    if found is None:
        found = trie.add(state, key)
        found.meta = key.meta(len(trace.tensors))
        found.metas = (found.meta,)
        state.next[key] = found
    trace.state = found
    meta: Meta = found.metas[0]
    tensor._slot = meta.slot
    tensor._meta = meta
    trace.tensors.append(tensor)
    trace.inputs.append(tensor._buffer)  # type: ignore[arg-type]
    if key.requires_grad and key.is_leaf:
        trace.leaves[meta.slot] = tensor


def scalar(number: bool | int | float | complex) -> Tensor:
    """A Python number as a 0-d tensor that promotes as the number would."""
    from .tensor import Tensor

    array = np.array(number)
    if array.dtype == object:
        raise OverflowError(f"the number {number} does not fit into 64 bits")
    return Tensor._from_buffer(Buffer(array), _SCALAR_KEYS[number.__class__])


def scalar_leaf(trace: Trace, number: bool | int | float | complex) -> int:
    """Bind a Python number as a 0-d argument; the slot."""
    handle = scalar(number)
    bind_leaf(trace, handle, handle._meta.key())
    return handle._slot


def _scalar_dtypes() -> dict[type, DType]:
    from ..core import dtypes

    return {
        bool: dtypes.bool_, int: dtypes.int64, float: dtypes.float64, complex: dtypes.complex128,
    }  # fmt: skip


_SCALAR_KEYS = {
    kind: LeafKey(TensorType((), dtype), False, True, True)
    for kind, dtype in _scalar_dtypes().items()
}


def new_metas(trace: Trace, values: Sequence[Value], name: str) -> tuple[Meta, ...]:
    """Metas for freshly recorded values, in slot order."""
    slot = len(trace.tensors)
    metas = []
    for i, value in enumerate(values):
        node = value.node
        if not node.inputs and node.location is None and node.op is not INPUT:
            value = node.moved(()).out  # a constant that many share: see `ops.arithmetic.constant`
        grad = requires_grad(value)
        leaf = not grad or value.node.op is AsLeaf or value.node.op is INPUT
        metas.append(Meta(value, slot + i, grad, leaf, name))
    return tuple(metas)


def guard(value: Value) -> Value:
    """An operand as seen under the current gradient mode: under `no_grad` nothing flows back."""
    if not local.grad and requires_grad(value):
        return ops.stop_gradient(value)  # type: ignore[no-any-return]
    return value


def publish(trace: Trace, key: Hashable, made: State) -> None:
    """Let later walks find ``made``, unless another thread changed the mode in the meantime: then
    nobody can tell under which its nodes were built."""
    if trace.mode is Mode(trace.mode.grad):
        trace.state.next[key] = made


def repair() -> None:
    """After an interrupt in the middle of a call: go back to where state, handles and inputs of the
    trace agree. What the call would have returned, nobody has seen."""
    trace = local.trace
    path = trace.state.path()
    slots = sum(len(state.metas) for state in path)
    inputs = sum(isinstance(state.key, LeafKey) for state in path)
    while path and (slots > len(trace.tensors) or inputs > len(trace.inputs)):
        last = path.pop()
        slots -= len(last.metas)
        inputs -= isinstance(last.key, LeafKey)
        assert last.parent is not None
        trace.state = last.parent
    del trace.tensors[slots:], trace.inputs[inputs:]


shared.repair = repair


def transition(
    trace: Trace, key: Hashable, name: str, build: Callable[[], Sequence[Value]],
    fill: Callable[[State], object] | None = None,
) -> State:  # fmt: skip
    """The state after ``key``: found, or built by ``build()``, which returns the new values, and
    completed by ``fill(state)`` before others can find it.

    Does not append tensors: the caller makes one handle per ``state.metas``.
    """
    found = trace.state.next.get(key)
    if found is None:
        with placed(), uncollected():
            values = build()
        found = trie.add(trace.state, key)
        found.metas = new_metas(trace, values, name)
        found.meta = found.metas[0] if found.metas else None
        if fill is not None:
            fill(found)
        publish(trace, key, found)
    trace.state = found
    return found


__all__ = ["CPU", "Buffer", "Chain", "LeafKey", "Local", "Meta", "Mode", "State", "Trace", "Trie",
           "bind_leaf", "guard", "local", "new_metas", "publish", "scalar", "scalar_leaf",
           "set_grad_mode", "transition", "trie"]  # fmt: skip
