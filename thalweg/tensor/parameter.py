"""`Parameter`: a leaf tensor that modules register and optimizers update."""

from __future__ import annotations

from typing import Any

from ..ir.types import TensorType
from .tensor import Tensor
from .trace import LeafKey


class Parameter(Tensor):
    """A tensor that is a module parameter. Shares the value of ``data`` (any tensor).

    Args: ``data`` (Tensor, default: empty), ``requires_grad`` (bool, default True).
    """

    __slots__ = ()

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        from .creation import tensor as make

        if data is None:
            data = make([])
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter data must be a Tensor, got {type(data).__name__}")
        made = object.__new__(cls)
        if data._buffer is not None and data._extra is None and data.is_leaf:
            # A value that is already there needs no recorded copy.
            made._trace, made._slot, made._buffer, made._extra = None, 0, data._buffer, None
            kind = TensorType(data._meta.shape, data._meta.dtype, data._meta.device)
            made._meta = Tensor._from_buffer(data._buffer, LeafKey(kind, requires_grad, True))._meta
            return made
        source: Any = data.detach()
        made._trace, made._slot, made._meta = source._trace, source._slot, source._meta
        made._buffer, made._extra = source._buffer, None
        adopt(made, source)
        if requires_grad:
            made.requires_grad_(True)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]  # type: ignore[no-any-return]
        made = type(self)(self.detach().clone(), self.requires_grad)
        memo[id(self)] = made
        if self.grad is not None:
            made.grad = self.grad.detach().clone()
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (type(self), self.detach(), self.requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


def _rebuild(kind: type[Parameter], data: Tensor, requires_grad: bool) -> Parameter:
    return kind(data, requires_grad)


def adopt(handle: Tensor, source: Tensor) -> None:
    """Let ``handle`` take over the slot or buffer of ``source``, a fresh detached tensor."""
    from .alias import bind
    from .trace import local

    trace = local.trace
    if source._buffer is not None:
        handle._trace = None
        return
    bind(trace, source)
    extra = source._extra
    slot = source._slot
    handle._trace, handle._slot, handle._meta = trace, slot, source._meta
    trace.tensors[slot] = handle
    if extra is not None and extra.base is not None:
        # The value stays where it is; the parameter is a tensor of its own from here on.
        extra.trace = None
        source._trace = None


class Buffer(Tensor):
    """A tensor that modules register as a buffer when it is assigned (`torch.nn.Buffer`).

    Args: ``data`` (Tensor, default: empty), ``persistent`` (bool): whether state dicts hold it.
    """

    __slots__ = ()

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        made: Any = object.__new__(cls)
        source = Parameter(data, False)
        for name in ("_trace", "_slot", "_meta", "_buffer", "_extra"):
            setattr(made, name, getattr(source, name))
        if made._buffer is None:
            adopt(made, source)
        made.persistent = persistent
        return made
