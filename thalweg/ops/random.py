"""Random tensors: the distributions, as functions of a `Stream` of random bits.

Every element of a result draws its own words, a fixed number of them, at its own position. So a
result depends on seed, counter and shape alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import Any

import numpy as np

from ..core.dtypes import DType, default_dtype, float32, float64, int64, uint32
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..ir.node import Value
from .arithmetic import broadcast_shapes, broadcast_to, cast, constant
from .check import require
from .control_functions import while_loop
from .fill import read_size
from .function import Call, function
from .link import ops
from .named import public
from .philox import Stream

Shape = tuple[int, ...]


def draws(*calls: Call) -> Callable[[], Iterable[Call]]:
    """Calls of a random function: shapes, dtypes and errors are compared, numbers cannot be."""
    return lambda: calls


_X, _P = np.zeros((2, 3), np.float32), np.full((2, 3), 0.5)
_NEGATIVE = (RuntimeError, "negative dimension")
_SIZES = (
    Call((2, 3)), Call(((2, 0),)), Call(([3],), {"dtype": float64}), Call(((),)),
    Call((-1,), error=_NEGATIVE), Call((2,), {"dtype": int64}, error=(RuntimeError, "int64")),
)  # fmt: skip
_LIKES = (Call((_X,)), Call((_P,)), Call((_X,), {"dtype": float64}), Call((np.zeros(()),)))

# Mantissa bits, so that every value below one is representable and one itself never occurs.
PRECISION = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


def _words(rng: Stream, shape: Shape, count: int) -> list[Value]:
    """``count`` words for each element of ``shape``."""
    bits = rng.bits((*shape, count))
    dims = len(shape)
    picked = []
    for i in range(count):
        word = ops.slice(
            bits, starts=(0,) * dims + (i,), stops=(*shape, i + 1), steps=(1,) * (dims + 1)
        )
        picked.append(ops.reshape(word, shape=shape))
    return picked


def _shift(word: Value, by: int) -> Value:
    return ops.shift_right(word, constant(by, word.dtype, word.shape))  # type: ignore[no-any-return]


def _float64(high: Value, low: Value) -> Value:
    """53 random bits of two words as a float64 in [0, 1)."""
    top = cast(_shift(high, 5), float64) * float(1 << 26)
    return (top + cast(_shift(low, 6), float64)) * 2.0**-53


def uniform01(rng: Stream, shape: Shape, dtype: DType) -> Value:
    """Multiples of 2**-p in [0, 1), where p is the precision of ``dtype``."""
    if dtype.is_complex:
        real = dtype.to_real()
        return public.complex(uniform01(rng, shape, real), uniform01(rng, shape, real))  # type: ignore[no-any-return]
    if not dtype.is_floating_point:
        raise DTypeError(f'"check_uniform_bounds" not implemented for {dtype}: expected a float')
    if dtype is float64:
        return _float64(*_words(rng, shape, 2))
    precision = PRECISION[dtype.name]
    bits = _shift(rng.bits(shape), 32 - precision)
    return cast(cast(bits, float32) * 2.0**-precision, dtype)


def standard_normal(rng: Stream, shape: Shape, dtype: DType) -> Value:
    """Box and Muller's transform (1958) of two uniform numbers per element.

    The radius comes from all 32 (float64: 53) bits, so the tails reach 6.7 (8.6) deviations.
    """
    if dtype.is_complex:
        real = dtype.to_real()
        parts = [standard_normal(rng, shape, real) * math.sqrt(0.5) for _ in range(2)]
        return public.complex(*parts)  # type: ignore[no-any-return]
    if not dtype.is_floating_point:
        raise DTypeError(f'"normal_kernel_cpu" not implemented for {dtype}: expected a float')
    if dtype is float64:
        words = _words(rng, shape, 4)
        radial, angular = 1.0 - _float64(*words[:2]), _float64(*words[2:])
    else:
        first, second = _words(rng, shape, 2)
        radial = (cast(first, float32) + 0.5) * 2.0**-32
        angular = cast(_shift(second, 8), float32) * 2.0**-24
    radius = ops.sqrt(ops.log(radial) * -2.0)
    return cast(radius * ops.cos(angular * (2.0 * math.pi)), dtype)


def integers(rng: Stream, shape: Shape, low: int, high: int) -> Value:
    """int64 in [low, high), by multiplying a random fraction with the span (Lemire 2019)."""
    span = high - low
    if span <= 1 << 31:
        product = cast(rng.bits(shape), int64) * span
        offset = ops.shift_right(product, constant(32, int64, product.shape))
    else:
        top, bottom = (cast(w, int64) for w in _words(rng, shape, 2))
        wide = _shift(top, 1) * (1 << 32) + bottom
        offset = ops.remainder(wide, constant(span, int64, shape))
    return offset + low if low else offset  # type: ignore[no-any-return]


@function("rand", random=True, calls=draws(*_SIZES))
def rand(*size: Any, dtype: DType | None = None, rng: Stream) -> Value:
    """Uniform numbers in [0, 1) of the given size."""
    return uniform01(rng, read_size("rand", size), dtype or default_dtype())


@function("randn", random=True, calls=draws(*_SIZES))
def randn(*size: Any, dtype: DType | None = None, rng: Stream) -> Value:
    """Standard normal numbers of the given size."""
    return standard_normal(rng, read_size("randn", size), dtype or default_dtype())


@function("rand_like", random=True, calls=draws(*_LIKES))
def rand_like(input: Value, *, dtype: DType | None = None, rng: Stream) -> Value:
    """Uniform numbers in [0, 1) in the shape and dtype of ``input``."""
    return uniform01(rng, input.shape, dtype or input.dtype)


@function("randn_like", random=True, calls=draws(*_LIKES))
def randn_like(input: Value, *, dtype: DType | None = None, rng: Stream) -> Value:
    """Standard normal numbers in the shape and dtype of ``input``."""
    return standard_normal(rng, input.shape, dtype or input.dtype)


def check_range(low: int, high: int) -> None:
    if low >= high:
        raise ShapeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    if high - low >= 1 << 63:
        raise ShapeError(f"randint: expected a span below 2**63, got {high - low}")


@function(
    "randint",
    random=True,
    calls=draws(
        Call((5, (2, 3))),
        Call((-3, 4, [2])),
        Call((1, 9, (0,)), {"dtype": float32}),
        Call((), {"low": 2, "high": 5, "size": (3,)}),
        Call((3, 3, (2,)), error=(RuntimeError, "less than 'to'")),
    ),
)
def randint(
    *args: Any, low: int = 0, high: int | None = None, size: Sequence[int] | None = None,
    dtype: DType | None = None, rng: Stream,
) -> Value:  # fmt: skip
    """Integers in [low, high): ``randint(high, size)`` or ``randint(low, high, size)``; int64."""
    given = list(args)
    if given and isinstance(given[-1], (tuple, list)):
        size = given.pop()
    numbers = [index(n) for n in given]
    if high is not None:
        numbers.append(high)
    if size is None or not 1 <= len(numbers) <= 2:
        raise ArgumentError(
            f"randint(): expected (high, size) or (low, high, size), got {len(args)} arguments"
        )
    first, last = numbers if len(numbers) == 2 else (low, numbers[0])
    check_range(first, last)
    return cast(integers(rng, read_size("randint", tuple(size)), first, last), dtype or int64)


@function(
    "randint_like",
    random=True,
    calls=draws(Call((_X, 5)), Call((_X, -2, 5)), Call((_X, 4), {"dtype": int64})),
)
def randint_like(
    input: Value, low: int = 0, high: int | None = None, *, dtype: DType | None = None, rng: Stream
) -> Value:
    """Integers in [low, high) in the shape and dtype of ``input``; one number alone is ``high``."""
    first, last = (0, low) if high is None else (low, high)
    check_range(first, last)
    return cast(integers(rng, input.shape, first, last), dtype or input.dtype)


@function(
    "randperm",
    random=True,
    calls=draws(
        Call((5,)),
        Call((0,)),
        Call((4,), {"dtype": float32}),
        Call((-1,), error=(RuntimeError, "non-negative")),
    ),
)
def randperm(n: int, *, dtype: DType = int64, rng: Stream) -> Value:
    """A random order of 0 .. n - 1: the order of n random 63-bit numbers."""
    if n < 0:
        raise ShapeError(f"n must be non-negative, got {n}")
    _, order = ops.sort(integers(rng, (n,), 0, (1 << 63) - 1), dim=0, descending=False)
    return cast(order, dtype)


@function(
    "normal",
    random=True,
    calls=draws(
        Call((_P, _P)),
        Call((_P, 2.0)),
        Call((0.5, _P)),
        Call((0.0, 1.0, (2, 3))),
        Call((np.zeros((2, 1)), np.ones(3))),
        Call((0.0, -1.0, (2,)), error=(RuntimeError, "std >= 0.0")),
    ),
)
def normal(
    mean: Value | float = 0.0, std: Value | float = 1.0, size: Sequence[int] | None = None, *,
    dtype: DType | None = None, rng: Stream,
) -> Value:  # fmt: skip
    """Normal numbers; ``mean`` and ``std`` are tensors that broadcast, or numbers with ``size``."""
    tensors = [v for v in (mean, std) if isinstance(v, Value)]
    check_std(std)
    if tensors:
        shape = broadcast_shapes(*(v.shape for v in tensors), op="normal")
        target = dtype or tensors[0].dtype
    elif size is None:
        raise ArgumentError("normal(): expected size with a mean and a std that are numbers")
    else:
        shape, target = read_size("normal", tuple(size)), dtype or default_dtype()
    return standard_normal(rng, shape, target) * std + mean


def check_std(std: Value | float) -> None:
    if not isinstance(std, Value) and std < 0:
        raise ShapeError(f"normal expects std >= 0.0, but found std {std}")


def below(rng: Stream, shape: Shape, p: Value | float) -> Value:
    """True with probability ``p`` (a number, or a tensor of ``shape``)."""
    if isinstance(p, Value):
        kind = p.dtype if p.dtype is float64 else float32
        return ops.lt(uniform01(rng, shape, kind), broadcast_to(cast(p, kind), shape))  # type: ignore[no-any-return]
    if not 0 <= p <= 1:
        raise ShapeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    bits = rng.bits(shape)
    threshold = round(p * 2.0**32)
    if threshold >= 1 << 32:
        return ops.le(bits, constant((1 << 32) - 1, uint32, shape))  # type: ignore[no-any-return]
    return ops.lt(bits, constant(threshold, uint32, shape))  # type: ignore[no-any-return]


def open_unit(rng: Stream, input: Value) -> Value:
    """Uniform numbers in (0, 1] for logarithms, in float32 or float64."""
    kind = float64 if input.dtype is float64 else float32
    if kind is float64:
        return 1.0 - uniform01(rng, input.shape, kind)
    return (cast(rng.bits(input.shape), float32) + 0.5) * 2.0**-32


def floating(op: str, input: Value) -> None:
    if input.dtype.category != "float":
        raise DTypeError(f'"{op}" not implemented for {input.dtype}: expected a float')


@function(
    "bernoulli",
    method=True,
    random=True,
    calls=draws(
        Call((_P,)),
        Call((_X,)),
        Call((_X, 0.25)),
        Call((_X, 1.5), error=(RuntimeError, "p to be in [0, 1]")),
        Call((np.ones(2, np.int64),), error=(RuntimeError, "int64")),
    ),
)
def bernoulli(input: Value, p: float | None = None, *, rng: Stream) -> Value:
    """Ones with the probabilities in ``input`` (or ``p``), else zeros, in its shape and dtype."""
    floating("bernoulli", input)
    if p is not None:
        return cast(below(rng, input.shape, p), input.dtype)
    inside = public.logical_and(public.ge(input, 0.0), public.le(input, 1.0))
    input = require(input, inside, "bernoulli: Expected p_in >= 0 && p_in <= 1 to be true")
    drawn = cast(below(rng, input.shape, input), input.dtype)
    return drawn + input * 0.0  # the gradient is zero, but there is one


@function("poisson", random=True, calls=draws(Call((_P,)), Call((_X,))))
def poisson(input: Value, *, rng: Stream) -> Value:
    """Poisson numbers of the rates in ``input``, in its shape and dtype; NaN for negative rates.

    A uniform number is used up by the probabilities of the outcomes, taken from the most likely one
    outwards to both sides, so the steps grow with the square root of the greatest rate only.
    """
    floating("poisson", input)
    rate = cast(input, float64)
    shape = rate.shape
    mode = ops.floor(rate)
    chance = ops.exp(public.xlogy(mode, rate) - rate - ops.lgamma(mode + 1.0))
    left = uniform01(rng, shape, float64) - chance

    def going(*state: Value) -> Value:
        left, _, _, above, _, below = state
        open_ = public.logical_and(public.ge(left, 0.0), public.gt(above + below, 1e-18))
        return public.any(open_)  # type: ignore[no-any-return]

    def outwards(*state: Value) -> list[Value]:
        left, result, up, above, down, below = state
        up, above = up + 1.0, above * rate / (up + 1.0)
        down, below = down - 1.0, public.where(public.gt(down, 0.0), below * down / rate, 0.0)
        for outcome, p in ((up, above), (down, below)):
            open_ = public.ge(left, 0.0)
            left = left - cast(open_, float64) * p
            result = public.where(public.logical_and(open_, public.lt(left, 0.0)), outcome, result)
        return [left, result, up, above, down, below]

    _, result, *_ = while_loop(going, outwards, [left, mode, mode, chance, mode, chance])
    valid = public.where(public.lt(rate, 0.0), math.nan, result)
    return cast(valid, input.dtype)


@function(
    "multinomial",
    method=True,
    random=True,
    calls=draws(
        Call((_P, 2)),
        Call((_P, 5, True)),
        Call((np.ones(4, np.float32), 4)),
        Call((_P, 0), error=(RuntimeError, "n_sample <= 0")),
        Call((_P, 4), error=(RuntimeError, "without replacement")),
        Call((np.ones((1, 1, 2)), 1), error=(RuntimeError, "must be 1 or 2 dim")),
    ),
)
def multinomial(input: Value, num_samples: int, replacement: bool = False, *, rng: Stream) -> Value:
    """Positions drawn with probabilities proportional to ``input``: (n) or (m, n) -> int64.

    Without replacement the ``num_samples`` greatest of ``p / exponential`` are a draw (Efraimidis
    and Spirakis 2006); with it, a uniform number is found in the cumulative sum.
    """
    if input.ndim not in (1, 2):
        raise ShapeError(f"prob_dist must be 1 or 2 dim, got {input.ndim}")
    floating("multinomial", input)
    if num_samples <= 0:
        raise ShapeError(f"cannot sample n_sample <= 0 samples, got {num_samples}")
    last, count = input.ndim - 1, input.shape[-1]
    weights = input if input.dtype is float64 else cast(input, float32)
    valid = public.logical_and(public.isfinite(weights), public.ge(weights, 0.0))
    weights = require(
        weights, valid, "probability tensor contains either `inf`, `nan` or element < 0"
    )
    some = public.gt(ops.reduce_sum(weights, dims=(last,)), 0.0)
    weights = require(weights, some, "invalid multinomial distribution (sum of probabilities <= 0)")
    if not replacement or num_samples == 1:
        if num_samples > count:
            raise ShapeError(
                f"cannot sample n_sample > prob_dist.size(-1) samples without replacement, got "
                f"{num_samples} of {count}"
            )
        race = weights / -ops.log(open_unit(rng, weights))
        if num_samples == 1:
            return ops.reshape(ops.argmax(race, dim=last), shape=(*input.shape[:-1], 1))  # type: ignore[no-any-return]
        return ops.sort(race, dim=last, descending=True, keep=num_samples)[1]  # type: ignore[no-any-return]
    total = ops.cumsum(weights, dim=last)
    whole = public.narrow(total, last, count - 1, 1)
    draws = uniform01(rng, (*input.shape[:-1], num_samples), weights.dtype) * whole
    rows = ops.reshape(total, shape=(*input.shape[:-1], 1, count))
    below = public.le(rows, ops.reshape(draws, shape=(*draws.shape, 1)))
    return ops.reduce_sum(cast(below, int64), dims=(below.ndim - 1,))  # type: ignore[no-any-return]


__all__ = ["PRECISION", "Stream", "below", "check_range", "check_std", "draws", "floating",
           "integers", "open_unit", "standard_normal", "uniform01"]  # fmt: skip
