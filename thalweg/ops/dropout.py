"""Functions of a tensor and of random numbers: dropout and its kin, Gumbel softmax, rrelu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.dtypes import int64
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import broadcast_to, cast, coerce_float
from .dims import normalize_dim
from .function import Call, function
from .link import ops
from .named import public
from .philox import Stream
from .random import draws, uniform01
from .random_fill import exponential, fill_bernoulli

# The value that SELU (Klambauer et al. 2017) takes at minus infinity: -scale * alpha.
_SELU_FLOOR = -1.7580993408473766


_X = np.array([[-1.0, 0.5, 2.0], [0.25, -3.0, 1.0]])


def _drops(*shapes: tuple[int, ...]) -> Any:
    """Calls on ones of these shapes: in training, not in training, and with a wrong ``p``."""
    found = []
    for shape in shapes:
        x = np.ones(shape)
        found += [Call((x,), {"training": True}), Call((x, 0.3, False)), Call((x, 1.0, True))]
    found.append(Call((x, 1.5, True), error=(ValueError, "between 0 and 1")))
    return draws(*found)


def _check(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueRangeError(f"dropout probability has to be between 0 and 1, but got {p}")


def _keep(input: Value, shape: tuple[int, ...], p: float, rng: Stream) -> Value:
    """1 with probability ``1 - p`` in the dtype of ``input``; ``shape`` is its leading part."""
    if input.dtype.category not in ("float", "complex"):
        raise DTypeError(f"dropout: expected a floating-point input, got {input.dtype}")
    blank = ops.full(shape=shape, value=0, dtype=input.dtype.to_real())
    kept = cast(fill_bernoulli(blank, 1.0 - p, rng=rng), input.dtype)
    lifted = ops.reshape(kept, shape=(*shape, *(1,) * (input.ndim - len(shape))))
    return broadcast_to(lifted, input.shape)


def _drop(input: Value, shape: tuple[int, ...], p: float, training: bool, rng: Stream) -> Value:
    _check(p)
    if not training or p == 0.0:
        return input
    scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0
    return input * (_keep(input, shape, p, rng) * scale)


@function(
    "nn.functional.dropout",
    random=True,
    out=False,
    aliases=("dropout",),
    calls=_drops((2, 3), (5,), ()),
)
def dropout(
    input: Value, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: Stream
) -> Value:
    """Elements zeroed with probability ``p``, the others divided by ``1 - p``.

    Srivastava et al., "Dropout" (JMLR 2014). ValueError unless ``p`` is in [0, 1].
    """
    return _drop(input, input.shape, p, training, rng)


def _leading(op: str, input: Value, ndims: dict[int, int]) -> tuple[int, ...]:
    """The shape of one decision per channel: ``ndims`` maps ranks to the dimensions it takes."""
    if input.ndim not in ndims:
        raise ShapeError(
            f"{op}: expected an input of {' or '.join(map(str, ndims))} dimensions, got "
            f"{input.ndim}D of shape {list(input.shape)}"
        )
    return input.shape[: ndims[input.ndim]]


@function("nn.functional.dropout1d", random=True, out=False, calls=_drops((2, 3, 4), (3, 4)))
def dropout1d(
    input: Value, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: Stream
) -> Value:
    """Whole channels of (n, c, l) or (c, l) zeroed (Tompson et al. 2015)."""
    return _drop(input, _leading("dropout1d", input, {2: 1, 3: 2}), p, training, rng)


@function("nn.functional.dropout2d", random=True, out=False, calls=_drops((2, 3, 4, 4)))
def dropout2d(
    input: Value, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: Stream
) -> Value:
    """Whole channels of (n, c, h, w) zeroed; (n, c, l) is taken as `dropout1d` takes it."""
    return _drop(input, _leading("dropout2d", input, {2: 2, 3: 2, 4: 2}), p, training, rng)


@function(
    "nn.functional.dropout3d", random=True, out=False, calls=_drops((2, 3, 2, 2, 2), (3, 2, 2, 2))
)
def dropout3d(
    input: Value, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: Stream
) -> Value:
    """Whole channels of (n, c, d, h, w) or (c, d, h, w) zeroed."""
    return _drop(input, _leading("dropout3d", input, {4: 1, 5: 2}), p, training, rng)


def _alpha_drop(
    input: Value, shape: tuple[int, ...], p: float, training: bool, rng: Stream
) -> Value:
    _check(p)
    if not training or p == 0.0:
        return input
    if p == 1.0:
        return input * 0.0
    scale = ((1.0 - p) * (1.0 + p * _SELU_FLOOR**2)) ** -0.5
    keep = _keep(input, shape, p, rng) * scale
    shift = (scale - keep) * _SELU_FLOOR - scale * _SELU_FLOOR * p
    return input * keep + shift  # type: ignore[no-any-return]


@function("nn.functional.alpha_dropout", random=True, out=False, calls=_drops((2, 3)))
def alpha_dropout(
    input: Value, p: float = 0.5, training: bool = False, inplace: bool = False, *, rng: Stream
) -> Value:
    """Dropout to SELU's lower limit that keeps mean and variance (Klambauer et al. 2017)."""
    return _alpha_drop(input, input.shape, p, training, rng)


@function("nn.functional.feature_alpha_dropout", random=True, out=False, calls=_drops((2, 3, 4)))
def feature_alpha_dropout(
    input: Value, p: float = 0.5, training: bool = False, inplace: bool = False, *, rng: Stream
) -> Value:
    """`alpha_dropout` of whole channels: one decision for each of the first two dimensions."""
    if input.ndim < 2 and training and 0 < p < 1:
        raise ShapeError(
            f"Feature dropout requires at least 2 dimensions in the input, got {input.ndim}"
        )
    return _alpha_drop(input, input.shape[:2], p, training, rng)


@function(
    "nn.functional.gumbel_softmax",
    random=True,
    out=False,
    calls=draws(Call((_X,)), Call((_X, 0.5, True), {"dim": 0})),
)
def gumbel_softmax(
    logits: Value, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1, *,
    rng: Stream,
) -> Value:  # fmt: skip
    """Softmax of ``(logits + Gumbel noise) / tau`` (Jang et al. 2017; Maddison et al. 2017).

    ``hard`` gives one-hot vectors with the gradient of the soft ones. ``eps`` has no effect.
    """
    axis = normalize_dim(dim, logits.ndim)
    noise = -ops.log(exponential(logits, rng=rng))
    soft = getattr(public, "nn.functional.softmax")((logits + noise) / tau, axis)
    if not hard:
        return soft  # type: ignore[no-any-return]
    kept = tuple(1 if i == axis else n for i, n in enumerate(soft.shape))
    best = ops.expand(ops.reshape(ops.argmax(soft, dim=axis), shape=kept), shape=soft.shape)
    ramp = ops.iota(shape=soft.shape, dim=axis, dtype=int64)
    chosen = cast(ops.eq(ramp, best), soft.dtype)
    return chosen - ops.stop_gradient(soft) + soft  # type: ignore[no-any-return]


@function(
    "nn.functional.rrelu",
    random=True,
    out=False,
    aliases=("rrelu",),
    calls=draws(
        Call((_X,)),
        Call((_X, 0.1, 0.3, True)),
        Call((_X, 0.5, 0.3), error=(RuntimeError, "Lower bound")),
    ),
)
def rrelu(
    input: Value, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
    inplace: bool = False, *, rng: Stream,
) -> Value:  # fmt: skip
    """Leaky ReLU whose slope is drawn from [lower, upper) in training, their mean otherwise.

    Xu et al., "Empirical evaluation of rectified activations" (2015).
    """
    if not (math.isfinite(lower) and math.isfinite(upper)) or lower > upper:
        raise ShapeError(
            f"Lower bound should be less than or equal to the upper bound, got {lower}, {upper}"
        )
    x = coerce_float(input)
    slope: Any = (lower + upper) / 2
    if training:
        slope = uniform01(rng, x.shape, x.dtype) * (upper - lower) + lower
    return public.where(public.ge(x, 0), x, x * slope)  # type: ignore[no-any-return]
