"""What the layers and losses share: precision of halves, warnings at the user's line, mean."""

from __future__ import annotations

import math
import warnings

from ..core.dtypes import DType, default_dtype, float32
from ..core.errors import DTypeError, OutOfMemoryError, user_location
from ..ir.node import Value
from .arithmetic import cast
from .link import ops
from .reduce import Dims, spread

_MOST_BYTES = 1 << 40


def warn(message: str) -> None:
    """A UserWarning that points at the user's statement."""
    file, line = user_location() or ("<unknown>", 1)
    warnings.warn_explicit(message, UserWarning, file, line)


def widened(x: Value) -> Value:
    """Halves as float32, in which PyTorch computes what reduces over them; others unchanged."""
    return cast(x, float32) if x.dtype.itemsize == 2 and x.dtype.is_floating_point else x


def accumulation_dtype(dtype: DType) -> DType:
    """The dtype of `widened`."""
    return float32 if dtype.itemsize == 2 and dtype.is_floating_point else dtype


def need_floating(op: str, x: Value) -> None:
    """RuntimeError unless ``x`` is real floating-point."""
    if not x.dtype.is_floating_point:
        raise DTypeError(f'"{op}" not implemented for {x.dtype}: expected a floating-point tensor')


def whole_as_floating(*values: Value) -> list[Value]:
    """Integer tensors in the default dtype, others unchanged: for what PyTorch computes with
    operators that promote."""
    return [cast(v, default_dtype()) if v.dtype.category == "int" else v for v in values]


def expect_room(op: str, shape: tuple[int, ...], dtype: DType) -> None:
    """OutOfMemoryError for sizes that no machine has, before anything is made of them."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > _MOST_BYTES:
        raise OutOfMemoryError(
            f"{op}: not enough memory: a result of shape {list(shape)} takes {nbytes} bytes"
        )


def extent(shape: tuple[int, ...], dims: Dims) -> int:
    """How many elements ``dims`` span."""
    return math.prod(shape[d] for d in dims)


def spread_sum(x: Value, dims: Dims) -> Value:
    """The sum over ``dims``, repeated over them."""
    return spread(ops.reduce_sum(x, dims=dims), x, dims)


def spread_mean(x: Value, dims: Dims) -> Value:
    """The mean over ``dims``, repeated over them."""
    return spread(ops.reduce_sum(x, dims=dims) / float(extent(x.shape, dims)), x, dims)
