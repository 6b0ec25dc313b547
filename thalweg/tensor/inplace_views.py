"""In-place forms of view functions: ``x.t_()``, ``x.unsqueeze_(0)``.

The tensor shows the same memory in another shape from then on; what else shows that memory goes on
sharing it. A view becomes another view of its base. A base becomes a view of a *hidden* base, a
handle nobody sees, which takes its storage over together with the views it had.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

from ..core.errors import located
from ..ops.function import Function
from .alias import check_inplace, kept_gradient, repoint
from .exclusive import exclusive
from .record import after_record
from .tensor import Extra, Tensor
from .trace import local, transition


def inplace_view(function: Function, form: Callable[..., Any]) -> Callable[..., Tensor]:
    """``x.f_(...)`` for the view function whose recorded form is ``form``."""
    name = function.method + "_"

    @exclusive
    def call(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        trace = local.trace
        try:
            check_inplace(self, name)
            if trace.scope is not None:
                trace.scope.check_write(self)
            shown = form(self, *args, **kwargs)
            if self._current_meta().requires_grad and self._meta.is_leaf:
                _replace_leaf(self, shown)
            else:
                _become(self, shown)
        except Exception as error:
            raise located(error) from None
        after_record(local.trace)
        return self

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"In-place version of `{function.method}`."
    return call


def _replace_leaf(tensor: Tensor, shown: Tensor) -> None:
    """Under `no_grad`: a leaf that requires gradients stays one, and keeps nothing of its memory
    (gradients have to arrive at the handle itself)."""
    old, value = tensor._meta, shown._meta.value
    state = transition(
        local.trace, ("reshape leaf", shown._slot), "", lambda: (kept_gradient(old, value, True),)
    )
    extra = tensor._extra
    if extra is not None and extra.base is not None:
        if extra.trace is local.trace:
            local.trace.tensors[tensor._slot] = None
        extra.version = extra.base._ensure_extra().version
        extra.base, extra.chain, extra.trace, tensor._trace = None, (), None, None
    repoint(local.trace, tensor, state.metas[0])
    tensor._meta.strides, tensor._meta.offset = shown._meta.strides, shown._meta.offset


def _become(tensor: Tensor, shown: Tensor) -> None:
    """Let ``tensor`` take the place of its view ``shown``, which nothing else refers to."""
    trace = local.trace
    view = shown._extra
    assert view is not None and view.base is not None
    extra = tensor._ensure_extra()
    in_trace = tensor._trace is trace or extra.trace is trace
    if extra.base is None:
        base = _hide(tensor, extra)
        extra.hidden = True
        if in_trace:
            trace.tensors[tensor._slot] = base
    else:
        base = extra.base
        if in_trace:
            trace.tensors[tensor._slot] = None
    base_extra = base._ensure_extra()
    base_extra.version += 1
    extra.base, extra.chain, extra.multi = base, view.chain, view.multi
    extra.trace, extra.seen, extra.shown = trace, base_extra.version, -1
    extra.history = None
    # Every use compares versions, as other views of the base are to notice the change too.
    tensor._trace, tensor._buffer = None, None
    tensor._slot, tensor._meta = shown._slot, shown._meta
    trace.tensors[shown._slot] = tensor


def _hide(tensor: Tensor, extra: Extra) -> Tensor:
    """A handle that takes over the storage of ``tensor``, its state in autograd, and its views."""
    base: Tensor = object.__new__(Tensor)
    base._trace, base._slot, base._meta = tensor._trace, tensor._slot, tensor._meta
    base._buffer, base._extra = tensor._buffer, None
    hidden = base._ensure_extra()
    for name in ("aliases", "exported", "history", "silent", "untracked", "version"):
        setattr(hidden, name, getattr(extra, name))
    hidden.hidden = weakref.ref(tensor)
    extra.aliases, extra.exported, extra.untracked = (), None, False
    for holder in gc.get_referrers(tensor):
        if type(holder) is Extra and holder.base is tensor:
            holder.base = base
    return base
