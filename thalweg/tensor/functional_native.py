"""Layer functions as PyTorch has them outside nn.functional: other argument orders, other codes.

``torch.batch_norm`` takes the weights before the statistics, ``torch.embedding`` the table before
the positions, and losses take their reduction as a number. Each form here reorders its arguments
and calls the function of `nn.functional`; importing this module puts them into `RECORDED`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import ArgumentError, DTypeError, ValueRangeError, located
from ..core.promotion import can_cast
from .attach import RECORDED
from .tensor import Tensor

_PREFIX = "nn.functional."
_REDUCTIONS = ("none", "mean", "sum")


def native(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a top-level function; errors name the user's statement."""

    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise located(error) from None

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    call.__wrapped__ = function  # type: ignore[attr-defined]
    RECORDED[function.__name__] = call
    return call


def _layer(name: str) -> Callable[..., Any]:
    return RECORDED[_PREFIX + name]


def _word(reduction: int) -> str:
    if isinstance(reduction, bool) or not isinstance(reduction, int):
        raise ArgumentError(f"reduction: expected an int, got {type(reduction).__name__}")
    if not 0 <= reduction < len(_REDUCTIONS):
        raise ValueRangeError(f"{reduction} is not a valid value for reduction")
    return _REDUCTIONS[reduction]


@native
def batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float,
    cudnn_enabled: bool = False,
) -> Any:  # fmt: skip
    """`nn.functional.batch_norm` with the weights before the statistics."""
    return _layer("batch_norm")(
        input, running_mean, running_var, weight, bias, training, momentum, eps
    )


@native
def instance_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float,
    cudnn_enabled: bool = False,
) -> Any:  # fmt: skip
    """`nn.functional.instance_norm` with the weights before the statistics."""
    return _layer("instance_norm")(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


@native
def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:  # fmt: skip
    """Rows of ``weight`` (v, d) at ``indices`` (...): (..., d); a negative ``padding_idx`` means
    none. NotImplementedError for ``sparse`` gradients."""
    padding = padding_idx if padding_idx >= 0 else None
    return _layer("embedding")(
        indices, weight, padding, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse
    )


def _dropout(name: str, layer: str) -> None:
    def drop(input: Tensor, p: float, train: bool) -> Any:
        return _layer(layer)(input, p, train)

    drop.__name__ = name
    drop.__doc__ = f"`nn.functional.{layer}`, of which nothing is optional."
    native(drop)

    def drop_(input: Tensor, p: float, train: bool) -> Any:
        return _layer(layer)(input, p, train, True)

    drop_.__name__ = name + "_"
    drop_.__doc__ = f"In-place version of `{name}`."
    native(drop_)


for _name, _of in (("dropout", "dropout"), ("alpha_dropout", "alpha_dropout"),
                   ("feature_alpha_dropout", "feature_alpha_dropout")):  # fmt: skip
    _dropout(_name, _of)


# ---- losses, whose reduction is 0 (none, which is what PyTorch does if it is not given), 1 (mean)
# or 2 (sum)


@native
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None,
    reduction: int = 0,
) -> Any:  # fmt: skip
    """`nn.functional.binary_cross_entropy_with_logits`."""
    return _layer("binary_cross_entropy_with_logits")(
        input, target, weight, reduction=_word(reduction), pos_weight=pos_weight
    )


@native
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 0
) -> Any:
    """`nn.functional.cosine_embedding_loss`."""
    return _layer("cosine_embedding_loss")(
        input1, input2, target, margin=margin, reduction=_word(reduction)
    )


@native
def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: int = 0, zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """`nn.functional.ctc_loss`."""
    return _layer("ctc_loss")(
        log_probs, targets, input_lengths, target_lengths, blank, _word(reduction), zero_infinity
    )


@native
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 0
) -> Any:
    """`nn.functional.hinge_embedding_loss`."""
    return _layer("hinge_embedding_loss")(input, target, margin, reduction=_word(reduction))


@native
def kl_div(input: Tensor, target: Tensor, reduction: int = 0, *, log_target: bool = False) -> Any:
    """`nn.functional.kl_div`; its mean is over all elements."""
    losses = _layer("kl_div")(input, target, reduction="none", log_target=log_target)
    word = _word(reduction)
    return losses if word == "none" else getattr(losses, word)()


@native
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 0
) -> Any:
    """`nn.functional.margin_ranking_loss`."""
    return _layer("margin_ranking_loss")(
        input1, input2, target, margin=margin, reduction=_word(reduction)
    )


@native
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int
) -> Any:
    """`nn.functional.poisson_nll_loss`."""
    return _layer("poisson_nll_loss")(
        input, target, log_input, full, eps=eps, reduction=_word(reduction)
    )


@native
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
    eps: float = 1e-6, swap: bool = False, reduction: int = 0,
) -> Any:  # fmt: skip
    """`nn.functional.triplet_margin_loss`."""
    return _layer("triplet_margin_loss")(
        anchor, positive, negative, margin, p, eps, swap, reduction=_word(reduction)
    )


@native
def spmm(input: Tensor, mat2: Tensor) -> Any:
    """`mm`, whose first operand may be sparse in PyTorch; here it is dense."""
    return RECORDED["mm"](input, mat2)


# ---- shapes and windows


@native
def adaptive_max_pool1d(input: Tensor, output_size: Any) -> Any:
    """Maxima and their positions of `nn.functional.adaptive_max_pool1d`."""
    return _layer("adaptive_max_pool1d")(input, output_size, return_indices=True)


def _with_indices(dims: int) -> None:
    def pool(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = True,
    ) -> Any:  # fmt: skip
        return _layer(f"max_pool{dims}d")(
            input, kernel_size, stride, padding, dilation, ceil_mode, True
        )

    def adaptive(input: Tensor, output_size: Any, return_indices: bool = True) -> Any:
        return _layer(f"adaptive_max_pool{dims}d")(input, output_size, True)

    for form, name in ((pool, f"max_pool{dims}d"), (adaptive, f"adaptive_max_pool{dims}d")):
        form.__name__ = name + "_with_indices"
        form.__doc__ = f"Maxima and their positions of `nn.functional.{name}`."
        made = native(form)
        RECORDED[_PREFIX + form.__name__] = made
        if form is adaptive or dims > 1:
            del RECORDED[form.__name__]


for _dims in (1, 2, 3):
    _with_indices(_dims)


@native
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """`nn.functional.bilinear`."""
    return _layer("bilinear")(input1, input2, weight, bias)


@native
def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Any:
    """`nn.functional.pad` with a constant."""
    return _layer("pad")(input, tuple(pad), "constant", value)


@native
def convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool,
    output_padding: Sequence[int], groups: int,
) -> Any:  # fmt: skip
    """The convolution (or transposed convolution) in as many dimensions as ``input`` has after
    batch and channels."""
    dims = input.ndim - 2
    if not 1 <= dims <= 3:
        raise ArgumentError(
            f"convolution: expected a batched input of 3 to 5 dimensions, got {input.ndim}"
        )
    if transposed:
        return _layer(f"conv_transpose{dims}d")(
            input, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return _layer(f"conv{dims}d")(input, weight, bias, stride, padding, dilation, groups)


# ---- methods whose argument order is not the function's


def _where(self: Tensor, condition: Tensor, other: Any) -> Any:
    """``self`` where ``condition`` (bool) holds, else ``other``: of the broadcast shape."""
    return RECORDED["where"](condition, self, other)


def _polygamma(self: Tensor, n: int) -> Any:
    """The ``n``-th derivative of `digamma`."""
    return RECORDED["polygamma"](n, self)


def _polygamma_(self: Tensor, n: int) -> Any:
    """In-place version of `polygamma`."""
    made = RECORDED["polygamma"](n, self)
    if not can_cast(made.dtype, self.dtype):
        raise located(
            DTypeError(f"polygamma_: result type {made.dtype} can't be cast to {self.dtype}")
        )
    return self.copy_(made)


def _methods() -> None:
    for method, name in ((_where, "where"), (_polygamma, "polygamma"),
                         (_polygamma_, "polygamma_")):  # fmt: skip
        method.__name__ = method.__qualname__ = name
        setattr(Tensor, name, method)


_methods()


def _shared_in_place() -> None:
    for name in ("celu_", "relu_", "rrelu_", "selu_", "threshold_"):
        RECORDED[name] = RECORDED[_PREFIX + name]


_shared_in_place()
