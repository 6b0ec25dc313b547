"""`save` and `load`: any nest of plain values and tensors in one safetensors file, never pickled.

Layout of a file, which every safetensors reader opens as a flat dict of tensors:

    8 bytes   length of the header, little endian
    header    JSON: {"__metadata__": {str: str}, name: {"dtype", "shape", "data_offsets"}, ...}
    rest      the tensors' bytes, without gaps

Our metadata holds the structure of the nest as JSON, in which tensors appear by name, and a
checksum over structure and tensors. The container is small enough to write out here, where a
truncated file can be told from a damaged or a foreign one, and tensors go to disk without a copy.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import io
import json
import math
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
import numpy.typing as npt

from . import torch_files
from .torch_files import is_torch_file
from .torch_files.rebuild import Refused

Array = npt.NDArray[Any]

_FORMAT = "1"
_HEADER_AT_MOST = 100_000_000  # the limit of the safetensors format itself

_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "BOOL": np.bool_,
        "U8": np.uint8,
        "I8": np.int8,
        "U16": np.uint16,
        "I16": np.int16,
        "U32": np.uint32,
        "I32": np.int32,
        "U64": np.uint64,
        "I64": np.int64,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E5M2": ml_dtypes.float8_e5m2,
        "F16": np.float16,
        "BF16": ml_dtypes.bfloat16,
        "F32": np.float32,
        "F64": np.float64,
    }.items()
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_COMPLEX = {np.dtype(np.complex64): np.float32, np.dtype(np.complex128): np.float64}


def save(obj: Any, f: str | os.PathLike[str] | BinaryIO) -> None:
    """Write `obj` to the file `f`, atomically: readers see the old file or the new, never a part.

    `obj` is any nest of dict, list, tuple, None, bool, int, float, complex, str, bytes, NumPy
    scalar, array and tensor of any dtype: the state dicts of modules, optimizers, schedulers and
    loaders. A tensor (or all elements of one memory) that appears more than once is stored once
    and shared again after `load`; tensors that overlap only in part are stored apart. Subclasses of
    dict and tuple come back as dict and tuple.

    Raises TypeError for any other type, naming where in the nest it is, and ValueError for a nest
    that contains itself. An existing file is left as it was when anything fails. `f` may also be a
    binary file object, which is then simply written to.
    """
    nest = _Encoder()
    structure = json.dumps(nest.encode(obj, ()), separators=(",", ":"))
    entries = _in_file_order(nest.arrays)
    if not isinstance(f, (str, os.PathLike)):
        _write_container(f, structure, entries)
        return
    with replacing(os.path.realpath(os.fspath(f))) as file:
        _write_container(file, structure, entries)


def load(
    f: str | os.PathLike[str] | BinaryIO,
    map_location: Any = None,
    *,
    weights_only: bool | None = None,
) -> Any:
    """What `save` wrote to `f`; a safetensors file from elsewhere gives a dict of tensors.

    Tensors are made on the CPU, or on the device that `map_location` says: a device, its name, a
    dict from "cpu" to either, or a function of (tensor, "cpu") that returns the tensor moved.
    Nothing is ever unpickled or executed, whatever `weights_only`, which is accepted for PyTorch's
    sake.

    PyTorch's `.pt` files are read too, as far as they hold tensors and plain containers (see
    `torch_files`); `map_location` may then name the devices they were saved from.

    Raises FileNotFoundError, and RuntimeError naming the file and the fault for one that is
    truncated, damaged or of another format, or that asks for more than that.
    """
    if not isinstance(f, (str, os.PathLike)):
        content = f.read()
        return _load(io.BytesIO(content), len(content), "the file object", map_location)
    path = os.fspath(f)
    with open(path, "rb") as file:
        return _load(file, os.fstat(file.fileno()).st_size, repr(path), map_location)


def _load(file: BinaryIO, size: int, name: str, map_location: Any) -> Any:
    place = _placer(map_location)
    try:
        start = file.read(4)
        file.seek(0)
        if is_torch_file(start):
            return torch_files.read(file, _placer_from(map_location))
        container = _read_container(file, size)
        if container.structure is None:
            return {key: place(_wrap(array)) for key, array in container.arrays.items()}
        return _Decoder(container.arrays, place).decode(json.loads(container.structure))
    except (_Fault, Refused) as fault:
        raise RuntimeError(f"cannot load {name}: {fault}") from None
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise RuntimeError(f"cannot load {name}: its contents do not fit ({error!r})") from error


# -- the nest ------------------------------------------------------------------------------------


class _Encoder:
    """Turns a nest into JSON values; plain ones stand for themselves, others are {kind: ...}."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self._names: dict[Any, str] = {}
        self._open: set[int] = set()
        # Identities are only valid while the objects they belong to are alive.
        self._alive: list[Any] = []

    def encode(self, value: Any, path: tuple[str, ...]) -> Any:
        if value is None or type(value) in (bool, int):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, dict):
            with self._entering(value, path):
                return {"dict": [self._entry(key, value[key], path) for key in value]}
        if isinstance(value, (list, tuple)):
            with self._entering(value, path):
                items = [self.encode(item, (*path, str(i))) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if _is_tensor(value):
            return self._tensor(value, path)
        if isinstance(value, np.generic):
            return {"scalar": self._store(np.asarray(value), path)}
        if isinstance(value, np.ndarray):
            return {"array": self._store(value, path)}
        if isinstance(value, bytes):
            return {"bytes": base64.b64encode(value).decode("ascii")}
        if isinstance(value, complex):
            return {"complex": [self.encode(value.real, path), self.encode(value.imag, path)]}
        for plain in (int, float):  # their subclasses, such as enumerations
            if isinstance(value, plain):
                return self.encode(plain(value), path)
        raise TypeError(
            f"save expects tensors, arrays, numbers, strings, dicts, lists and tuples, given a "
            f"{type(value).__module__}.{type(value).__qualname__} at {_shown(path)}; "
            "of modules and optimizers, save the state_dict()"
        )

    def _entry(self, key: Any, value: Any, path: tuple[str, ...]) -> list[Any]:
        if not isinstance(key, (str, int, float, bool, tuple, type(None))):
            raise TypeError(
                f"save expects dict keys of plain types, given {type(key).__qualname__} at "
                f"{_shown(path)}"
            )
        return [self.encode(key, path), self.encode(value, (*path, str(key)))]

    @contextlib.contextmanager
    def _entering(self, value: Any, path: tuple[str, ...]) -> Iterator[None]:
        if id(value) in self._open:
            raise ValueError(f"save expects a finite nest, but {_shown(path)} contains itself")
        self._open.add(id(value))
        yield
        self._open.discard(id(value))

    def _tensor(self, tensor: Any, path: tuple[str, ...]) -> Any:
        from .tensor.alias import memory_of

        base, shown = memory_of(tensor)
        self._alive.append(base)
        coded = {"tensor": self._store(tensor.detach()._array(), path, (id(base), shown))}
        if tensor.requires_grad:
            coded["grad"] = True
        return coded

    def _store(self, array: Array, path: tuple[str, ...], memory: Any = None) -> Any:
        """Store an array once per ``memory`` (default: its address); how the file names it."""
        if array.dtype in _COMPLEX:
            pairs = np.ascontiguousarray(array).view(_COMPLEX[array.dtype])
            # Keyed by the complex memory, since the pairs may be a copy.
            return {"pairs": self._name(array, pairs.reshape(*array.shape, 2), path, memory)}
        if array.dtype.newbyteorder("=") not in _NAMES:
            raise TypeError(f"save cannot store an array of {array.dtype}, given at {_shown(path)}")
        return self._name(array, array, path, memory)

    def _name(self, array: Array, stored: Array, path: tuple[str, ...], memory: Any) -> str:
        place = array.__array_interface__["data"][0] if memory is None else memory
        key: Any = (place, array.dtype.str, array.dtype.name, array.shape)
        if memory is None:
            key = (*key, array.strides)
        if not array.size:
            key = object()  # no elements, so no memory to be shared
        if key not in self._names:
            self._alive.append(array)
            self._names[key] = self._free(".".join(path) or "value")
            self.arrays[self._names[key]] = stored
        return self._names[key]

    def _free(self, wish: str) -> str:
        name, number = wish, 1
        while name in self.arrays or name == "__metadata__":
            number += 1
            name = f"{wish}#{number}"
        return name


class _Decoder:
    """Rebuilds the nest. A name that appears twice gives one tensor, or one array, twice."""

    def __init__(self, arrays: Mapping[str, Array], place: Callable[[Any], Any]) -> None:
        self._arrays = arrays
        self._place = place
        self._made: dict[tuple[str, str], Any] = {}

    def decode(self, coded: Any) -> Any:
        if isinstance(coded, list):
            return [self.decode(item) for item in coded]
        if not isinstance(coded, dict):
            return coded
        kind, content = next(iter(coded.items()))
        if kind == "dict":
            return {self.decode(key): self.decode(value) for key, value in content}
        if kind == "tuple":
            return tuple(self.decode(item) for item in content)
        if kind == "float":
            return float(content)
        if kind == "bytes":
            return base64.b64decode(content)
        if kind == "complex":
            return complex(*(self.decode(part) for part in content))
        if kind == "tensor":
            tensor = self._once(kind, content, lambda array: self._place(_wrap(array)))
            return tensor.requires_grad_() if coded.get("grad") else tensor
        if kind == "array":
            return self._once(kind, content, lambda array: array)
        if kind == "scalar":
            return self._array(content)[()]
        raise ValueError(f"unknown kind {kind!r}")

    def _once(self, kind: str, name: Any, make: Callable[[Array], Any]) -> Any:
        key = (kind, str(name))
        if key not in self._made:
            self._made[key] = make(self._array(name))
        return self._made[key]

    def _array(self, name: Any) -> Array:
        if isinstance(name, dict):
            pairs = self._arrays[name["pairs"]]
            whole = np.complex64 if pairs.dtype == np.float32 else np.complex128
            complete: Array = pairs.view(whole).reshape(pairs.shape[:-1])
            return complete
        return self._arrays[name]


def _placer_from(map_location: Any) -> Callable[[Any, str], Any]:
    """As `_placer`, for tensors that were saved from a device; they are read to the CPU."""

    def placed(tensor: Any, location: str) -> Any:
        if isinstance(map_location, Mapping):
            return _placer(map_location.get(location))(tensor)
        if callable(map_location):
            chosen = map_location(tensor, location)
            return tensor if chosen is None else chosen
        return _placer(map_location)(tensor)

    return placed


def _placer(map_location: Any) -> Callable[[Any], Any]:
    if isinstance(map_location, Mapping):
        map_location = map_location.get("cpu")
    if map_location is None:
        return lambda tensor: tensor
    if callable(map_location):
        choose = map_location

        def placed(tensor: Any) -> Any:
            chosen = choose(tensor, "cpu")
            return tensor if chosen is None else chosen

        return placed
    return lambda tensor: tensor.to(map_location)


def _shown(path: tuple[str, ...]) -> str:
    return "obj" + "".join(f"[{part!r}]" for part in path)


def _engine() -> Any:
    return importlib.import_module(__name__.partition(".")[0])


def _is_tensor(value: Any) -> bool:
    return isinstance(value, _engine().Tensor)


def _wrap(array: Array) -> Any:
    return _engine().from_numpy(array)


# -- the container -------------------------------------------------------------------------------


class _Fault(Exception):
    """Why a file is not a readable container."""


@dataclass(frozen=True)
class _Container:
    structure: str | None
    arrays: dict[str, Array]


def _in_file_order(arrays: dict[str, Array]) -> list[tuple[str, Array]]:
    # Widest elements first: then every tensor is aligned to its elements without gaps.
    return sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))


def _bytes_of(array: Array) -> memoryview:
    dtype = array.dtype.newbyteorder("<") if array.dtype.kind in "iufc" else array.dtype
    flat = np.ascontiguousarray(array, dtype=dtype).reshape(-1)
    return flat.view(np.uint8).data


def _write_container(file: BinaryIO, structure: str, entries: list[tuple[str, Array]]) -> None:
    header: dict[str, Any] = {}
    checksum = zlib.crc32(structure.encode())
    end = 0
    for name, array in entries:
        start, end = end, end + array.nbytes
        dtype = _NAMES[array.dtype.newbyteorder("=")]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
        checksum = zlib.crc32(_label(name, header[name]), checksum)
        checksum = zlib.crc32(_bytes_of(array), checksum)
    metadata = {"thalweg": _FORMAT, "structure": structure, "crc32": f"{checksum:08x}"}
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _HEADER_AT_MOST:
        raise ValueError(
            f"save expects a structure of at most {_HEADER_AT_MOST} bytes, given {len(text)}; "
            "hold long lists of numbers in tensors"
        )
    file.write(struct.pack("<Q", len(text)))
    file.write(text)
    for _, array in entries:
        file.write(_bytes_of(array))


def _label(name: str, entry: dict[str, Any]) -> bytes:
    return f"{name}\0{entry['dtype']}\0{entry['shape']}\0".encode()


def _read_container(file: BinaryIO, size: int) -> _Container:
    header, start = _read_header(file, size)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise _Fault("its metadata is not a table")
    _check_entries(header, size - start)
    structure = metadata.get("structure") if "thalweg" in metadata else None
    if "thalweg" in metadata and metadata["thalweg"] != _FORMAT:
        raise _Fault(f"it has format {metadata['thalweg']!r}, and this version reads {_FORMAT!r}")
    checksum = zlib.crc32((structure or "").encode())
    arrays: dict[str, Array] = {}
    for name, entry in sorted(header.items(), key=lambda item: _offsets(item[1])):
        array = np.empty(entry["shape"], _DTYPES[entry["dtype"]])
        content = array.reshape(-1).view(np.uint8).data
        file.seek(start + entry["data_offsets"][0])
        if file.readinto(content) != len(content):  # type: ignore[attr-defined]
            raise _Fault(f"it ended while {name!r} was read")
        checksum = zlib.crc32(content, zlib.crc32(_label(name, entry), checksum))
        arrays[name] = array
    if structure is not None and metadata.get("crc32") != f"{checksum:08x}":
        raise _Fault("its checksum does not match its contents: it is damaged")
    return _Container(structure, {name: arrays[name] for name in header})


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    first = file.read(8)
    if len(first) < 8:
        raise _Fault(f"it is truncated: a safetensors file has at least 8 bytes, this has {size}")
    length = struct.unpack("<Q", first)[0]
    if length > _HEADER_AT_MOST and first[0] == 0x80:
        raise _Fault("it is a file of pickled objects other than PyTorch's, which is not read")
    if length > _HEADER_AT_MOST:
        raise _Fault("it is not a safetensors file: its first 8 bytes are no header length")
    if length > size - 8:
        raise _Fault(
            f"it is truncated or not a safetensors file: the header should take {length} bytes, "
            f"{size - 8} are there"
        )
    try:
        header = json.loads(file.read(length).decode())
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise _Fault("it is not a safetensors file, or damaged: its header is not JSON") from None
    if not isinstance(header, dict):
        raise _Fault("it is not a safetensors file: its header is not a table")
    return header, 8 + length


def _check_entries(header: dict[str, Any], available: int) -> None:
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(item[1])):
        start, stop = _offsets(entry)
        dtype, shape = entry.get("dtype"), entry.get("shape")
        if dtype not in _DTYPES:
            raise _Fault(f"{name!r} has the unknown dtype {dtype!r}")
        if not isinstance(shape, list) or not all(_is_size(extent) for extent in shape):
            raise _Fault(f"{name!r} has the malformed shape {shape!r}")
        wanted = math.prod(shape) * _DTYPES[dtype].itemsize
        if start != end or stop - start != wanted:
            raise _Fault(
                f"{name!r} of {dtype} {shape} should take bytes {end} to {end + wanted}, but is "
                f"said to take {start} to {stop}"
            )
        end = stop
    if end > available:
        raise _Fault(f"it is truncated: its tensors take {end} bytes, {available} are there")
    if end < available:
        raise _Fault(f"it is damaged: {available - end} bytes follow its last tensor")


def _offsets(entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise _Fault(f"it is damaged: malformed entry {entry!r} in its header")
    return offsets[0], offsets[1]


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` once it is complete and on disk."""
    folder, base = os.path.split(path)
    temporary = os.path.join(folder, f".{base}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # not every system can sync a folder
        parent = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
