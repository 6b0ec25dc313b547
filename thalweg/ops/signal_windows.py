"""Window functions: weights that fade a stretch of signal in and out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from ..core.dtypes import DType, default_dtype, float64, int64
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Value
from .arithmetic import cast, constant
from .function import Call, function
from .link import ops
from .named import public


def _calls(*extra: float) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        for n in (0, 1, 2, 5, 8):
            yield Call((n,))
            yield Call((n, False))
        yield Call((6, True, *extra), {"dtype": float64})
        yield Call((-1,), error=(RuntimeError, "requires non-negative window_length"))
        yield Call((4,), {"dtype": int64}, error=(RuntimeError, "floating point"))

    return make


def _window(
    name: str, count: int, periodic: bool, dtype: DType | None, shape: Callable[[Value, int], Value]
) -> Value:
    """``shape(positions, last)`` on float64 positions 0 .. last; a periodic window is one element
    longer, and that element is dropped."""
    target = dtype or default_dtype()
    if target.category != "float":
        raise DTypeError(f"{name} expects floating point dtypes, got: {target.name}")
    if count < 0:
        raise ShapeError(f"{name} requires non-negative window_length, got window_length={count}")
    if count <= 1:
        return constant(1, target, (count,))
    at = ops.iota(shape=(count,), dim=0, dtype=float64)
    return cast(shape(at, count if periodic else count - 1), target)


def _cosines(*weights: float) -> Callable[[Value, int], Value]:
    """Sum over k of weights[k] cos(2πk i / last)."""

    def shape(at: Value, last: int) -> Value:
        total = constant(weights[0], float64, at.shape)
        for k, weight in enumerate(weights[1:], start=1):
            total = total + ops.cos(at * (2 * math.pi * k / last)) * weight
        return total

    return shape


@function("hann_window", calls=_calls())
def hann_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None) -> Value:
    """(1 - cos(2πi / N)) / 2 for i below ``window_length``; N is that length, or one less if not
    ``periodic``."""
    return _window("hann_window", window_length, periodic, dtype, _cosines(0.5, -0.5))


@function("hamming_window", calls=_calls(0.6, 0.4))
def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
    dtype: DType | None = None,
) -> Value:  # fmt: skip
    """alpha - beta cos(2πi / N), N as in `hann_window`."""
    return _window("hamming_window", window_length, periodic, dtype, _cosines(alpha, -beta))


@function("blackman_window", calls=_calls())
def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None
) -> Value:
    """0.42 - cos(2πi / N) / 2 + 0.08 cos(4πi / N), N as in `hann_window`."""
    return _window("blackman_window", window_length, periodic, dtype, _cosines(0.42, -0.5, 0.08))


@function("bartlett_window", calls=_calls())
def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None
) -> Value:
    """1 - |2i / N - 1|, N as in `hann_window`."""

    def shape(at: Value, last: int) -> Value:
        return 1.0 - ops.abs(at * (2 / last) - 1.0)  # type: ignore[no-any-return]

    return _window("bartlett_window", window_length, periodic, dtype, shape)


@function("kaiser_window", calls=_calls(7.5))
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: DType | None = None
) -> Value:
    """I₀(beta √(1 - (2i / N - 1)²)) / I₀(beta), N as in `hann_window` (Kaiser and Schafer 1980)."""

    def shape(at: Value, last: int) -> Value:
        away = at * (2 / last) - 1.0
        i0: Any = getattr(public, "special.i0")
        found = i0(ops.sqrt(public.clamp(1.0 - away * away, 0.0)) * beta)
        return found / i0(constant(beta, float64))  # type: ignore[no-any-return]

    return _window("kaiser_window", window_length, periodic, dtype, shape)
