"""Functions of tensors as graphs: what `cond`, `scan`, `vmap` and the rest of `thalweg.func` trace.

The function runs once, recording into a trace of its own whose first slots are its arguments. A
tensor from outside that it uses is *captured*: while the function runs the handle stands for a
further input, afterwards it is put back as it was. So the result is a closed graph: arguments and
captured values in, results out.

Traces of functions walk the same trie as others, below an entry of their own: tracing a function
again along the same path infers nothing and finds the same values.

Invariants
- when `trace_function` is left, by whichever way, every captured handle is as before;
- nothing runs while a function is traced: values that are not known yet cannot be read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from ..core.errors import AliasError, ArgumentError, AutogradError, located
from ..ir.graph import substitute
from ..ir.node import Value
from ..ir.types import TensorType
from .alias import bind
from .record import after_record, distinct, result
from .rng import Generator
from .tensor import Tensor
from .trace import LeafKey, Trace, bind_leaf, enter, guard, local, transition

F = TypeVar("F", bound=Callable[..., Any])

_ENTRY = "function"
_MASK = (1 << 64) - 1


class _Saved:
    """What a handle was before it was captured."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.place = (tensor._trace, tensor._slot, tensor._meta, tensor._buffer)
        extra = tensor._extra
        self.trace = None if extra is None else extra.trace
        self.aliases = () if extra is None else extra.aliases
        self.grad = None if extra is None else extra.grad

    def restore(self) -> bool:
        """Put the handle back; whether its ``.grad`` was changed meanwhile (it is put back too)."""
        tensor = self.tensor
        tensor._trace, tensor._slot, tensor._meta, tensor._buffer = self.place
        extra = tensor._extra
        if extra is None:
            return False
        extra.trace = self.trace
        extra.aliases = self.aliases
        changed = extra.grad is not self.grad
        extra.grad = self.grad
        return changed


class Scope:
    """The tensors a traced function takes from outside. ``name`` is that of the transformation;
    ``outer`` the trace around. ``keys`` are the captured handles that carry random state,
    ``starts`` the counters at which the generators drawn from stood."""

    def __init__(self, name: str, trace: Trace, outer: Trace) -> None:
        self.name = name
        self.trace = trace
        self.outer = outer
        self.arguments: list[Tensor] = []
        self.saved: dict[int, _Saved] = {}
        self.keys: set[int] = set()
        self.starts: dict[Generator, int] = {}

    def argument(self, type: TensorType, requires_grad: bool) -> Tensor:
        """A handle for the next argument. It has a history, so it is no leaf."""
        handle: Tensor = object.__new__(Tensor)
        handle._buffer, handle._extra = None, None
        key = LeafKey(type, requires_grad, not requires_grad, name="argument")
        bind_leaf(self.trace, handle, key)
        handle._trace = self.trace
        self.arguments.append(handle)
        return handle

    def is_foreign(self, tensor: Tensor) -> bool:
        """Whether the tensor belongs to no slot of this trace yet."""
        extra = tensor._extra
        if extra is not None and extra.base is not None:
            return extra.trace is not self.trace
        return tensor._trace is not self.trace

    def capture(self, tensor: Tensor) -> int:
        """Make a tensor from outside a further input; its slot."""
        bind(self.outer, tensor)
        self.saved[id(tensor)] = _Saved(tensor)
        bind_leaf(self.trace, tensor, tensor._meta.key())
        extra = tensor._extra
        if extra is not None and extra.base is not None:
            extra.trace = self.trace
        else:
            tensor._trace = self.trace
        return tensor._slot

    def check_write(self, tensor: Tensor) -> None:
        """AliasError if ``tensor`` is an argument or comes from outside."""
        if id(tensor) in self.saved or self.is_foreign(tensor):
            kind = "a tensor from outside of it"
        elif any(tensor is a for a in self.arguments):
            kind = "one of its arguments"
        else:
            return
        raise AliasError(
            f"{self.name}: the function modifies {kind} in place (shape "
            f"{list(tensor._meta.shape)}); it must be free of side effects: clone() the tensor "
            "first, or return the new value"
        )

    def close(self) -> bool:
        """Put all captured handles back; whether the function changed the ``.grad`` of one."""
        stale = False
        for saved in reversed(self.saved.values()):
            stale = saved.restore() or stale
        around = self.outer.scope
        for generator, (leaf, _) in self.trace.rng.items():
            self.draws(generator, leaf)
            # The trace around has to go on where this one stopped.
            before = self.outer.rng.pop(generator, None)
            if before is not None and around is not None:
                around.draws(generator, before[0])
        if around is not None:
            around.keys |= self.keys
            for generator, start in self.starts.items():
                around.starts.setdefault(generator, start)
        return stale

    def draws(self, generator: Generator, leaf: Tensor) -> None:
        """Note that ``leaf`` carries the state of ``generator``."""
        self.keys.add(id(leaf))
        self.starts.setdefault(generator, int(leaf._array()[1]) & _MASK)


class Traced:
    """A function as a graph. ``inputs`` are its arguments, ``captured`` the handles from outside
    with their values inside (``consts``), ``outputs`` its results.

    ``key`` identifies the graph: equal keys mean equal graphs. ``random`` tells how many blocks of
    random words each generator gave; ``keys`` are the positions in ``captured`` of their states.
    """

    def __init__(self, scope: Scope, outputs: Sequence[Tensor]) -> None:
        trace = scope.trace
        slots = tuple(bind(trace, t) for t in outputs)
        leaves = [s.metas[0] for s in trace.state.path() if isinstance(s.key, LeafKey)]
        count = len(scope.arguments)
        self.key: Hashable = (trace.state, slots, count)
        self.inputs = tuple(m.value for m in leaves[:count])
        self.consts = tuple(m.value for m in leaves[count:])
        self.captured: tuple[Any, ...] = tuple(trace.tensors[m.slot] for m in leaves[count:])
        self.outputs = tuple(t._meta.value for t in outputs)
        self.keys: tuple[int, ...] = ()
        self.random: dict[Generator, int] = {}

    @property
    def sources(self) -> tuple[Value, ...]:
        return (*self.inputs, *self.consts)

    def on(self, values: Sequence[Value], wanted: Sequence[Value]) -> tuple[Value, ...]:
        """``wanted``, built over the graph's values, with ``values`` in place of its sources."""
        return substitute(wanted, dict(zip(self.sources, values)))

    def note_random(self, scope: Scope) -> None:
        self.keys = tuple(i for i, t in enumerate(self.captured) if id(t) in scope.keys)
        self.random = {g: (g.offset - start) & _MASK for g, start in scope.starts.items()}


def trace_function(
    name: str,
    function: Callable[..., tuple[Any, Sequence[Tensor]]],
    types: Sequence[TensorType],
    grad: bool | None = None,
) -> tuple[Any, Traced]:
    """Run ``function`` on arguments of these types: the first part of what it returned, and the
    graph of the second, its result tensors.

    ``grad`` is the gradient mode inside (default: as outside). Errors name the transformation.
    """
    outer, mode = local.trace, local.grad
    local.grad = mode if grad is None else grad
    trace = Trace(local.grad)
    scope = trace.scope = Scope(name, trace, outer)
    enter(trace)
    try:
        transition(trace, (_ENTRY,), _ENTRY, lambda: ())
        arguments = [
            scope.argument(t, local.grad and t.dtype.category in ("float", "complex"))
            for t in types
        ]
        anything, results = function(*arguments)
        traced = Traced(scope, results)
        hooked = bool(trace.boundaries)
    finally:
        local.grad = mode
        enter(outer)
        stale = scope.close()
        trace.closed = True
        trace.tensors, trace.inputs, trace.leaves, trace.boundaries = [], [], {}, {}
    if hooked:
        raise AutogradError(
            f"{name}: hooks and custom autograd.Functions are Python code of the backward pass "
            "and cannot be part of a traced function"
        )
    if stale:
        raise AutogradError(
            f"{name}: the function calls backward(), which writes .grad of tensors from outside; "
            "use autograd.grad"
        )
    traced.note_random(scope)
    return anything, traced


def record(
    name: str,
    key: Hashable,
    operands: Sequence[Tensor],
    build: Callable[[list[Value]], Sequence[Value]],
) -> list[Tensor]:
    """One transition of the current trace: the values that ``build`` makes of the operands'.

    ``key`` and the operands' places identify the computation; on a hit nothing is built.
    """
    trace = local.trace
    slots = tuple(bind(trace, t) for t in operands)

    def made() -> Sequence[Value]:
        values = build([guard(t._meta.value) for t in operands])
        return distinct(tuple(values), operands, {})

    state = transition(trace, (name, key, slots), name, made)
    tensors = [result(trace, meta) for meta in state.metas]
    after_record(trace)
    return tensors


def tensors_only(name: str, leaves: Sequence[Any], what: str) -> list[Tensor]:
    """The leaves, all of which have to be tensors. TypeError otherwise."""
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise ArgumentError(f"{name}: expected tensors as {what}, got {type(leaf).__name__}")
    return list(leaves)


def type_of(tensor: Tensor) -> TensorType:
    return tensor._meta.value.type


def user_errors(function: F) -> F:
    """Errors of ``function`` name the user's line."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise located(error) from None

    return wrapped  # type: ignore[return-value]


__all__ = ["Scope", "Traced", "record", "tensors_only", "trace_function", "type_of", "user_errors"]
