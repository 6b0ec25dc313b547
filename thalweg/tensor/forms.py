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
from .arguments import starred
from .exclusive import shared
from .host import PASSIVE, run_host, with_options, without_data
from .inplace import check_out, made_for, store_out
from .parameter import Parameter
from .record import (
    PROMOTABLE,
    any_tensor,
    codes,
    deliver,
    encode,
    miss,
    note_numbers,
    promote_numbers,
    with_plain_sizes,
)
from .rng import default_generator, stream_for
from .tensor import Tensor
from .trace import local

_new = object.__new__
_ABSENT: Any = object()  # an argument that is missing, or given by keyword
_HANDLES = frozenset({Tensor, Parameter})


class Form:
    """One way of calling a recorded function: ``public`` is what users call, ``code`` its code in
    keys, ``slow`` takes any arguments and all situations; ``swapped`` forms take the function's two
    arguments in reverse. ``native`` is the form's twin in machine code once there is one."""

    __slots__ = ("code", "native", "public", "slow", "swapped")

    def __init__(self, code: int, slow: Callable[..., Any], swapped: bool = False) -> None:
        self.code = code
        self.slow = slow
        self.swapped = swapped
        self.public: Callable[..., Any] = slow
        self.native: Any = None


# Every form whose hits may be native, and what makes the twin of a new one once that is wanted.
FORMS: list[Form] = []
make_native: Callable[[Form], Any] | None = None


def _published(form: Form, public: Callable[..., Any]) -> Callable[..., Any]:
    form.public = public
    FORMS.append(form)
    if make_native is not None:
        form.native = make_native(form)
    return public


def general(function: Function) -> Callable[..., Any]:
    """The recorded form of a function for any arguments."""
    code = next(codes)
    parameters = function.parameters
    promotable = function.name in PROMOTABLE or bool(function.operators)
    star = starred(parameters)
    typed = "dtype" in parameters

    def whole(*args: Any, **kwargs: Any) -> Any:
        if shared.active and shared.must_lock():
            with shared.lock:
                shared.resume()
                return whole(*args, **kwargs)
        if kwargs:
            if "out" in kwargs:
                out = kwargs.pop("out")
                if out is not None:
                    check_out(out, args)
                    if typed and not any(isinstance(v, Tensor) for v in (*args, *kwargs.values())):
                        made_for(out, kwargs)
                    value = whole(*args, **kwargs)
                    if isinstance(out, Tensor) and any(out is a for a in args):
                        fit_inplace(out._meta.value, value._meta.value, function.name)
                    return store_out(function.name, value, out)
            if not PASSIVE.isdisjoint(kwargs):
                return with_options(function, whole, args, kwargs)
        trace = local.trace
        if function.host:
            if trace.mode.meta and not any_tensor((*args, *kwargs.values())):
                return without_data(function, args, kwargs)
            return run_host(function, args, kwargs)
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
        except KeyboardInterrupt:
            shared.repair()
            raise
        if found is None:
            if trace.mode.meta and not any_tensor((*args, *kwargs.values())):
                return without_data(function, args, kwargs)
            if promotable:
                promoted = promote_numbers(code, trace.state, args, kwargs, trace)
                if promoted is not None:
                    return whole(*promoted[0], **promoted[1])
            elif star is not None:
                plain = with_plain_sizes(star, args, kwargs)
                if plain is not None:
                    return whole(*plain[0], **plain[1])
            found = miss(function, trace, tuple(key), args, kwargs)
            if promotable:
                note_numbers(code, trace.state, args, kwargs)
        try:
            trace.state = found
            return deliver(function, trace, found, args, kwargs)
        except KeyboardInterrupt:
            shared.repair()
            raise

    whole.__name__ = whole.__qualname__ = function.name.rpartition(".")[2]
    whole.__doc__ = function.impl.__doc__
    whole.__wrapped__ = function.impl  # type: ignore[attr-defined]
    if function.random or function.host:
        return whole
    form = Form(code, whole)

    def call(*args: Any, **kwargs: Any) -> Any:
        run = form.native or whole
        return run(*args, **kwargs) if kwargs else run(*args)  # no dictionary is made for nothing

    call.form = form  # type: ignore[attr-defined]
    return _published(form, _named(call, function, whole))


def unary(function: Function, whole: Callable[..., Any]) -> Callable[..., Any]:
    """The recorded form of ``f(x)``; what is not a plain hit takes the ``whole`` form."""
    form = whole.form  # type: ignore[attr-defined]
    code, whole = form.code, form.slow
    form = Form(code, whole)

    def call(input: Any = _ABSENT, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or input is _ABSENT:
            given = () if input is _ABSENT else (input, *args)
            return (form.native or whole)(*given, **kwargs)
        if form.native is not None:
            return form.native(input)
        trace = shared.trace
        try:
            if input._trace is trace:
                found = trace.state.next.get((code, input._meta))
                if found is not None:
                    meta = found.plain
                    if meta is not None:
                        trace.state = found
                        tensor: Any = _new(Tensor)
                        tensor._trace = trace
                        tensor._meta = meta
                        tensor._slot = meta.slot
                        tensor._buffer = tensor._extra = None
                        trace.tensors.append(tensor)
                        return tensor
        except AttributeError:
            pass  # not a tensor: the whole form says so
        return whole(input)

    return _published(form, _named(call, function, whole))


def binary(
    function: Function, whole: Callable[..., Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The recorded forms of ``f(x, y)``, y a tensor or a number: as an operator, and as a
    function that also takes further arguments."""
    form = whole.form  # type: ignore[attr-defined]
    code, whole = form.code, form.slow

    def slow(self: Any, other: Any) -> Any:
        other = operand(other)
        return other if other is NotImplemented else whole(self, other)

    def operator(self: Any, other: Any) -> Any:
        trace = shared.trace
        if self._trace is trace:
            kind = type(other)
            if kind is Tensor or kind is Parameter:
                if other._trace is not trace:
                    bind(trace, other)
                found = trace.state.next.get((code, self._meta, other._meta))
            elif kind is float:
                found = trace.state.next.get((code, self._meta, float, other or repr(other)))
            elif kind is int:
                found = trace.state.next.get((code, self._meta, other))
            else:
                found = None
            if found is not None:
                meta = found.plain
                if meta is not None:
                    trace.state = found
                    tensor: Any = _new(Tensor)
                    tensor._trace = trace
                    tensor._meta = meta
                    tensor._slot = meta.slot
                    tensor._buffer = tensor._extra = None
                    trace.tensors.append(tensor)
                    return tensor
        return slow(self, other)

    form = Form(code, whole)

    def call(input: Any = _ABSENT, other: Any = _ABSENT, *args: Any, **kwargs: Any) -> Any:
        if input is _ABSENT or other is _ABSENT:  # given by another name
            given = () if input is _ABSENT else (input,)
            return whole(*given, **kwargs, **({} if other is _ABSENT else {"other": other}))
        if args or kwargs:
            return (form.native or whole)(input, other, *args, **kwargs)
        if form.native is not None:
            return form.native(input, other)
        if type(input) not in _HANDLES:
            return whole(input, other)
        made = operator(input, other)
        return whole(input, other) if made is NotImplemented else made

    return (
        _published(Form(code, slow), _named(operator, function, whole)),
        _published(form, _named(call, function, whole)),
    )


def swapped(function: Function, whole: Callable[..., Any]) -> Callable[..., Any]:
    """The operator for ``other f self``: what Python calls when the left side is no tensor."""
    form = whole.form  # type: ignore[attr-defined]
    code, whole = form.code, form.slow

    def operator(self: Any, other: Any) -> Any:
        other = operand(other)
        return other if other is NotImplemented else whole(other, self)

    return _published(Form(code, operator, swapped=True), _named(operator, function, whole))


def operand(other: Any) -> Any:
    """The other side of an operator, or NotImplemented if tensors do not know it."""
    if isinstance(other, (Tensor, float, int, complex, np.generic)):
        return other
    if isinstance(other, np.ndarray):
        return Tensor._from_array(other.copy())
    return NotImplemented


def _named(
    call: Callable[..., Any], function: Function, like: Callable[..., Any]
) -> Callable[..., Any]:
    call.__name__ = call.__qualname__ = like.__name__
    call.__doc__ = like.__doc__
    call.__wrapped__ = function.impl  # type: ignore[attr-defined]
    return call
