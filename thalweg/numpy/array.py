"""The `ndarray`: NumPy's array interface on a recorded Tensor.

An array holds one Tensor in ``_tensor``; every operation records. As in NumPy, results without
dimensions are scalars: immutable, not views, with a scalar's ``repr``. Here such a scalar is an
`ndarray` too (with ``_scalar`` set), since its value may not be computed yet.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..core.dtypes import DType, from_numpy
from ..core.errors import located
from ..tensor import Tensor
from ..tensor.attach import RECORDED
from ..tensor.fresh import is_fresh

Array: TypeAlias = np.ndarray[Any, Any]
NUMBERS = (bool, int, float, complex)
EXPECTED = "bool, an integer, float16 to float64, complex64 or complex128"


def dtype_of(kind: Any) -> DType:
    """The framework's dtype for anything `numpy.dtype` accepts. TypeError for unknown ones."""
    if isinstance(kind, DType):
        return kind
    wanted = np.dtype(kind)
    try:
        return from_numpy(wanted)
    except Exception:
        raise located(
            TypeError(f"arrays of dtype {wanted} are not available here: expected {EXPECTED}")
        ) from None


class ndarray:
    """An n-dimensional array with NumPy's interface, recorded lazily.

    ``ndarray(shape, dtype=float)`` makes an array of zeros; use `array`, `zeros`, ... instead.
    """

    __slots__ = ("__weakref__", "_scalar", "_tensor")
    __array_priority__ = 2000

    _tensor: Tensor
    _scalar: bool

    if TYPE_CHECKING:  # attached by `methods`: functions of the package, and every operator

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Any: ...
        def __sub__(self, other: Any) -> Any: ...
        def __mul__(self, other: Any) -> Any: ...
        def __truediv__(self, other: Any) -> Any: ...
        def __floordiv__(self, other: Any) -> Any: ...
        def __mod__(self, other: Any) -> Any: ...
        def __pow__(self, other: Any) -> Any: ...
        def __matmul__(self, other: Any) -> Any: ...
        def __and__(self, other: Any) -> Any: ...
        def __or__(self, other: Any) -> Any: ...
        def __xor__(self, other: Any) -> Any: ...
        def __radd__(self, other: Any) -> Any: ...
        def __rsub__(self, other: Any) -> Any: ...
        def __rmul__(self, other: Any) -> Any: ...
        def __rtruediv__(self, other: Any) -> Any: ...
        def __rpow__(self, other: Any) -> Any: ...
        def __rmatmul__(self, other: Any) -> Any: ...
        def __neg__(self) -> Any: ...
        def __abs__(self) -> Any: ...
        def __invert__(self) -> Any: ...
        def __eq__(self, other: Any) -> Any: ...
        def __ne__(self, other: Any) -> Any: ...
        def __lt__(self, other: Any) -> Any: ...
        def __le__(self, other: Any) -> Any: ...
        def __gt__(self, other: Any) -> Any: ...
        def __ge__(self, other: Any) -> Any: ...

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        self._tensor = Tensor._from_array(np.zeros(shape, dtype_of(dtype).np))
        self._scalar = False

    # ---- metadata

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._tensor._meta.shape)

    @shape.setter
    def shape(self, shape: Any) -> None:
        from .manipulation import reshape

        self._tensor = reshape(self, shape)._tensor

    @property
    def dtype(self) -> np.dtype[Any]:
        kind: np.dtype[Any] = np.dtype(self._tensor._meta.dtype.np)
        return kind

    @property
    def ndim(self) -> int:
        return len(self._tensor._meta.shape)

    @property
    def size(self) -> int:
        return int(self._tensor.numel())

    @property
    def itemsize(self) -> int:
        return int(self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(s * self.itemsize for s in self._tensor.stride())

    @property
    def device(self) -> str:
        return "cpu"

    def to_device(self, device: Any, /, *, stream: Any = None) -> ndarray:
        """This array: the only device is "cpu". ValueError for others."""
        if str(device) != "cpu":
            raise located(ValueError(f"Unsupported device: expected 'cpu', got {device!r}"))
        return self

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __hash__(self) -> int:
        if self._scalar:
            return hash(self.item())
        raise TypeError("unhashable type: 'ndarray'")

    # ---- reading values: these run what is recorded

    def _value(self) -> Array:
        """The elements. Not to be modified."""
        return self._tensor.detach()._array()  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        array = self._value()
        if copy is False:
            raise ValueError("Unable to avoid copy: a recorded array has no memory of its own")
        return array.astype(dtype or array.dtype)

    def __repr__(self) -> str:
        return repr(self._value()[()] if self._scalar else self._value())

    def __str__(self) -> str:
        return str(self._value()[()] if self._scalar else self._value())

    def __format__(self, spec: str) -> str:
        return format(self._value()[()] if not self.ndim else self._value(), spec)

    def __bool__(self) -> bool:
        return bool(self._value())

    def __int__(self) -> int:
        return int(self._value())

    def __float__(self) -> float:
        return float(self._value())

    def __complex__(self) -> complex:
        return complex(self._value())

    def __index__(self) -> int:
        if self.ndim or self.dtype.kind not in "iu":
            raise TypeError("only integer scalar arrays can be converted to a scalar index")
        return int(self._value())

    def item(self, *args: Any) -> Any:
        """One element as a Python number: the only one, or that at an index."""
        return self._value().item(*args)

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return self._value().tolist()

    def tobytes(self) -> bytes:
        """The elements' bytes in row-major order."""
        return self._value().tobytes()

    def __iter__(self) -> Iterator[ndarray]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self, item: Any) -> bool:
        return bool((self == item)._value().any())

    def __reduce__(self) -> Any:
        return _rebuild, (np.array(self._value()), self._scalar)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> ndarray:
        return self.copy()

    def copy(self, order: str = "C") -> ndarray:
        """A copy that shares nothing with this array."""
        return wrap(RECORDED["clone"](self._tensor))

    def astype(
        self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True,
        copy: bool = True,
    ) -> ndarray:  # fmt: skip
        """The elements as ``dtype``. TypeError if ``casting`` forbids the conversion."""
        target = dtype_of(dtype)
        if not np.can_cast(self.dtype, target.np, casting=casting):  # type: ignore[arg-type]
            raise located(
                TypeError(
                    f"Cannot cast array data from {self.dtype!r} to {np.dtype(target.np)!r} "
                    f"according to the rule '{casting}'"
                )
            )
        if target is self._tensor.dtype:
            return self.copy() if copy else self
        tensor = self._tensor
        if is_fresh(tensor):
            # Data that no graph has used yet (as from `random`): converted where it is, so that
            # it enters the graph in the dtype the program works in.
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
                return wrap(Tensor._from_array(self._value().astype(target.np)))
        return wrap(tensor.real if _drops_imaginary(self, target) else tensor, target)

    # ---- indexing

    def __getitem__(self, index: Any) -> ndarray:
        from .indexing import read

        return read(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        from .indexing import write

        write(self, index, value)

    # ---- with NumPy itself and others

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """A call of NumPy's own ufunc with one of these arrays is recorded where it can be."""
        from .ufuncs import UFUNCS

        own = UFUNCS.get(function.__name__)
        if method == "__call__" and own is not None and set(kwargs) <= {"out", "where", "dtype"}:
            out = kwargs.pop("out", (None,))[0]
            if out is None or isinstance(out, ndarray):
                return own(*inputs, out=out, **kwargs)
            out[...] = np.asarray(own(*inputs, **kwargs))
            return out
        plain = [np.asarray(i) if isinstance(i, ndarray) else i for i in inputs]
        return getattr(function, method)(*plain, **kwargs)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The module with the array API standard's functions."""
        from . import array_api

        if api_version not in (None, array_api.__array_api_version__, "2022.12", "2021.12"):
            raise ValueError(
                f"unsupported array API version: expected at most "
                f"{array_api.__array_api_version__!r}, got {api_version!r}"
            )
        return array_api

    def __dlpack__(self, **kwargs: Any) -> Any:
        return np.array(self._value()).__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def _drops_imaginary(array: ndarray, target: DType) -> bool:
    return array.dtype.kind == "c" and not target.is_complex and target.category != "bool"


def _rebuild(array: Array, scalar: bool) -> ndarray:
    return wrap(Tensor._from_array(array), scalar=scalar)


def wrap(tensor: Tensor, dtype: DType | None = None, scalar: bool = False) -> ndarray:
    """An array on ``tensor``, cast to ``dtype`` if it has another."""
    if dtype is not None and tensor._meta.dtype is not dtype:
        tensor = RECORDED["to_dtype"](tensor, dtype)
    made: ndarray = object.__new__(ndarray)
    made._tensor = tensor
    made._scalar = scalar
    return made


def computed(tensor: Tensor, dtype: DType | None = None) -> ndarray:
    """The array of a computed result: a scalar if it has no dimensions."""
    return wrap(tensor, dtype, scalar=not tensor._meta.shape)


def from_host(value: Any) -> Any:
    """What NumPy returned, as arrays: also inside tuples and lists."""
    if isinstance(value, np.ndarray):
        return wrap(Tensor._from_array(_own(value)))
    if isinstance(value, np.generic):
        return wrap(Tensor._from_array(_own(np.asarray(value))), scalar=True)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(from_host, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(from_host, value))
    return value


def _own(array: Array) -> Array:
    """A copy in row-major order, of a dtype that exists here."""
    return np.array(array, dtype=dtype_of(array.dtype).np, order="C")


def to_host(value: Any) -> Any:
    """Arrays in ``value`` as NumPy's: also inside tuples, lists and dicts."""
    if isinstance(value, ndarray):
        return value._value()[()] if value._scalar else value._value()
    if isinstance(value, Tensor):
        return value.detach()._array()
    if type(value) in (tuple, list):
        return type(value)(map(to_host, value))
    if isinstance(value, dict):
        return {k: to_host(v) for k, v in value.items()}
    return value


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, device: Any = None, copy: bool | None = None
) -> ndarray:
    """``a`` as an array: itself if it is one of that dtype; NumPy's arrays are copied.

    Nested sequences take NumPy's dtypes (Python floats float64, ints int64). TypeError for dtypes
    that do not exist here, ValueError for ragged nesting.
    """
    if device not in (None, "cpu"):
        raise located(ValueError(f"Unsupported device: expected 'cpu', got {device!r}"))
    target = None if dtype is None else dtype_of(dtype)
    if isinstance(a, ndarray):
        if target is None or target is a._tensor.dtype:
            return a.copy() if copy else a
        return a.astype(target)
    if isinstance(a, Tensor):
        shared = RECORDED["clone"](a.detach()) if copy else a.detach()
        return wrap(shared, target)
    if isinstance(a, (list, tuple)) and _holds_arrays(a):
        from .manipulation import stack

        joined = stack([asarray(item) for item in a])
        return joined if target is None else joined.astype(target, copy=False)
    if copy is False:
        raise located(ValueError("Unable to avoid copy while creating an array as requested."))
    made = np.asarray(a) if target is None else np.asarray(a, dtype=target.np)
    return wrap(Tensor._from_array(np.array(made, dtype=dtype_of(made.dtype).np, order="C")))


def _holds_arrays(items: Any) -> bool:
    """Whether a nested sequence holds arrays of ours (so that joining it is recorded)."""
    return bool(items) and any(
        isinstance(i, (ndarray, Tensor)) or (isinstance(i, (list, tuple)) and _holds_arrays(i))
        for i in items
    )


def array(
    object: Any, dtype: Any = None, *, copy: bool | None = True, order: Any = "K",
    subok: bool = False, ndmin: int = 0, like: Any = None,
) -> ndarray:  # fmt: skip
    """A new array with the elements of ``object``; at least ``ndmin`` dimensions."""
    fresh = not isinstance(object, (ndarray, Tensor))
    made = asarray(object, dtype, copy=None if fresh else copy)
    made = wrap(made._tensor)
    if made.ndim < ndmin:
        made = made[(None,) * (ndmin - made.ndim) + (...,)]
    return made
