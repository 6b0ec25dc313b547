"""How a call is recorded: trie keys of its arguments, the nodes of a miss, handles of its results.

`forms` and `inplace` build the functions that users call from these steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import flags
from ..core.device import Device
from ..core.dtypes import BY_NAME, DType
from ..core.errors import ArgumentError, located, placed
from ..ir.node import Value
from ..ops.function import Function
from ..ops.link import ops
from .alias import bind, describe_view, make_view, view_chain
from .arguments import check_arguments, complaint, first_operand, spelled, starred
from .flush import flush
from .named import name_results
from .parameter import Parameter
from .places import meets_meta, on_meta, tensors_in
from .rng import default_generator
from .size import Size
from .tensor import Tensor
from .trace import Meta, State, Trace, guard, new_metas, publish, scalar_leaf, trie

_new = object.__new__
codes = itertools.count(16)
_OPEN, _CLOSE = "\0[", "\0]"  # around the items of a list or tuple
_PLAIN = {int, type(None), str, DType, Device, type(Ellipsis)}
_NUMBER = {float, bool, complex}
_PYTHON_TYPES: dict[Any, str] = {
    float: "float64", int: "int64", bool: "bool", complex: "complex128",
}  # fmt: skip

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
    if len(trace.tensors) > trace.limit:
        flush()


# ---- keys and operands


def encode(trace: Trace, value: Any, key: list[Any]) -> None:
    """Append ``value`` to a trie key, binding tensors to the trace. A tensor is told by its Meta,
    which no other slot of the trace shares."""
    kind = value.__class__
    if kind is Tensor or kind is Parameter:
        if value._trace is not trace:
            bind(trace, value)
        key.append(value._meta)
    elif kind in _PLAIN:
        key.append(value)
    elif kind in _NUMBER:
        key.append(kind)
        # Equal keys must mean equal values: 0.0 == -0.0, and nan != nan.
        key.append(value if value == value and value else repr(value))
    elif kind is tuple or kind is list or kind is Size:
        key.append(_OPEN)
        for item in value:
            encode(trace, item, key)
        key.append(_CLOSE)
    elif isinstance(value, Tensor):
        bind(trace, value)
        key.append(value._meta)
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


def python_dtype(name: str, kind: Any) -> DType:
    """A dtype given as one of Python's number types."""
    if kind not in _PYTHON_TYPES:
        raise ArgumentError(f"{name}(): argument 'dtype' must be torch.dtype, not {kind!r}")
    return BY_NAME[_PYTHON_TYPES[kind]]


def with_plain_sizes(
    star: tuple[str, int], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]] | None:
    """A call whose sizes hold tensors, with numbers in their place; None if they hold none."""
    position = star[1]
    named = {k: v for k, v in kwargs.items() if isinstance(v, (list, tuple))}
    if not any_tensor([*args[position:], *named.values()]):
        return None

    def plain(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return value.__index__() if isinstance(value, Tensor) else value

    numbers = {k: plain(v) for k, v in named.items()}
    return [*args[:position], *map(plain, args[position:])], {**kwargs, **numbers}


def call_values(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The function's body applied to the values behind the arguments."""
    dtype = kwargs.get("dtype")
    if dtype is not None and not isinstance(dtype, DType):
        kwargs = {**kwargs, "dtype": python_dtype(function.name, dtype)}
    if kwargs:
        kwargs = spelled(function, kwargs)
        if (star := starred(function.parameters)) is not None and star[0] in kwargs:
            args = (*args, kwargs[star[0]])
            kwargs = {k: v for k, v in kwargs.items() if k != star[0]}
    check_arguments(function, args, kwargs)
    return function.impl(*[operand(a) for a in args], **{k: operand(v) for k, v in kwargs.items()})


def miss(
    function: Function, trace: Trace, key: tuple[Any, ...], args: Sequence[Any],
    kwargs: dict[str, Any],
) -> State:  # fmt: skip
    """Build the nodes of a call that this path has not seen, and the state they lead to."""
    with placed():
        return _build(function, trace, key, args, kwargs)


def _build(
    function: Function, trace: Trace, key: tuple[Any, ...], args: Sequence[Any],
    kwargs: dict[str, Any],
) -> State:  # fmt: skip
    blocks = 0
    try:
        meta = meets_meta(function.name, (*args, *kwargs.values()))
        if function.random:
            with default_generator.recording(trace) as stream:
                values = call_values(function, args, {**kwargs, "rng": stream})
            blocks = 0 if meta else stream.used
        else:
            values = call_values(function, args, kwargs)
        plural = isinstance(values, (tuple, list))
        outputs = tuple(values) if plural else (values,)
        if not all(isinstance(v, Value) for v in outputs):
            raise ArgumentError(f"{function.name}: not a tensor function of these arguments")
        found = trie.add(trace.state, key)
        if (
            function.name in RETURNS_OPERAND
            and not plural
            and outputs[0] is operand(first_operand(function, args, kwargs))
        ):
            found.info = SAME
            publish(trace, key, found)
            return found
        outputs = distinct(outputs, args, kwargs)
        if meta:
            outputs = tuple(map(on_meta, outputs))
        found.metas = new_metas(trace, outputs, function.name)
        found.meta = None if plural else found.metas[0]
        found.random = blocks
        source = view_source(function, args, kwargs)
        if source is not None:
            found.info = tuple(
                describe_view(m, source._meta, view_chain(source._meta.value, v))
                for m, v in zip(found.metas, outputs)
            )
            strict = function.name in STRICT_VIEWS and outputs[0].dtype is source.dtype
            if strict and not all(found.info):
                raise RuntimeError(
                    "view size is not compatible with input tensor's size and stride (at least "
                    "one dimension spans across two contiguous subspaces). Use .reshape(...) "
                    "instead."
                )
            for meta, is_view in zip(found.metas, found.info):
                if is_view:
                    source._meta.shown_by(meta)
        if found.meta is not None and not blocks and found.meta.slot < trie.limit:
            if source is None or not found.info[0]:
                found.plain = found.meta
            else:
                found.view = found.meta
    except Exception as error:
        error = complaint(function.name, error)
        raise located(error) from error.__cause__
    publish(trace, key, found)
    return found


def distinct(
    outputs: Sequence[Value], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Value, ...]:
    """Results as values of their own, even where a function returns its operand unchanged: each
    handle has its own place in the graph for hooks and retained gradients."""
    taken = {t._meta.value for t in tensors_in((*args, *kwargs.values()))}
    made = []
    for value in outputs:
        if value in taken:
            value = ops.permute(value, dims=tuple(range(value.ndim)))
        taken.add(value)
        made.append(value)
    return tuple(made)


# View functions that give the very tensor they got where there is nothing to do.
RETURNS_OPERAND = {"flatten", "atleast_1d", "atleast_2d", "atleast_3d", "real"}
SAME = ("same",)
STRICT_VIEWS = {"view", "view_as"}


def view_source(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
    """The tensor a view function views: its first operand."""
    if not function.view:
        return None
    first = first_operand(function, args, kwargs)
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
        return first_operand(function, args, kwargs)
    tensors = [result(trace, m) for m in state.metas]
    if state.info is not None:
        source = view_source(function, args, kwargs)
        for tensor, m, is_view in zip(tensors, state.metas, state.info):
            if is_view:
                make_view(tensor, source, m, multi=True)  # type: ignore[arg-type]
    after_record(trace)
    return name_results(function.name, tensors)


def promote_numbers(
    code: int, state: State, args: Sequence[Any], kwargs: dict[str, Any], trace: Trace
) -> tuple[list[Any], dict[str, Any]] | None:
    """Turn numbers that vary between otherwise equal calls into arguments of the graph.

    The first call with a number specialises on it; when a second number arrives at the same state
    the call is repeated with 0-d arguments in place of all numbers, and from then on any number
    takes that path. None where the call stays as it is.
    """
    mark = _mark(code, args, kwargs)
    if mark is None or mark not in state.next:
        return None

    def promoted(value: Any) -> Any:
        if value.__class__ in (float, int):
            return trace.tensors[scalar_leaf(trace, value)]
        return value

    return [promoted(a) for a in args], {k: promoted(v) for k, v in kwargs.items()}


def note_numbers(code: int, state: State, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Remember at ``state`` that a call with numbers was possible there: see `promote_numbers`."""
    mark = _mark(code, args, kwargs)
    if mark is not None and mark not in state.next:
        state.next[mark] = trie.add(state, mark)


def _mark(code: int, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
    """The key of calls that differ in their numbers only; None without numbers."""
    values = (*args, *kwargs.values())
    kinds = tuple(
        "number" if a.__class__ in (float, int) else a._slot if isinstance(a, Tensor) else None
        for a in values
    )
    return (code, *kwargs, *kinds) if "number" in kinds else None
