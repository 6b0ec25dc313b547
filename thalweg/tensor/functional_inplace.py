"""Functional faces that change tensors: running statistics, ``inplace=`` flags, bounded norms.

What they compute is recorded by the pure functions of the op registry; here the results are
written back. Importing this module puts the faces into `RECORDED` under PyTorch's names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..core.errors import ArgumentError, ShapeError, ValueRangeError, located
from ..ops.function import FUNCTIONS, Function
from .attach import RECORDED
from .inplace import inplace as recorded_in_place
from .modes import no_grad
from .tensor import Tensor

_PREFIX = "nn.functional."


def face(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register ``nn.functional.<name of the function>``; errors name the user's statement."""

    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise located(error) from None

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    call.__wrapped__ = function  # type: ignore[attr-defined]
    RECORDED[_PREFIX + function.__name__] = call
    return call


# ---- running statistics


_normalise_batch = RECORDED["batch_norm_train"]
_normalise_by = RECORDED["batch_norm_eval"]
_normalise_instances = RECORDED["instance_norm_train"]


def _follow(running: Tensor | None, now: Tensor, momentum: float) -> None:
    """Move a running statistic by the fraction ``momentum`` towards the present one."""
    if running is not None:
        running.lerp_(now.to(running.dtype), momentum)


def _check_channels(input: Tensor, **statistics: Tensor | None) -> None:
    for name, value in statistics.items():
        if value is not None and tuple(value.shape) != (input.shape[1],):
            raise ShapeError(f"{name} should contain {input.shape[1]} elements not {value.numel()}")


@face
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise (n, c, ...) per channel, then scale and shift by ``weight`` and ``bias`` (c).

    In training by the statistics of the batch, towards which the running ones (c) are moved by
    ``momentum``, in place; else by the running ones. ValueError for a single value per channel
    in training, RuntimeError for missing or misshapen statistics. Ioffe and Szegedy,
    arXiv 1502.03167.
    """
    if input.ndim == 1 and not input.numel():
        return input.clone()  # no channels, and PyTorch asks for no dimension of them
    if not training:
        for name, value in (("running_mean", running_mean), ("running_var", running_var)):
            if value is None:
                raise ShapeError(f"{name} must be defined in evaluation mode")
        return _normalise_by(input, running_mean, running_var, weight, bias, eps)  # type: ignore[no-any-return]
    shape = tuple(input.shape)
    if len(shape) > 1:
        if math.prod(shape) == shape[1]:
            raise ValueRangeError(
                "Expected more than 1 value per channel when training, got input size "
                f"{input.shape}"
            )
        _check_channels(input, running_mean=running_mean, running_var=running_var)
    result, mean, variance = _normalise_batch(input, weight, bias, eps)
    if (running_mean is not None or running_var is not None) and shape[0]:
        with no_grad():
            _follow(running_mean, mean, momentum)
            _follow(running_var, variance, momentum)
    return result  # type: ignore[no-any-return]


@face
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each example's channels of (n, c, ...), then scale and shift by ``weight`` and
    ``bias`` (c).

    By their own statistics, towards whose means over examples the running ones (c) are moved by
    ``momentum``, in place; without ``use_input_stats`` by the running ones. ValueError for a
    single spatial element, RuntimeError for missing statistics. Ulyanov et al., arXiv 1607.08022.
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ShapeError(
                "Expected running_mean and running_var to be defined when use_input_stats is false"
            )
        return _normalise_by(input, running_mean, running_var, weight, bias, eps)  # type: ignore[no-any-return]
    if input.ndim > 1:
        _check_channels(input, running_mean=running_mean, running_var=running_var)
    result, mean, variance = _normalise_instances(input, weight, bias, eps)
    if running_mean is not None or running_var is not None:
        with no_grad():
            _follow(running_mean, mean, momentum)
            _follow(running_var, variance, momentum)
    return result  # type: ignore[no-any-return]


# ---- embeddings


_look_up = RECORDED["nn.functional.embedding"]
_look_up_bags = RECORDED["nn.functional.embedding_bag"]
_renormalised = RECORDED["embedding_renorm"]
_by_frequency = RECORDED["gradient_by_frequency"]


def _bound_rows(weight: Tensor, input: Tensor, max_norm: float | None, norm_type: float) -> None:
    """Scale the rows about to be used down to ``max_norm``, in place."""
    if max_norm is None:
        return
    with no_grad():
        weight.copy_(_renormalised(weight, input, float(max_norm), float(norm_type)))


@face
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of ``weight`` (v, d) at the positions ``input`` (...): (..., d).

    Rows longer than ``max_norm`` (in the norm of ``norm_type``) are first scaled down, in place.
    The row ``padding_idx`` gets no gradient; ``scale_grad_by_freq`` divides a row's gradient by
    how often ``input`` names it. NotImplementedError for ``sparse`` gradients.
    """
    _bound_rows(weight, input, max_norm, norm_type)
    rows = _look_up(input, weight, padding_idx, sparse=sparse)
    if not scale_grad_by_freq:
        return rows  # type: ignore[no-any-return]
    flat = rows.reshape(-1, weight.shape[1])
    counted = _by_frequency(flat, input.reshape(-1).long(), weight.shape[0])
    return counted.reshape(rows.shape)  # type: ignore[no-any-return]


@face
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Rows of ``weight`` (v, d) summed, averaged or maximised per bag: (bags, d).

    Positions (bags, n), or (n) with the starts of the bags in ``offsets``. Rows longer than
    ``max_norm`` (in the norm of ``norm_type``) are first scaled down, in place. Rows
    ``padding_idx`` do not take part; an empty bag gives 0. ``per_sample_weights``, shaped as
    ``input``, scales the rows of sums. NotImplementedError for ``sparse`` gradients.
    """
    _bound_rows(weight, input, max_norm, norm_type)
    return _look_up_bags(  # type: ignore[no-any-return]
        input, weight, offsets, None, norm_type, scale_grad_by_freq, mode, sparse,
        per_sample_weights, include_last_offset, padding_idx,
    )  # fmt: skip


# ---- choices that a graph does not make


_attention = RECORDED["nn.functional.scaled_dot_product_attention"]
_attention_with_dropout = RECORDED["attention_with_dropout"]


@face
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    given = (query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    return (_attention_with_dropout if dropout_p else _attention)(*given)  # type: ignore[no-any-return]


scaled_dot_product_attention.__doc__ = _attention.__doc__


@face
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), reduced, for any distance d
    (default: `pairwise_distance`).

    ``swap`` takes d(positive, negative) where that is smaller than the second distance.
    ValueError unless ``margin`` is positive, RuntimeError unless the three have one rank.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueRangeError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueRangeError(f"margin must be greater than 0, got {margin}")
    distance = distance_function or RECORDED["nn.functional.pairwise_distance"]
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = RECORDED["minimum"](far, distance(positive, negative))
    losses: Any = RECORDED["clamp_min"](near - far + margin, 0)
    if reduction == "none":
        return losses  # type: ignore[no-any-return]
    return losses.mean() if reduction == "mean" else losses.sum()  # type: ignore[no-any-return]


# ---- inplace flags


def with_flag(function: Function) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The face that takes ``inplace``, and the form that always writes into its operand."""
    plain = RECORDED[function.name]
    short = function.name.rpartition(".")[2]
    changed = recorded_in_place(replace(function, method=short))
    place = function.parameters.names.index("inplace")

    def call(*args: Any, inplace: bool = False, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if len(args) > place:
            inplace, args = args[place], (*args[:place], *args[place + 1 :])
        if not inplace:
            return plain(*args, **kwargs)
        if not args:
            args = (kwargs.pop("input"),)
        if not isinstance(args[0], Tensor):
            kind = type(args[0]).__name__
            raise located(ArgumentError(f"{short}(): argument 'input' must be Tensor, not {kind}"))
        return changed(*args, **kwargs)

    call.__name__ = call.__qualname__ = short
    call.__doc__ = plain.__doc__
    call.__wrapped__ = function.impl  # type: ignore[attr-defined]
    return call, changed


# Those of which PyTorch's nn.functional has a form with an underscore too.
_UNDERSCORED = {
    "celu", "elu", "hardtanh", "leaky_relu", "relu", "rrelu", "selu", "threshold",
}  # fmt: skip


def _install() -> None:
    for function in list(FUNCTIONS.values()):
        name = function.name
        if not name.startswith(_PREFIX) or "inplace" not in function.parameters:
            continue
        RECORDED[name], changed = with_flag(function)
        if name.rpartition(".")[2] in _UNDERSCORED:
            RECORDED.setdefault(name + "_", changed)


_install()
