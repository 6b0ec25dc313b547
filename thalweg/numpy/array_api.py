"""The Python array API standard 2023.12 over `thalweg.numpy.ndarray`.

``x.__array_namespace__()`` is this module. Functions are those of `thalweg.numpy`, which take what
the standard asks for and more. Nothing of the main namespace is missing; of the optional
extensions ``linalg`` is there and ``fft`` is not. Results without dimensions are 0-d arrays.
"""

from __future__ import annotations

from math import e, inf, nan, pi
from typing import Any

import numpy as _numpy

from ..core.errors import located
from . import linalg
from .array import asarray, ndarray, wrap
from .creation import (
    arange,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)  # fmt: skip
from .host import hosted
from .manipulation import (
    broadcast_arrays,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    matrix_transpose,
    moveaxis,
    permute_dims,
    repeat,
    reshape,
    roll,
    squeeze,
    stack,
    tile,
    unstack,
)  # fmt: skip
from .products import matmul, tensordot, vecdot
from .reductions import (
    all,
    any,
    argmax,
    argmin,
    cumulative_sum,
    max,
    mean,
    min,
    prod,
    std,
    sum,
    var,
)  # fmt: skip
from .searching import argsort, clip, imag, real, round, searchsorted, sort, take, where
from .ufuncs import ALIASES, UFUNCS

__array_api_version__ = "2023.12"

newaxis = None
bool = _numpy.dtype("bool")
int8, int16, int32, int64 = map(_numpy.dtype, ("int8", "int16", "int32", "int64"))
uint8, uint16, uint32, uint64 = map(_numpy.dtype, ("uint8", "uint16", "uint32", "uint64"))
float32, float64, complex64, complex128 = map(
    _numpy.dtype, ("float32", "float64", "complex64", "complex128")
)

_ELEMENTWISE = (
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and",
    "bitwise_left_shift", "bitwise_invert", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "ceil", "conj", "copysign", "cos", "cosh", "divide", "equal", "exp", "expm1", "floor",
    "floor_divide", "greater", "greater_equal", "hypot", "isfinite", "isinf", "isnan", "less",
    "less_equal", "log", "log1p", "log2", "log10", "logaddexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "maximum", "minimum", "multiply", "negative", "not_equal",
    "positive", "pow", "remainder", "sign", "signbit", "sin", "sinh", "square", "sqrt", "subtract",
    "tan", "tanh", "trunc",
)  # fmt: skip
globals().update({name: UFUNCS[ALIASES.get(name, name)] for name in _ELEMENTWISE})
nonzero, unique_all, unique_counts, unique_inverse, unique_values = map(
    hosted,
    (_numpy.nonzero, _numpy.unique_all, _numpy.unique_counts, _numpy.unique_inverse,
     _numpy.unique_values),
)  # fmt: skip


def astype(x: ndarray, dtype: Any, /, *, copy: Any = True, device: Any = None) -> ndarray:
    """The elements of ``x`` as ``dtype``. TypeError from complex to real."""
    if x.dtype.kind == "c" and _numpy.dtype(dtype).kind not in "c":
        raise located(TypeError(f"astype expects a complex dtype for complex data, got {dtype}"))
    return wrap(x.astype(dtype, copy=copy)._tensor)


def can_cast(from_: Any, to: Any, /) -> _numpy.bool_:
    """Whether values convert to ``to`` safely."""
    return _numpy.can_cast(_kind(from_), to)  # type: ignore[return-value]


def result_type(*arrays_and_dtypes: Any) -> _numpy.dtype[Any]:
    """The dtype in which operands combine."""
    return _numpy.result_type(*map(_kind, arrays_and_dtypes))


def _kind(value: Any) -> Any:
    return value.dtype if isinstance(value, ndarray) else value


def isdtype(dtype: Any, kind: Any) -> _numpy.bool_:
    """Whether ``dtype`` is of a kind: "bool", "integral", "real floating", ... or a dtype."""
    return _numpy.isdtype(dtype, kind)  # type: ignore[return-value]


def finfo(type: Any, /) -> Any:
    """Limits of a floating-point dtype."""
    return _numpy.finfo(_kind(type))


def iinfo(type: Any, /) -> Any:
    """Limits of an integer dtype."""
    return _numpy.iinfo(_kind(type))


_GROUPS = {
    "bool": ("bool",), "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float32", "float64"),
    "complex floating": ("complex64", "complex128"),
}  # fmt: skip
_GROUPS["integral"] = _GROUPS["signed integer"] + _GROUPS["unsigned integer"]
_GROUPS["numeric"] = _GROUPS["integral"] + _GROUPS["real floating"] + _GROUPS["complex floating"]


class _Info:
    """What `__array_namespace_info__` returns."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indexing and data-dependent shapes are supported; up to 64 dimensions."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """The only device."""
        return "cpu"

    def devices(self) -> list[str]:
        """All devices."""
        return ["cpu"]

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        """The dtypes of creation functions without ``dtype``."""
        return {"real floating": float64, "complex floating": complex128, "integral": int64,
                "indexing": int64}  # fmt: skip

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        """The dtypes of a kind (None: all), by name."""
        wanted = ("bool", "numeric") if kind is None else kind
        kinds = wanted if isinstance(wanted, tuple) else (wanted,)
        return {n: _numpy.dtype(n) for k in kinds for n in _GROUPS[k]}


def __array_namespace_info__() -> _Info:
    """Devices and dtypes of this namespace."""
    return _Info()


__all__ = [*_ELEMENTWISE, "__array_api_version__", "__array_namespace_info__", "all", "any",
           "arange", "argmax", "argmin", "argsort", "asarray", "astype", "bool",
           "broadcast_arrays", "broadcast_to", "can_cast", "clip", "complex64", "complex128",
           "concat", "cumulative_sum", "e", "empty", "empty_like", "expand_dims", "eye", "finfo",
           "flip", "float32", "float64", "from_dlpack", "full", "full_like", "iinfo", "imag",
           "inf", "int8", "int16", "int32", "int64", "isdtype", "linalg", "linspace", "matmul",
           "matrix_transpose", "max", "mean", "meshgrid", "min", "moveaxis", "nan", "newaxis",
           "nonzero", "ones", "ones_like", "permute_dims", "pi", "prod", "real", "repeat",
           "reshape", "result_type", "roll", "round", "searchsorted", "sort", "squeeze", "stack",
           "std", "sum", "take", "tensordot", "tile", "tril", "triu", "uint8", "uint16", "uint32",
           "uint64",
           "unique_all",
           "unique_counts", "unique_inverse", "unique_values", "unstack", "var", "vecdot",
           "where", "zeros", "zeros_like"]  # fmt: skip
