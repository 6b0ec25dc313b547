"""Recorded forms of public functions: what runs when a user calls ``torch.add`` or ``x.relu()``.

Each registered `Function` becomes a Python function that looks its call up in the trie. Two shapes
of call are frequent enough for a form of their own, `unary` and `binary`; `general` takes any
arguments. Their hit paths are written out rather than shared: they are what recording costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import located
from ..ops.function import Function
from .alias import bind, fit_inplace
from .exclusive import shared
from .flush import flush
from .host import PASSIVE, run_host, with_options
from .inplace import check_out, store_out
from .parameter import Parameter
from .record import codes, deliver, encode, miss, promote_numbers
from .rng import default_generator, stream_for
from .tensor import Tensor
from .trace import local, scalar_leaf, trie

_new = object.__new__


def general(function: Function) -> Callable[..., Any]:
    """The recorded form of a function for any arguments."""
    code = next(codes)
    parameters = function.signature.parameters
    accepts_out = "out" in parameters

    def call(*args: Any, **kwargs: Any) -> Any:
        if shared.active and shared.must_lock():
            with shared.lock:
                return call(*args, **kwargs)
        if kwargs:
            if "out" in kwargs and not accepts_out:
                out = kwargs.pop("out")
                if out is not None:
                    check_out(out, args)
                    value = call(*args, **kwargs)
                    if isinstance(out, Tensor) and any(out is a for a in args):
                        fit_inplace(out._meta.value, value._meta.value, function.name)
                    return store_out(function.name, value, out)
            if not PASSIVE.isdisjoint(kwargs):
                return with_options(function, call, args, kwargs)
        if function.host:
            return run_host(function, args, kwargs)
        trace = local.trace
        key: list[Any] = [code]
        try:
            for value in args:
                encode(trace, value, key)
            for name, value in kwargs.items():
                key.append(name)
                encode(trace, value, key)
            if function.random:
                encode(trace, stream_for(trace, default_generator), key)
            found = trace.state.next.get(tuple(key))
        except TypeError as error:
            raise located(error) from None
        if found is None:
            found, promoted = promote_numbers(function, code, trace, args, kwargs)
            if promoted is not None:
                return call(*promoted[0], **promoted[1])
            found = found or miss(function, trace, tuple(key), args, kwargs)
        trace.state = found
        return deliver(function, trace, found, args, kwargs)

    call.__name__ = call.__qualname__ = function.name.rpartition(".")[2]
    call.__doc__ = function.impl.__doc__
    call.__wrapped__ = function.impl  # type: ignore[attr-defined]
    return call


def unary(function: Function, other_form: Callable[..., Any]) -> Callable[..., Any]:
    """The recorded form of ``f(x)``; further arguments take the general form."""
    code = next(codes)

    def call(input: Any, *args: Any, **kwargs: Any) -> Any:
        if shared.active and shared.must_lock():
            with shared.lock:
                return call(input, *args, **kwargs)
        trace = local.trace
        try:
            if input._trace is not trace:
                bind(trace, input)
            key = (code, input._slot)
        except AttributeError:
            return other_form(input, *args, **kwargs)
        if args or kwargs:
            return other_form(input, *args, **kwargs)
        found = trace.state.next.get(key)
        if found is None:
            found = miss(function, trace, key, (input,), {})
        trace.state = found
        meta = found.meta
        if meta is None:
            return deliver(function, trace, found, (input,), {})
        tensor: Tensor = _new(Tensor)
        tensor._trace = trace
        tensor._meta = meta
        tensor._slot = slot = meta.slot
        tensor._buffer = tensor._extra = None
        trace.tensors.append(tensor)
        if slot >= trace.limit:
            flush()
        return tensor

    return _named(call, function, other_form)


def binary(
    function: Function, other_form: Callable[..., Any], swapped: bool = False
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The recorded forms of ``f(x, y)``, y a tensor or a number: as an operator, and as a
    function that also takes further arguments. ``swapped`` records f(y, x)."""
    code = next(codes)

    def operator(self: Any, other: Any) -> Any:
        if shared.active and shared.must_lock():
            with shared.lock:
                return operator(self, other)
        trace = local.trace
        kind = other.__class__
        if self._trace is not trace:
            bind(trace, self)
        if kind is Tensor or kind is Parameter:
            if other._trace is not trace:
                bind(trace, other)
            key: tuple[Any, ...] = (code, self._slot, other._slot)
            found = trace.state.next.get(key)
        elif kind is float or kind is int:
            key = (code, self._slot, other or repr(other), kind)
            found = trace.state.next.get(key)
            if found is None:
                mark = (code, "number", self._slot)
                state = trace.state
                if mark not in state.next and other == other:
                    state.next[mark] = trie.add(state, mark)
                else:
                    other = trace.tensors[scalar_leaf(trace, other)]
                    key = (code, self._slot, other._slot)
                    found = trace.state.next.get(key)
        else:
            if isinstance(other, np.ndarray):
                other = Tensor._from_array(other.copy())
            elif not isinstance(other, (Tensor, bool, complex, np.generic)):
                return NotImplemented
            return other_form(other, self) if swapped else other_form(self, other)
        if found is None:
            found = miss(function, trace, key, (other, self) if swapped else (self, other), {})
        trace.state = found
        tensor: Tensor = _new(Tensor)
        tensor._trace = trace
        tensor._meta = meta = found.meta
        tensor._slot = slot = meta.slot  # type: ignore[union-attr]
        tensor._buffer = tensor._extra = None
        trace.tensors.append(tensor)
        if slot >= trace.limit:
            flush()
        return tensor

    def call(input: Any, other: Any, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or not isinstance(input, Tensor):
            return other_form(input, other, *args, **kwargs)
        made = operator(input, other)
        return other_form(input, other) if made is NotImplemented else made

    return _named(operator, function, other_form), _named(call, function, other_form)


def _named(
    call: Callable[..., Any], function: Function, like: Callable[..., Any]
) -> Callable[..., Any]:
    call.__name__ = call.__qualname__ = like.__name__
    call.__doc__ = like.__doc__
    call.__wrapped__ = function.impl  # type: ignore[attr-defined]
    return call
