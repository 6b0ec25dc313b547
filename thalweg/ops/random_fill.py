"""The in-place samplers: ``x.normal_()`` and its kin, as new contents for a tensor like ``x``."""

from __future__ import annotations

import math

import numpy as np

from ..core.errors import ShapeError
from ..ir.node import Value
from .arithmetic import cast, constant
from .function import Call, function
from .link import ops
from .philox import Stream
from .random import (
    PRECISION,
    below,
    check_range,
    check_std,
    draws,
    floating,
    integers,
    open_unit,
    standard_normal,
    uniform01,
)

_X, _P = np.zeros((2, 3), np.float32), np.full((2, 3), 0.5)


@function(
    "uniform",
    public=False,
    method=True,
    inplace=True,
    random=True,
    out=False,
    calls=draws(
        Call((_X,)),
        Call((_P, -2.0, 3.0)),
        Call((_X, 2.0, 1.0), error=(RuntimeError, "uniform_ expects")),
    ),
)
def uniform(input: Value, from_: float = 0.0, to: float = 1.0, *, rng: Stream) -> Value:
    """Uniform numbers in [from, to) in the shape and dtype of ``input``."""
    if from_ > to:
        raise ShapeError(
            f"uniform_ expects to return a [from, to) range, but found from={from_} > to={to}"
        )
    unit = uniform01(rng, input.shape, input.dtype)
    return unit if (from_, to) == (0.0, 1.0) else unit * (to - from_) + from_


@function(
    "Tensor.normal",
    method="normal",
    inplace=True,
    random=True,
    out=False,
    calls=draws(
        Call((_X,)), Call((_P, 1.0, 2.0)), Call((_X, 0.0, -1.0), error=(RuntimeError, "std >= 0.0"))
    ),
)
def fill_normal(input: Value, mean: float = 0.0, std: float = 1.0, *, rng: Stream) -> Value:
    """Normal numbers in the shape and dtype of ``input``."""
    check_std(std)
    return standard_normal(rng, input.shape, input.dtype) * std + mean


@function(
    "Tensor.bernoulli",
    method="bernoulli",
    inplace=True,
    random=True,
    out=False,
    calls=draws(
        Call((_X,)),
        Call((_P, 0.25)),
        Call((_X, 1.5), error=(RuntimeError, "p to be in [0, 1]")),
    ),
)
def fill_bernoulli(input: Value, p: Value | float = 0.5, *, rng: Stream) -> Value:
    """Ones with probability ``p``, else zeros, in the shape and dtype of ``input``."""
    return cast(below(rng, input.shape, p), input.dtype)


@function(
    "Tensor.random",
    method="random",
    inplace=True,
    random=True,
    out=False,
    calls=draws(
        Call((_X,)),
        Call((_P, 3)),
        Call((np.ones(3, np.int64), 2, 5)),
        Call((_X, 3, 3), error=(RuntimeError, "less than 'to'")),
    ),
)
def fill_random(
    input: Value, from_: int | None = None, to: int | None = None, *, rng: Stream
) -> Value:
    """Integers in [from, to) in the shape and dtype of ``input``; one number alone is ``to``.

    Without numbers: all that the dtype holds from 0 on (floats: up to 2 ** precision).
    """
    if from_ is not None and to is None:
        from_, to = 0, from_
    if to is None:
        precision = PRECISION.get(
            input.dtype.name, 8 * input.dtype.itemsize - input.dtype.is_signed
        )
        to = 2 if input.dtype.category == "bool" else (1 << min(precision, 63)) - (precision >= 63)
    check_range(from_ or 0, to)
    return cast(integers(rng, input.shape, from_ or 0, to), input.dtype)


@function(
    "exponential",
    public=False,
    method=True,
    inplace=True,
    random=True,
    out=False,
    calls=draws(
        Call((_X,)), Call((_P, 2.0)), Call((_X, -1.0), error=(RuntimeError, "lambda > 0.0"))
    ),
)
def exponential(input: Value, lambd: float = 1.0, *, rng: Stream) -> Value:
    """Exponential numbers of rate ``lambd`` in the shape and dtype of ``input``."""
    if lambd <= 0:
        raise ShapeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    floating("exponential_", input)
    return cast(ops.log(open_unit(rng, input)) * (-1.0 / lambd), input.dtype)


@function(
    "geometric",
    public=False,
    method=True,
    inplace=True,
    random=True,
    out=False,
    calls=draws(
        Call((_X, 0.5)), Call((_P, 0.1)), Call((_X, 1.5), error=(RuntimeError, "p to be in (0, 1)"))
    ),
)
def geometric(input: Value, p: float, *, rng: Stream) -> Value:
    """How many trials of success probability ``p`` until the first success: 1, 2, ..."""
    if not 0 < p < 1:
        raise ShapeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    trials = ops.ceil(ops.log(open_unit(rng, input)) / math.log1p(-p))
    return cast(ops.maximum(trials, constant(1, trials.dtype, trials.shape)), input.dtype)


@function(
    "log_normal",
    public=False,
    method=True,
    inplace=True,
    random=True,
    out=False,
    calls=draws(
        Call((_X,)), Call((_P, 0.0, 1.0)), Call((_X, 0.0, -1.0), error=(RuntimeError, "std > 0.0"))
    ),
)
def log_normal(input: Value, mean: float = 1.0, std: float = 2.0, *, rng: Stream) -> Value:
    """The exponential of normal numbers in the shape and dtype of ``input``."""
    if std <= 0:
        raise ShapeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return ops.exp(standard_normal(rng, input.shape, input.dtype) * std + mean)  # type: ignore[no-any-return]


@function(
    "cauchy",
    public=False,
    method=True,
    inplace=True,
    random=True,
    out=False,
    calls=draws(
        Call((_X,)),
        Call((_P, 1.0, 2.0)),
        Call((_X, 0.0, -1.0), error=(RuntimeError, "sigma > 0.0")),
    ),
)
def cauchy(input: Value, median: float = 0.0, sigma: float = 1.0, *, rng: Stream) -> Value:
    """Cauchy numbers around ``median`` in the shape and dtype of ``input``."""
    if sigma <= 0:
        raise ShapeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    floating("cauchy_", input)
    angle = (open_unit(rng, input) - 0.5) * math.pi
    return cast(ops.tan(angle) * sigma + median, input.dtype)
