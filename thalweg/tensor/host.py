"""Calls that are not all graph: functions whose results' shapes depend on data, and the keywords of
tensor creation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.device import Device, require_available
from ..core.errors import ArgumentError, located
from ..ops.function import Function
from .arguments import check_arguments, complaint, spelled
from .named import name_results
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
