"""Aliasing: views, writes through them, and in-place operations, over immutable values.

A view remembers its base tensor and the chain of view ops that leads to it. Writing to a tensor
gives its *base* a new value (computed with each view op's ``write``) and bumps the base's version;
every other view of that base notices the version when it is next used and derives itself anew.
So aliasing behaves as shared memory does, while the graph stays purely functional.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.device import META
from ..core.dtypes import bool_
from ..core.errors import AliasError, AutogradError, DTypeError, ShapeError, placed
from ..core.promotion import can_cast
from ..ir.node import Value
from ..ops.arithmetic import cast, constant
from ..ops.link import ops
from ..passes.autodiff import requires_grad
from ..runtime.buffer import Buffer
from .chains import apply_chain, describe_view, shown_array, view_chain, write_chain
from .exclusive import exclusive
from .flush import compute_foreign, flush
from .places import on_meta
from .points import HistoryPoint
from .tensor import Extra, Tensor
from .trace import Chain, Meta, State, Trace, bind_leaf, local, transition, trie


def _unshared(tensor: Tensor, extra: Extra) -> bool:
    """Whether nobody outside can reach the memory of the exported array any more. Views of other
    arrays always count as shared: who holds those cannot be seen."""
    exported: Any = extra.exported
    own = tensor._buffer is not None and tensor._buffer._array is exported
    # Held by the Extra, by this frame, by the argument of `getrefcount`, and by the buffer.
    return exported.base is None and sys.getrefcount(exported) <= _HELD + own


def _held() -> int:
    """What `_unshared` counts for an array that only the Extra holds."""
    extra = Extra()
    extra.exported = np.zeros(0)
    exported: Any = extra.exported
    return sys.getrefcount(exported)


_HELD = _held()


def bind(trace: Trace, tensor: Tensor) -> int:
    """Make the tensor a slot of ``trace`` and return the slot. The slow path of recording: fast
    functions call it only when ``tensor._trace is not trace``."""
    if tensor._trace is trace:
        return tensor._slot
    extra = tensor._extra
    if trace.scope is not None and trace.scope.is_foreign(tensor):
        return trace.scope.capture(tensor)  # type: ignore[no-any-return]
    if extra is not None:
        if extra.base is not None:
            return _bind_view(trace, tensor, extra, extra.base)
        if extra.exported is not None:
            return _bind_exported(trace, tensor, extra)
    key = tensor._meta.leaf_key
    found = trace.state.next.get(key)
    if found is None or key is None or not key.is_leaf or tensor._buffer is None:
        _enter(trace, tensor, extra)
    else:  # as `bind_leaf`: steps bind hundreds of parameters and gradients
        trace.state = found
        (meta,) = found.metas
        tensor._slot, tensor._meta = meta.slot, meta
        trace.tensors.append(tensor)
        trace.inputs.append(tensor._buffer)
        if key.requires_grad:
            trace.leaves[meta.slot] = tensor
    tensor._trace = trace
    return tensor._slot


def _bind_exported(trace: Trace, tensor: Tensor, extra: Extra) -> int:
    """`bind` for a tensor that shares its memory with an array. The user may change the array at
    any time, so what is recorded is a copy, made anew whenever the array differs from the last;
    and as `_trace` is not set, every use comes by here."""
    if _unshared(tensor, extra):
        extra.exported = None
        return bind(trace, tensor)
    exported: Any = extra.exported
    if extra.trace is trace and tensor._buffer is not None:
        last = tensor._buffer.get()
        if last is not exported and last.tobytes() == exported.tobytes():
            return tensor._slot
    tensor._buffer = Buffer(exported.copy())
    _enter(trace, tensor, extra)
    extra.trace = trace
    return tensor._slot


def _enter(trace: Trace, tensor: Tensor, extra: Extra | None) -> None:
    if tensor._buffer is None:
        compute_foreign(tensor)
        extra = tensor._extra
    bind_leaf(trace, tensor, tensor._meta.key())
    if extra is not None and extra.history is not None and not tensor._meta.is_leaf:
        trace.boundaries[tensor._meta.value] = HistoryPoint(tensor._slot, *extra.history)


def _bind_view(
    trace: Trace, tensor: Tensor, extra: Extra, base: Tensor, reading: bool = False
) -> int:
    """`bind` for views: where the base was written to, derive the view anew from it. ``reading``
    is for values only, which autograd's rules do not concern."""
    version = base._ensure_extra().version
    stale = extra.stale or (extra.multi and extra.seen != version)
    tracked = local.grad and not reading and not _detached(extra.chain)
    if stale and tracked and base._current_meta().requires_grad:
        raise AutogradError(
            "Output of a function that returns multiple views is a view and its base or another "
            "view of its base has been modified inplace. Such functions do not allow the output "
            "views to be modified inplace. You should replace the inplace operation by an "
            "out-of-place one."
        )
    exported = base._extra is not None and base._extra.exported is not None
    if extra.seen == version and not exported:
        if extra.trace is not trace:
            _enter(trace, tensor, extra)
            extra.trace = trace
            _note_alias(base, tensor._meta.value)
        return tensor._slot
    extra.stale = extra.multi
    base_slot = bind(trace, base)
    if extra.trace is trace and extra.seen == version and extra.shown == base_slot:
        return tensor._slot
    if extra.trace is trace and tensor._slot < len(trace.tensors):
        trace.tensors[tensor._slot] = None
    chain, old = extra.chain, tensor._meta
    leaf = old.requires_grad and old.is_leaf

    def derive() -> tuple[Value, ...]:
        value = apply_chain(base._meta.value, chain)
        return (ops.as_leaf(value) if leaf else value,)

    state = transition(trace, ("view", base_slot, chain, leaf), "view", derive)
    meta = state.metas[0]
    if leaf:
        trace.leaves[meta.slot] = tensor
    meta.strides, meta.offset, meta.chain = old.strides, old.offset, old.chain
    if meta.root is None:
        base._meta.shown_by(meta)
    trace.tensors.append(tensor)
    tensor._slot, tensor._meta, tensor._buffer = meta.slot, meta, None
    extra.trace, extra.seen, extra.shown = trace, version, base_slot
    _settle(tensor, base, trace)
    return meta.slot


def _settle(view: Tensor, base: Tensor, trace: Trace) -> None:
    """Put a view that was just made into its trace, if a write to its base will find it there."""
    if base._trace is trace and view._meta.root is base._meta:
        view._trace = trace
    else:
        view._trace = None
        _note_alias(base, view._meta.value)


def loosen(tensor: Tensor) -> None:
    """Let every view of the tensor in its trace be looked at again before it is used."""
    trace = tensor._trace
    if trace is None:
        return
    for meta in tensor._meta.views:
        view = trace.tensors[meta.slot] if meta.slot < len(trace.tensors) else None
        if view is not None:
            extra = view._extra
            if extra is not None and extra.base is tensor:
                view._trace = None


def _note_alias(base: Tensor, value: Value) -> None:
    """Remember that ``value`` shows the memory of ``base``, until that is written to."""
    extra = base._ensure_extra()
    if value not in extra.aliases:
        extra.aliases += (value,)


@exclusive
def realise(tensor: Tensor) -> Buffer:
    """The buffer of the tensor's current value, flushing the trace if it is pending."""
    extra = tensor._extra
    if extra is not None:
        if extra.base is not None and extra.base._ensure_extra().exported is not None:
            array = realise(extra.base).get()
            return Buffer(shown_array(array, extra.chain))
        if extra.base is not None and extra.seen != extra.base._ensure_extra().version:
            _bind_view(local.trace, tensor, extra, extra.base, reading=True)
        elif extra.exported is not None and tensor._buffer is not None:
            return Buffer(extra.exported)
    if tensor._buffer is None:
        pending = tensor._trace or (extra.trace if extra is not None else None)
        if pending is local.trace:
            flush(waiting=True)
        else:
            compute_foreign(tensor)
    if tensor._buffer is None:
        raise AutogradError(
            "the value of a tensor is not known while a function is traced (cond, while_loop, "
            "scan, vmap, grad, ...): it cannot be read by item(), print or Python's `if` there"
        )
    return tensor._buffer


def memory_of(tensor: Tensor) -> tuple[Tensor, Chain]:
    """What tells one tensor's memory from another's: its base, and the part of it that is shown.
    Two tensors with equal results are tied."""
    extra = tensor._extra
    if extra is None or extra.base is None:
        return tensor, ()
    return extra.base, tuple(step for step in extra.chain if not _detached((step,)))


def make_view(result: Tensor, source: Tensor, meta: Meta, multi: bool = False) -> None:
    """Turn a freshly recorded handle into a view of ``source``."""
    extra = result._extra = Extra()
    source_extra = source._extra
    base, chain = source, meta.chain or ()
    if source_extra is not None and source_extra.base is not None:
        base, chain = source_extra.base, source_extra.chain + chain
        multi = multi or source_extra.multi
    extra.base, extra.chain, extra.multi = base, chain, multi
    base_extra = base._extra
    if base_extra is not None:
        extra.seen = base_extra.version
    trace = extra.trace = result._trace
    assert trace is not None
    _settle(result, base, trace)


def check_inplace(tensor: Tensor, name: str, args: Sequence[Any] = ()) -> None:
    """Autograd's rules on what may be modified in place; AutogradError if they forbid it."""
    if not local.grad:
        return
    meta = tensor._current_meta()
    if meta.requires_grad and meta.is_leaf:
        raise AutogradError(
            f"{name}: a leaf Variable that requires grad is being used in an in-place operation."
        )
    extra = tensor._extra
    if extra is not None and extra.base is not None:
        base_meta = extra.base._current_meta()
        if base_meta.requires_grad and base_meta.is_leaf and not _detached(extra.chain):
            raise AutogradError(
                f"{name}: a view of a leaf Variable that requires grad is being used in an "
                "in-place operation."
            )
        grad = base_meta.requires_grad or any(
            isinstance(a, Tensor) and a.requires_grad for a in args
        )
        if extra.multi and grad and not _detached(extra.chain):
            raise AutogradError(
                f"{name}: Output of a function that returns multiple views is a view and is being "
                "modified inplace. Such functions do not allow the output views to be modified "
                "inplace. You should replace the inplace operation by an out-of-place one."
            )


def _detached(chain: Chain) -> bool:
    return any(op.name == "stop_gradient" for op, _ in chain)


def fit_inplace(old: Value, new: Value, name: str) -> Value:
    """The result of an in-place operation in the shape and dtype of what it replaces."""
    if new.shape != old.shape:
        raise ShapeError(
            f"{name}: output with shape {list(old.shape)} doesn't match the broadcast shape "
            f"{list(new.shape)}"
        )
    if not can_cast(new.dtype, old.dtype):
        raise DTypeError(
            f"{name}: result type {_title(new)} can't be cast to the desired output type "
            f"{_title(old)}"
        )
    if old.dtype.is_complex and new.dtype.is_floating_point:
        raise DTypeError(f"In-place {name.rstrip('_')} is not supported for complex tensors.")
    return cast(new, old.dtype)


def _title(value: Value) -> str:
    names = {
        "float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long",
        "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool",
        "bfloat16": "BFloat16", "complex64": "ComplexFloat", "complex128": "ComplexDouble",
    }  # fmt: skip
    return names.get(value.dtype.name, value.dtype.name)


def _reads(new: Value, old: Value, limit: int = 64) -> bool:
    """Whether ``new`` was computed from ``old``; True when in doubt after ``limit`` nodes."""
    seen = {new}
    pending = [new]
    while pending:
        value = pending.pop()
        if value is old:
            return True
        for operand in value.node.inputs:
            if operand not in seen:
                seen.add(operand)
                pending.append(operand)
        if len(seen) > limit:
            return True
    return False


def kept_gradient(old: Meta, new: Value, detached: bool) -> Value:
    """``new`` as the value of a tensor whose place in autograd the write must not change: under
    `no_grad`, or through a detached view, leaves stay leaves and histories stay theirs."""
    if old.device is META:
        new = on_meta(new)
    if local.grad and not detached:
        if old.requires_grad and not _reads(new, old.value):
            # Nothing of the old value is left, but a tensor that required gradients still does,
            # and those of its old value are zeros rather than missing.
            never = constant(False, bool_, old.shape)
            return ops.where(never, old.value, new)  # type: ignore[no-any-return]
        return new
    if old.requires_grad:
        new = ops.stop_gradient(new) if requires_grad(new) else new
        if old.is_leaf:
            return ops.as_leaf(new)  # type: ignore[no-any-return]
        return ops.replace_value(old.value, new)  # type: ignore[no-any-return]
    return ops.stop_gradient(new) if requires_grad(new) else new


def assign(
    tensor: Tensor, key: tuple[Any, ...], name: str, compute: Callable[[], Value],
    shared: bool = False,
) -> None:  # fmt: skip
    """Give ``tensor`` the value that ``compute()`` builds, in place.

    ``key`` is the trie key of the computation; all its operands, the tensor first, are bound.
    ``shared`` tells that the tensor is also another operand.
    """
    trace = local.trace
    extra = tensor._extra
    if extra is not None and extra.base is not None:
        _assign_through_view(trace, tensor, extra, extra.base, key, name, compute, shared)
        return
    meta = tensor._meta
    found = trace.state.next.get(key)
    if found is None:
        with placed():
            value = kept_gradient(meta, compute(), False)
        found = transition(trace, key, name, lambda: (value,))
        found.overwritten = _overwritten(tensor, (meta.value,), value, shared)
    else:
        trace.state = found
    new = found.metas[0]
    repoint(trace, tensor, new)
    _export(tensor)


def repoint(trace: Trace, tensor: Tensor, meta: Meta) -> None:
    """Move a (non-view) handle to a slot that was just recorded, bumping its version."""
    if trace.scope is not None:
        trace.scope.check_write(tensor)
    extra = tensor._extra or tensor._ensure_extra()
    if tensor._buffer is not None:
        tensor._buffer.overwritten += 1
        tensor._buffer = None
    if tensor._trace is trace:
        if tensor._meta.views:
            loosen(tensor)
        trace.tensors[tensor._slot] = None
    meta.strides, meta.offset = tensor._meta.strides, tensor._meta.offset
    extra.version += 1
    extra.aliases = ()
    extra.history = None
    tensor._trace, tensor._slot, tensor._meta = trace, meta.slot, meta
    trace.tensors.append(tensor)
    if meta.requires_grad and meta.is_leaf:
        trace.leaves[meta.slot] = tensor


def _overwritten(
    tensor: Tensor, own: Sequence[Value], by: Value, shared: bool
) -> tuple[tuple[Value, Value | None], ...]:
    """Values that a write made stale, each with the value that replaced it where the operation may
    itself have read it: PyTorch keeps the old value of what an in-place operation changes, but not
    of other operands in the same memory (``shared``: the tensor is its own operand)."""
    extra = tensor._extra
    aliases = [m.value for m in tensor._meta.views]
    if extra is not None:
        aliases += extra.aliases
    return (
        *((v, None) for v in aliases if v not in own),
        *((v, None if shared else by) for v in own),
    )


def _assign_through_view(
    trace: Trace, tensor: Tensor, extra: Extra, base: Tensor, key: tuple[Any, ...], name: str,
    compute: Callable[[], Value], shared: bool,
) -> None:  # fmt: skip
    bind(trace, base)
    chain = extra.chain
    key = (*key, "through", base._slot, chain)
    base_meta = base._meta
    found = trace.state.next.get(key)
    if found is None:
        with placed():
            new = compute()
            detached = _detached(chain)
            written = write_chain(base_meta.value, chain, new)
            value = kept_gradient(base_meta, written, detached)
        # What was detached gets a history of its own; that of the base stays as it is.
        apart = local.grad and _detached(chain[-1:]) and requires_grad(new)
        made = (value, new) if apart else (value,)
        found = transition(trace, key, name, lambda: made)
        found.info = new
        if not extra.untracked:
            own = (base_meta.value, tensor._meta.value)
            found.overwritten = _overwritten(base, own, value, shared)
    else:
        trace.state = found
    repoint(trace, base, found.metas[0])
    _note_alias(base, found.info)
    for meta in found.metas[1:]:
        _own_history(trace, tensor, extra, base, meta)
    if extra.untracked:
        extra.silent += 1
        base._ensure_extra().silent += 1
    _export(base)


def _own_history(trace: Trace, view: Tensor, extra: Extra, base: Tensor, meta: Meta) -> None:
    """Let a detached view, through which its base was just written, stand for the value that was
    written, as far as gradients are concerned, until somebody else writes to the base."""
    old = view._meta
    if extra.trace is trace and view._slot < len(trace.tensors):
        trace.tensors[view._slot] = None
    meta.strides, meta.offset, meta.chain = old.strides, old.offset, old.chain
    if meta.root is None:
        base._meta.shown_by(meta)
    trace.tensors.append(view)
    view._slot, view._meta, view._buffer = meta.slot, meta, None
    extra.trace, extra.seen = trace, base._ensure_extra().version
    extra.shown, extra.history = base._slot, None
    _settle(view, base, trace)


def _export(tensor: Tensor) -> None:
    """Bring the shared NumPy array of a modified tensor up to date."""
    extra = tensor._extra
    if extra is None or extra.exported is None:
        return
    exported, extra.exported = extra.exported, None
    array = realise(tensor).get()
    np.copyto(exported, array)
    extra.exported = exported
    tensor._buffer = Buffer(exported)


def tensor_sequence(values: Sequence[Any]) -> bool:
    """Whether a list or tuple holds tensors."""
    return any(isinstance(v, Tensor) for v in values)


__all__ = ["AliasError", "State", "assign", "bind", "check_inplace", "describe_view",
           "fit_inplace", "loosen", "make_view", "realise", "repoint", "shown_array",
           "tensor_sequence", "trie", "view_chain"]  # fmt: skip
