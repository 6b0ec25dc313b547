"""Calls that are not all graph: functions whose results' shapes depend on data, and the keywords of
tensor creation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.device import CPU, META, Device, available, get_default_device
from ..core.dtypes import int64
from ..core.errors import ArgumentError, located
from ..ir.node import make_input
from ..ir.types import TensorType
from ..ops.function import Function
from ..ops.philox import Stream
from .arguments import check_arguments, complaint, spelled
from .named import name_results
from .places import no_data, no_data_of, tensors_in
from .record import any_tensor, call_values
from .tensor import Tensor


def run_host(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call a function whose result's shape depends on data: flush, then NumPy."""

    def array(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value._array()
        if isinstance(value, (list, tuple)) and any_tensor(value):
            return [array(v) for v in value]
        return value

    try:
        kwargs = spelled(function, kwargs)
        check_arguments(function, args, kwargs)
        results = function.impl(
            *[array(a) for a in args], **{k: array(v) for k, v in kwargs.items()}
        )
    except Exception as error:
        error = complaint(function.name, error)
        raise located(error) from error.__cause__
    return name_results(function.name, results, wrap_host)


def wrap_host(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return Tensor._from_array(value)
    if isinstance(value, np.generic):
        return Tensor._from_array(np.asarray(value))
    if isinstance(value, tuple):
        return tuple(map(wrap_host, value))
    return value


PASSIVE = frozenset(
    ("device", "requires_grad", "layout", "pin_memory", "memory_format", "generator")
)


def with_options(
    function: Function, call: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    """Take off the keywords of tensor creation that are not the graph's business."""
    options = {k: kwargs.pop(k) for k in PASSIVE & set(kwargs) if k not in function.parameters}
    device = options.get("device")
    if device is not None:
        return _made_on(available(device), function, call, args, kwargs, options)
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


def _made_on(
    device: Device, function: Function, call: Callable[..., Any], args: Sequence[Any],
    kwargs: dict[str, Any], options: dict[str, Any],
) -> Any:  # fmt: skip
    """`with_options` where a device is asked for."""
    if device is META:
        made = without_data(function, args, kwargs)
        return made.requires_grad_(True) if options.get("requires_grad") else made
    rest = {k: v for k, v in options.items() if k != "device"}
    if any(t.device is META for t in tensors_in(args)):
        # Nothing of a tensor without data but its shape and dtype can matter: `zeros_like`.
        args = [_stand_in(a) if isinstance(a, Tensor) else a for a in args]
    if get_default_device() is META:
        with CPU:
            return call(*args, **kwargs, **rest)
    return call(*args, **kwargs, **rest)


def _stand_in(tensor: Tensor) -> Tensor:
    """A tensor on the CPU with the shape and dtype of another; one element of memory."""
    meta = tensor._meta
    return Tensor._from_array(np.broadcast_to(np.zeros((), meta.dtype.np), meta.shape))


def without_data(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What the function would make, as tensors on the meta device: only typed, never computed, and
    no random numbers are used up."""
    if function.host:
        with CPU:
            return _emptied(run_host(function, args, kwargs))
    try:
        if function.random:
            stream = Stream(make_input(TensorType((2,), int64)))
            kwargs = {**kwargs, "rng": stream}
        values = call_values(function, args, kwargs)
    except Exception as error:
        error = complaint(function.name, error)
        raise located(error) from error.__cause__
    if isinstance(values, (tuple, list)):
        return tuple(map(no_data_of, values))
    return no_data_of(values)


def _emptied(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_emptied, value))
    return no_data(value.shape, value.dtype) if isinstance(value, Tensor) else value
