"""Calls that are not all graph: functions whose results' shapes depend on data, and the keywords of
tensor creation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.device import CPU, META, Device, get_default_device, require_available
from ..core.errors import ArgumentError, located
from ..ops.function import Function
from .arguments import check_arguments, complaint, spelled
from .named import name_results
from .on_meta import at_home, is_meta, to_meta
from .record import any_tensor
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
    if any(isinstance(v, Tensor) for v in (*args, *kwargs.values())):
        with CPU:
            return name_results(function.name, results, wrap_host)
    return name_results(function.name, results, wrap_host)


def _made_on(
    device: Device, call: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    """A call whose result shall be on a device that is not the default, or not that of its
    tensors. Of those, functions that make tensors see no more than shape and dtype."""
    if device.type == META.type:
        if any(isinstance(a, Tensor) for a in args):
            return to_meta(call(*args, **kwargs))
        with META:
            return call(*args, **kwargs)
    with device:
        return call(*[_stand_in(a) if _bare(a) else a for a in args], **kwargs)


def _bare(argument: Any) -> bool:
    return isinstance(argument, Tensor) and is_meta(argument)


def _stand_in(tensor: Tensor) -> Any:
    """A tensor on the CPU like one of the meta device: one element, seen everywhere."""
    element = np.zeros((), tensor.dtype.np)
    return Tensor._from_array(np.broadcast_to(element, tensor.shape))


def wrap_host(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return at_home(Tensor._from_array(value))
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
        require_available(Device(device))
        if Device(device).type != get_default_device().type or any(map(_bare, args)):
            del options["device"]
            return _made_on(Device(device), call, args, {**kwargs, **options})
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
