"""`torch.masked`: reductions and normalizations of the elements at which a mask holds.

A bool ``mask`` broadcasts to the shape of the input; the elements at which it is false count as
the identity of the operation. Without a mask all elements take part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import DType, bool_, default_dtype, int64
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Value
from .arithmetic import broadcast_to, cast, conj, constant
from .dims import Dim, normalize_dim, normalize_dims
from .function import Call, function
from .link import ops
from .named import public
from .shape_functions import to_shape


def _everywhere(input: Value, mask: Value | None) -> Value:
    """The mask in the shape of ``input``."""
    if mask is None:
        return constant(True, bool_, input.shape)
    if mask.dtype is not bool_:
        raise DTypeError(f"masked: expected a bool mask, got {mask.dtype}")
    if mask.ndim > input.ndim:
        raise ShapeError(
            f"masked: mask dimensionality cannot be greater than that of the input, got "
            f"{mask.ndim} and {input.ndim}"
        )
    return broadcast_to(mask, input.shape)


def _filled(input: Value, mask: Value | None, value: float) -> Value:
    """``input`` with ``value`` where the mask is false."""
    if mask is None:
        return input
    return public.where(  # type: ignore[no-any-return]
        _everywhere(input, mask), input, constant(value, input.dtype)
    )


def _lowest(dtype: DType, sign: int) -> float:
    """The identity of max (``sign`` -1) or min (1)."""
    if dtype.category in ("float", "complex"):
        return sign * float("inf")
    limits = np.iinfo(dtype.np)
    return int(limits.min if sign < 0 else limits.max)


def _as(input: Value, dtype: DType | None) -> Value:
    return input if dtype is None else cast(input, dtype)


def _example() -> tuple[Any, Any]:
    rng = np.random.default_rng(47)
    return rng.uniform(0.5, 2, (3, 4)), rng.uniform(size=(3, 4)) < 0.6


def _reduction_calls() -> Iterator[Call]:
    x, mask = _example()
    yield Call((x,))
    yield Call((x, 1), {"mask": mask})
    yield Call((x, (0, 1)), {"mask": mask[0], "keepdim": True})


def _line_calls() -> Iterator[Call]:
    x, mask = _example()
    yield Call((x, 1))
    yield Call((x, 0), {"mask": mask | (np.arange(3) == 1)[:, None]})


@function("masked.sum", out=False, calls=_reduction_calls)
def masked_sum(
    input: Value, dim: Dim = None, *, keepdim: bool = False, dtype: DType | None = None,
    mask: Value | None = None,
) -> Value:  # fmt: skip
    """The sum over ``dim`` (default: all) where the mask holds."""
    dims = normalize_dims(dim, input.ndim)
    x = _filled(input, mask, 0)
    if not input.ndim:
        return public.sum(x, dtype=dtype)  # type: ignore[no-any-return]
    return public.sum(x, dims, keepdim, dtype=dtype)  # type: ignore[no-any-return]


@function("masked.prod", out=False, calls=_reduction_calls)
def masked_prod(
    input: Value, dim: Dim = None, *, keepdim: bool = False, dtype: DType | None = None,
    mask: Value | None = None,
) -> Value:  # fmt: skip
    """The product over ``dim`` (default: all) where the mask holds."""
    x = _filled(input, mask, 1)
    if dtype is None and input.dtype.category in ("bool", "int"):
        dtype = int64
    x = _as(x, dtype)
    for axis in reversed(normalize_dims(dim, input.ndim)):
        x = public.prod(x, axis, keepdim)
    return x


def _scan(name: str, identity: float, title: str) -> None:
    def impl(
        input: Value, dim: int, *, dtype: DType | None = None, mask: Value | None = None
    ) -> Value:
        return getattr(public, name)(_filled(input, mask, identity), dim, dtype=dtype)  # type: ignore[no-any-return]

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = f"The {title} along ``dim`` of the elements at which the mask holds."
    function(f"masked.{name}", out=False, calls=_line_calls)(impl)


_scan("cumsum", 0, "cumulative sum")
_scan("cumprod", 1, "cumulative product")


def _extreme(name: str, sign: int, title: str) -> None:
    def impl(
        input: Value, dim: Dim = None, *, keepdim: bool = False, dtype: DType | None = None,
        mask: Value | None = None,
    ) -> Value:  # fmt: skip
        x = _as(input, dtype)
        x = _filled(x, mask, _lowest(x.dtype, sign))
        return getattr(public, name)(x, normalize_dims(dim, x.ndim), keepdim)  # type: ignore[no-any-return]

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = f"The {title} over ``dim`` (default: all) where the mask holds."
    function(f"masked.{name}", out=False, calls=_reduction_calls)(impl)


_extreme("amax", -1, "largest element")
_extreme("amin", 1, "smallest element")


def _position_calls() -> Iterator[Call]:
    x, mask = _example()
    yield Call((x,), grad=False)
    yield Call((x, 1), {"mask": mask, "keepdim": True}, grad=False)


def _position(name: str, sign: int, title: str) -> None:
    def impl(
        input: Value, dim: int | None = None, *, keepdim: bool = False,
        dtype: DType | None = None, mask: Value | None = None,
    ) -> Value:  # fmt: skip
        x = _as(input, dtype)
        found = getattr(public, name)(_filled(x, mask, _lowest(x.dtype, sign)), dim, keepdim)
        return cast(found, x.dtype)

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = (
        f"Where the {title} along ``dim`` stands among those where the mask holds, in the dtype "
        "of ``input``, as PyTorch has it."
    )
    function(f"masked.{name}", out=False, calls=_position_calls)(impl)


_position("argmax", -1, "largest element")
_position("argmin", 1, "smallest element")


def _count(input: Value, mask: Value | None, dim: Dim, keepdim: bool) -> Value:
    ones = cast(_everywhere(input, mask), int64)
    return masked_sum(ones, dim, keepdim=keepdim)  # type: ignore[no-any-return]


@function("masked.mean", out=False, calls=_reduction_calls)
def masked_mean(
    input: Value, dim: Dim = None, *, keepdim: bool = False, dtype: DType | None = None,
    mask: Value | None = None,
) -> Value:  # fmt: skip
    """The mean over ``dim`` (default: all) of the elements where the mask holds; NaN if it holds
    nowhere."""
    total = masked_sum(input, dim, keepdim=keepdim, dtype=dtype, mask=mask)
    return public.div(total, _count(input, mask, dim, keepdim))  # type: ignore[no-any-return]


@function("masked.median", out=False, calls=_line_calls)
def masked_median(
    input: Value, dim: int = -1, *, keepdim: bool = False, dtype: DType | None = None,
    mask: Value | None = None,
) -> Value:  # fmt: skip
    """The lower median along ``dim`` of the elements where the mask holds; NaN if it holds
    nowhere."""
    x = _as(input, dtype)
    if x.dtype.category != "float":
        if mask is not None:
            raise DTypeError(f"masked.median expected no mask for {x.dtype} input")
        return public.median(x, dim, keepdim)[0]  # type: ignore[no-any-return]
    x = _filled(x, mask, float("nan"))
    return public.nanmedian(x, dim, keepdim)[0]  # type: ignore[no-any-return]


def _norm_calls() -> Iterator[Call]:
    x, mask = _example()
    yield Call((x,))
    for order in (2.0, 1.0, float("inf"), -float("inf"), 3.0):
        yield Call((x, order, 1), {"mask": mask | (np.arange(4) == 1)})


@function("masked.norm", out=False, calls=_norm_calls)
def masked_norm(
    input: Value, ord: float | None = 2.0, dim: Dim = None, *, keepdim: bool = False,
    dtype: DType | None = None, mask: Value | None = None,
) -> Value:  # fmt: skip
    """The vector norm of order ``ord`` over ``dim`` (default: all) where the mask holds."""
    order = 2.0 if ord is None else ord
    x = _filled(input, mask, float("inf") if order == -float("inf") else 0)
    dims = normalize_dims(dim, x.ndim)
    norm = getattr(public, "linalg.vector_norm")
    return norm(x, order, dims, keepdim, dtype=dtype)  # type: ignore[no-any-return]


def _variance(
    input: Value, dim: Dim, unbiased: bool | None, correction: float | None, keepdim: bool,
    dtype: DType | None, mask: Value | None,
) -> Value:  # fmt: skip
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    elif unbiased is not None:
        raise ShapeError("masked: expected one of unbiased and correction, got both")
    wanted = dtype or (default_dtype() if input.dtype.category in ("bool", "int") else input.dtype)
    x = cast(input, wanted)
    count = _count(x, mask, dim, True)
    apart = x - public.div(masked_sum(x, dim, keepdim=True, mask=mask), count)
    square = apart * conj(apart)
    if x.dtype.is_complex:
        square = ops.real(square)
    total = masked_sum(square, dim, keepdim=keepdim, mask=mask)
    if not keepdim:
        count = to_shape(count, total.shape)
    found = public.div(total, public.clamp(cast(count, total.dtype) - correction, min=0))
    return cast(found, wanted)


@function("masked.var", out=False, calls=_reduction_calls)
def masked_var(
    input: Value, dim: Dim = None, unbiased: bool | None = None, *,
    correction: float | None = None, keepdim: bool = False, dtype: DType | None = None,
    mask: Value | None = None,
) -> Value:  # fmt: skip
    """The variance over ``dim`` (default: all) of the elements where the mask holds."""
    return _variance(input, dim, unbiased, correction, keepdim, dtype, mask)


@function("masked.std", out=False, calls=_reduction_calls)
def masked_std(
    input: Value, dim: Dim = None, unbiased: bool | None = None, *,
    correction: float | None = None, keepdim: bool = False, dtype: DType | None = None,
    mask: Value | None = None,
) -> Value:  # fmt: skip
    """The standard deviation over ``dim`` (default: all) where the mask holds."""
    return public.sqrt(  # type: ignore[no-any-return]
        _variance(input, dim, unbiased, correction, keepdim, dtype, mask)
    )


def _probabilities(name: str, sign: int) -> None:
    def impl(
        input: Value, dim: int, *, dtype: DType | None = None, mask: Value | None = None
    ) -> Value:
        x = _as(input, dtype)
        x = _filled(x, mask, sign * float("inf"))
        if sign > 0:
            return public.softmax(-x, normalize_dim(dim, x.ndim))  # type: ignore[no-any-return]
        return getattr(public, name)(x, normalize_dim(dim, x.ndim))  # type: ignore[no-any-return]

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = f"`{name}` along ``dim`` of the elements at which the mask holds."
    function(f"masked.{name}", out=False, calls=_line_calls)(impl)


_probabilities("softmax", -1)
_probabilities("log_softmax", -1)
_probabilities("softmin", 1)


def _normalize_calls() -> Iterator[Call]:
    x, mask = _example()
    yield Call((x, 2.0, 1), {"mask": mask})
    yield Call((x, 1.0, 0), {"eps": 0.5})


@function("masked.normalize", out=False, calls=_normalize_calls)
def masked_normalize(
    input: Value, ord: float, dim: int, *, eps: float = 1e-12, dtype: DType | None = None,
    mask: Value | None = None,
) -> Value:  # fmt: skip
    """``input`` divided by its masked norm along ``dim``, or by ``eps`` where that is smaller; 0
    where the mask does not hold."""
    x = _as(input, dtype)
    size = masked_norm(x, ord, dim, keepdim=True, mask=mask)
    return public.div(_filled(x, mask, 0), public.clamp(size, min=eps))  # type: ignore[no-any-return]


def _pair_calls() -> Iterator[Call]:
    x, mask = _example()
    yield Call((x, x[::-1] + 0.3))
    yield Call((x, x + 1), {"input_mask": mask})


@function("masked.logaddexp", out=False, calls=_pair_calls)
def masked_logaddexp(
    input: Value, other: Value, *, dtype: DType | None = None,
    input_mask: Value | None = None, other_mask: Value | None = None,
) -> Value:  # fmt: skip
    """``log(exp(input) + exp(other))``, of each only where its mask holds."""
    low = -float("inf")
    return public.logaddexp(  # type: ignore[no-any-return]
        _filled(_as(input, dtype), input_mask, low), _filled(_as(other, dtype), other_mask, low)
    )


@function("masked.logsumexp", out=False, calls=_reduction_calls)
def masked_logsumexp(
    input: Value, dim: Dim = None, *, keepdim: bool = False, dtype: DType | None = None,
    mask: Value | None = None,
) -> Value:  # fmt: skip
    """The logarithm of the sum of exponentials over ``dim`` (default: all) where the mask holds,
    in the dtype of ``input``."""
    x = _as(input, dtype)
    wide = cast(x, default_dtype()) if x.dtype.category in ("bool", "int") else x
    wide = _filled(wide, mask, -float("inf"))
    return cast(public.logsumexp(wide, normalize_dims(dim, x.ndim), keepdim), x.dtype)
