"""Contractions as anchor calls, and what they should give."""

import numpy as np

from thalweg.codegen.target import host
from thalweg.codegen.templates import instantiate
from thalweg.core import dtypes
from thalweg.ir.anchor import AnchorCall, Epilogue, Operand
from thalweg.ir.loops import Buffer, Store, Var, compute_dtype


def operand(buffer, array, base=None):
    """How ``array``, a view of the flat ``base``, lies in its buffer."""
    base = array if base is None else base
    offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    size = array.itemsize
    return Operand(
        buffer, offset // size, array.shape, tuple(s // size for s in array.strides),
        dtype_of(array),
    )  # fmt: skip


def dtype_of(array):
    return next(d for d in dtypes.ALL if d.np == array.dtype)


def extents(spec, x_shape, y_shape):
    left, _, rest = spec.partition(",")
    right, _, result = rest.partition("->")
    size = dict(zip(left + right, x_shape + y_shape))
    return tuple(size[letter] for letter in result)


def contraction(spec, x, y, bases=None, epilogue=None, extra=(), results=None):
    """The call; by default it stores the bare result, in its dtype."""
    shape = extents(spec, x.shape, y.shape)
    dtype = dtype_of(x)
    bases = bases or (x, y)
    params = [Buffer(n, dtype, b.shape) for n, b in zip("xy", bases)]
    params += [Buffer(name, dtype_of(a), a.shape) for name, a in extra]
    params += results or [Buffer("out", dtype, shape, "out")]
    index = tuple(f"i{k}" for k in range(len(shape)))
    if epilogue is None:
        value = Var("v", compute_dtype(dtype))
        epilogue = (Store("out", tuple(Var(i) for i in index), value),)
    return AnchorCall(
        "gemm", (("spec", spec),), (operand(0, x, bases[0]), operand(1, y, bases[1])), shape, dtype,
        tuple(params), Epilogue(index, "v", epilogue),
    )  # fmt: skip


def kernel(call, target=None):
    return instantiate(call, target or host())


def expected(spec, x, y):
    """The contraction in float64, or in wrapping integers."""
    if x.dtype.kind in "iu":
        return np.einsum(spec, x, y)
    return np.einsum(spec, x.astype(np.float64), y.astype(np.float64))
