"""Products of vectors and matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import located
from ..tensor import Tensor
from ..tensor.attach import RECORDED
from .array import asarray, computed, dtype_of, ndarray, wrap
from .reductions import axis_number, finish, sum
from .ufuncs import UFUNCS


def _pair(a: Any, b: Any, dtype: Any = None) -> tuple[Tensor, Tensor]:
    """Two operands in their common dtype (Python numbers weak)."""
    one, two = asarray(a), asarray(b)
    kind = dtype_of(np.result_type(one.dtype, two.dtype) if dtype is None else dtype)
    return one._tensor.to(kind), two._tensor.to(kind)


def _multiply(one: Tensor, two: Tensor) -> ndarray:
    """The recorded matrix product; bools multiply as integers and combine by "or"."""
    if one.dtype.name == "bool":
        counts = RECORDED["matmul"](one.long(), two.long())
        return computed(counts != 0)
    return computed(RECORDED["matmul"](one, two))


def matmul(x1: Any, x2: Any, /, out: Any = None, *, dtype: Any = None) -> ndarray:
    """Matrix product; more dimensions than two are stacks of matrices that broadcast.

    ValueError for 0-d operands and for inner extents that differ.
    """
    try:
        one, two = _pair(x1, x2, dtype)
        for i, tensor in enumerate((one, two)):
            if not tensor.ndim:
                raise ValueError(
                    f"matmul: Input operand {i} does not have enough dimensions (has 0, gufunc "
                    "core with signature (n?,k),(k,m?)->(n?,m?) requires 1)"
                )
        inner = two.shape[-2 if two.ndim > 1 else -1]
        if one.shape[-1] != inner:
            raise ValueError(
                "matmul: Input operand 1 has a mismatch in its core dimension 0, with gufunc "
                f"signature (n?,k),(k,m?)->(n?,m?) (size {inner} is different from "
                f"{one.shape[-1]})"
            )
        np.broadcast_shapes(one.shape[:-2], two.shape[:-2])
        return finish(_multiply(one, two), out)
    except Exception as error:
        raise located(error) from None


def dot(a: Any, b: Any, out: Any = None) -> ndarray:
    """Inner product of vectors, product of matrices, or sum over the last dimension of ``a`` and
    the second-to-last of ``b``."""
    try:
        one, two = _pair(a, b)
        if not one.ndim or not two.ndim:
            return finish(UFUNCS["multiply"](asarray(a), asarray(b)), out)
        axis = two.ndim - 2 if two.ndim > 1 else 0
        if one.shape[-1] != two.shape[axis]:
            raise ValueError(
                f"shapes {_show(one)} and {_show(two)} not aligned: {one.shape[-1]} (dim "
                f"{one.ndim - 1}) != {two.shape[axis]} (dim {axis})"
            )
        if one.ndim <= 2 and two.ndim <= 2:
            return finish(_multiply(one, two), out)
        return finish(computed(RECORDED["tensordot"](one, two, ([one.ndim - 1], [axis]))), out)
    except Exception as error:
        raise located(error) from None


def _show(tensor: Tensor) -> str:
    return str(tuple(tensor.shape)).replace(" ", "")


def vdot(a: Any, b: Any, /) -> ndarray:
    """Inner product of the flattened arrays, the first one conjugated."""
    first = asarray(a).reshape(-1)
    return dot(UFUNCS["conjugate"](first) if first.dtype.kind == "c" else first,
               asarray(b).reshape(-1))  # fmt: skip


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> ndarray:
    """Inner products along ``axis``, the first operand conjugated."""
    one, two = asarray(x1), asarray(x2)
    if not one.ndim or not two.ndim:
        raise located(ValueError("vecdot: operands must have at least one dimension"))
    if one.shape[axis] != two.shape[axis]:
        raise located(
            ValueError(f"vecdot: extents differ along axis {axis}: {one.shape} and {two.shape}")
        )
    first = UFUNCS["conjugate"](one) if one.dtype.kind == "c" else one
    product = first * two
    return sum(product, axis, product.dtype)


def inner(a: Any, b: Any, /) -> Any:
    """Sum of products over the last dimensions."""
    one, two = asarray(a), asarray(b)
    if not one.ndim or not two.ndim:
        return one * two
    if one.shape[-1] != two.shape[-1]:
        raise located(
            ValueError(f"shapes {one.shape} and {two.shape} not aligned in the last dimension")
        )
    return tensordot(one, two, ([one.ndim - 1], [two.ndim - 1]))


def outer(a: Any, b: Any, out: Any = None) -> ndarray:
    """All products of elements of the flattened operands: ``(M, N)``."""
    return finish(asarray(a).reshape(-1, 1) * asarray(b).reshape(1, -1), out)


def tensordot(a: Any, b: Any, axes: Any = 2) -> ndarray:
    """Sum of products over pairs of dimensions: the last ``axes`` of ``a`` and the first of ``b``,
    or two lists of dimensions. ValueError if their extents differ."""
    one, two = _pair(a, b)
    if isinstance(axes, int):
        left, right = list(range(one.ndim - axes, one.ndim)), list(range(axes))
    else:
        left, right = (list(x) if isinstance(x, (tuple, list)) else [x] for x in axes)
    left = [axis_number(d, one.ndim) for d in left]
    right = [axis_number(d, two.ndim) for d in right]
    if [one.shape[d] for d in left] != [two.shape[d] for d in right]:
        raise located(ValueError("shape-mismatch for sum"))
    return computed(RECORDED["tensordot"](one, two, (left, right)))


def einsum(subscripts: Any, /, *operands: Any, out: Any = None, **options: Any) -> ndarray:
    """Sum of products in Einstein's notation: ``einsum("ij,jk->ik", a, b)``."""
    try:
        if not isinstance(subscripts, str):
            given = [subscripts, *operands]
            arrays = given[: len(given) // 2 * 2 : 2]
            lists = given[1::2]
            letters = ["".join(_letter(i) for i in part) for part in lists]
            subscripts = ",".join(letters)
            if len(given) % 2:
                subscripts += "->" + "".join(_letter(i) for i in given[-1])
            operands = tuple(arrays)
        kind = dtype_of(np.result_type(*(asarray(o).dtype for o in operands)))
        tensors = [asarray(o)._tensor.to(kind) for o in operands]
        return finish(computed(RECORDED["einsum"](subscripts, *tensors)), out)
    except RuntimeError as error:
        raise located(ValueError(str(error))) from None


def _letter(index: Any) -> str:
    if index is Ellipsis:
        return "..."
    return chr(ord("a") + index) if index < 26 else chr(ord("A") + index - 26)


def kron(a: Any, b: Any) -> ndarray:
    """Kronecker product: blocks of ``b`` scaled by the elements of ``a``."""
    one, two = _pair(a, b)
    return computed(RECORDED["kron"](one, two))


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ndarray:
    """The diagonal of two dimensions, as a last dimension (a copy)."""
    array = asarray(a)
    if array.ndim < 2:
        raise located(ValueError("diag requires an array of at least two dimensions"))
    dims = axis_number(axis1, array.ndim), axis_number(axis2, array.ndim)
    return wrap(RECORDED["clone"](RECORDED["diagonal"](array._tensor, offset, *dims)))


def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> ndarray:
    """The sum of a diagonal."""
    return sum(diagonal(a, offset, axis1, axis2), -1, dtype, out)


def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> ndarray:
    """Cross products of vectors of three elements."""
    from .manipulation import moveaxis, stack

    if axis is not None:
        axisa = axisb = axisc = axis
    one, two = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    if one.shape[-1] != 3 or two.shape[-1] != 3:
        raise located(
            ValueError(
                f"cross expects vectors of 3 elements, got {one.shape[-1]} and {two.shape[-1]}"
            )
        )
    x, y = [one[..., i] for i in range(3)], [two[..., i] for i in range(3)]
    parts = [x[i - 2] * y[i - 1] - x[i - 1] * y[i - 2] for i in range(3)]
    return moveaxis(stack(parts, -1), -1, axisc)


__all__ = ["cross", "diagonal", "dot", "einsum", "inner", "kron", "matmul", "outer", "tensordot",
           "trace", "vdot", "vecdot"]  # fmt: skip
