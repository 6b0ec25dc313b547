"""Window functions: weights that fade a stretch of signal in and out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..core.dtypes import DType, default_dtype, float64, int64
from ..core.errors import ArgumentError, DTypeError, ShapeError, ValueRangeError
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


def _kaiser(beta: float) -> Callable[[Value, int], Value]:
    """Kaiser's and Schafer's window (1980)."""

    def shape(at: Value, last: int) -> Value:
        away = at * (2 / last) - 1.0
        i0: Any = getattr(public, "special.i0")
        found = i0(ops.sqrt(public.clamp(1.0 - away * away, 0.0)) * beta)
        return found / i0(constant(beta, float64))  # type: ignore[no-any-return]

    return shape


@function("kaiser_window", calls=_calls(7.5))
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: DType | None = None
) -> Value:
    """I₀(beta √(1 - (2i / N - 1)²)) / I₀(beta), N as in `hann_window` (Kaiser and Schafer 1980)."""

    return _window("kaiser_window", window_length, periodic, dtype, _kaiser(beta))


# ---- torch.signal.windows: symmetric by default


def _symmetric_calls(**kwargs: float) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        for n in (0, 1, 2, 5, 8):
            yield Call((n,), {"dtype": float64})
            yield Call((n,), {"sym": False})
        yield Call((6,), kwargs)
        yield Call((7,), {**kwargs, "sym": False})
        yield Call((-1,), error=(ValueError, "M must be non-negative"))
        yield Call((4,), {"dtype": int64}, error=(ValueError, "expects float"))

    return make


def _sampled(
    name: str, count: int, sym: bool, dtype: DType | None, shape: Callable[[Value, int], Value]
) -> Value:
    """`_window` with the complaints of ``torch.signal``: ValueError."""
    target = dtype or default_dtype()
    if count < 0:
        raise ValueRangeError(f"{name} requires non-negative window length; M must be non-negative")
    if target.name not in ("float32", "float64"):
        raise ValueRangeError(f"{name} expects float32 or float64 dtypes, got: {target.name}")
    return _window(name, count, not sym, dtype, shape)


@function("signal.windows.bartlett", out=False, calls=_symmetric_calls())
def bartlett(M: int, *, sym: bool = True, dtype: DType | None = None) -> Value:
    """1 - |2i / N - 1| for i below ``M``; N is M - 1, or M if not ``sym``."""
    return _sampled(
        "bartlett", M, sym, dtype, lambda at, last: 1.0 - ops.abs(at * (2 / last) - 1.0)
    )


def _register_cosines(name: str, formula: str, *weights: float) -> None:
    def impl(M: int, *, sym: bool = True, dtype: DType | None = None) -> Value:
        return _sampled(name, M, sym, dtype, _cosines(*weights))

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = f"{formula} for i below ``M``; N is M - 1, or M if not ``sym``."
    function(f"signal.windows.{name}", out=False, calls=_symmetric_calls())(impl)


_register_cosines("hann", "(1 - cos(2πi / N)) / 2", 0.5, -0.5)
_register_cosines("hamming", "0.54 - 0.46 cos(2πi / N)", 0.54, -0.46)
_register_cosines("blackman", "0.42 - cos(2πi / N) / 2 + 0.08 cos(4πi / N)", 0.42, -0.5, 0.08)
_register_cosines(
    "nuttall", "Nuttall's window of four cosines", 0.3635819, -0.4891775, 0.1365995, -0.0106411
)


@function("signal.windows.general_hamming", out=False, calls=_symmetric_calls(alpha=0.7))
def general_hamming(
    M: int, *, alpha: float = 0.54, sym: bool = True, dtype: DType | None = None
) -> Value:
    """alpha - (1 - alpha) cos(2πi / N); N is M - 1, or M if not ``sym``."""
    return _sampled("general_hamming", M, sym, dtype, _cosines(alpha, alpha - 1))


def _general_calls() -> Iterator[Call]:
    for n in (0, 1, 5):
        yield Call((n,), {"a": [0.5, 0.3, 0.2]})
    yield Call((6,), {"a": [0.46, 0.23], "sym": False})
    yield Call((4,), {"a": []}, error=(ValueError, "cannot be empty"))


@function("signal.windows.general_cosine", out=False, calls=_general_calls)
def general_cosine(
    M: int, *, a: Iterable[float], sym: bool = True, dtype: DType | None = None
) -> Value:
    """The sum over k of (-1)^k a[k] cos(2πki / N); N is M - 1, or M if not ``sym``."""
    if not isinstance(a, Iterable):
        raise ArgumentError(f"Coefficients must be a list/tuple, got {type(a).__name__}")
    weights = [weight * (-1) ** k for k, weight in enumerate(a)]
    if not weights and M > 1:
        raise ValueRangeError("Coefficients cannot be empty")
    return _sampled("general_cosine", M, sym, dtype, _cosines(*(weights or [1.0])))


def _spread(
    name: str, count: int, dtype: DType | None, center: float, shape: Callable[[Value], Value]
) -> Value:
    """``shape`` of the distance to ``center``, also where there is only one element."""
    _sampled(name, count, True, dtype, lambda at, last: at)  # its checks
    at = ops.iota(shape=(count,), dim=0, dtype=float64)
    return cast(shape(at - center), dtype or default_dtype())


def _middle(count: int, sym: bool) -> float:
    return (count if not sym and count > 1 else count - 1) / 2


@function("signal.windows.cosine", out=False, calls=_symmetric_calls())
def cosine(M: int, *, sym: bool = True, dtype: DType | None = None) -> Value:
    """sin(π (i + 1/2) / N) for i below ``M``; N is M, or M + 1 if not ``sym``."""
    step = math.pi / max(1, M + 1 if not sym and M > 1 else M)
    return _spread("cosine", M, dtype, -0.5, lambda away: ops.sin(away * step))


def _exponential_calls() -> Iterator[Call]:
    yield from _symmetric_calls(tau=2.5)()
    yield Call((6,), {"sym": False, "center": 1.0})
    yield Call((6,), {"tau": 0.0}, error=(ValueError, "Tau must be positive"))


@function("signal.windows.exponential", out=False, calls=_exponential_calls)
def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True,
    dtype: DType | None = None,
) -> Value:  # fmt: skip
    """exp(-|i - center| / tau) for i below ``M``; the middle, unless ``center`` is given."""
    if tau <= 0:
        raise ValueRangeError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueRangeError("Center must be None for symmetric windows")
    middle = _middle(M, sym) if center is None else center
    return _spread("exponential", M, dtype, middle, lambda away: ops.exp(-ops.abs(away) / tau))


def _gaussian_calls() -> Iterator[Call]:
    yield from _symmetric_calls(std=2.5)()
    yield Call((6,), {"std": -1.0}, error=(ValueError, "must be positive"))


@function("signal.windows.gaussian", out=False, calls=_gaussian_calls)
def gaussian(M: int, *, std: float = 1.0, sym: bool = True, dtype: DType | None = None) -> Value:
    """exp(-((i - middle) / std)² / 2) for i below ``M``."""
    if std <= 0:
        raise ValueRangeError(f"Standard deviation must be positive, got: {std} instead.")
    return _spread(
        "gaussian", M, dtype, _middle(M, sym), lambda away: ops.exp(away * away / (-2 * std * std))
    )


def _kaiser_calls() -> Iterator[Call]:
    yield from _symmetric_calls(beta=5.0)()
    yield Call((6,), {"beta": -1.0}, error=(ValueError, "must be non-negative"))


@function("signal.windows.kaiser", out=False, calls=_kaiser_calls)
def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, dtype: DType | None = None) -> Value:
    """I₀(beta √(1 - (2i / N - 1)²)) / I₀(beta); N is M - 1, or M if not ``sym``."""
    if beta < 0:
        raise ValueRangeError(f"beta must be non-negative, got: {beta} instead.")
    return _sampled("kaiser", M, sym, dtype, _kaiser(beta))
