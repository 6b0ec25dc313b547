"""NumPy style over the same graph: ``import thalweg.numpy as np``.

Programs written for NumPy run with only their import line changed: the same names, defaults
(float64), result dtypes, views, errors and random numbers, but recorded lazily into the graph that
the other front doors produce. `graph_text` shows what is recorded behind arrays.

What differs from NumPy: strings, dates, records, objects and long doubles do not exist; results
without dimensions are arrays that behave as scalars do; NumPy's own arrays are copied on entry;
backward slices, `flip`, `diagonal`, and the parts of complex arrays read as copies; integer
division by zero raises instead of warning, and no floating-point warnings are given. Functions of
`host` (decompositions, `unique`, histograms, ...) are computed by NumPy at once. Other names raise
AttributeError.
"""

from math import e, inf, nan, pi
from typing import Any

import numpy as _numpy

from ..tensor.inspect import graph_of, graph_text
from . import array_api, linalg, methods, random
from .array import array, asarray, ndarray
from .array import array as _array
from .creation import *  # noqa: F403
from .creation import __all__ as _creation
from .host import *  # noqa: F403
from .host import __all__ as _host
from .manipulation import *  # noqa: F403
from .manipulation import __all__ as _manipulation
from .products import *  # noqa: F403
from .products import __all__ as _products
from .reductions import *  # noqa: F403
from .reductions import __all__ as _reductions
from .searching import *  # noqa: F403
from .searching import __all__ as _searching
from .ufuncs import *  # noqa: F403
from .ufuncs import __all__ as _ufuncs

newaxis = None
asanyarray = asarray
euler_gamma = _numpy.euler_gamma

_DTYPES = (
    "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "uint", "uintp", "ushort", "uintc", "ulonglong", "float16", "float32", "float64",
    "complex64", "complex128", "int_", "intp", "intc", "single", "double", "half", "byte", "short",
    "ubyte", "longlong", "csingle", "cdouble", "generic", "number", "integer", "signedinteger",
    "unsignedinteger", "inexact", "floating", "complexfloating", "dtype", "finfo", "iinfo",
    "can_cast", "promote_types", "min_scalar_type", "issubdtype", "isdtype", "isscalar", "errstate",
    "seterr", "set_printoptions", "get_printoptions", "printoptions", "broadcast_shapes",
    "ndindex", "s_", "index_exp", "exceptions",
)  # fmt: skip
for _name in _DTYPES:
    if hasattr(_numpy, _name):
        globals()[_name] = getattr(_numpy, _name)
bool = _numpy.bool_


def shape(a: Any) -> tuple[int, ...]:
    """The extents of ``a``."""
    return asarray(a).shape


def ndim(a: Any) -> int:
    """The number of dimensions of ``a``."""
    return asarray(a).ndim


def size(a: Any, axis: int | None = None) -> int:
    """The number of elements of ``a``, or its extent along ``axis``."""
    return asarray(a).size if axis is None else asarray(a).shape[axis]


def astype(x: ndarray, dtype: Any, /, *, copy: Any = True, device: Any = None) -> ndarray:
    """The elements of ``x`` as ``dtype``."""
    return x.astype(dtype, copy=copy)


def result_type(*arrays_and_dtypes: Any) -> _numpy.dtype[Any]:
    """The dtype in which operands combine; Python numbers are weak."""
    return _numpy.result_type(
        *(a.dtype if isinstance(a, ndarray) else a for a in arrays_and_dtypes)
    )


def array_repr(arr: Any, *args: Any, **kwargs: Any) -> str:
    """The text of ``repr``."""
    return _numpy.array_repr(_numpy.asarray(arr), *args, **kwargs)


def array2string(a: Any, *args: Any, **kwargs: Any) -> str:
    """The elements as text."""
    return _numpy.array2string(_numpy.asarray(a), *args, **kwargs)


__all__ = [
    *_creation, *_host, *_manipulation, *_products, *_reductions, *_searching, *_ufuncs,
    *(n for n in _DTYPES if hasattr(_numpy, n)), "array2string", "array_api", "array_repr",
    "asanyarray", "astype", "bool", "e", "euler_gamma", "graph_of", "graph_text", "inf", "linalg",
    "nan", "ndarray", "ndim", "newaxis", "pi", "random", "result_type", "shape", "size",
]  # fmt: skip
del _name, methods
