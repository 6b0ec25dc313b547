"""Writes PyTorch's zip archives: what ``torch.load(weights_only=True)`` reads.

The pickle inside is emitted opcode by opcode, since it names functions of a package that need not
be installed. Containers and tensors that appear more than once are written once; so is memory that
several tensors show whole.
"""

from __future__ import annotations

import collections
import pickle
import secrets
import struct
import sys
import zipfile
from typing import Any, BinaryIO

import numpy as np

from .rebuild import STORAGES, Array, engine

_STORAGE_OF = {dtype: name for name, dtype in STORAGES.items() if name != "UntypedStorage"}
_ALIGNMENT = 64
_ROOT = "archive"


def write(obj: Any, file: BinaryIO) -> None:
    """Write a nest of plain containers, numbers, strings, tensors, dtypes, sizes and devices.

    TypeError, naming where it is, for anything else.
    """
    pickled = _Pickled()
    content = pickled.whole(obj)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "data.pkl", content)
        _add(archive, ".format_version", b"1")
        _add(archive, ".storage_alignment", str(_ALIGNMENT).encode())
        _add(archive, "byteorder", sys.byteorder.encode())
        for key, array in enumerate(pickled.storages):
            _add(archive, f"data/{key}", np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        _add(archive, "version", b"3\n")
        _add(archive, ".data/serialization_id", secrets.token_hex(20).encode())


def _add(archive: zipfile.ZipFile, name: str, content: Any) -> None:
    """Add an entry whose content begins at a multiple of the alignment, as PyTorch's do."""
    info = zipfile.ZipInfo(f"{_ROOT}/{name}")
    file: Any = archive.fp
    begin = file.tell() + 30 + len(info.filename.encode())
    info.extra = struct.pack("<2sH", b"FB", gap := -(begin + 4) % _ALIGNMENT) + b"Z" * gap
    archive.writestr(info, memoryview(content))


class _Pickled:
    """A pickle of protocol 2 being written. ``storages`` are the arrays it refers to, by number."""

    def __init__(self) -> None:
        self.storages: list[Array] = []
        self._out: list[bytes] = []
        self._memo: dict[int, int] = {}
        self._keys: dict[Any, int] = {}
        self._globals: dict[tuple[str, str], int] = {}
        self._count = 0
        self._alive: list[Any] = []  # identities hold only while their objects live

    def whole(self, obj: Any) -> bytes:
        """The complete pickle of ``obj``."""
        self._write(pickle.PROTO + b"\x02")
        self._value(obj, ())
        self._write(pickle.STOP)
        return b"".join(self._out)

    def _write(self, *codes: bytes) -> None:
        self._out.extend(codes)

    def _remember(self, value: Any) -> None:
        """Put what stands on the stack into the memo, to be taken from there next time."""
        self._memo[id(value)] = self._count
        self._alive.append(value)
        self._write(pickle.LONG_BINPUT, struct.pack("<I", self._count))
        self._count += 1

    def _recall(self, number: int) -> None:
        self._write(pickle.LONG_BINGET, struct.pack("<I", number))

    def _global(self, module: str, name: str) -> None:
        known = self._globals.get((module, name))
        if known is not None:
            self._recall(known)
            return
        self._write(pickle.GLOBAL, f"{module}\n{name}\n".encode())
        self._globals[module, name] = self._count
        self._remember(object())

    def _value(self, value: Any, path: tuple[str, ...]) -> None:
        kind = type(value)
        write = _WRITERS.get(kind)
        if write is not None:
            write(self, value)
        elif id(value) in self._memo:
            self._recall(self._memo[id(value)])
        elif isinstance(value, dict):
            self._dict(value, path)
        elif isinstance(value, list):
            self._write(pickle.EMPTY_LIST)
            self._remember(value)
            self._marked(value, path, pickle.APPENDS)
        elif isinstance(value, engine().Size):
            self._call("torch", "Size", (tuple(value),), path)
        elif isinstance(value, tuple):
            self._marked(value, path, pickle.TUPLE)
        elif isinstance(value, (set, frozenset)):
            self._call("__builtin__", "set", (sorted(value, key=repr),), path)
        elif not self._scalar(value, path):
            shown = "obj" + "".join(f"[{part!r}]" for part in path)
            raise TypeError(
                f"save expects tensors, numbers, strings and plain containers, given a "
                f"{kind.__module__}.{kind.__qualname__} at {shown}; of modules and optimizers, "
                "save the state_dict()"
            )

    def _scalar(self, value: Any, path: tuple[str, ...]) -> bool:
        """Values that are no containers; whether it was one."""
        package = engine()
        if isinstance(value, package.Tensor):
            self._tensor(value, path)
        elif isinstance(value, package.dtype):
            self._global("torch", value.name)
        elif isinstance(value, package.device):
            self._call("torch", "device", (str(value),), path)
        elif isinstance(value, (np.bool_, np.number)):
            self._value(value.item(), path)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            self._array(value, path)
        else:
            for plain in (bool, int, float, str):  # their subclasses, such as enumerations
                if isinstance(value, plain):
                    _WRITERS[plain](self, plain(value))
                    return True
            return False
        return True

    def _dict(self, value: dict[Any, Any], path: tuple[str, ...]) -> None:
        if isinstance(value, collections.OrderedDict):
            self._global("collections", "OrderedDict")
            self._write(pickle.EMPTY_TUPLE, pickle.REDUCE)
        else:
            self._write(pickle.EMPTY_DICT)
        self._remember(value)
        self._write(pickle.MARK)
        for key, item in value.items():
            self._value(key, (*path, str(key)))
            self._value(item, (*path, str(key)))
        self._write(pickle.SETITEMS)
        attributes = {k: v for k, v in getattr(value, "__dict__", {}).items() if k == "_metadata"}
        if attributes:  # versions of modules, which state dicts carry as an attribute
            self._value(attributes, path)
            self._write(pickle.BUILD)

    def _marked(self, items: Any, path: tuple[str, ...], end: bytes) -> None:
        self._write(pickle.MARK)
        for i, item in enumerate(items):
            self._value(item, (*path, str(i)))
        self._write(end)

    def _call(self, module: str, name: str, args: tuple[Any, ...], path: tuple[str, ...]) -> None:
        self._global(module, name)
        self._marked(args, path, pickle.TUPLE)
        self._write(pickle.REDUCE)

    def _tensor(self, tensor: Any, path: tuple[str, ...]) -> None:
        known = self._memo.get(id(tensor))
        if known is not None:
            self._recall(known)
            return
        if isinstance(tensor, engine().nn.Parameter):
            self._global("torch._utils", "_rebuild_parameter")
            self._write(pickle.MARK)
            self._tensor(tensor.detach(), path)
            self._value(tensor.requires_grad, path)
            self._hooks()
            self._write(pickle.TUPLE, pickle.REDUCE)
            self._remember(tensor)
            return
        array = tensor.detach()._array()
        if tensor.dtype.name not in _STORAGE_OF:
            raise TypeError(f"save cannot store a tensor of {tensor.dtype}, given at {path!r}")
        self._global("torch._utils", "_rebuild_tensor_v2")
        self._write(pickle.MARK, pickle.MARK)
        self._value("storage", path)
        self._global("torch", _STORAGE_OF[tensor.dtype.name])
        self._value(str(self._storage(tensor, array)), path)
        self._value("cpu", path)
        self._value(int(array.size), path)
        self._write(pickle.TUPLE, pickle.BINPERSID)
        strides = tuple(int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim))
        for part in (0, tuple(array.shape), strides, tensor.requires_grad):
            self._value(part, path)
        self._hooks()
        self._write(pickle.TUPLE, pickle.REDUCE)
        self._remember(tensor)

    def _hooks(self) -> None:
        self._global("collections", "OrderedDict")
        self._write(pickle.EMPTY_TUPLE, pickle.REDUCE)

    def _storage(self, tensor: Any, array: Array) -> int:
        from ..tensor.alias import memory_of

        base, shown = memory_of(tensor)
        self._alive.append(base)
        key = (id(base), shown, tensor.dtype.name) if array.size else object()
        if key not in self._keys:
            self._keys[key] = len(self.storages)
            self.storages.append(array)
        return self._keys[key]

    def _array(self, value: Array, path: tuple[str, ...]) -> None:
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        self._global("numpy._core.multiarray", "_reconstruct")
        self._write(pickle.MARK)
        self._global("numpy", "ndarray")
        self._value((0,), path)
        self._value(b"b", path)
        self._write(pickle.TUPLE, pickle.REDUCE, pickle.MARK)
        self._value(1, path)
        self._value(tuple(value.shape), path)
        self._call("numpy", "dtype", (little.dtype.str[1:], False, True), path)
        self._value((3, "<", None, None, None, -1, -1, 0), path)
        self._write(pickle.BUILD)
        self._value(False, path)
        self._value(little.tobytes(), path)
        self._write(pickle.TUPLE, pickle.BUILD)


def _integer(pickled: _Pickled, value: int) -> None:
    if -(2**31) <= value < 2**31:
        pickled._write(pickle.BININT, struct.pack("<i", value))
    else:
        encoded = pickle.encode_long(value)
        if len(encoded) > 255:
            raise TypeError(f"save cannot store an integer of {len(encoded)} bytes")
        pickled._write(pickle.LONG1, bytes([len(encoded)]), encoded)


def _string(pickled: _Pickled, value: str) -> None:
    encoded = value.encode("utf-8", "surrogatepass")
    pickled._write(pickle.BINUNICODE, struct.pack("<I", len(encoded)), encoded)


def _bytes(pickled: _Pickled, value: bytes) -> None:
    pickled._call("_codecs", "encode", (value.decode("latin1"), "latin1"), ())


def _complex(pickled: _Pickled, value: complex) -> None:
    pickled._call("__builtin__", "complex", (value.real, value.imag), ())


_WRITERS: dict[type, Any] = {
    type(None): lambda pickled, value: pickled._write(pickle.NONE),
    bool: lambda pickled, value: pickled._write(pickle.NEWTRUE if value else pickle.NEWFALSE),
    int: _integer,
    float: lambda pickled, value: pickled._write(pickle.BINFLOAT, struct.pack(">d", value)),
    str: _string,
    bytes: _bytes,
    complex: _complex,
}
