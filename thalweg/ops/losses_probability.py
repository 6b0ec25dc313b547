"""Losses of probabilities: cross entropies of one number, divergence, likelihoods."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Node, Value
from .arithmetic import broadcast_to, constant
from .check import require
from .contract import Array, Grads
from .function import Call, composite
from .link import ops
from .losses import (
    draw,
    functional,
    loss,
    pair_of,
    reduced_loss,
    reductions,
    torch_size,
    zeros_like,
)
from .named import public
from .nn_shared import need_floating, warn, whole_as_floating


def _probabilities(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).uniform(0.05, 0.95, shape)


def _bce_vjp(node: Node, g: Value) -> Grads:
    """The quotient is limited as PyTorch limits it, so p = 0 and p = 1 give finite gradients."""
    p, t = node.inputs
    least = constant(1e-12, p.dtype, p.shape)
    slope = (p - t) / ops.maximum((1.0 - p) * p, least)
    return g * slope, g * (ops.log1p(-p) - ops.log(p))


def _term_calls() -> Iterator[Call]:
    yield Call((_probabilities(3, 4), _probabilities(4, 3).T))
    yield Call((_probabilities(0, 3), _probabilities(0, 3)))


_term_calls.no_twin = "the terms of nn.functional.binary_cross_entropy"  # type: ignore[attr-defined]


@composite("bce_terms", public=False, vjp=_bce_vjp, out=False, calls=_term_calls)
def _bce_terms(p: Value, t: Value) -> Value:
    """-(t log p + (1 - t) log(1 - p)) with logarithms of at least -100."""
    least = constant(-100.0, p.dtype, p.shape)
    some, none = ops.maximum(ops.log(p), least), ops.maximum(ops.log1p(-p), least)
    return (t - 1.0) * none - t * some  # type: ignore[no-any-return]


def _fit_weight(op: str, weight: Value, shape: tuple[int, ...]) -> Value:
    lead = len(shape) - weight.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(weight.shape, shape[max(lead, 0) :])):
        raise ShapeError(
            f"{op}: expected a weight that broadcasts to {list(shape)}, got {list(weight.shape)}"
        )
    return broadcast_to(weight, shape)


def _bce_calls() -> Iterator[Call]:
    p, t = _probabilities(3, 4), _probabilities(4, 3).T
    yield from reductions(p, t)
    yield from reductions(p, t, weight=np.arange(4))
    yield Call((np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])), grad=False)
    yield Call((np.zeros((0, 2)), np.zeros((0, 2))), {"reduction": "sum"})
    yield Call((p, t[:1]), error=(ValueError, "that is different to the input size"))
    yield Call((p, t.astype(np.float32)), error=(RuntimeError, "dtype"))
    yield Call((p, t, np.ones(3)), error=(RuntimeError, "broadcast"))
    yield Call((p + 1, t), error=(RuntimeError, "should be between 0 and 1"))
    yield Call((p * np.nan, t), error=(RuntimeError, "should be between 0 and 1"))


@loss("binary_cross_entropy", calls=_bce_calls)
def binary_cross_entropy(
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """-weight (t log p + (1 - t) log(1 - p)), reduced; logarithms are at least -100.

    ``input`` and ``target`` have one shape (else ValueError); ``weight`` broadcasts to it.
    RuntimeError at execution for an ``input`` outside [0, 1].
    """
    if target.shape != input.shape:
        raise ValueRangeError(
            f"Using a target size ({torch_size(target.shape)}) that is different to the input size "
            f"({torch_size(input.shape)}) is deprecated. Please ensure they have the same size."
        )
    need_floating("binary_cross_entropy", input)
    if target.dtype is not input.dtype:
        raise DTypeError(f"Found dtype {target.dtype} but expected {input.dtype}")
    possible = public.logical_and(public.ge(input, 0), public.le(input, 1))
    input = require(input, possible, "all elements of input should be between 0 and 1")
    terms = _bce_terms(input, target)
    if weight is not None:
        terms = terms * _fit_weight("binary_cross_entropy", weight, input.shape)
    return reduced_loss(terms, reduction)


def _logits_calls() -> Iterator[Call]:
    x, t = draw(3, 4) * 3, _probabilities(3, 4)
    yield from reductions(x, t)
    yield from reductions(x, t, weight=np.arange(4))
    yield from reductions(x, t, pos_weight=np.arange(4), weight=np.arange(3).reshape(3, 1))
    yield Call((np.array([800.0, -800.0]), np.array([0.0, 0.0])))
    yield Call((x.astype(np.float32), t))
    yield Call((x, t[:1]), error=(ValueError, "must be the same as input size"))


@loss("binary_cross_entropy_with_logits", calls=_logits_calls)
def binary_cross_entropy_with_logits(
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Value | None = None,
) -> Value:
    """`binary_cross_entropy` of sigmoid(input), without overflow.

    ``pos_weight`` multiplies the terms of positive examples; both weights broadcast. ValueError
    unless ``target`` has the shape of ``input``.
    """
    if target.shape != input.shape:
        raise ValueRangeError(
            f"Target size ({torch_size(target.shape)}) must be the same as input size "
            f"({torch_size(input.shape)})"
        )
    if target.dtype.category == "bool":
        raise DTypeError(
            "binary_cross_entropy_with_logits: Subtraction, the `-` operator, with a bool tensor "
            "is not supported: expected a target of floating-point numbers"
        )
    x, t = pair_of("binary_cross_entropy_with_logits", input, target)
    log_sigmoid = functional("logsigmoid")(x)
    if pos_weight is not None:
        log_sigmoid = log_sigmoid * ((pos_weight - 1.0) * t + 1.0)
    terms = (1.0 - t) * x - log_sigmoid
    if weight is not None:
        terms = terms * weight
    return reduced_loss(terms, reduction)


def _warn_of_mean(given: dict[str, Any]) -> None:
    if given["reduction"] == "mean":
        warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.'mean' will be changed to behave the same as 'batchmean' in the next "
            "major release."
        )


def _kl_calls() -> Iterator[Call]:
    x, t = np.log(_probabilities(3, 4)), _probabilities(4, 3).T
    for reduction in ("batchmean", "sum", "none"):  # "mean" warns
        yield Call((x, t), {"reduction": reduction})
        yield Call((x, np.log(t)), {"reduction": reduction, "log_target": True})
    yield Call((x, np.zeros((3, 4))), {"reduction": "sum"}, grad=False)
    yield Call((x, t[:1]), {"reduction": "sum"})
    yield Call((x, t), {"reduction": "big"}, error=(ValueError, "not a valid value for reduction"))


@loss("kl_div", check=_warn_of_mean, calls=_kl_calls)
def kl_div(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Value:
    """target (log target - input), reduced: ``input`` holds logarithms, as does ``target`` with
    ``log_target``. "batchmean" divides the sum by the first extent. Kullback and Leibler (1951).
    """
    x, t = pair_of("kl_div", input, target)
    if log_target:
        terms = ops.exp(t) * (t - x)
    else:
        terms = public.xlogy(t, t) - t * x
    if reduction == "batchmean":
        total = reduced_loss(terms, "sum")
        return total / float(input.shape[0]) if input.ndim else total
    return reduced_loss(terms, reduction)


def _poisson_calls() -> Iterator[Call]:
    x, t = draw(3, 4), np.arange(12.0).reshape(3, 4) / 2 + 0.5
    yield from reductions(x, t)
    yield from reductions(np.abs(x), t, log_input=False)
    yield Call((x, t), {"full": True})
    yield Call((np.abs(x), t), {"log_input": False, "full": True, "eps": 1e-3})
    yield Call((x, t), {"reduction": "big"}, error=(ValueError, "not a valid value for reduction"))


@loss("poisson_nll_loss", calls=_poisson_calls)
def poisson_nll_loss(
    input: Value,
    target: Value,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """exp(x) - t x, or x - t log(x + eps) without ``log_input``; reduced.

    ``full`` adds Stirling's approximation of log(t!) where t > 1.
    """
    values, targets = whole_as_floating(input, target)
    x, t = pair_of("poisson_nll_loss", values, targets)
    terms = ops.exp(x) - t * x if log_input else x - t * ops.log(x + eps)
    if full:
        large = ops.lt(constant(1, t.dtype, t.shape), t)
        safe = ops.where(large, t, constant(1, t.dtype, t.shape))
        stirling = safe * ops.log(safe) - safe + ops.log(safe * (2 * math.pi)) * 0.5
        terms = terms + ops.where(large, stirling, zeros_like(t))
    return reduced_loss(terms, reduction)


def _gaussian_calls() -> Iterator[Call]:
    x, t, var = draw(3, 4), draw(4, 3).T, _probabilities(3, 4)
    yield from reductions(x, t, var)
    yield Call((x, t, var[:, :1]), {"full": True})
    yield Call((x, t, var[:, 0]))
    yield Call((x, t, var[:1]))
    yield Call((x, t, 0.5))
    yield Call((x, t, np.full((3, 4), 1e-9)), {"eps": 1e-2})
    yield Call((x, t, var[:2]), error=(ValueError, "var is of incorrect size"))
    yield Call((x, t, -1.0), error=(ValueError, "var has negative entry/entries"))


def _variance(var: Value | float, input: Value) -> Value:
    """``var`` as a tensor that broadcasts to ``input`` in one dimension at most."""
    if not isinstance(var, Value):
        if var < 0:
            raise ValueRangeError("var has negative entry/entries")
        return constant(var, input.dtype, input.shape)
    if var.shape == input.shape:
        return var
    if var.shape == input.shape[:-1]:
        return ops.reshape(var, shape=(*var.shape, 1))  # type: ignore[no-any-return]
    other = [n for n, m in zip(var.shape, input.shape) if n != m]
    if var.ndim != input.ndim or other != [1]:
        raise ValueRangeError(
            f"var is of incorrect size: got {list(var.shape)} for {list(input.shape)}"
        )
    return var


@loss("gaussian_nll_loss", calls=_gaussian_calls)
def gaussian_nll_loss(
    input: Value,
    target: Value,
    var: Value | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Value:
    """(log var + (input - target)² / var) / 2, reduced; ``full`` adds log(2 pi) / 2.

    ``var`` is a number, of the shape of ``input``, or lacks its last dimension, or has extent 1 in
    one. It is raised to ``eps``, which its gradient ignores. Nix and Weigend (1994).
    """
    x, t = pair_of("gaussian_nll_loss", input, target)
    spread = _variance(var, input)
    short = ops.maximum(spread, constant(eps, spread.dtype, spread.shape)) - spread
    bounded = spread + ops.stop_gradient(short)
    terms = (ops.log(bounded) + public.square(x - t) / bounded) * 0.5
    if full:
        terms = terms + 0.5 * math.log(2 * math.pi)
    return reduced_loss(terms, reduction)
