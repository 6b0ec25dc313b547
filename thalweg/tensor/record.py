"""Recorded forms of public functions: what runs when a user calls ``torch.add`` or ``x.relu()``.

Each registered `Function` becomes a Python function that looks its call up in the trie. Two shapes
of call are frequent enough for a form of their own, `unary` and `binary`; `general` takes any
arguments, and `inplace` is the general form that writes its result into the first operand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import flags
from ..core.device import Device
from ..core.dtypes import DType
from ..core.errors import ArgumentError, located
from ..ir.node import Value
from ..ops.arithmetic import cast
from ..ops.function import Function
from ..ops.link import ops
from .alias import assign, bind, check_inplace, check_overlap, describe_view, fit_inplace, make_view, view_chain
from .flush import flush
from .named import name_results
from .parameter import Parameter
from .rng import default_generator, stream_for
from .size import Size
from .tensor import Tensor
from .trace import Meta, State, Trace, guard, local, new_metas, scalar_leaf, trie

_new = object.__new__
_codes = itertools.count(16)
_TENSOR = "\0tensor"  # precedes a slot in a key, so that slots and integers differ
_LIST = "\0list"
_PLAIN = {int, type(None), str, DType, Device, type(Ellipsis)}
_NUMBER = {float, bool, complex}

# Functions whose numbers become arguments of the graph once they are seen to vary.
PROMOTABLE = {
    "add", "sub", "mul", "div", "true_divide", "pow", "addcmul", "addcdiv", "lerp", "fill",
    "clamp", "clamp_min", "clamp_max", "maximum", "minimum", "floor_divide", "remainder",
    "masked_fill", "where",
}  # fmt: skip


def result(trace: Trace, meta: Meta) -> Tensor:
    """A handle for a slot that was just recorded."""
    tensor: Tensor = _new(Tensor)
    tensor._trace = trace
    tensor._slot = meta.slot
    tensor._meta = meta
    tensor._buffer = None
    tensor._extra = None
    trace.tensors.append(tensor)
    return tensor


def after_record(trace: Trace) -> None:
    """Flush where a trace must not grow: op by op under `eager`, and at the length limit."""
    if flags.eager or len(trace.tensors) > flags.trace_limit:
        flush()


# ---- keys and operands


def encode(trace: Trace, value: Any, key: list[Any]) -> None:
    """Append ``value`` to a trie key, binding tensors to the trace."""
    kind = value.__class__
    if kind is Tensor or kind is Parameter:
        if value._trace is not trace:
            bind(trace, value)
        key.append(_TENSOR)
        key.append(value._slot)
    elif kind in _PLAIN:
        key.append(value)
    elif kind in _NUMBER:
        key.append(kind)
        # Equal keys must mean equal values: 0.0 == -0.0, and nan != nan.
        key.append(value if value == value and value else repr(value))
    elif kind is tuple or kind is list or kind is Size:
        key.append(_LIST)
        key.append(len(value))
        for item in value:
            encode(trace, item, key)
    elif isinstance(value, Tensor):
        bind(trace, value)
        key.append(_TENSOR)
        key.append(value._slot)
    elif isinstance(value, tuple):
        key.append(kind)
        for item in value:
            encode(trace, item, key)
    elif isinstance(value, np.generic):
        encode(trace, value.item(), key)
    elif isinstance(value, np.ndarray):
        raise ArgumentError("expected a Tensor, got numpy.ndarray (see thalweg.from_numpy)")
    else:
        key.append(value)


def operand(value: Any) -> Any:
    """An argument as public functions over values expect it."""
    if isinstance(value, Tensor):
        return guard(value._meta.value)
    if isinstance(value, (tuple, list)):
        if isinstance(value, tuple) and value.__class__ not in (tuple, Size):
            return value.__class__(*map(operand, value))
        return [operand(v) for v in value] if any_tensor(value) else tuple(map(operand, value))
    if isinstance(value, np.generic):
        return value.item()
    return value


def any_tensor(values: Sequence[Any]) -> bool:
    return any(
        isinstance(v, Tensor) or (isinstance(v, (list, tuple)) and any_tensor(v)) for v in values
    )


def call_values(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The function's body applied to the values behind the arguments."""
    return function.impl(
        *[operand(a) for a in args], **{k: operand(v) for k, v in kwargs.items()}
    )


# ---- the general form


def general(function: Function) -> Callable[..., Any]:
    """The recorded form of a function for any arguments."""
    code = next(_codes)
    parameters = function.signature.parameters
    accepts_out = "out" in parameters

    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if kwargs:
            if "out" in kwargs and not accepts_out:
                out = kwargs.pop("out")
                if out is not None:
                    check_out(out, args)
                    value = call(*args, **kwargs)
                    if isinstance(out, Tensor) and any(out is a for a in args):
                        fit_inplace(out._meta.value, value._meta.value, function.name)
                    return store_out(function.name, value, out)
            if not _PASSIVE.isdisjoint(kwargs):
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


def miss(
    function: Function, trace: Trace, key: tuple[Any, ...], args: Sequence[Any],
    kwargs: dict[str, Any],
) -> State:  # fmt: skip
    """Build the nodes of a call that this path has not seen, and the state they lead to."""
    blocks = 0
    try:
        if function.random:
            with default_generator.recording(trace) as stream:
                values = call_values(function, args, {**kwargs, "rng": stream})
            blocks = stream.used
        else:
            values = call_values(function, args, kwargs)
        plural = isinstance(values, (tuple, list))
        outputs = tuple(values) if plural else (values,)
        if not all(isinstance(v, Value) for v in outputs):
            raise ArgumentError(f"{function.name}: not a tensor function of these arguments")
        found = trie.add(trace.state, key)
        if function.name in RETURNS_OPERAND and not plural and outputs[0] is operand(args[0]):
            found.info = SAME
            trace.state.next[key] = found
            return found
        outputs = distinct(outputs, args, kwargs)
        found.metas = new_metas(trace, outputs, function.name)
        found.meta = None if plural else found.metas[0]
        found.random = blocks
        source = view_source(function, args, kwargs)
        if source is not None:
            found.info = tuple(
                describe_view(m, source._meta, view_chain(source._meta.value, v))
                for m, v in zip(found.metas, outputs)
            )
            if function.name in STRICT_VIEWS and not all(found.info):
                raise RuntimeError(
                    "view size is not compatible with input tensor's size and stride (at least "
                    "one dimension spans across two contiguous subspaces). Use .reshape(...) "
                    "instead."
                )
    except Exception as error:
        raise located(error) from None
    trace.state.next[key] = found
    return found


def distinct(
    outputs: Sequence[Value], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Value, ...]:
    """Results as values of their own, even where a function returns its operand unchanged: each
    handle has its own place in the graph for hooks and retained gradients."""
    taken = {t._meta.value for t in _tensors_in((*args, *kwargs.values()))}
    made = []
    for value in outputs:
        if value in taken:
            value = ops.reshape(value, shape=value.shape)
        taken.add(value)
        made.append(value)
    return tuple(made)


def _tensors_in(values: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(_tensors_in(value))
    return found


# View functions that give the very tensor they got where there is nothing to do.
RETURNS_OPERAND = {"flatten", "atleast_1d", "atleast_2d", "atleast_3d", "real"}
SAME = ("same",)
STRICT_VIEWS = {"view", "view_as"}


def view_source(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
    """The tensor a view function views: its first argument."""
    if not function.view:
        return None
    first = args[0] if args else next(iter(kwargs.values()), None)
    return first if isinstance(first, Tensor) else None


def deliver(
    function: Function, trace: Trace, state: State, args: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    """Handles for the results of a call."""
    if state.random:
        default_generator.advance(trace, state.random)
    meta = state.meta
    if meta is not None:
        tensor = result(trace, meta)
        if state.info is not None and state.info[0]:
            make_view(tensor, view_source(function, args, kwargs), meta)  # type: ignore[arg-type]
        if flags.eager or len(trace.tensors) > flags.trace_limit:
            flush()
        return tensor
    if state.info is SAME:
        return args[0]
    tensors = [result(trace, m) for m in state.metas]
    if state.info is not None:
        source = view_source(function, args, kwargs)
        for tensor, m, is_view in zip(tensors, state.metas, state.info):
            if is_view:
                make_view(tensor, source, m, multi=True)  # type: ignore[arg-type]
    after_record(trace)
    return name_results(function.name, tensors)


def promote_numbers(
    function: Function, code: int, trace: Trace, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[State | None, tuple[list[Any], dict[str, Any]] | None]:
    """Turn numbers that vary between otherwise equal calls into arguments of the graph.

    The first call with a number specialises on it; when a second number arrives at the same state
    the call is repeated with 0-d arguments in place of all numbers, and from then on any number
    takes that path.
    """
    if function.name not in PROMOTABLE:
        return None, None
    numbers = [a for a in (*args, *kwargs.values()) if a.__class__ in (float, int)]
    if not numbers:
        return None, None
    slots = tuple(a._slot for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
    mark = (code, "numbers", slots, len(numbers))
    state = trace.state
    if mark not in state.next:
        state.next[mark] = trie.add(state, mark)
        return None, None

    def promoted(value: Any) -> Any:
        if value.__class__ in (float, int):
            return trace.tensors[scalar_leaf(trace, value)]
        return value

    return None, ([promoted(a) for a in args], {k: promoted(v) for k, v in kwargs.items()})


# ---- the two frequent forms


def unary(function: Function, other_form: Callable[..., Any]) -> Callable[..., Any]:
    """The recorded form of ``f(x)``; further arguments take the general form."""
    code = next(_codes)

    def call(input: Any, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or not isinstance(input, Tensor):
            return other_form(input, *args, **kwargs)
        trace = local.trace
        if input._trace is not trace:
            bind(trace, input)
        key = (code, input._slot)
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
        tensor._slot = meta.slot
        tensor._buffer = None
        tensor._extra = None
        trace.tensors.append(tensor)
        if flags.eager or meta.slot > flags.trace_limit:
            flush()
        return tensor

    call.__name__ = call.__qualname__ = other_form.__name__
    call.__doc__ = other_form.__doc__
    call.__wrapped__ = function.impl  # type: ignore[attr-defined]
    return call


def binary(
    function: Function, other_form: Callable[..., Any], swapped: bool = False
) -> Callable[..., Any]:
    """The recorded form of ``f(x, y)``, y a tensor or a number; ``swapped`` records f(y, x)."""
    code = next(_codes)

    def call(self: Any, other: Any, *args: Any, **kwargs: Any) -> Any:
        trace = local.trace
        kind = other.__class__
        if args or kwargs or self.__class__ not in _TENSORS:
            if swapped:
                return other_form(other, self, *args, **kwargs)
            return other_form(self, other, *args, **kwargs)
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
                return NotImplemented if dunder else other_form(self, other)
            return other_form(other, self) if swapped else other_form(self, other)
        if found is None:
            found = miss(function, trace, key, (other, self) if swapped else (self, other), {})
        trace.state = found
        tensor: Tensor = _new(Tensor)
        tensor._trace = trace
        tensor._meta = meta = found.metas[0]
        tensor._slot = meta.slot
        tensor._buffer = None
        tensor._extra = None
        trace.tensors.append(tensor)
        if flags.eager or meta.slot > flags.trace_limit:
            flush()
        return tensor

    dunder = swapped or bool(function.operators)
    call.__name__ = call.__qualname__ = other_form.__name__
    call.__doc__ = other_form.__doc__
    call.__wrapped__ = function.impl  # type: ignore[attr-defined]
    return call


_TENSORS = {Tensor, Parameter}


# ---- in place, out=, host functions, keywords of tensor creation


# In-place functions that may read and write one memory, because they work on copies.
OVERLAPPING = {"masked_fill_", "index_put_", "index_fill_", "where_", "__setitem__"}


def inplace(function: Function) -> Callable[..., Tensor]:
    """``x.f_(...)``: the function's result becomes the value of ``x``."""
    code = next(_codes)
    name = function.method if function.method.startswith("__") else function.method + "_"

    def call(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        trace = local.trace
        try:
            kwargs.pop("generator", None)
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
            if extra is None or extra.base is None:
                if whole not in state.next:
                    _, promoted = promote_numbers(function, code, trace, args, kwargs)
                    if promoted is not None:
                        return call(self, *promoted[0], **promoted[1])
            used = 0

            def compute() -> Value:
                nonlocal used
                arguments = (self, *args)
                if function.random:
                    with default_generator.recording(trace) as stream:
                        value = call_values(function, arguments, {**kwargs, "rng": stream})
                    used = stream.used
                else:
                    value = call_values(function, arguments, kwargs)
                value = distinct((value,), arguments, kwargs)[0]
                return fit_inplace(self._meta.value, value, name)

            assign(self, whole, function.name, compute, any(a is self for a in args))
            if used:
                trace.state.random = used
            if trace.state.random:
                default_generator.advance(trace, trace.state.random)
        except Exception as error:
            raise located(error) from None
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
    if out._current_meta().requires_grad and local.grad or value.requires_grad and local.grad:
        raise located(
            RuntimeError(
                f"{name}(): functions with out=... arguments don't support automatic "
                "differentiation, but one of the arguments requires grad."
            )
        )
    if out.shape != value.shape:
        if out.numel() != 0:
            import warnings

            warnings.warn(
                f"An output with one or more elements was resized since it had shape "
                f"{list(out.shape)}, which does not match the required output shape "
                f"{list(value.shape)}.", stacklevel=3,
            )  # fmt: skip
        out.resize_(value.shape)
    return out.copy_(value) if out.dtype is value.dtype else _copy_checked(name, value, out)


def _copy_checked(name: str, value: Tensor, out: Tensor) -> Tensor:
    from ..core.promotion import can_cast

    if not can_cast(value.dtype, out.dtype):
        raise located(
            RuntimeError(
                f"{name}: result type {value.dtype} can't be cast to the desired output type "
                f"{out.dtype}"
            )
        )
    return out.copy_(value)  # type: ignore[no-any-return]


def run_host(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call a function whose result's shape depends on data: flush, then NumPy."""

    def array(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value._array()
        if isinstance(value, (list, tuple)) and any_tensor(value):
            return [array(v) for v in value]
        return value

    try:
        results = function.impl(
            *[array(a) for a in args], **{k: array(v) for k, v in kwargs.items()}
        )
    except Exception as error:
        raise located(error) from None
    return name_results(function.name, results, wrap_host)


def wrap_host(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return Tensor._from_array(value)
    if isinstance(value, np.generic):
        return Tensor._from_array(np.asarray(value))
    return value


_PASSIVE = frozenset(
    ("device", "requires_grad", "layout", "pin_memory", "memory_format", "generator")
)


def with_options(
    function: Function, call: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    """Take off the keywords of tensor creation that are not the graph's business."""
    from ..core.device import require_available

    options = {
        k: kwargs.pop(k) for k in _PASSIVE & set(kwargs) if k not in function.signature.parameters
    }
    device = options.get("device")
    if device is not None:
        require_available(Device(device))
    generator = options.get("generator")
    if generator is not None and function.random:
        with generator.as_default():
            made = call(*args, **kwargs)
    elif options:
        made = call(*args, **kwargs)
    else:
        raise located(ArgumentError(f"{function.name}(): unexpected keywords {sorted(kwargs)}"))
    if options.get("requires_grad"):
        made.requires_grad_(True)
    return made


__all__ = ["binary", "cast", "general", "inplace", "result", "unary"]
