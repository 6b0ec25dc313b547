"""In-place functions and ``out=``: results that become the value of a tensor that is there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import ArgumentError, DTypeError, located
from ..core.promotion import can_cast
from ..ir.node import Value
from ..ops.function import Function
from .alias import assign, check_inplace, fit_inplace
from .arguments import complaint
from .exclusive import exclusive
from .overlap import check_overlap
from .places import written_on_meta
from .record import (
    PROMOTABLE,
    after_record,
    call_values,
    codes,
    distinct,
    encode,
    note_numbers,
    promote_numbers,
)
from .rng import default_generator, stream_for
from .tensor import Tensor
from .trace import local

# In-place functions that may read and write one memory, because they work on copies.
OVERLAPPING = {"masked_fill_", "index_put_", "index_fill_", "where_", "__setitem__"}


def inplace(function: Function) -> Callable[..., Tensor]:
    """``x.f_(...)``: the function's result becomes the value of ``x``."""
    code = next(codes)
    promotable = function.name in PROMOTABLE
    name = function.method if function.method.startswith("__") else function.method + "_"

    @exclusive
    def call(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(self, Tensor):
            raise located(ArgumentError(f"{name}(): expected a Tensor, got {type(self).__name__}"))
        generator = kwargs.pop("generator", None)
        if generator is not None:
            with generator.as_default():
                return call(self, *args, **kwargs)
        trace = local.trace
        try:
            key: list[Any] = [code]
            encode(trace, self, key)
            check_inplace(self, name, args)
            if args and name not in OVERLAPPING:
                check_overlap(self, args)
            for value in args:
                encode(trace, value, key)
            for keyword, value in kwargs.items():
                key.append(keyword)
                encode(trace, value, key)
            if function.random:
                encode(trace, stream_for(trace, default_generator), key)
            state = trace.state
            whole = tuple(key)
            extra = self._extra
            base = extra is None or extra.base is None
            unseen = promotable and whole not in state.next and base
            if unseen:
                promoted = promote_numbers(code, state, args, kwargs, trace)
                if promoted is not None:
                    return call(self, *promoted[0], **promoted[1])
            used = 0

            def compute() -> Value:
                nonlocal used
                arguments = (self, *args)
                meta = written_on_meta(function.name, self, (*args, *kwargs.values()))
                if function.random:
                    with default_generator.recording(trace) as stream:
                        value = call_values(function, arguments, {**kwargs, "rng": stream})
                    used = 0 if meta else stream.used
                else:
                    value = call_values(function, arguments, kwargs)
                value = distinct((value,), arguments, kwargs)[0]
                return fit_inplace(self._meta.value, value, name)

            assign(self, whole, function.name, compute, any(a is self for a in args))
            if unseen:
                note_numbers(code, state, args, kwargs)
            if used:
                trace.state.random = used
            if trace.state.random:
                default_generator.advance(trace, trace.state.random)
        except Exception as error:
            error = complaint(function.name, error)
            raise located(error) from error.__cause__
        after_record(trace)
        return self

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"In-place version of `{function.method}`."
    return call


def check_out(out: Any, args: Sequence[Any]) -> None:
    """AliasError if writing ``out`` would change operands under way."""
    try:
        if isinstance(out, Tensor):
            check_overlap(out, args)
    except Exception as error:
        raise located(error) from None


def made_for(out: Any, kwargs: dict[str, Any]) -> None:
    """Let a function that makes a tensor of nothing compute in the dtype of ``out``. RuntimeError
    if another is asked for."""
    if isinstance(out, Tensor):
        given = kwargs.get("dtype")
        if given is not None and given is not out.dtype:
            raise located(
                DTypeError(f"dtype {given} does not match dtype of out parameter ({out.dtype})")
            )
        kwargs["dtype"] = out.dtype


def store_out(name: str, value: Any, out: Any) -> Any:
    """Write results into the tensors given as ``out=`` and return those."""
    if isinstance(value, tuple):
        if not isinstance(out, (tuple, list)) or len(out) != len(value):
            raise located(ArgumentError(f"{name}(): out= expects {len(value)} tensors"))
        for one, target in zip(value, out):
            store_out(name, one, target)
        return out
    if not isinstance(out, Tensor):
        raise located(
            ArgumentError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
        )
    if (out._current_meta().requires_grad and local.grad) or (value.requires_grad and local.grad):
        raise located(
            RuntimeError(
                f"{name}(): functions with out=... arguments don't support automatic "
                "differentiation, but one of the arguments requires grad."
            )
        )
    if out.shape != value.shape:
        if out.numel() != 0:
            warnings.warn(
                f"An output with one or more elements was resized since it had shape "
                f"{list(out.shape)}, which does not match the required output shape "
                f"{list(value.shape)}.", stacklevel=3,
            )  # fmt: skip
        out.resize_(value.shape)
    return out.copy_(value) if out.dtype is value.dtype else _copy_checked(name, value, out)


def _copy_checked(name: str, value: Tensor, out: Tensor) -> Tensor:
    if not can_cast(value.dtype, out.dtype):
        raise located(
            RuntimeError(
                f"{name}: result type {value.dtype} can't be cast to the desired output type "
                f"{out.dtype}"
            )
        )
    return out.copy_(value)  # type: ignore[no-any-return]
