"""Arrays from shapes, ranges and grids."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import located
from ..tensor.attach import RECORDED
from .array import NUMBERS, array, asarray, dtype_of, from_host, ndarray, wrap


def _sizes(shape: Any) -> tuple[int, ...]:
    given = shape if isinstance(shape, (tuple, list, np.ndarray, ndarray)) else (shape,)
    sizes = tuple(n.__index__() for n in given)
    if any(n < 0 for n in sizes):
        raise located(ValueError(f"negative dimensions are not allowed, got {sizes}"))
    return sizes


def _only_cpu(device: Any) -> None:
    if device not in (None, "cpu"):
        raise located(ValueError(f"Unsupported device: expected 'cpu', got {device!r}"))


def full(
    shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, device: Any = None,
    like: Any = None,
) -> ndarray:  # fmt: skip
    """An array of one value; its dtype is the value's unless ``dtype`` is given."""
    _only_cpu(device)
    if isinstance(fill_value, NUMBERS):
        kind = np.asarray(fill_value).dtype if dtype is None else dtype
        value = np.asarray(fill_value, dtype=dtype_of(kind).np).item()
        return wrap(RECORDED["full"](_sizes(shape), value, dtype=dtype_of(kind)))
    given = asarray(fill_value, dtype)
    return wrap(RECORDED["clone"](RECORDED["broadcast_to"](given._tensor, _sizes(shape))))


def zeros(
    shape: Any, dtype: Any = float, order: str = "C", *, device: Any = None, like: Any = None
) -> ndarray:
    """Zeros, float64 by default."""
    return full(shape, 0, float if dtype is None else dtype, device=device)


def ones(
    shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None, like: Any = None
) -> ndarray:
    """Ones, float64 by default."""
    return full(shape, 1, float if dtype is None else dtype, device=device)


def empty(
    shape: Any, dtype: Any = float, order: str = "C", *, device: Any = None, like: Any = None
) -> ndarray:
    """An array whose elements are not meant to be read before they are written (here: zeros)."""
    return zeros(shape, dtype, device=device)


def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True,
    shape: Any = None, *, device: Any = None,
) -> ndarray:  # fmt: skip
    """An array of one value in the shape and dtype of ``a``."""
    like = asarray(a)
    return full(
        like.shape if shape is None else shape, fill_value, like.dtype if dtype is None else dtype,
        device=device,
    )  # fmt: skip


def zeros_like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True,
               shape: Any = None, *, device: Any = None) -> ndarray:  # fmt: skip
    """Zeros in the shape and dtype of ``a``."""
    return full_like(a, 0, dtype, shape=shape, device=device)


def ones_like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True,
              shape: Any = None, *, device: Any = None) -> ndarray:  # fmt: skip
    """Ones in the shape and dtype of ``a``."""
    return full_like(a, 1, dtype, shape=shape, device=device)


def empty_like(prototype: Any, dtype: Any = None, order: str = "K", subok: bool = True,
               shape: Any = None, *, device: Any = None) -> ndarray:  # fmt: skip
    """Like `empty`, in the shape and dtype of ``prototype``."""
    return full_like(prototype, 0, dtype, shape=shape, device=device)


def eye(
    N: int, M: int | None = None, k: int = 0, dtype: Any = float, order: str = "C", *,
    device: Any = None, like: Any = None,
) -> Any:  # fmt: skip
    """Ones on the ``k``-th diagonal of an ``(N, M)`` matrix, zeros elsewhere."""
    _only_cpu(device)
    return from_host(np.eye(N, M, k, dtype=dtype_of(float if dtype is None else dtype).np))


def identity(n: int, dtype: Any = None) -> Any:
    """The ``(n, n)`` identity matrix."""
    return eye(n, dtype=float if dtype is None else dtype)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, ndarray) else value


def arange(
    start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, *, device: Any = None,
    like: Any = None,
) -> Any:  # fmt: skip
    """Evenly spaced values of ``[start, stop)``: integers for integers."""
    _only_cpu(device)
    start, stop, step = _plain(start), _plain(stop), _plain(step)
    if stop is None:
        start, stop = 0, start
    return from_host(np.arange(start, stop, step, dtype=dtype))


def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False,
    dtype: Any = None, axis: int = 0, *, device: Any = None,
) -> Any:  # fmt: skip
    """``num`` evenly spaced values from ``start`` to ``stop``."""
    _only_cpu(device)
    compute: Any = np.linspace
    return from_host(compute(_plain(start), _plain(stop), num, endpoint, retstep, dtype, axis))


def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: float = 10.0,
    dtype: Any = None, axis: int = 0,
) -> Any:  # fmt: skip
    """``num`` values from ``base ** start`` to ``base ** stop``, evenly spaced in the exponent."""
    return from_host(np.logspace(_plain(start), _plain(stop), num, endpoint, base, dtype, axis))


def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    """``num`` values from ``start`` to ``stop`` of which each is a constant multiple of the
    previous one."""
    return from_host(np.geomspace(_plain(start), _plain(stop), num, endpoint, dtype, axis))


def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    """Coordinate arrays of the grid spanned by one-dimensional arrays."""
    if indexing not in ("xy", "ij"):
        raise located(ValueError("Valid values for `indexing` are 'xy' and 'ij'."))
    vectors = [asarray(x)._tensor.reshape(-1) for x in xi]
    n = len(vectors)
    order = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else list(range(n))
    shaped = []
    for place, vector in zip(order, vectors):
        extents = [1] * n
        extents[place] = vector.numel()
        shaped.append(vector.reshape(extents))
    if not sparse:
        whole = tuple(vectors[order.index(d)].numel() for d in range(n))
        shaped = [RECORDED["clone"](RECORDED["broadcast_to"](v, whole)) for v in shaped]
    return tuple(map(wrap, shaped))


def diag(v: Any, k: int = 0) -> ndarray:
    """A matrix with ``v`` on its ``k``-th diagonal, or that diagonal of a matrix (a copy)."""
    given = asarray(v)
    if given.ndim not in (1, 2):
        raise located(ValueError(f"Input must be 1- or 2-d, got {given.ndim} dimensions."))
    return wrap(RECORDED["clone"](RECORDED["diag"](given._tensor, k)))


def diagflat(v: Any, k: int = 0) -> ndarray:
    """A matrix with the flattened ``v`` on its ``k``-th diagonal."""
    return diag(asarray(v).reshape(-1), k)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> Any:
    """Ones at and below the ``k``-th diagonal."""
    return from_host(np.tri(N, M, k, dtype=dtype_of(dtype).np))


def tril(m: Any, k: int = 0) -> ndarray:
    """The elements at and below the ``k``-th diagonal, zeros elsewhere."""
    return wrap(RECORDED["tril"](asarray(m)._tensor, k))


def triu(m: Any, k: int = 0) -> ndarray:
    """The elements at and above the ``k``-th diagonal, zeros elsewhere."""
    return wrap(RECORDED["triu"](asarray(m)._tensor, k))


def copy(a: Any, order: str = "K", subok: bool = False) -> ndarray:
    """A copy of ``a`` as an array."""
    return asarray(a).copy()


def ascontiguousarray(a: Any, dtype: Any = None, *, like: Any = None) -> ndarray:
    """``a`` as an array of at least one dimension, contiguous in row-major order."""
    made = asarray(a, dtype)
    return wrap((made.reshape(1) if not made.ndim else made)._tensor.contiguous())


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Any:
    """An array with a copy of the data of any object with ``__dlpack__``."""
    _only_cpu(device)
    if copy is False:
        raise located(ValueError("Unable to avoid copy while creating an array as requested."))
    return from_host(np.from_dlpack(x))


def fromfunction(function: Any, shape: Any, *, dtype: Any = float, **kwargs: Any) -> Any:
    """``function`` called with the coordinate arrays of a grid of ``shape``."""
    grid = np.indices(_sizes(shape), dtype=dtype_of(dtype).np)
    return function(*map(from_host, grid), **kwargs)


def fromiter(iterable: Any, dtype: Any, count: int = -1) -> Any:
    """A one-dimensional array of the values of an iterable."""
    return from_host(np.fromiter(iterable, dtype_of(dtype).np, count))


__all__ = ["arange", "array", "asarray", "ascontiguousarray", "copy", "diag", "diagflat", "empty",
           "empty_like", "eye", "from_dlpack", "fromfunction", "fromiter", "full", "full_like",
           "geomspace", "identity", "linspace", "logspace", "meshgrid", "ones", "ones_like",
           "tri", "tril", "triu", "zeros", "zeros_like"]  # fmt: skip
