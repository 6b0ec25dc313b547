"""`numpy.linalg`: norms and products are recorded, decompositions are computed by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import located
from .array import asarray, ndarray
from .host import LINALG, namespace
from .manipulation import matrix_transpose
from .products import cross, diagonal, matmul, outer, tensordot, trace, vecdot
from .reductions import axis_numbers, max, min, sum
from .ufuncs import UFUNCS

LinAlgError = np.linalg.LinAlgError

globals().update(namespace(np.linalg, LINALG))


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The norm of vectors or matrices along ``axis`` (None: of the whole array).

    ``ord`` None is the 2-norm of all elements. Vectors: any number, inf, -inf, 0 (how many are
    not zero). Matrices: "fro", 1, -1, inf, -inf; the spectral ones are computed by NumPy.
    """
    array = asarray(x)
    if array.dtype.kind in "iub":
        array = array.astype(float)
    if axis is None and ord is None:
        made = _two_norm(array.reshape(-1), (0,))
        return made.reshape((1,) * array.ndim) if keepdims else made
    axes = axis_numbers(axis, array.ndim)
    if len(axes) == 1:
        return _vector(array, ord, axes, keepdims)
    if len(axes) != 2:
        raise located(ValueError("Improper number of dimensions to norm."))
    return _matrix(array, ord, axes, keepdims)


def _two_norm(array: ndarray, axes: tuple[int, ...], keepdims: bool = False) -> Any:
    squares = (UFUNCS["conjugate"](array) * array).real if array.dtype.kind == "c" else array**2
    return UFUNCS["sqrt"](sum(squares, axes, keepdims=keepdims))


def _vector(array: ndarray, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if ord is None or ord == 2:
        return _two_norm(array, axes, keepdims)
    size = UFUNCS["absolute"](array)
    if ord == np.inf:
        return max(size, axes, keepdims=keepdims)
    if ord == -np.inf:
        return min(size, axes, keepdims=keepdims)
    if ord == 0:
        return sum((array != 0).astype(size.dtype), axes, keepdims=keepdims)
    if ord == 1:
        return sum(size, axes, keepdims=keepdims)
    if isinstance(ord, str):
        raise located(ValueError(f"Invalid norm order '{ord}' for vectors"))
    return sum(size**ord, axes, keepdims=keepdims) ** (1.0 / ord)


def _matrix(array: ndarray, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if ord is None or ord == "fro":
        return _two_norm(array, axes, keepdims)
    if ord in (1, -1, np.inf, -np.inf):
        rows, columns = axes
        inner = rows if abs(ord) == 1 else columns
        outer_axis = columns if inner == rows else rows
        sums = sum(UFUNCS["absolute"](array), inner, keepdims=True)
        made = (max if ord > 0 else min)(sums, outer_axis, keepdims=True)
        return made if keepdims else made[tuple(0 if d in axes else slice(None)
                                                for d in range(array.ndim))]  # fmt: skip
    from .host import hosted

    return hosted(np.linalg.norm)(array, ord, axes, keepdims)


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """The norm of vectors along ``axis``; several axes (None: all) count as one."""
    array = asarray(x)
    if array.dtype.kind in "iub":
        array = array.astype(float)
    return _vector(array, ord, axis_numbers(axis, array.ndim), keepdims)


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm of matrices in the last two dimensions."""
    array = asarray(x)
    return norm(array, ord, (array.ndim - 2, array.ndim - 1), keepdims)


def multi_dot(arrays: Any) -> Any:
    """The product of several matrices, from left to right."""
    first, *rest = arrays
    for other in rest:
        first = matmul(first, other)
    return first


__all__ = [*namespace(np.linalg, LINALG), "LinAlgError", "cross", "diagonal", "matmul",
           "matrix_norm", "matrix_transpose", "multi_dot", "norm", "outer", "tensordot", "trace",
           "vecdot", "vector_norm"]  # fmt: skip
