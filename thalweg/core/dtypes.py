"""Element types: one interned, immutable object per dtype, compared by identity.

Everything else that is said of a dtype (its NumPy form, its size, its kind) hangs on that object,
so no other module keeps a table by dtype name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, final

import ml_dtypes
import numpy as np

from thalweg.core.errors import ArgumentError, DTypeError

if TYPE_CHECKING:
    import numpy.typing as npt

_CATEGORIES = ("bool", "int", "float", "complex")


@final
class DType:
    """An element type, such as `float32`. There is one object per type: compare with `is`.

    name                'float32'
    np                  the NumPy dtype of the same layout (bfloat16 through ml_dtypes)
    itemsize            bytes per element
    category            'bool', 'int', 'float' or 'complex'; `rank` is its place in that order
    index               position in `ALL`, for tables
    is_floating_point, is_complex, is_signed     as in PyTorch
    """

    __slots__ = (
        "category",
        "index",
        "is_complex",
        "is_floating_point",
        "is_signed",
        "itemsize",
        "name",
        "np",
        "rank",
    )

    name: str
    np: np.dtype[Any]
    itemsize: int
    category: str
    rank: int
    index: int
    is_floating_point: bool
    is_complex: bool
    is_signed: bool

    def __new__(cls, *args: object, **kwargs: object) -> DType:
        raise ArgumentError("cannot create 'thalweg.dtype' instances; use thalweg.float32 etc.")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"dtype {self.name} is immutable: cannot set '{name}'")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"dtype {self.name} is immutable: cannot delete '{name}'")

    def __repr__(self) -> str:
        return f"thalweg.{self.name}"

    def __reduce__(self) -> str:
        # A string names a global of this module: pickle and copy then return the same object.
        return "bool_" if self.name == "bool" else self.name

    def to_real(self) -> DType:
        """The type of the real part: float32 for complex64; any real type is its own."""
        return _REAL_OF.get(self, self)

    def to_complex(self) -> DType:
        """The complex type whose parts hold this one; RuntimeError for integers and bool.

        float16 gives complex64: a complex type of two halves does not exist here.
        """
        if self.is_complex:
            return self
        if not self.is_floating_point:
            raise DTypeError(f"to_complex: expected a floating-point dtype, got {self.name}")
        return complex128 if self is float64 else complex64


def _define(name: str, category: str, numpy_type: npt.DTypeLike) -> DType:
    BY_NAME[name] = _named(name, category, numpy_type, len(BY_NAME))
    return BY_NAME[name]


def _named(name: str, category: str, numpy_type: npt.DTypeLike, index: int) -> DType:
    layout = np.dtype(numpy_type)
    dtype = object.__new__(DType)
    fields = {
        "name": name,
        "np": layout,
        "itemsize": layout.itemsize,
        "category": category,
        "rank": _CATEGORIES.index(category),
        "index": index,
        "is_floating_point": category == "float",
        "is_complex": category == "complex",
        "is_signed": category in ("float", "complex") or layout.kind == "i",
    }
    for field, value in fields.items():
        object.__setattr__(dtype, field, value)
    return dtype


BY_NAME: dict[str, DType] = {}

float16 = _define("float16", "float", np.float16)
bfloat16 = _define("bfloat16", "float", ml_dtypes.bfloat16)
float32 = _define("float32", "float", np.float32)
float64 = _define("float64", "float", np.float64)
int8 = _define("int8", "int", np.int8)
int16 = _define("int16", "int", np.int16)
int32 = _define("int32", "int", np.int32)
int64 = _define("int64", "int", np.int64)
uint8 = _define("uint8", "int", np.uint8)
bool_ = _define("bool", "bool", np.bool_)
complex64 = _define("complex64", "complex", np.complex64)
complex128 = _define("complex128", "complex", np.complex128)
# Stored, loaded and cast, but PyTorch does not promote them with other integers, nor do we.
uint16 = _define("uint16", "int", np.uint16)
uint32 = _define("uint32", "int", np.uint32)
uint64 = _define("uint64", "int", np.uint64)

ALL: tuple[DType, ...] = tuple(BY_NAME.values())

BY_NAME.update(
    half=float16,
    float=float32,
    double=float64,
    short=int16,
    int=int32,
    long=int64,
    cfloat=complex64,
    cdouble=complex128,
)

# Known by name and limits, for tables of file formats; no tensor has them.
FOREIGN: tuple[DType, ...] = tuple(
    _named(name, "float", getattr(ml_dtypes, name), -1)
    for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
                 "float8_e8m0fnu")
)  # fmt: skip

_REAL_OF = {complex64: float32, complex128: float64}
_FROM_NUMPY: dict[np.dtype[Any], DType] = {dtype.np: dtype for dtype in ALL}


def from_numpy(dtype: npt.DTypeLike) -> DType:
    """The DType of a NumPy dtype. TypeError if there is none (strings, objects, swapped bytes)."""
    layout = np.dtype(dtype)
    found = _FROM_NUMPY.get(layout)
    if found is None:
        supported = ", ".join(each.name for each in ALL)
        raise ArgumentError(
            f"expected a NumPy dtype in native byte order among {supported}; got {layout!r}"
        )
    return found


_default = float32
# Called after the default has changed: what was derived from the old one may not serve any more.
default_listeners: list[Callable[[], object]] = []


def default_dtype() -> DType:
    """The dtype of new floating-point tensors; `torch.get_default_dtype`."""
    return _default


def default_complex_dtype() -> DType:
    """The dtype of new complex tensors, which follows `default_dtype`."""
    return _default.to_complex()


def set_default_dtype(d: DType) -> None:
    """Set the dtype of new floating-point tensors for all threads. TypeError unless floating."""
    global _default
    if not isinstance(d, DType) or not d.is_floating_point:
        raise ArgumentError(
            f"only floating-point types are supported as the default type; got {d!r}"
        )
    if d is _default:
        return
    # One reference is replaced: a thread sees the old value or the new one, never a mixture.
    _default = d
    for listener in default_listeners:
        listener()


class _Info:
    """What `finfo` and `iinfo` share: read-only fields, equality by dtype."""

    __slots__ = ("bits", "dtype", "max", "min")

    bits: int
    dtype: str

    def _fill(self, **fields: object) -> None:
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is read-only: cannot set '{name}'")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Info):
            return NotImplemented
        return type(self) is type(other) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash((type(self), self.dtype))


@final
class finfo(_Info):
    """Limits of a floating-point type: bits, eps, max, min, tiny, smallest_normal, resolution.

    `type` defaults to the default dtype; a complex type gives the limits of its real part.
    TypeError for integers and bool.
    """

    __slots__ = ("eps", "resolution", "smallest_normal", "tiny")

    max: float
    min: float
    eps: float
    resolution: float
    smallest_normal: float
    tiny: float

    def __init__(self, type: DType | None = None) -> None:
        dtype = _default if type is None else type
        if not isinstance(dtype, DType) or dtype.category not in ("float", "complex"):
            raise ArgumentError(
                f"finfo() requires a floating point input type, got {dtype!r}; iinfo has integers"
            )
        real = dtype.to_real()
        finfo_of: Any = ml_dtypes.finfo  # untyped; knows bfloat16, which np.finfo does not
        limits = finfo_of(real.np)
        self._fill(
            bits=real.itemsize * 8,
            dtype=real.name,
            max=float(limits.max),
            min=float(limits.min),
            eps=float(limits.eps),
            resolution=10.0**-limits.precision,
            smallest_normal=float(limits.smallest_normal),
            tiny=float(limits.smallest_normal),
        )

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


@final
class iinfo(_Info):
    """Limits of an integer type: bits, max, min. TypeError for floating, complex and bool."""

    __slots__ = ()

    max: int
    min: int

    def __init__(self, type: DType) -> None:
        if not isinstance(type, DType) or type.category != "int":
            raise ArgumentError(
                f"iinfo() requires an integer input type, got {type!r}; finfo has floating point"
            )
        limits = np.iinfo(type.np)
        self._fill(
            bits=type.itemsize * 8, dtype=type.name, max=int(limits.max), min=int(limits.min)
        )

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
