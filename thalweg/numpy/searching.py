"""Sorting, searching, choosing elements, and comparing arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtypes import bool_, int64
from ..core.errors import located
from ..tensor import Tensor
from ..tensor.attach import RECORDED
from .array import NUMBERS, asarray, computed, from_host, ndarray, wrap
from .reductions import all as every
from .reductions import axis_number, finish
from .ufuncs import UFUNCS, as_operand, number


def sort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None,
    descending: bool = False,
) -> ndarray:  # fmt: skip
    """A sorted copy along ``axis`` (None: flattened); NaN last."""
    array = asarray(a)
    tensor = array._tensor.reshape(-1) if axis is None else array._tensor
    dim = axis_number(-1 if axis is None else axis, tensor.ndim)
    return wrap(RECORDED["sort"](tensor, dim, descending, stable=True)[0])


def argsort(
    a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None,
    descending: bool = False,
) -> ndarray:  # fmt: skip
    """The positions that sort ``a`` along ``axis``, always stably."""
    array = asarray(a)
    tensor = array._tensor.reshape(-1) if axis is None else array._tensor
    dim = axis_number(-1 if axis is None else axis, tensor.ndim)
    return wrap(RECORDED["sort"](tensor, dim, descending, stable=True)[1])


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> ndarray:
    """Where elements of ``v`` would stand in the sorted one-dimensional ``a``, int64."""
    ordered, values = asarray(a), asarray(v)
    if side not in ("left", "right"):
        raise located(ValueError(f"search side must be 'left' or 'right' (got '{side}')"))
    if ordered.ndim != 1:
        raise located(ValueError(f"a must be one-dimensional, got {ordered.ndim} dimensions"))
    if sorter is not None:
        ordered = take(ordered, sorter)
    common = np.result_type(ordered.dtype, values.dtype)
    made = RECORDED["searchsorted"](
        ordered.astype(common, copy=False)._tensor, values.astype(common, copy=False)._tensor,
        right=side == "right",
    )  # fmt: skip
    return computed(made, int64)


def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """Elements of ``x`` where ``condition`` holds, else of ``y``; with one argument the positions
    of its true elements (which reads it)."""
    if x is None and y is None:
        return from_host(np.nonzero(np.asarray(condition)))
    if x is None or y is None:
        raise located(ValueError("either both or neither of x and y should be given"))
    try:
        first, second = as_operand(x), as_operand(y)
        weak = [o if o.__class__ in NUMBERS else o.dtype for o in (first, second)]
        kind = asarray(np.empty(0, np.result_type(*weak)))._tensor.dtype
        mask = asarray(condition).astype(bool, copy=False)
        values = [
            o._tensor.to(kind) if isinstance(o, ndarray) else number(o, kind)
            for o in (first, second)
        ]
        np.broadcast_shapes(mask.shape, *(tuple(v.shape) for v in values))
        return computed(RECORDED["where"](mask._tensor, *values))
    except Exception as error:
        raise located(error) from None


def clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None,
    max: Any = None, dtype: Any = None,
) -> ndarray:  # fmt: skip
    """``a`` limited to ``[a_min, a_max]`` (either may be None)."""
    made = asarray(a)
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    if dtype is not None:
        made = made.astype(dtype)
    if low is not None:
        made = UFUNCS["maximum"](made, low)
    if high is not None:
        made = UFUNCS["minimum"](made, high)
    return finish(made, out) if low is not None or high is not None else finish(made.copy(), out)


def take(
    a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise"
) -> ndarray:
    """Elements of ``a`` at ``indices`` along ``axis`` (None: of the flattened array)."""
    array = asarray(a)
    if axis is None:
        array, axis = array.reshape(-1), 0
    dim = axis_number(axis, array.ndim)
    extent = array.shape[dim]
    index = indices if isinstance(indices, (int, np.integer)) else asarray(indices)
    if mode == "wrap":
        index = index % extent
    elif mode == "clip":
        index = clip(asarray(index), 0, extent - 1)
    return finish(array[(*(slice(None),) * dim, index)], out)


def _broadcast_index(array: ndarray, indices: Any, dim: int) -> tuple[Tensor, Tensor]:
    """Array and indices broadcast to each other except along ``dim``; indices not negative."""
    index = asarray(indices)
    if index.dtype.kind not in "iu":
        raise located(IndexError("`indices` must be an integer array"))
    if index.ndim != array.ndim:
        raise located(ValueError("`indices` and `arr` must have the same number of dimensions"))
    others = ([n for d, n in enumerate(a.shape) if d != dim] for a in (array, index))
    outer = np.broadcast_shapes(*map(tuple, others))

    def whole(tensor: Tensor) -> Tensor:
        extent = tensor.shape[dim]
        return RECORDED["broadcast_to"](tensor, (*outer[:dim], extent, *outer[dim:]))  # type: ignore[no-any-return]

    positions = index._tensor.long()
    positions = RECORDED["where"](positions < 0, positions + array.shape[dim], positions)
    return whole(array._tensor), whole(positions)


def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> ndarray:
    """Elements of ``arr`` at ``indices``, matched up along all other dimensions."""
    array = asarray(arr)
    if axis is None:
        array, axis = array.reshape(-1), 0
    dim = axis_number(axis, array.ndim)
    values, index = _broadcast_index(array, indices, dim)
    return wrap(RECORDED["gather"](values, dim, index))


def put_along_axis(arr: ndarray, indices: Any, values: Any, axis: int | None) -> None:
    """Write ``values`` to ``indices``, matched up along all other dimensions."""
    if axis is None:
        put_along_axis(arr.reshape(-1), indices, values, 0)
        return
    dim = axis_number(axis, arr.ndim)
    _, index = _broadcast_index(arr, indices, dim)
    given = asarray(values).astype(arr.dtype, copy=False)._tensor
    arr._tensor.scatter_(dim, index, RECORDED["broadcast_to"](given, tuple(index.shape)).clone())


def put(a: ndarray, ind: Any, v: Any, mode: str = "raise") -> None:
    """Write the values ``v`` (repeated as needed) at flat positions ``ind``."""
    index = np.atleast_1d(np.asarray(ind)).ravel()
    if mode != "raise":
        index = index % a.size if mode == "wrap" else np.clip(index, 0, a.size - 1)
    if index.size and (index.min() < -a.size or index.max() >= a.size):
        raise located(IndexError(f"index out of bounds for array of size {a.size}"))
    values = np.resize(np.asarray(v), index.shape)
    a[np.unravel_index(index % np.maximum(a.size, 1), a.shape)] = values


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> ndarray:
    """The ``n``-th difference of neighbours along ``axis``."""
    from .manipulation import broadcast_to, concatenate

    array = asarray(a)
    dim = axis_number(axis, array.ndim)
    if n < 0:
        raise located(ValueError(f"order must be non-negative but got {n}"))
    ends = []
    for extra in (prepend, append):
        if extra is not None:
            given = asarray(extra)
            shape = tuple(1 if d == dim else e for d, e in enumerate(array.shape))
            ends.append(broadcast_to(given, shape) if not given.ndim else given)
    parts = [*(ends[:1] if prepend is not None else []), array,
             *(ends[-1:] if append is not None else [])]  # fmt: skip
    made = concatenate(parts, dim) if len(parts) > 1 else array
    before = (slice(None),) * dim
    name = "not_equal" if made.dtype == bool else "subtract"
    for _ in range(n):
        made = UFUNCS[name](made[(*before, slice(1, None))], made[(*before, slice(None, -1))])
    return made


def round(a: Any, decimals: int = 0, out: Any = None) -> ndarray:
    """``a`` to so many decimals, halves to even."""
    array = asarray(a)
    if array.dtype.kind in "biu":
        if decimals >= 0:
            return finish(array.copy() if array.ndim else computed(array.copy()._tensor), out)
        step = 10**-decimals
        return finish((UFUNCS["rint"](array / step) * step).astype(array.dtype), out)
    if decimals == 0:
        return finish(UFUNCS["rint"](array), out)
    scale = 10.0 ** abs(decimals)
    if decimals > 0:
        return finish(UFUNCS["rint"](array * scale) / scale, out)
    return finish(UFUNCS["rint"](array / scale) * scale, out)


around = round


def isclose(
    a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> ndarray:
    """Where ``|a - b| <= atol + rtol * |b|`` (infinities equal to themselves)."""
    first, second = asarray(a), asarray(b)
    common = np.result_type(first.dtype, second.dtype, np.float64 if first.dtype.kind in "iub"
                            and second.dtype.kind in "iub" else np.bool_)  # fmt: skip
    first, second = first.astype(common, copy=False), second.astype(common, copy=False)
    made = RECORDED["isclose"](first._tensor, second._tensor, rtol, atol, equal_nan)
    return computed(made, bool_)


def allclose(
    a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether `isclose` holds for all elements."""
    return bool(every(isclose(a, b, rtol, atol, equal_nan)))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Whether two arrays have the same shape and equal elements."""
    first, second = asarray(a1), asarray(a2)
    if first.shape != second.shape:
        return False
    same = first == second
    if equal_nan:
        same = same | (UFUNCS["isnan"](first) & UFUNCS["isnan"](second))
    return bool(every(same))


def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> ndarray:
    """``x`` with NaN and infinities replaced by numbers."""
    array = asarray(x)
    if array.dtype.kind in "iub":
        return array.copy()
    made = computed(RECORDED["nan_to_num"](array._tensor, nan, posinf, neginf))
    if copy:
        return made
    array[...] = made
    return array


def real(val: Any) -> Any:
    """The real part: a copy of complex arrays', else the array itself."""
    if isinstance(val, NUMBERS):
        return val.real
    array = asarray(val)
    return wrap(array._tensor.real) if array.dtype.kind == "c" else array


def imag(val: Any) -> Any:
    """The imaginary part: a copy of complex arrays', else zeros."""
    if isinstance(val, NUMBERS):
        return val.imag
    array = asarray(val)
    if array.dtype.kind == "c":
        return wrap(array._tensor.imag)
    return wrap(RECORDED["zeros_like"](array._tensor))


def angle(z: Any, deg: bool = False) -> ndarray:
    """The angle of complex numbers, in radians or degrees."""
    array = asarray(z)
    made = UFUNCS["arctan2"](imag(array), real(array))
    return UFUNCS["degrees"](made) if deg else made  # type: ignore[no-any-return]


def isreal(x: Any) -> ndarray:
    """Where the imaginary part is zero."""
    return imag(asarray(x)) == 0  # type: ignore[no-any-return]


def fix(x: Any, out: Any = None) -> Any:
    """Rounded towards zero."""
    return UFUNCS["trunc"](x, out=out)


def sinc(x: Any) -> Any:
    """``sin(pi x) / (pi x)``, 1 at 0."""
    array = asarray(x) + 0.0
    return computed(RECORDED["sinc"](array._tensor))


__all__ = ["allclose", "angle", "argsort", "around", "array_equal", "clip", "diff", "fix", "imag",
           "isclose", "isreal", "nan_to_num", "put", "put_along_axis", "real", "round",
           "searchsorted", "sinc", "sort", "take", "take_along_axis", "where"]  # fmt: skip
