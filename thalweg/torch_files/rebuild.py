"""The constructors that a PyTorch file may call, by the names it calls them: all there is.

Each checks its arguments, since a hostile file chooses them. Tensors that share a storage in the
file share memory afterwards.
"""

from __future__ import annotations

import codecs
import collections
import contextlib
import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Refused(Exception):
    """Why a file is not read further."""


STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}  # fmt: skip


def engine() -> Any:
    """The root package, whose tensors are made; it imports this package's users."""
    return importlib.import_module(__name__.partition(".")[0])


class StorageType:
    """Stands for ``torch.FloatStorage`` and its kin. Not callable: files only name it."""

    def __init__(self, name: str) -> None:
        self.dtype = STORAGES[name]
        self.untyped = name == "UntypedStorage"


class Storage:
    """Bytes of a file that tensors show parts of. ``base`` is the first tensor that was made."""

    def __init__(self, content: Array, dtype: str, place: Callable[[Any], Any]) -> None:
        self.content = content
        self.dtype = dtype
        self.place = place
        self.base: Any = None

    def elements(self, dtype: Any) -> Array:
        """The storage as a flat array of a dtype."""
        if self.content.nbytes % dtype.itemsize:
            raise Refused(
                f"a storage of {self.content.nbytes} bytes holds no whole number of {dtype.name}"
            )
        return self.content.view(dtype.np)


def _sizes(values: Any, what: str) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or not all(type(v) is int and v >= 0 for v in values):
        raise Refused(f"a tensor has the {what} {values!r}, expected integers of at least 0")
    return tuple(values)


def tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False,
    hooks: Any = None, metadata: Any = None,
) -> Any:  # fmt: skip
    """``torch._utils._rebuild_tensor_v2``: a view into a storage."""
    if not isinstance(storage, Storage):
        raise Refused(f"a tensor is built on a {type(storage).__name__}, expected a storage")
    return _tensor(storage, offset, size, stride, requires_grad, storage.dtype)


def tensor_of_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any,
    metadata: Any = None,
) -> Any:  # fmt: skip
    """``torch._utils._rebuild_tensor_v3``: the dtype is the tensor's, not the storage's."""
    if not isinstance(storage, Storage) or not hasattr(dtype, "np"):
        raise Refused("a tensor is built on something else than a storage and a dtype")
    return _tensor(storage, offset, size, stride, requires_grad, dtype.name)


def _tensor(
    storage: Storage, offset: Any, size: Any, stride: Any, requires_grad: Any, name: str
) -> Any:
    shape, strides = _sizes(size, "shape"), _sizes(stride, "strides")
    (start,) = _sizes((offset,), "offset")
    if len(shape) != len(strides):
        raise Refused(f"a tensor of shape {shape} has {len(strides)} strides")
    dtype = getattr(engine(), name)
    elements = storage.elements(dtype)
    last = start + sum((n - 1) * s for n, s in zip(shape, strides))
    if 0 not in shape and last >= elements.size:
        raise Refused(
            f"a tensor of shape {shape}, strides {strides}, offset {start} reads element {last} of "
            f"a storage of {elements.size}"
        )
    order = sorted(range(len(shape)), key=lambda d: (-strides[d], shape[d] == 1))
    dense = tuple(shape[d] for d in order)
    if 0 in shape:
        made = storage.place(engine().from_numpy(np.zeros(shape, dtype.np)))
    elif storage.base is None and _dense(shape, strides) and math.prod(shape) == elements.size:
        made = storage.base = storage.place(engine().from_numpy(elements.reshape(shape)))
    elif _dense(dense, tuple(strides[d] for d in order)) and dtype.name == storage.dtype:
        if storage.base is None:
            storage.base = storage.place(engine().from_numpy(elements))
        part = storage.base.detach().reshape(-1).narrow(0, start, math.prod(shape))
        made = part.view(dense).permute([order.index(d) for d in range(len(shape))])
    else:  # elements between those of others: a copy
        apart = np.lib.stride_tricks.as_strided(
            elements[start:], shape, [s * elements.itemsize for s in strides]
        )
        made = storage.place(engine().from_numpy(np.array(apart)))
    return made.requires_grad_() if requires_grad is True else made


def _dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a tensor's elements stand in row-major order without gaps."""
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides)):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True


def parameter(data: Any, requires_grad: Any = True, hooks: Any = None, state: Any = None) -> Any:
    """``torch._utils._rebuild_parameter``."""
    if not isinstance(data, engine().Tensor):
        raise Refused(f"a parameter is built on a {type(data).__name__}, expected a tensor")
    return engine().nn.Parameter(data, requires_grad is True)


def _of_type(function: Any, kind: Any, arguments: Any, state: Any = None) -> Any:
    """``torch._tensor._rebuild_from_type_v2``: a tensor with attributes, which are dropped."""
    if function not in (tensor, tensor_of_dtype, parameter):
        raise Refused("a tensor is built by a function that builds no tensors")
    return function(*arguments)


def size(values: Any) -> Any:
    """``torch.Size``."""
    return engine().Size(_sizes(values, "size"))


def device(*arguments: Any) -> Any:
    """``torch.device``: the CPU, where everything is read to."""
    return engine().device("cpu")


def byte_string(text: Any, encoding: Any) -> bytes:
    """``_codecs.encode``, as pickles of old protocols write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("bytes are written in an unexpected way")
    return codecs.encode(text, "latin1")


def no_bytes() -> bytes:
    """``bytes()``, as pickles of old protocols write the empty string of bytes."""
    return b""


def byte_array(content: Any, encoding: Any = None) -> bytearray:
    """``bytearray``, of bytes that are in the file only: a count would be memory for nothing."""
    return bytearray(content if isinstance(content, bytes) else byte_string(content, encoding))


# ---- NumPy's numbers and arrays, of plain dtypes only


class NumpyDtype:
    """What ``numpy.dtype(code, False, True)`` makes: a dtype of numbers, to be told its order."""

    def __init__(self, code: Any, *options: Any) -> None:
        if not isinstance(code, str) or code[:1] not in ("f", "i", "u", "b", "c"):
            raise Refused(f"an array has the dtype {code!r}, expected one of numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def number(dtype: Any, content: Any) -> Any:
    """``numpy.core.multiarray.scalar``."""
    if not isinstance(dtype, NumpyDtype) or len(content) != dtype.dtype.itemsize:
        raise Refused("a NumPy number is malformed")
    return np.frombuffer(content, dtype.dtype)[0]


class NumpyArray(np.ndarray[Any, Any]):
    """What ``numpy.core.multiarray._reconstruct`` makes: an empty array that is then told all."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, NumpyDtype) or not isinstance(content, bytes):
            raise Refused("an array is malformed")
        shape = _sizes(shape, "shape")
        if math.prod(shape) * dtype.dtype.itemsize != len(content):
            raise Refused(f"an array of shape {shape} has {len(content)} bytes")
        whole: Any = (1, shape, dtype.dtype, bool(fortran), content)
        super().__setstate__(whole)


def array(*arguments: Any) -> Any:
    """An array that `NumpyArray.__setstate__` fills."""
    return np.zeros(0, np.uint8).view(NumpyArray)


CONSTRUCTORS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("collections", "Counter"): collections.Counter,
    ("builtins", "set"): set, ("__builtin__", "set"): set,
    ("builtins", "frozenset"): frozenset, ("__builtin__", "frozenset"): frozenset,
    ("builtins", "complex"): complex, ("__builtin__", "complex"): complex,
    ("builtins", "bytearray"): byte_array, ("__builtin__", "bytearray"): byte_array,
    ("builtins", "list"): list, ("builtins", "dict"): dict,
    ("builtins", "slice"): slice, ("__builtin__", "slice"): slice,
    ("_codecs", "encode"): byte_string, ("__builtin__", "bytes"): no_bytes,
    ("torch._utils", "_rebuild_tensor"): lambda s, o, n, st: tensor(s, o, n, st),
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch._utils", "_rebuild_tensor_v3"): tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_type,
    ("torch", "Tensor"): None, ("torch.nn.parameter", "Parameter"): parameter,
    ("torch", "Size"): size, ("torch", "device"): device,
}  # fmt: skip
for _name in STORAGES:
    CONSTRUCTORS["torch", _name] = CONSTRUCTORS["torch.storage", _name] = StorageType(_name)
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    CONSTRUCTORS[_module, "scalar"] = number
    CONSTRUCTORS[_module, "_reconstruct"] = array
CONSTRUCTORS["numpy", "dtype"] = NumpyDtype
CONSTRUCTORS["numpy", "ndarray"] = None

_added: dict[tuple[str, str], Any] = {}


def find(module: str, name: str) -> Any:
    """What a file means by ``module.name``. Refused for everything that is not listed."""
    key = (module, name)
    if key in CONSTRUCTORS:
        return CONSTRUCTORS[key]
    if key in _added:
        return _added[key]
    if module == "torch":
        dtype = getattr(engine(), name, None)
        if isinstance(dtype, engine().dtype):
            return dtype
    raise Refused(
        f"it asks for {module}.{name}, and only tensors and plain containers are read: nothing in "
        "a file is executed. Save the state_dict() instead, or, for a class you trust, call "
        "add_safe_globals([...]) first"
    )


def add_safe_globals(values: Sequence[Any]) -> None:
    """Let files name these functions and classes (or pairs of one and its full name)."""
    for value in values:
        target, full_name = value if isinstance(value, tuple) else (value, None)
        full_name = full_name or f"{target.__module__}.{target.__qualname__}"
        module, _, name = full_name.rpartition(".")
        _added[module, name] = target


def get_safe_globals() -> list[Any]:
    """What `add_safe_globals` added."""
    return list(_added.values())


def clear_safe_globals() -> None:
    """Take back what `add_safe_globals` added."""
    _added.clear()


@contextlib.contextmanager
def safe_globals(values: Sequence[Any]) -> Iterator[None]:
    """`add_safe_globals` for a ``with`` block."""
    before = dict(_added)
    add_safe_globals(values)
    try:
        yield
    finally:
        _added.clear()
        _added.update(before)
