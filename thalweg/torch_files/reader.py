"""Reads PyTorch's files: the zip archives of today, and the bare pickles of before version 1.6."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from .rebuild import Refused, Storage, StorageType, engine, find

_OLD_MAGIC = 0x1950A86A20F9469CFC6C
_OLD_PROTOCOL = 1001
_ZIP = b"PK\x03\x04"

# Device of a tensor of a file, as `map_location` is told it -> how the tensor is placed.
Placer = Callable[[Any, str], Any]


def is_torch_file(start: bytes) -> bool:
    """Whether a file that begins with these bytes may be PyTorch's: a zip archive, or a pickle that
    begins with a number of ten bytes."""
    return start[:4] in (_ZIP, b"\x80\x02\x8a\x0a")


def read(file: BinaryIO, place: Placer) -> Any:
    """The nest in a file. `Refused` for what is damaged, or more than tensors and containers."""
    start = file.read(4)
    file.seek(-len(start), io.SEEK_CUR)
    try:
        return _read_zip(file, place) if start == _ZIP else _read_old(file, place)
    except Refused:
        raise
    except (
        pickle.UnpicklingError, zipfile.BadZipFile, EOFError, struct.error, KeyError, IndexError,
        TypeError, ValueError, AttributeError, UnicodeDecodeError, RecursionError, MemoryError,
        OverflowError, NotImplementedError,
    ) as error:  # fmt: skip
        raise Refused(f"it is damaged or no file of PyTorch's ({error!r})") from None


class _Unpickler(pickle.Unpickler):
    """Finds only listed names; storages come from ``storage_of``."""

    def __init__(self, file: Any, storage_of: Callable[[Any], Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage_of = storage_of

    def find_class(self, module: str, name: str) -> Any:
        return find(module, name)

    def persistent_load(self, pid: Any) -> Any:
        return self._storage_of(pid)


def _read_zip(file: BinaryIO, place: Placer) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        root = names[0].partition("/")[0] if names else ""
        if f"{root}/constants.pkl" in names:
            raise Refused("it is a TorchScript program, which holds code: save a state_dict()")
        if f"{root}/data.pkl" not in names:
            raise Refused("it is a zip archive, but not one of PyTorch's: it has no data.pkl")
        order: str = sys.byteorder
        if f"{root}/byteorder" in names:
            order = archive.read(f"{root}/byteorder").decode()
        made: dict[str, Storage] = {}

        def storage_of(pid: Any) -> Storage:
            kind, key, location, count = _storage_id(pid)
            if key not in made:
                entry = archive.getinfo(f"{root}/data/{key}")
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise Refused(f"storage {key!r} is compressed, which PyTorch's never are")
                dtype = getattr(engine(), kind.dtype)
                if entry.file_size != count * dtype.itemsize:
                    raise Refused(
                        f"storage {key!r} should have {count} elements of {dtype.name}, its file "
                        f"has {entry.file_size} bytes"
                    )
                content = np.frombuffer(bytearray(archive.read(entry)), np.uint8)
                made[key] = _storage(content, kind, dtype, location, place, order)
            return made[key]

        data = io.BytesIO(archive.read(f"{root}/data.pkl"))
        return _Unpickler(data, storage_of).load()


def _storage_id(pid: Any) -> tuple[StorageType, str, str, int]:
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
        raise Refused(f"it refers to {pid!r}, expected a storage")
    _, kind, key, location, count = pid[:5]
    if not isinstance(kind, StorageType) or type(count) is not int or count < 0:
        raise Refused(f"the storage {key!r} is malformed")
    return kind, str(key), str(location), count


def _storage(
    content: Any, kind: StorageType, dtype: Any, location: str, place: Placer, order: str
) -> Storage:
    if order != sys.byteorder and dtype.itemsize > 1:
        part = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
        content = content.reshape(-1, part)[:, ::-1].reshape(-1).copy()
    return Storage(content, kind.dtype, lambda tensor: place(tensor, location))


def _read_old(file: BinaryIO, place: Placer) -> Any:
    """Three pickles of numbers, the pickled nest, the pickled names of storages, their bytes."""

    def none(pid: Any) -> Storage:
        raise Refused("its head refers to a storage")

    magic = _Unpickler(file, none).load()
    if magic != _OLD_MAGIC:
        raise Refused("it is a pickle, but not a file of PyTorch's")
    if _Unpickler(file, none).load() != _OLD_PROTOCOL:
        raise Refused("it has an unknown version of PyTorch's old format")
    system = _Unpickler(file, none).load()
    order = "little" if system.get("little_endian", True) else "big"
    begin = file.tell()
    kinds: dict[str, tuple[StorageType, str, int]] = {}
    made: dict[str, Storage] = {}
    left = _left(file)

    def storage_of(pid: Any) -> Storage:
        kind, key, location, count = _storage_id(pid)
        if len(pid) > 5 and pid[5] is not None:
            raise Refused("it has views of storages, which PyTorch stopped writing long ago")
        kinds[key] = kind, location, count
        if key in made:
            return made[key]
        dtype = getattr(engine(), kind.dtype)
        if count * dtype.itemsize > left:
            raise Refused(f"it is truncated: storage {key!r} should have {count} elements")
        blank = np.zeros(count * dtype.itemsize, np.uint8)
        return _storage(blank, kind, dtype, location, place, sys.byteorder)

    # The storages follow the nest that is made of them: it is read once to know them, again to
    # be made.
    _Unpickler(file, storage_of).load()
    for key in _Unpickler(file, none).load():
        kind, location, count = kinds[str(key)]
        dtype = getattr(engine(), kind.dtype)
        (written,) = struct.unpack("<q", file.read(8))
        content = file.read(count * dtype.itemsize)
        if written != count or len(content) != count * dtype.itemsize:
            raise Refused(f"it is truncated: it ended in storage {key!r}")
        whole = np.frombuffer(bytearray(content), np.uint8)
        made[str(key)] = _storage(whole, kind, dtype, location, place, order)
    file.seek(begin)
    return _Unpickler(file, storage_of).load()


def _left(file: BinaryIO) -> int:
    """Bytes between here and the end of a file."""
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        here = file.tell()
        end = file.seek(0, io.SEEK_END)
        file.seek(here)
        return end - here
    return sys.maxsize
