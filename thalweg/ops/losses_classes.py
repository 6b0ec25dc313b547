"""Losses of classes: cross entropy, and margins between the scores of classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core.dtypes import bool_, int64
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Node, Value
from .arithmetic import broadcast_to, cast, coerce, constant
from .contract import Grads
from .function import Call, composite
from .link import ops
from .losses import (
    all_of,
    check_reduction,
    draw,
    functional,
    loss,
    positive_part,
    reduced_loss,
    reductions,
    zeros_like,
)
from .named import public
from .nn_shared import need_floating, widened
from .pointwise import expect_tensor
from .reduce import spread
from .shape_functions import to_shape
from .softmax import log_softmax_along


def class_mask(shape: tuple[int, ...], at: Value, dim: int) -> Value:
    """Where the position along ``dim`` is the one that ``at`` (without ``dim``) names."""
    ramp = ops.iota(shape=shape, dim=dim, dtype=at.dtype)
    kept = (*shape[:dim], 1, *shape[dim + 1 :])
    return ops.eq(ramp, broadcast_to(to_shape(at, kept), shape))  # type: ignore[no-any-return]


def _pick_vjp(node: Node, g: Value) -> Grads:
    """A choice per element instead of a scatter, so that it fuses with what consumes it."""
    x, at = node.inputs
    dim = node.attrs["dim"]
    given = spread(g, x, (dim,))
    return ops.where(class_mask(x.shape, at, dim), given, zeros_like(given)), None


def _pick_calls() -> Iterator[Call]:
    yield Call((draw(3, 4), np.array([0, 3, 1]), 1))
    yield Call((draw(2, 3, 4), np.array([[2, 0, 1, 1], [0, 1, 2, 0]]), 1))
    yield Call((draw(3, 2), np.array([0, 2]), 1), error=(IndexError, "out of bounds"))


_pick_calls.no_twin = "the selection within nn.functional.nll_loss"  # type: ignore[attr-defined]


@composite("pick_class", public=False, vjp=_pick_vjp, out=False, calls=_pick_calls)
def pick_class(input: Value, index: Value, dim: int) -> Value:
    """``input`` at the positions ``index`` along ``dim``, which the result lacks.

    (a..., c, b...), (a..., b...) -> (a..., b...). IndexError at execution for positions outside.
    """
    kept = (*index.shape[:dim], 1, *index.shape[dim:])
    found = public.gather(input, dim, to_shape(index, kept))
    return to_shape(found, index.shape)


def _check_target(op: str, input: Value, target: Value) -> None:
    if input.ndim == 0:
        raise ValueRangeError(f"{op}: Expected 1 or more dimensions (got 0)")
    if input.ndim == 1:
        if target.ndim > 1 or target.type.numel != 1:
            raise ShapeError(
                f"{op}: expected a 0-d or 1-element target for a 1-d input, got shape "
                f"{list(target.shape)}"
            )
    elif target.ndim == 0 or target.shape[0] != input.shape[0]:
        count = target.shape[0] if target.ndim else 0
        raise ValueRangeError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({count})."
        )
    elif target.shape != (input.shape[0], *input.shape[2:]):
        raise ShapeError(
            f"{op}: Expected target size {[input.shape[0], *input.shape[2:]]}, got "
            f"{list(target.shape)} (size mismatch with input {list(input.shape)})"
        )
    if target.dtype is not int64 and target.dtype.name != "uint8":
        raise DTypeError(f"expected target dtype to be Long or Byte, but got {target.dtype}")


def _check_weight(input: Value, weight: Value | None) -> None:
    if weight is None:
        return
    classes = input.shape[1 if input.ndim > 1 else 0]
    if weight.shape != (classes,):
        raise ShapeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            f"got weight tensor of shape: {list(weight.shape)}"
        )
    if weight.dtype is not input.dtype:
        raise DTypeError(f"weight: expected scalar type {input.dtype} but found {weight.dtype}")


def _chosen(
    input: Value, target: Value, weight: Value | None, ignore_index: int
) -> tuple[Value, Value, Value]:
    """(-weight * input at the targets, those weights, the mask of targets not ignored).

    The three have the shape of the targets, and are zero (false) at ignored ones.
    """
    dim = 1 if input.ndim > 1 else 0
    at = cast(to_shape(target, (*input.shape[:dim], *input.shape[dim + 1 :])), int64)
    counted = public.ne(at, ignore_index)
    at = ops.where(counted, at, constant(0, at.dtype, at.shape))
    picked = pick_class(input, at, dim)
    zero = zeros_like(picked)
    if weight is None:
        weights = cast(counted, input.dtype)
        return ops.where(counted, -picked, zero), weights, counted
    weights = ops.where(counted, ops.take(weight, at, batch=0), zero)
    return ops.where(counted, -picked * weights, zero), weights, counted


def _nll_calls() -> Iterator[Call]:
    x, at = draw(4, 3), np.array([0, 2, 1, 1])
    w = np.array([0.5, 1.5, 2.0])
    yield from reductions(x, at)
    yield from reductions(x, at, ignore_index=1)
    for call in reductions(x, at, w, ignore_index=2):
        yield Call(call.args, call.kwargs, grad=False)
    yield from reductions(draw(2, 3, 4), np.arange(8).reshape(2, 4) % 3)
    yield from reductions(draw(2, 3, 4, 2), np.arange(16).reshape(2, 4, 2) % 3, ignore_index=0)
    yield Call((x[0], np.array(2)))
    yield Call((x, at.astype(np.uint8)), grad=False)
    yield Call((np.zeros((0, 3)), np.zeros(0, np.int64)), {"reduction": "sum"})
    yield Call((x, np.full(4, -100)), grad=False)
    yield Call((x, np.array([0, 1, 5, 1])), error=(IndexError, "out of bounds"))
    yield Call((x, at[:3]), error=(ValueError, "Expected input batch_size (4) to match"))
    yield Call((x, at * 1.0), error=(RuntimeError, "expected target dtype to be Long or Byte"))
    yield Call((x, at, w[:2]), error=(RuntimeError, "weight tensor should be defined"))
    wrong = "Expected target size [2, 4], got [2, 3]"
    yield Call((draw(2, 3, 4), np.zeros((2, 3), np.int64)), error=(RuntimeError, wrong))
    yield Call((x, at), {"reduction": "big"}, error=(ValueError, "not a valid value for reduction"))


@loss("nll_loss", onnx="NegativeLogLikelihoodLoss", calls=_nll_calls)
def nll_loss(
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """``-weight[target] * input[target]`` along the class dimension; the mean is weighted.

    Log-probabilities (c), (n, c) or (n, c, d...), targets (int64 or uint8) without c; ``weight``
    (c). Targets equal to ``ignore_index`` do not count. IndexError at execution for other targets
    outside the classes; ValueError for another batch size, RuntimeError for other shapes.
    """
    x = expect_tensor("nll_loss", input)
    _check_target("nll_loss", x, target)
    _check_weight(x, weight)
    need_floating("nll_loss", x)
    terms, weights, _ = _chosen(x, target, weight, ignore_index)
    if reduction == "none":
        return to_shape(terms, target.shape)
    return reduced_loss(terms, reduction, all_of(widened(weights)))


def _cross_calls() -> Iterator[Call]:
    x, at = draw(4, 3), np.array([0, 2, 1, 1])
    w = np.array([0.5, 1.5, 2.0])
    p = np.random.default_rng(1).dirichlet(np.ones(3), 4)
    yield from reductions(x, at)
    yield from reductions(x, at, ignore_index=1, label_smoothing=0.2)
    for smoothing in (0.0, 0.3):
        for call in reductions(x, at, w, ignore_index=2, label_smoothing=smoothing):
            yield Call(call.args, call.kwargs, grad=False)
        yield from reductions(x, p, label_smoothing=smoothing)
    for call in reductions(x, p, w):
        yield Call(call.args, call.kwargs, grad=False)
    yield from reductions(draw(2, 3, 4, 2), np.arange(16).reshape(2, 4, 2) % 3)
    yield from reductions(draw(2, 3, 4), np.full((2, 3, 4), 1 / 3))
    yield Call((x[0], np.array(2)))
    yield Call((x[0], p[0]))
    yield Call((x.astype(np.float16), at), grad=False)
    yield Call((x.astype(np.float32), p))
    yield Call((x, np.full(4, -100)), grad=False)
    yield Call((x * 1e3, at))
    yield Call((x, np.array([0, 1, 5, 1])), error=(IndexError, "out of bounds"))
    yield Call((x, at[:3]), error=(ValueError, "Expected input batch_size (4) to match"))
    yield Call((x, at * 1.0), error=(RuntimeError, "expected target dtype to be Long or Byte"))
    yield Call((x, at, w[:2]), error=(RuntimeError, "weight tensor should be defined"))
    option = {"label_smoothing": 2.0}
    yield Call((x, at), option, error=(RuntimeError, "must be between 0.0 and 1.0"))
    yield Call((x, p), {"ignore_index": 1}, error=(RuntimeError, "ignore_index is not supported"))
    yield Call((x, at), {"reduction": "big"}, error=(ValueError, "not a valid value for reduction"))


class SmoothingError(ValueRangeError, RuntimeError):
    """A label smoothing outside [0, 1] (PyTorch raises RuntimeError)."""


@loss("cross_entropy", onnx="SoftmaxCrossEntropyLoss", calls=_cross_calls)
def cross_entropy(
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Value:
    """The negative log-likelihood of ``log_softmax(input)`` along the class dimension.

    Scores (c), (n, c) or (n, c, d...); ``target`` holds class indices (see `nll_loss`) or, in the
    shape of ``input``, probabilities. ``label_smoothing`` mixes the target with the uniform
    distribution (Szegedy et al., arXiv 1512.00567).
    """
    x = expect_tensor("cross_entropy", input)
    if not 0.0 <= label_smoothing <= 1.0:
        raise SmoothingError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target.shape == x.shape:
        return _of_probabilities(x, target, weight, ignore_index, reduction, label_smoothing)
    _check_target("cross_entropy", x, target)
    _check_weight(x, weight)
    need_floating("cross_entropy", x)
    dim = 1 if x.ndim > 1 else 0
    logs = log_softmax_along(x, dim=dim)
    terms, weights, counted = _chosen(logs, target, weight, ignore_index)
    if label_smoothing > 0.0:
        classes = float(x.shape[dim])
        each = logs if weight is None else logs * _per_class(weight, logs, dim)
        uniform = -ops.reduce_sum(each, dims=(dim,))
        uniform = ops.where(counted, uniform, zeros_like(uniform))
        terms = terms * (1.0 - label_smoothing) + uniform * (label_smoothing / classes)
    if reduction == "none":
        return to_shape(terms, target.shape)
    return reduced_loss(terms, reduction, all_of(widened(weights)))


def _per_class(weight: Value, like: Value, dim: int) -> Value:
    shape = tuple(n if d == dim else 1 for d, n in enumerate(like.shape))
    return broadcast_to(to_shape(weight, shape), like.shape)


def _of_probabilities(
    x: Value, target: Value, weight: Value | None, ignore_index: int, reduction: str,
    label_smoothing: float,
) -> Value:  # fmt: skip
    if not target.dtype.is_floating_point:
        raise DTypeError(
            f"Expected floating point type for target with class probabilities, got {target.dtype}"
        )
    if ignore_index >= 0:
        raise SmoothingError("ignore_index is not supported for floating point target")
    _check_weight(x, weight)
    need_floating("cross_entropy", x)
    dim = 1 if x.ndim > 1 else 0
    logs, p = coerce(log_softmax_along(x, dim=dim), target, op="cross_entropy")
    if label_smoothing > 0.0:
        p = p * (1.0 - label_smoothing) + label_smoothing / float(x.shape[dim])
    terms = -logs * p
    if weight is not None:
        terms = terms * _per_class(weight, terms, dim)
    return reduced_loss(ops.reduce_sum(terms, dims=(dim,)), reduction)


def _rows(op: str, input: Value, target: Value, per_class: bool) -> tuple[Value, Value]:
    """Input as (n, c); target as (n), or (n, c) if it has an entry ``per_class``."""
    if not input.ndim:  # one class
        input, target = to_shape(input, (1,)), to_shape(target, (1,)) if per_class else target
    if input.ndim not in (1, 2) or (input.type.numel == 0 and input.shape[-1] == 0):
        raise ShapeError(
            f"{op}: Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}"
        )
    rows, classes = (1, *input.shape)[-2:]
    wanted = input.shape if per_class else input.shape[:-1]
    if target.shape != wanted and not (target.type.numel == 1 and rows == 1 and not per_class):
        raise ShapeError(
            f"{op}: inconsistent target size, got: {list(target.shape)} for input "
            f"{list(input.shape)}"
        )
    if target.dtype is not int64:
        raise DTypeError(f"{op}: expected scalar type Long but found {target.dtype}")
    need_floating(op, input)
    x = to_shape(input, (rows, classes))
    return x, to_shape(target, (rows, classes) if per_class else (rows,))


def _multi_calls() -> Iterator[Call]:
    x, at = draw(4, 3), np.array([0, 2, 1, 1])
    yield from reductions(x, at)
    yield from reductions(x, at, p=2, margin=0.5)
    for call in reductions(x, at, weight=np.array([0.5, 1.0, 2.0])):
        yield Call(call.args, call.kwargs, grad=False)
    yield Call((x[0], np.array(2)))
    yield Call((x, at), {"p": 3}, error=(RuntimeError, "only p == 1 and p == 2 supported"))
    yield Call((x, at[:2]), error=(RuntimeError, "inconsistent target size"))


class MarginPower(ValueRangeError, RuntimeError):
    """An exponent other than 1 and 2 (PyTorch raises RuntimeError)."""


@loss("multi_margin_loss", calls=_multi_calls)
def multi_margin_loss(
    input: Value,
    target: Value,
    p: int = 1,
    margin: float = 1.0,
    weight: Value | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """Mean over classes i but the target y of ``weight[y] * max(0, margin - x[y] + x[i]) ** p``.

    (n, c), (n) -> (n), or (c), () -> (); then reduced. RuntimeError unless p is 1 or 2, IndexError
    at execution for targets outside the classes.
    """
    if p not in (1, 2):
        raise MarginPower("only p == 1 and p == 2 supported")
    check_reduction(reduction)
    if weight is not None and weight.ndim != 1:
        raise ValueRangeError(f"weight must be one-dimensional, got shape {list(weight.shape)}")
    _check_weight(input, weight)
    x, at = _rows("multi_margin_loss", input, target, per_class=False)
    right = pick_class(x, at, 1)
    excess = positive_part(x - spread(right, x, (1,)) + margin)
    terms = excess if p == 1 else public.square(excess)
    if weight is not None:
        terms = terms * spread(ops.take(weight, at, batch=0), x, (1,))
    terms = ops.where(class_mask(x.shape, at, 1), zeros_like(terms), terms)
    each = ops.reduce_sum(terms, dims=(1,)) / float(x.shape[1])
    return reduced_loss(to_shape(each, input.shape[:-1]), reduction)


def _label_calls() -> Iterator[Call]:
    x = draw(3, 4)
    at = np.array([[3, 0, -1, 1], [1, -1, -1, -1], [-1, 2, 0, 1]])
    yield from reductions(x, at)
    yield Call((x[0], at[0]))
    yield Call((x, at[:2]), error=(RuntimeError, "inconsistent target size"))


@loss("multilabel_margin_loss", calls=_label_calls)
def multilabel_margin_loss(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """Sum over targets y and classes i that are none of ``max(0, 1 - (x[y] - x[i]))``, over c.

    (n, c), (n, c) -> (n), or (c), (c) -> (); then reduced. A row of targets ends at its first -1.
    """
    check_reduction(reduction)
    x, at = _rows("multilabel_margin_loss", input, target, per_class=True)
    rows, classes = x.shape
    listed = ops.cumprod(cast(public.ge(at, 0), int64), dim=1)
    real = cast(listed, bool_)
    safe = ops.where(real, at, constant(0, int64, at.shape))
    cube = (rows, classes, classes)  # example, position in the list of targets, class

    def lifted(value: Value, dim: int) -> Value:
        shape = tuple(1 if d == dim else n for d, n in enumerate(cube))
        return broadcast_to(to_shape(value, shape), cube)

    hit = ops.where(lifted(real, 2), class_mask(cube, safe, 2), constant(False, bool_, cube))
    other = public.logical_not(ops.reduce_max(hit, dims=(1,)))
    right = public.gather(x, 1, safe)
    excess = positive_part(lifted(x, 1) - lifted(right, 2) + 1.0)
    both = public.logical_and(lifted(real, 2), lifted(other, 1))
    terms = ops.where(both, excess, zeros_like(excess))
    each = ops.reduce_sum(terms, dims=(1, 2)) / float(classes)
    return reduced_loss(to_shape(each, input.shape[:-1]), reduction)


def _soft_calls() -> Iterator[Call]:
    x, y = draw(3, 4), (draw(4, 3).T > 0) * 1.0
    yield from reductions(x, y)
    yield from reductions(x, y, weight=np.array([0.5, 1.0, 2.0, 0.1]))
    yield Call((x, y[:2]), error=(RuntimeError, "must match the size"))


@loss("multilabel_soft_margin_loss", calls=_soft_calls)
def multilabel_soft_margin_loss(
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """Mean over classes (the last dimension) of the binary cross entropies of sigmoid(input) and
    ``target``, then reduced; ``weight`` (c) multiplies the classes."""
    x, y = coerce(input, target, op="multilabel_soft_margin_loss")
    need_floating("multilabel_soft_margin_loss", x)
    log_sigmoid = functional("logsigmoid")
    terms = -(y * log_sigmoid(x) + (1.0 - y) * log_sigmoid(-x))
    if weight is not None:
        terms = terms * weight
    last = terms.ndim - 1
    each = ops.reduce_sum(terms, dims=(last,)) / float(terms.shape[last])
    return reduced_loss(each, reduction)


def _margin_calls() -> Iterator[Call]:
    x, y = draw(3, 4), np.where(draw(4, 3).T > 0, 1, -1)
    yield from reductions(x, y)
    yield Call((x, y[:1]))


@loss("soft_margin_loss", calls=_margin_calls)
def soft_margin_loss(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """log(1 + exp(-target * input)) for targets 1 and -1, reduced; without overflow."""
    x, y = coerce(input, target, op="soft_margin_loss")
    need_floating("soft_margin_loss", x)
    return reduced_loss(-functional("logsigmoid")(y * x), reduction)


__all__ = ["class_mask", "cross_entropy", "nll_loss", "pick_class"]
