"""Reductions and statistics with NumPy's arguments: ``axis``, ``dtype``, ``keepdims``, ``ddof``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.dtypes import DType, bool_, int64, uint64
from ..core.errors import located
from ..tensor import Tensor
from ..tensor.attach import RECORDED
from .array import asarray, computed, dtype_of, ndarray, wrap
from .ufuncs import UFUNCS, check_same_kind

_NONE: Any = object()


def axis_number(axis: Any, ndim: int) -> int:
    """One axis as a number in range. AxisError (IndexError and ValueError) otherwise."""
    number = axis.__index__()
    if not -ndim <= number < ndim:
        raise located(np.exceptions.AxisError(number, ndim))
    return int(number % ndim)


def axis_numbers(axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes (None: all) as numbers in range. AxisError, or ValueError for a repeated axis."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    numbers = tuple(axis_number(a, ndim) for a in given)
    if len(set(numbers)) != len(numbers):
        raise located(ValueError("duplicate value in 'axis'"))
    return numbers


def finish(made: ndarray, out: Any) -> ndarray:
    """The result, or ``out`` after writing it there."""
    if out is None:
        return made
    check_same_kind(made.dtype, out)
    out[...] = made
    return out  # type: ignore[no-any-return]


def _over(
    tensor: Tensor, name: str, axes: tuple[int, ...], keepdims: bool, **options: Any
) -> Tensor:
    """Reduce; over no axes there is nothing to do but to convert."""
    if not axes:
        return tensor.to(options.get("dtype", tensor.dtype)).clone()
    return RECORDED[name](tensor, axes, keepdims, **options)  # type: ignore[no-any-return]


def _masked(a: Any, where: Any, identity: Any, name: str) -> ndarray:
    array = asarray(a)
    if where is _NONE or where is True:
        return array
    if identity is None:
        raise ValueError(
            f"reduction operation '{name}' does not have an identity, so to use a where mask one "
            "has to specify 'initial'"
        )
    filler = np.asarray(identity, dtype=array.dtype).item()
    mask = asarray(where)._tensor
    tensor = array._tensor
    return wrap(RECORDED["where"](mask, tensor, RECORDED["full_like"](tensor, filler)))


def _accumulated(kind: DType) -> DType:
    """The dtype of sums and products: small integers add up in 64 bits."""
    if kind.category == "int" and not kind.is_signed:
        return uint64
    return int64 if kind.category in ("bool", "int") else kind


def _sum_like(name: str, combine: str, identity: int) -> Callable[..., ndarray]:
    def reduce(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False,
        initial: Any = _NONE, where: Any = _NONE,
    ) -> ndarray:  # fmt: skip
        try:
            array = _masked(a, where, identity, name)
            axes = axis_numbers(axis, array.ndim)
            kind = _accumulated(array._tensor.dtype) if dtype is None else dtype_of(dtype)
            tensor = array._tensor.to(kind)
            if name == "sum":
                made = _over(tensor, "sum", axes, keepdims, dtype=kind)
            else:
                made = tensor if axes else tensor.clone()
                for one in sorted(axes, reverse=True):
                    made = RECORDED["prod"](made, one, bool(keepdims), dtype=kind)
            result = computed(made, kind)
            if initial is not _NONE:
                result = UFUNCS[combine](result, initial).astype(kind, copy=False)
            return finish(result, out)
        except Exception as error:
            raise located(error) from None

    reduce.__name__ = reduce.__qualname__ = name
    return reduce


sum = _sum_like("sum", "add", 0)
sum.__doc__ = "Sum of the elements along ``axis``; integers and bools add up in 64 bits."
prod = _sum_like("prod", "multiply", 1)
prod.__doc__ = "Product of the elements along ``axis``; integers and bools in 64 bits."


def _extreme(name: str, target: str, combine: str) -> Callable[..., ndarray]:
    def reduce(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = _NONE,
        where: Any = _NONE,
    ) -> ndarray:  # fmt: skip
        try:
            array = _masked(a, where, None if initial is _NONE else initial, name)
            axes = axis_numbers(axis, array.ndim)
            empty = 0 in [array.shape[i] for i in axes]
            if empty and initial is _NONE:
                raise ValueError(
                    f"zero-size array to reduction operation {combine} which has no identity"
                )
            if empty:
                shape = tuple(
                    1 if i in axes else n
                    for i, n in enumerate(array.shape)
                    if keepdims or i not in axes
                )
                filler = np.asarray(initial, dtype=array.dtype).item()
                made = computed(RECORDED["full"](shape, filler, dtype=array._tensor.dtype))
            else:
                made = computed(_over(array._tensor, target, axes, bool(keepdims)))
                if initial is not _NONE:
                    made = UFUNCS[combine](made, initial)
            return finish(made, out)
        except Exception as error:
            raise located(error) from None

    reduce.__name__ = reduce.__qualname__ = name
    reduce.__doc__ = f"The {name}imum along ``axis``; NaN if there is one. ValueError if empty."
    return reduce


max = amax = _extreme("max", "amax", "maximum")
min = amin = _extreme("min", "amin", "minimum")


def _truth(name: str) -> Callable[..., ndarray]:
    def reduce(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = _NONE
    ) -> ndarray:
        array = asarray(a).astype(bool, copy=False)
        array = _masked(array, where, name == "all", name)
        axes = axis_numbers(axis, array.ndim)
        return finish(computed(_over(array._tensor, name, axes, bool(keepdims)), bool_), out)

    reduce.__name__ = reduce.__qualname__ = name
    reduce.__doc__ = f"Whether {name} of the elements along ``axis`` are true (not zero)."
    return reduce


all = _truth("all")
any = _truth("any")


def _floating(array: ndarray, dtype: Any) -> DType:
    """The dtype in which a mean is computed: float64 for integers."""
    if dtype is not None:
        return dtype_of(dtype)
    return dtype_of(float) if array.dtype.kind in "iub" else array._tensor.dtype


def _count(array: ndarray, axes: tuple[int, ...]) -> int:
    return int(np.prod([array.shape[i] for i in axes], dtype=np.int64))


def mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, *,
    where: Any = _NONE,
) -> ndarray:  # fmt: skip
    """Arithmetic mean along ``axis``: float64 for integers, else the array's dtype."""
    try:
        array = asarray(a)
        kind = _floating(array, dtype)
        if where is not _NONE:
            kept = sum(where_counts(array, where), axis, keepdims=keepdims)
            total = sum(array, axis, kind, keepdims=keepdims, where=where)
            return finish(computed((total / kept)._tensor, kind), out)
        axes = axis_numbers(axis, array.ndim)
        made = _over(array._tensor.to(kind), "mean", axes, bool(keepdims), dtype=kind)
        return finish(computed(made, kind), out)
    except Exception as error:
        raise located(error) from None


def where_counts(array: ndarray, where: Any) -> ndarray:
    """A mask in the array's shape, as integers."""
    mask = asarray(where).astype(bool, copy=False)
    return wrap(RECORDED["broadcast_to"](mask._tensor, array.shape), int64)


def var(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
    keepdims: Any = False, *, correction: float | None = None,
) -> ndarray:  # fmt: skip
    """Variance along ``axis``: the squared deviations over ``n - ddof`` (or ``correction``)."""
    try:
        array = asarray(a)
        kind = _floating(array, dtype)
        axes = axis_numbers(axis, array.ndim)
        tensor = array._tensor.to(kind)
        if axes:
            centred = tensor - RECORDED["mean"](tensor, axes, True)
        else:
            centred = RECORDED["zeros_like"](tensor)
        squares = (centred * centred.conj()).real if kind.is_complex else centred * centred
        real = dtype_of(kind.to_real().np) if kind.is_complex else kind
        divisor = _count(array, axes) - (ddof if correction is None else correction)
        total = _over(squares, "sum", axes, bool(keepdims))
        inverse = float(divisor) if divisor > 0 else 0.0
        return finish(computed(total / inverse, real), out)
    except Exception as error:
        raise located(error) from None


def std(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
    keepdims: Any = False, *, correction: float | None = None,
) -> ndarray:  # fmt: skip
    """Standard deviation along ``axis``: the square root of `var`."""
    variance = var(a, axis, dtype, None, ddof, keepdims, correction=correction)
    return finish(UFUNCS["sqrt"](variance), out)


def _position(name: str) -> Callable[..., ndarray]:
    def find(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> ndarray:
        try:
            array = asarray(a)
            dim = None if axis is None else axis_number(axis, array.ndim)
            extent = array.size if dim is None else array.shape[dim]
            if extent == 0:
                raise ValueError(f"attempt to get {name} of an empty sequence")
            tensor = array._tensor
            if dim is None:
                made = RECORDED[name](tensor.reshape(-1), 0)
                made = made.reshape((1,) * array.ndim) if keepdims else made
            else:
                made = RECORDED[name](tensor, dim, bool(keepdims))
            return finish(computed(made, int64), out)
        except Exception as error:
            raise located(error) from None

    find.__name__ = find.__qualname__ = name
    find.__doc__ = f"The first position of the {name[3:]}imum along ``axis`` (None: flattened)."
    return find


argmax = _position("argmax")
argmin = _position("argmin")


def count_nonzero(a: Any, axis: Any = None, *, keepdims: Any = False) -> ndarray:
    """How many elements along ``axis`` are not zero, int64."""
    return sum(asarray(a).astype(bool, copy=False), axis, keepdims=keepdims)


def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> ndarray:
    """The range of values along ``axis``: maximum minus minimum."""
    return finish(max(a, axis, keepdims=keepdims) - min(a, axis, keepdims=keepdims), out)


def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False
) -> Any:
    """Mean along ``axis``, weighted by ``weights`` of the array's shape or along one axis."""
    array = asarray(a)
    if weights is None:
        made = mean(array, axis, keepdims=keepdims)
        total = made * 0 + array.size / np.maximum(made.size, 1)
    else:
        weight = asarray(weights)
        if weight.shape != array.shape:
            if axis is None or weight.ndim != 1:
                raise located(
                    TypeError("Axis must be specified when shapes of a and weights differ.")
                )
            dim = axis_number(axis, array.ndim)
            weight = weight[(slice(None), *(None,) * (array.ndim - 1 - dim))]
        product = array * weight
        total = sum(weight + array * 0, axis, keepdims=keepdims, dtype=product.dtype)
        made = sum(product, axis, keepdims=keepdims) / total
    return (made, total) if returned else made


def _running(name: str, target: str) -> Callable[..., ndarray]:
    def scan(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> ndarray:
        try:
            array = asarray(a)
            tensor = array._tensor.reshape(-1) if axis is None else array._tensor
            dim = 0 if axis is None else axis_number(axis, array.ndim)
            kind = _accumulated(tensor.dtype) if dtype is None else dtype_of(dtype)
            return finish(wrap(RECORDED[target](tensor.to(kind), dim, dtype=kind)), out)
        except Exception as error:
            raise located(error) from None

    scan.__name__ = scan.__qualname__ = name
    scan.__doc__ = f"Running {target[3:]} along ``axis`` (None: of the flattened array)."
    return scan


cumsum = _running("cumsum", "cumsum")
cumprod = _running("cumprod", "cumprod")


def _running_extreme(target: str) -> Callable[..., ndarray]:
    def scan(a: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> ndarray:
        array = asarray(a) if dtype is None else asarray(a).astype(dtype)
        values = RECORDED[target](array._tensor, axis_number(axis, array.ndim))[0]
        return finish(wrap(values), out)

    return scan


running_maximum = _running_extreme("cummax")
running_minimum = _running_extreme("cummin")


def _cumulative(name: str, scan: Callable[..., ndarray], start: int) -> Callable[..., ndarray]:
    def cumulative(
        x: Any, /, *, axis: Any = None, dtype: Any = None, out: Any = None,
        include_initial: bool = False,
    ) -> ndarray:  # fmt: skip
        array = asarray(x)
        if axis is None:
            if array.ndim != 1:
                raise located(
                    ValueError("For arrays which have more than one dimension ``axis`` argument "
                               "is required.")
                )  # fmt: skip
            axis = 0
        made = scan(array, axis, dtype)
        if include_initial:
            dim = axis_number(axis, array.ndim)
            first = made[(slice(None),) * dim + (slice(0, 1),)]
            if not first.size:
                shape = tuple(1 if i == dim else n for i, n in enumerate(made.shape))
                first = wrap(RECORDED["zeros"](shape, dtype=made._tensor.dtype))
            first = wrap(RECORDED["full_like"](first._tensor, start))
            made = wrap(RECORDED["cat"]([first._tensor, made._tensor], dim))
        return finish(made, out)

    cumulative.__name__ = cumulative.__qualname__ = name
    cumulative.__doc__ = f"{scan.__doc__} ``include_initial`` puts a {start} first."
    return cumulative


cumulative_sum = _cumulative("cumulative_sum", cumsum, 0)
cumulative_prod = _cumulative("cumulative_prod", cumprod, 1)


def _without_nan(a: Any, filler: float) -> ndarray:
    array = asarray(a)
    if array.dtype.kind not in "fc":
        return array
    tensor = array._tensor
    full = RECORDED["full_like"](tensor, filler)
    return wrap(RECORDED["where"](RECORDED["isnan"](tensor), full, tensor))


def nansum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False) -> ndarray:  # fmt: skip  # noqa: E501
    """Sum in which NaN counts as zero."""
    return sum(_without_nan(a, 0.0), axis, dtype, out, keepdims)


def nanprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False) -> ndarray:  # fmt: skip  # noqa: E501
    """Product in which NaN counts as one."""
    return prod(_without_nan(a, 1.0), axis, dtype, out, keepdims)


def nanmean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False) -> ndarray:  # fmt: skip  # noqa: E501
    """Mean of the elements that are not NaN; NaN where there are none."""
    array = asarray(a)
    kind = _floating(array, dtype)
    kept = sum(~UFUNCS["isnan"](array), axis, keepdims=keepdims)
    total = sum(_without_nan(array, 0.0), axis, kind, keepdims=keepdims)
    return finish(computed((total / kept)._tensor, kind), out)


def _nan_extreme(reduce: Callable[..., ndarray], filler: float) -> Callable[..., ndarray]:
    def extreme(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> ndarray:
        array = asarray(a)
        if array.dtype.kind != "f":
            return reduce(array, axis, out, keepdims)
        made = reduce(_without_nan(array, filler), axis, keepdims=keepdims)
        lost = all(UFUNCS["isnan"](array), axis, keepdims=keepdims)._tensor
        nothing = RECORDED["full_like"](made._tensor, np.nan)
        return finish(computed(RECORDED["where"](lost, nothing, made._tensor)), out)

    extreme.__name__ = extreme.__qualname__ = f"nan{reduce.__name__}"
    extreme.__doc__ = f"The {reduce.__name__}imum of the elements that are not NaN."
    return extreme


nanmax = _nan_extreme(max, -np.inf)
nanmin = _nan_extreme(min, np.inf)

__all__ = ["all", "amax", "amin", "any", "argmax", "argmin", "average", "count_nonzero",
           "cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "max", "mean", "min",
           "nanmax", "nanmean", "nanmin", "nanprod", "nansum", "prod", "ptp", "std", "sum",
           "var"]  # fmt: skip
