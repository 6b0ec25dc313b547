"""Questions about tensors that are answered at once, and the process-wide switches."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import flags
from ..core.dtypes import DType
from ..core.errors import ArgumentError, ShapeError, located
from ..core.promotion import result_type as _promote
from ..ops.arithmetic import broadcast_shapes as _broadcast
from ..runtime.executor import executor
from .flush import flush
from .size import Size
from .tensor import Tensor, need_tensor


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function also a method of `Tensor`."""
    setattr(Tensor, function.__name__, function)
    return function


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a Tensor."""
    return isinstance(value, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating-point one."""
    need_tensor("is_floating_point", input=input)
    return input.dtype.is_floating_point


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    need_tensor("is_complex", input=input)
    return input.dtype.is_complex


def is_nonzero(input: Tensor) -> bool:
    """Whether a one-element tensor is not zero."""
    need_tensor("is_nonzero", input=input)
    return bool(input)


def numel(input: Tensor) -> int:
    """The number of elements."""
    need_tensor("numel", input=input)
    return input.shape.numel()


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape to which tensors of the given shapes (or sizes of vectors) broadcast.

    RuntimeError if they do not, or for a negative size.
    """
    given = [(s,) if isinstance(s, (int, np.integer)) else tuple(s) for s in shapes]
    try:
        if any(n < 0 for shape in given for n in shape):
            raise ShapeError(f"broadcast_shapes: negative sizes are not allowed, got {shapes}")
        return Size(_broadcast(*given, op="broadcast_shapes"))
    except Exception as error:
        raise located(error) from None


@_method
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    need_tensor("equal", input=input, other=other)
    if input.shape != other.shape:
        return False
    return bool(np.array_equal(input._array(), other._array()))


@_method
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether ``|input - other| <= atol + rtol * |other|`` everywhere."""
    need_tensor("allclose", input=input, other=other)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not isinstance(value, (int, float)):
            kind = type(value).__name__
            raise located(ArgumentError(f"allclose(): argument '{name}' must be float, not {kind}"))
    if input.dtype is not other.dtype:
        raise located(RuntimeError(f"{input.dtype} did not match {other.dtype}"))
    try:
        return bool(
            np.allclose(_wide(input), _wide(other), rtol=rtol, atol=atol, equal_nan=equal_nan)
        )
    except ValueError:
        raise located(
            ShapeError(f"allclose: shapes {list(input.shape)} and {list(other.shape)} do not match")
        ) from None


def _wide(tensor: Tensor) -> Any:
    array = tensor._array()
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype an operation on the two (tensors or numbers) would have."""
    dims, zeros, scalars = [], [], []
    for value in (tensor1, tensor2):
        if isinstance(value, Tensor):
            (dims if value.ndim else zeros).append(value.dtype)
        else:
            scalars.append(value)
    return _promote(dims, zeros, scalars)


def synchronize(device: Any = None) -> None:
    """Run everything recorded so far in this thread, and wait for it."""
    flush(waiting=True)
    executor.drain()


def get_num_threads() -> int:
    """Threads that compute."""
    return flags.num_threads or os.cpu_count() or 1


def set_num_threads(count: int) -> None:
    """Set the number of threads that compute. ValueError below one."""
    if isinstance(count, bool) or not isinstance(count, int):
        raise located(ArgumentError(f"set_num_threads expects an int, got {type(count).__name__}"))
    if count < 1:
        raise located(RuntimeError("set_num_threads expects a positive integer"))
    synchronize()
    flags.set("num_threads", count)
    limit_blas(count)


_blas: list[Any] = []


def limit_blas(count: int) -> None:
    """Let the matrix products of the reference backend use ``count`` threads."""
    from threadpoolctl import threadpool_limits

    _blas[:] = [threadpool_limits(count, user_api="blas")]


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Make results independent of how often something ran: graphs are compiled the first time,
    instead of running on NumPy for a while. Every algorithm is deterministic in either case."""
    if not isinstance(mode, bool):
        raise located(ArgumentError("use_deterministic_algorithms expects a bool"))
    flags.set("deterministic", mode)


def are_deterministic_algorithms_enabled() -> bool:
    """Whether `use_deterministic_algorithms` was switched on."""
    return flags.deterministic
