"""Public functions that create tensors: constants, ramps, identity matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from operator import index
from typing import Any, TypeAlias

import numpy as np

from ..core.dtypes import DType, bool_, default_dtype, float32, float64, int32, int64
from ..core.errors import ArgumentError, ShapeError, ValueRangeError
from ..core.promotion import scalar_dtype
from ..ir.node import Value
from .arithmetic import Scalar, broadcast_to, cast, constant
from .dims import sequence_of_ints
from .function import Call, function
from .link import ops
from .named import public

Shape = tuple[int, ...]


def read_size(op: str, size: tuple[Any, ...]) -> Shape:
    """A shape given as numbers or as one sequence. RuntimeError if an extent is negative."""
    shape = sequence_of_ints(size, None, op)
    if any(n < 0 for n in shape):
        raise ShapeError(
            f"{op}: Trying to create tensor with negative dimension {min(shape)}: {list(shape)}"
        )
    return shape


def _sizes() -> Iterator[Call]:
    yield Call((2, 3))
    yield Call(((2, 3),))
    yield Call(([4],), {"dtype": float64})
    yield Call((0, 2), {"dtype": int64})
    yield Call(((),))
    yield Call((2,), {"dtype": bool_})
    yield Call((-1,), error=(RuntimeError, "negative dimension"))
    yield Call((2.5,), error=(TypeError, ""))


@function("zeros", calls=_sizes)
def zeros(*size: Any, dtype: DType | None = None) -> Value:
    """A tensor of zeros of the given size; dtype defaults to the default dtype."""
    return constant(0, dtype or default_dtype(), read_size("zeros", size))


@function("ones", calls=_sizes)
def ones(*size: Any, dtype: DType | None = None) -> Value:
    """A tensor of ones of the given size; dtype defaults to the default dtype."""
    return constant(1, dtype or default_dtype(), read_size("ones", size))


def _empty_sizes() -> Iterator[Call]:
    yield Call((0, 2), {"dtype": int64})
    yield Call(((3, 0),))
    yield Call((-1,), error=(RuntimeError, "negative dimension"))


@function("empty", calls=_empty_sizes)
def empty(*size: Any, dtype: DType | None = None, memory_format: object = None) -> Value:
    """A tensor whose contents are not promised (here: zeros)."""
    return constant(0, dtype or default_dtype(), read_size("empty", size))


def _full_calls() -> Iterator[Call]:
    for value in (2.5, 7, True, float("inf")):
        yield Call(((2, 3), value))
    yield Call(((2,), 3), {"dtype": float32})
    yield Call(([], 1.0))
    yield Call((3, 1.0), error=(TypeError, "must be tuple of ints"))


@function("full", calls=_full_calls)
def full(size: Sequence[int], fill_value: Scalar | Value, *, dtype: DType | None = None) -> Value:
    """A tensor of one number; its dtype defaults to that of the number."""
    if not isinstance(size, (tuple, list)):
        raise ArgumentError(
            f"full(): argument 'size' must be tuple of ints, not {type(size).__name__}"
        )
    shape = read_size("full", tuple(size))
    return _filled("full", shape, fill_value, dtype)


def _filled(op: str, shape: Shape, value: Scalar | Value, dtype: DType | None) -> Value:
    if isinstance(value, Value):
        if value.ndim:
            raise ShapeError(
                f"{op}(): expected a fill value of 0 dimensions, got shape {list(value.shape)}"
            )
        return broadcast_to(cast(value, dtype or value.dtype), shape)
    return constant(value, dtype or scalar_dtype(value), shape)


def _likes() -> Iterator[Call]:
    yield Call((np.ones((2, 3)),), grad=False)
    yield Call((np.ones((2, 0), np.int32),))
    yield Call((np.ones((2,), np.float32),), {"dtype": int64})


@function("zeros_like", calls=_likes)
def zeros_like(input: Value, *, dtype: DType | None = None, memory_format: object = None) -> Value:
    """Zeros in the shape (and, by default, dtype) of ``input``."""
    return constant(0, dtype or input.dtype, input.shape)


@function("ones_like", calls=_likes)
def ones_like(input: Value, *, dtype: DType | None = None, memory_format: object = None) -> Value:
    """Ones in the shape (and, by default, dtype) of ``input``."""
    return constant(1, dtype or input.dtype, input.shape)


def _empty_likes() -> Iterator[Call]:
    yield Call((np.ones((0, 3)),), grad=False)
    yield Call((np.ones((2, 0), np.int32),), {"dtype": float32})


@function("empty_like", calls=_empty_likes)
def empty_like(input: Value, *, dtype: DType | None = None, memory_format: object = None) -> Value:
    """A tensor in the shape of ``input`` whose contents are not promised (here: zeros)."""
    return constant(0, dtype or input.dtype, input.shape)


def _full_likes() -> Iterator[Call]:
    yield Call((np.ones((2, 3)), 2.5), grad=False)
    yield Call((np.ones((2,), np.int32), 3), {"dtype": float64})


@function("full_like", calls=_full_likes)
def full_like(
    input: Value, fill_value: Scalar | Value, *, dtype: DType | None = None,
    memory_format: object = None,
) -> Value:  # fmt: skip
    """One number in the shape (and, by default, dtype) of ``input``."""
    return _filled("full_like", input.shape, fill_value, dtype or input.dtype)


def _new_calls() -> Iterator[Call]:
    x = np.ones((2,), np.float64)
    yield Call((x, 2, 3), grad=False)
    yield Call((x, (2, 3)), grad=False)
    yield Call((np.ones(2, np.int32), [4]), {"dtype": float32})


@function("new_zeros", public=False, method=True, calls=_new_calls)
def new_zeros(input: Value, *size: Any, dtype: DType | None = None) -> Value:
    """Zeros of the given size in the dtype of ``input``."""
    return constant(0, dtype or input.dtype, read_size("new_zeros", size))


@function("new_ones", public=False, method=True, calls=_new_calls)
def new_ones(input: Value, *size: Any, dtype: DType | None = None) -> Value:
    """Ones of the given size in the dtype of ``input``."""
    return constant(1, dtype or input.dtype, read_size("new_ones", size))


def _new_empty_calls() -> Iterator[Call]:
    yield Call((np.ones(2), 0, 3), grad=False)
    yield Call((np.ones(2, np.int32), [0]), {"dtype": float32})


@function("new_empty", public=False, method=True, calls=_new_empty_calls)
def new_empty(input: Value, *size: Any, dtype: DType | None = None) -> Value:
    """A tensor of the given size whose contents are not promised (here: zeros)."""
    return constant(0, dtype or input.dtype, read_size("new_empty", size))


def _new_full_calls() -> Iterator[Call]:
    yield Call((np.ones(2), (2, 3), 2), grad=False)
    yield Call((np.ones(2, np.int64), (2,), 3.0), {"dtype": float32})


@function("new_full", public=False, method=True, calls=_new_full_calls)
def new_full(
    input: Value, size: Sequence[int], fill_value: Scalar | Value, *, dtype: DType | None = None
) -> Value:
    """One number in the given size and the dtype of ``input``."""
    shape = read_size("new_full", tuple(size))
    return _filled("new_full", shape, fill_value, dtype or input.dtype)


def _arange_calls() -> Iterator[Call]:
    for args in [(5,), (2, 7), (1, 10, 3), (5, 0, -2), (0.0, 1.0, 0.25), (1, 2.5), (0,), (3, 3)]:
        yield Call(args)
    yield Call((4,), {"dtype": float32})
    yield Call((0, 7, 2), {"dtype": int32})
    yield Call((0.5, 4), {"dtype": int64})
    yield Call((), {"end": 4})
    yield Call((0, 5, 0), error=(RuntimeError, "step must be nonzero"))
    yield Call((0, 5, -1), error=(RuntimeError, "inconsistent with step sign"))


def _ramp(shape: Shape, dtype: DType, start: int = 0) -> Value:
    return ops.iota(shape=shape, dim=0, dtype=dtype, start=start)  # type: ignore[no-any-return]


@function("arange", calls=_arange_calls)
def arange(
    start: float = 0, end: float | None = None, step: float = 1, *, dtype: DType | None = None
) -> Value:
    """``start, start + step, ...`` below ``end``; int64 unless a number or ``dtype`` is floating.

    Computed in float64 (integers exactly) and then rounded, so errors do not accumulate.
    """
    if end is None:
        start, end = 0, start
    if step == 0:
        raise ShapeError(f"step must be nonzero, got arange({start}, {end}, {step})")
    if (end - start) * (1 if step > 0 else -1) < 0:
        raise ShapeError(
            f"upper bound and lower bound inconsistent with step sign: "
            f"arange({start}, {end}, {step})"
        )
    if not all(math.isfinite(n) for n in (start, end, step)):
        raise ShapeError(f"unsupported range: {start} -> {end}")
    exact = all(isinstance(n, (int, np.integer)) for n in (start, end, step))
    target = dtype or (int64 if exact else default_dtype())
    count = None
    if target.category == "int" and not exact:
        if target is not int64:  # PyTorch counts before it rounds, except for int64
            count = math.ceil((end - start) / step)
        start, end, step = int(start), int(end), int(step)
        exact = True
    if step == 0 and count is None:
        raise ValueRangeError(f"step must be nonzero, got one that is 0 as {target}")
    if exact:
        first, stop, stride = int(start), int(end), int(step)
        if count is None:
            count = max(0, -((first - stop) // stride))
        if stride == 1:
            return _ramp((count,), target, first)
        ramp = _ramp((count,), int64) * stride
        return cast(ramp + first if first else ramp, target)
    count = math.ceil((end - start) / step)
    return cast(_ramp((count,), float64) * float(step) + float(start), target)


def _spaces() -> Iterator[Call]:
    for args in [(0, 1, 5), (-2.0, 3.0, 7), (1, 1, 3), (0, 5, 1), (3, 0, 4), (0, 1, 0)]:
        yield Call(args)
    yield Call((0, 1, 6), {"dtype": float64})
    yield Call((0, 1, -1), error=(RuntimeError, "number of steps must be non-negative"))


Bound: TypeAlias = float | Value


def _bound(op: str, bound: Bound, dtype: DType) -> Bound:
    """An end of a ramp in float64, without its fraction where the ramp is of integers."""
    whole = dtype.category == "int"
    if not isinstance(bound, Value):
        return int(bound) if whole else float(bound)
    if bound.ndim:
        raise ShapeError(
            f"{op} only supports 0-dimensional start and end tensors, but got tensor of shape "
            f"{list(bound.shape)}"
        )
    return cast(cast(bound, dtype) if whole else bound, float64)


def _linear_ramp(op: str, start: Bound, end: Bound, steps: int, dtype: DType) -> Value:
    """Equally spaced float64 numbers; counted from the nearer end, so both ends are exact."""
    if index(steps) < 0:
        raise ShapeError(f"number of steps must be non-negative, got {steps}")
    start, end = (_bound(op, bound, dtype) for bound in (start, end))
    if steps == 1:
        return constant(0, float64, (1,)) + start
    step = (end - start) / (steps - 1) if steps else 0.0
    ramp = _ramp((steps,), float64)
    from_end = (ramp - (steps - 1)) * step + end
    near_start = public.lt(ramp, steps / 2)
    return public.where(near_start, ramp * step + start, from_end)  # type: ignore[no-any-return]


@function("linspace", calls=_spaces)
def linspace(start: Bound, end: Bound, steps: int, *, dtype: DType | None = None) -> Value:
    """``steps`` equally spaced numbers from ``start`` to ``end`` (numbers or 0-d tensors), both
    included."""
    dtype = dtype or default_dtype()
    return cast(_linear_ramp("linspace", start, end, steps, dtype), dtype)


def _log_spaces() -> Iterator[Call]:
    for args in [(0, 2, 5), (-1.0, 1.0, 3), (0, 1, 0), (2, 0, 1)]:
        yield Call(args)
    yield Call((0, 3, 4), {"base": 2.0, "dtype": float64})


@function("logspace", calls=_log_spaces)
def logspace(
    start: Bound, end: Bound, steps: int, base: float = 10.0, *, dtype: DType | None = None
) -> Value:
    """``base`` to the power of `linspace`."""
    dtype = dtype or default_dtype()
    powers = public.pow(float(base), _linear_ramp("logspace", start, end, steps, dtype))
    return cast(powers, dtype)


def _eye_calls() -> Iterator[Call]:
    yield Call((3,))
    yield Call((2, 4))
    yield Call((4, 2), {"dtype": int64})
    yield Call((0,))
    yield Call((-1,), error=(RuntimeError, "n must be greater or equal to 0"))


@function("eye", calls=_eye_calls)
def eye(n: int, m: int | None = None, *, dtype: DType | None = None) -> Value:
    """The identity matrix (n, m); ``m`` defaults to ``n``."""
    shape = (n, n if m is None else m)
    if min(shape) < 0:
        raise ShapeError(f"n must be greater or equal to 0, got {n} (and m {m})")
    rows, cols = (ops.iota(shape=shape, dim=d, dtype=int64) for d in (0, 1))
    return cast(ops.eq(rows, cols), dtype or default_dtype())
