"""Shape, order and joining of arrays."""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import located
from ..tensor import Tensor
from ..tensor.attach import RECORDED
from .array import asarray, dtype_of, ndarray, wrap
from .reductions import axis_number, axis_numbers, finish


def _shape(shape: Any) -> tuple[int, ...]:
    given = shape if isinstance(shape, (tuple, list, np.ndarray, ndarray)) else (shape,)
    return tuple(n.__index__() for n in given)


def reshape(a: Any, /, shape: Any = None, order: str = "C", *, copy: bool | None = None) -> ndarray:
    """``a`` in another shape of as many elements (one extent may be -1): a view where its
    elements are contiguous. ValueError if the sizes differ."""
    array = asarray(a)
    target = _shape(shape)
    known = int(np.prod([n for n in target if n >= 0], dtype=np.int64))
    unknown = builtins.sum(n < 0 for n in target)
    if unknown > 1:
        raise located(ValueError("can only specify one unknown dimension"))
    fits = known != 0 and array.size % known == 0 if unknown else known == array.size
    if not fits:
        raise located(ValueError(f"cannot reshape array of size {array.size} into shape {target}"))
    if order == "F":
        target = tuple(array.size // known if n < 0 else n for n in target)
        return wrap(transpose(reshape(transpose(array), target[::-1]))._tensor)
    if unknown and array.size == 0:
        target = tuple(0 if n < 0 else n for n in target)
    made = wrap(array._tensor.reshape(target))
    return made.copy() if copy else made


def ravel(a: Any, order: str = "C") -> ndarray:
    """The elements in one dimension: a view where they are contiguous."""
    return reshape(a, -1, order) if asarray(a).size else reshape(a, 0)


def transpose(a: Any, axes: Any = None) -> ndarray:
    """A view with the dimensions permuted by ``axes`` (None: reversed)."""
    array = asarray(a)
    if axes is None:
        order: tuple[int, ...] = tuple(range(array.ndim - 1, -1, -1))
    else:
        order = axis_numbers(tuple(axes), array.ndim)
        if len(order) != array.ndim:
            raise located(ValueError("axes don't match array"))
    return wrap(RECORDED["permute"](array._tensor, order))


permute_dims = transpose


def matrix_transpose(x: Any, /) -> ndarray:
    """A view with the last two dimensions swapped. ValueError below two dimensions."""
    array = asarray(x)
    if array.ndim < 2:
        raise located(
            ValueError(f"Input array must be at least 2-dimensional, but it is {array.ndim}")
        )
    return swapaxes(array, -1, -2)


def swapaxes(a: Any, axis1: int, axis2: int) -> ndarray:
    """A view with two dimensions swapped."""
    array = asarray(a)
    order = list(range(array.ndim))
    one, two = axis_number(axis1, array.ndim), axis_number(axis2, array.ndim)
    order[one], order[two] = two, one
    return transpose(array, order)


def moveaxis(a: Any, source: Any, destination: Any) -> ndarray:
    """A view with the dimensions ``source`` moved to the places ``destination``."""
    array = asarray(a)
    begin, end = axis_numbers(source, array.ndim), axis_numbers(destination, array.ndim)
    if len(begin) != len(end):
        raise located(
            ValueError("`source` and `destination` arguments must have the same number of elements")
        )
    order = [d for d in range(array.ndim) if d not in begin]
    for to, which in sorted(zip(end, begin)):
        order.insert(to, which)
    return transpose(array, order)


def rollaxis(a: Any, axis: int, start: int = 0) -> ndarray:
    """A view with ``axis`` rolled back until it lies before ``start``."""
    array = asarray(a)
    one = axis_number(axis, array.ndim)
    start = start + array.ndim if start < 0 else start
    return moveaxis(array, one, start - 1 if one < start else start)


def expand_dims(a: Any, axis: Any) -> ndarray:
    """A view with dimensions of one element at the positions ``axis`` of the result."""
    array = asarray(a)
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    places = axis_numbers(tuple(given), array.ndim + len(given))
    tensor = array._tensor
    for place in sorted(places):
        tensor = RECORDED["unsqueeze"](tensor, place)
    return wrap(tensor)


def squeeze(a: Any, axis: Any = None) -> ndarray:
    """A view without the dimensions of one element (those in ``axis``, which must be such)."""
    array = asarray(a)
    if axis is None:
        places = tuple(i for i, n in enumerate(array.shape) if n == 1)
    else:
        places = axis_numbers(axis, array.ndim)
        if builtins.any(array.shape[i] != 1 for i in places):
            raise located(
                ValueError("cannot select an axis to squeeze out which has size not equal to one")
            )
    tensor = array._tensor
    for place in sorted(places, reverse=True):
        tensor = RECORDED["squeeze"](tensor, place)
    return wrap(tensor)


def broadcast_to(array: Any, /, shape: Any, subok: bool = False) -> ndarray:
    """A view of ``array`` broadcast to ``shape``. ValueError if it does not fit."""
    given = asarray(array)
    target = _shape(shape)
    try:
        fits = np.broadcast_shapes(given.shape, target) == target
    except ValueError:
        fits = False
    if not fits:
        raise located(
            ValueError(
                "operands could not be broadcast together with remapped shapes "
                f"[original->remapped]: {given.shape} and requested shape {target}"
            )
        )
    return wrap(RECORDED["broadcast_to"](given._tensor, target))


def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[ndarray, ...]:
    """The arrays broadcast against one another."""
    arrays = [asarray(a) for a in args]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return tuple(broadcast_to(a, shape) for a in arrays)


def atleast(count: int) -> Callable[..., Any]:
    """``atleast_1d`` and its kin: arrays with at least ``count`` dimensions."""

    def lift(*arys: Any) -> Any:
        made = [wrap(RECORDED[f"atleast_{count}d"](asarray(a)._tensor)) for a in arys]
        return made[0] if len(made) == 1 else tuple(made)

    lift.__name__ = lift.__qualname__ = f"atleast_{count}d"
    lift.__doc__ = f"Each argument as an array of at least {count} dimensions."
    return lift


atleast_1d, atleast_2d, atleast_3d = map(atleast, (1, 2, 3))


# ---- joining and splitting


def _alike(arrays: Any, dtype: Any = None) -> list[Tensor]:
    """The arrays' tensors in their common dtype. ValueError if there are none."""
    given = [asarray(a) for a in arrays]
    if not given:
        raise located(ValueError("need at least one array to concatenate"))
    kind = dtype_of(np.result_type(*(a.dtype for a in given)) if dtype is None else dtype)
    return [a._tensor.to(kind) for a in given]


def _check_joinable(tensors: Sequence[Tensor], dim: int) -> None:
    first = tensors[0].shape
    for i, other in enumerate(tensors[1:], 1):
        if len(other.shape) != len(first):
            raise ValueError(
                "all the input array dimensions except for the concatenation axis must match "
                f"exactly, but the array at index 0 has {len(first)} dimension(s) and the array "
                f"at index {i} has {len(other.shape)} dimension(s)"
            )
        for d, (one, two) in enumerate(zip(first, other.shape)):
            if d != dim and one != two:
                raise ValueError(
                    "all the input array dimensions except for the concatenation axis must match "
                    f"exactly, but along dimension {d}, the array at index 0 has size {one} and "
                    f"the array at index {i} has size {two}"
                )


def concatenate(
    arrays: Any, /, axis: int | None = 0, out: Any = None, *, dtype: Any = None,
    casting: str = "same_kind",
) -> ndarray:  # fmt: skip
    """The arrays joined along an existing ``axis`` (None: flattened first)."""
    try:
        tensors = _alike(arrays, dtype)
        if axis is None:
            tensors, axis = [t.reshape(-1) for t in tensors], 0
        if not tensors[0].ndim:
            raise ValueError("zero-dimensional arrays cannot be concatenated")
        dim = axis_number(axis, tensors[0].ndim)
        _check_joinable(tensors, dim)
        return finish(wrap(RECORDED["cat"](tensors, dim)), out)
    except Exception as error:
        raise located(error) from None


concat = concatenate


def stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None) -> ndarray:
    """The arrays, all of one shape, joined along a new ``axis``."""
    tensors = _alike(arrays, dtype)
    if len({tuple(t.shape) for t in tensors}) > 1:
        raise located(ValueError("all input arrays must have the same shape"))
    return finish(wrap(RECORDED["stack"](tensors, axis_number(axis, tensors[0].ndim + 1))), out)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[ndarray, ...]:
    """The sub-arrays along ``axis``."""
    array = asarray(x)
    if not array.ndim:
        raise located(ValueError("Input array must be at least 1-d."))
    return tuple(moveaxis(array, axis, 0)[i, ...] for i in range(array.shape[axis]))


def vstack(tup: Any, *, dtype: Any = None) -> ndarray:
    """The arrays, each at least two-dimensional, joined along the first dimension."""
    return concatenate([atleast_2d(a) for a in tup], 0, dtype=dtype)


row_stack = vstack


def hstack(tup: Any, *, dtype: Any = None) -> ndarray:
    """The arrays joined along the second dimension (one-dimensional ones along the first)."""
    lifted = [atleast_1d(a) for a in tup]
    return concatenate(lifted, 0 if lifted and lifted[0].ndim == 1 else 1, dtype=dtype)


def dstack(tup: Any) -> ndarray:
    """The arrays, each at least three-dimensional, joined along the third dimension."""
    return concatenate([atleast_3d(a) for a in tup], 2)


def column_stack(tup: Any) -> ndarray:
    """One-dimensional arrays as columns beside one another, and two-dimensional ones."""
    arrays = [asarray(a) for a in tup]
    return concatenate([a.reshape(-1, 1) if a.ndim < 2 else a for a in arrays], 1)


def append(arr: Any, values: Any, axis: int | None = None) -> ndarray:
    """A copy of ``arr`` with ``values`` at its end (flattened if ``axis`` is None)."""
    return concatenate((arr, values), axis)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[ndarray]:
    """Views of parts along ``axis``: so many of nearly equal size, or cut at the indices."""
    array = asarray(ary)
    dim = axis_number(axis, array.ndim)
    if hasattr(indices_or_sections, "__len__"):
        cuts = [int(i) for i in indices_or_sections]
    else:
        sections = int(indices_or_sections)
        if sections <= 0:
            raise located(ValueError("number sections must be larger than 0."))
        each, more = divmod(array.shape[dim], sections)
        cuts = [i * each + builtins.min(i, more) for i in range(1, sections)]
    bounds = [0, *cuts, array.shape[dim]]
    before = (slice(None),) * dim
    return [array[(*before, slice(a, b))] for a, b in itertools.pairwise(bounds)]


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[ndarray]:
    """Like `array_split`; ValueError if equal parts are impossible."""
    array = asarray(ary)
    extent = array.shape[axis_number(axis, array.ndim)]
    if not hasattr(indices_or_sections, "__len__") and extent % indices_or_sections:
        raise located(ValueError("array split does not result in an equal division"))
    return array_split(array, indices_or_sections, axis)


def hsplit(ary: Any, indices_or_sections: Any) -> list[ndarray]:
    """`split` along the second dimension (the first of one-dimensional arrays)."""
    return split(ary, indices_or_sections, 1 if asarray(ary).ndim > 1 else 0)


def vsplit(ary: Any, indices_or_sections: Any) -> list[ndarray]:
    """`split` along the first dimension."""
    return split(ary, indices_or_sections, 0)


def dsplit(ary: Any, indices_or_sections: Any) -> list[ndarray]:
    """`split` along the third dimension."""
    return split(ary, indices_or_sections, 2)


# ---- repeating and reordering


def tile(A: Any, reps: Any) -> ndarray:
    """``A`` repeated ``reps`` times along each dimension."""
    return wrap(RECORDED["clone"](RECORDED["tile"](asarray(A)._tensor, _shape(reps))))


def repeat(a: Any, repeats: Any, axis: int | None = None) -> ndarray:
    """Each element along ``axis`` (None: flattened) repeated: so often, or as often as listed."""
    array = asarray(a)
    if axis is None:
        array, axis = ravel(array), 0
    dim = axis_number(axis, array.ndim)
    counts = np.asarray(repeats)
    if counts.size != 1 and counts.shape != (array.shape[dim],):
        raise located(
            ValueError(
                f"operands could not be broadcast together with shape ({array.shape[dim]},) "
                f"{counts.shape}"
            )
        )
    return _pick(array, np.repeat(np.arange(array.shape[dim]), counts), dim)


def _pick(array: ndarray, positions: Any, dim: int) -> ndarray:
    index = Tensor._from_array(np.asarray(positions, dtype=np.int64))
    return wrap(RECORDED["index_select"](array._tensor, dim, index))


def flip(m: Any, axis: Any = None) -> ndarray:
    """The elements in reverse order along ``axis`` (None: all): a copy, not a view."""
    array = asarray(m)
    return wrap(RECORDED["flip"](array._tensor, axis_numbers(axis, array.ndim)))


def flipud(m: Any) -> ndarray:
    """`flip` along the first dimension."""
    return flip(m, 0)


def fliplr(m: Any) -> ndarray:
    """`flip` along the second dimension."""
    return flip(m, 1)


def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> ndarray:
    """Rotated ``k`` times by 90 degrees in the plane of ``axes``, from the first to the second."""
    array = asarray(m)
    return wrap(RECORDED["clone"](
        RECORDED["rot90"](array._tensor, k, axis_numbers(axes, array.ndim))
    ))  # fmt: skip


def roll(a: Any, shift: Any, axis: Any = None) -> ndarray:
    """Elements rolled by ``shift`` along ``axis`` (None: flattened, then shaped back)."""
    array = asarray(a)
    if axis is None:
        return wrap(RECORDED["roll"](array._tensor.reshape(-1), shift, 0).reshape(array.shape))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    shifts = shift if isinstance(shift, (tuple, list)) else (shift,) * len(axes)
    if len(axes) == 1 and len(shifts) > 1:
        axes = tuple(axes) * len(shifts)
    tensor = RECORDED["clone"](array._tensor)
    for amount, one in zip(shifts, axes):
        tensor = RECORDED["roll"](tensor, int(amount), axis_number(one, array.ndim))
    return wrap(tensor)


def pad(array: Any, pad_width: Any, mode: str = "constant", **kwargs: Any) -> ndarray:
    """``array`` with a margin: ``constant`` values, or its own elements in the modes ``edge``,
    ``reflect``, ``symmetric`` and ``wrap``. ValueError for other modes."""
    given = asarray(array)
    widths = np.broadcast_to(np.asarray(pad_width, dtype=np.int64), (given.ndim, 2)).tolist()
    if mode == "constant":
        values = np.asarray(kwargs.get("constant_values", 0))
        sides = np.broadcast_to(values, (given.ndim, 2)).tolist()
        for d, (low, high) in enumerate(widths):
            parts = []
            for width, value in ((low, sides[d][0]), (high, sides[d][1])):
                shape = (*given.shape[:d], width, *given.shape[d + 1 :])
                filler = np.asarray(value, dtype=given.dtype).item()
                parts.append(RECORDED["full"](shape, filler, dtype=given._tensor.dtype))
            given = wrap(RECORDED["cat"]([parts[0], given._tensor, parts[1]], d))
        return given
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise located(ValueError(f"mode '{mode}' is not supported"))
    options: Any = kwargs
    for d, (low, high) in enumerate(widths):
        numbers = np.arange(given.shape[d])
        given = _pick(given, np.pad(numbers, (low, high), mode=mode, **options), d)  # type: ignore[call-overload]
    return given


__all__ = ["append", "array_split", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays",
           "broadcast_to", "column_stack", "concat", "concatenate", "dsplit", "dstack",
           "expand_dims", "flip", "fliplr", "flipud", "hsplit", "hstack", "matrix_transpose",
           "moveaxis", "pad", "permute_dims", "ravel", "repeat", "reshape", "roll", "rollaxis",
           "rot90", "row_stack", "split", "squeeze", "stack", "swapaxes", "tile", "transpose",
           "unstack", "vsplit", "vstack"]  # fmt: skip
