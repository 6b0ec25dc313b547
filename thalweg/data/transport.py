"""Batches between processes: structure through a pipe, array bytes through shared memory.

The worker pickles the batch with every tensor and array replaced by its place in one segment. The
parent maps that segment, removes its name at once, and builds the arrays over the mapping: nothing
is copied a second time, and a segment without a name cannot be left behind.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from thalweg.data import _tensors
from thalweg.data._tensors import Array

_ALIGNMENT = 64
_SMALL = 1 << 15  # below this a pipe is cheaper than creating and mapping a segment
_MAPPED_AT_MOST = 64  # each holds two file descriptors; batches kept beyond this are copied


@dataclass(frozen=True)
class Pending:
    """An array that is to become a tensor in the parent process."""

    array: Array


@dataclass(frozen=True)
class Parcel:
    """A packed batch: its structure, and the array bytes either by segment name or in place."""

    structure: bytes
    size: int
    segment: str | None
    content: bytes | None


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.arrays: list[tuple[int, Array]] = []
        self.size = 0

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Pending):
            return self._place("tensor", obj.array)
        if isinstance(obj, np.ndarray) and not obj.dtype.hasobject and type(obj) is np.ndarray:
            return self._place("array", obj)
        if type(obj).__module__ != "builtins" and _tensors.is_tensor(obj):
            return self._place("tensor", _tensors.unwrap(obj))
        return None

    def _place(self, kind: str, array: Array) -> tuple[Any, ...]:
        offset = -(-self.size // _ALIGNMENT) * _ALIGNMENT
        self.arrays.append((offset, array))
        self.size = offset + array.nbytes
        return kind, offset, array.dtype, array.shape


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, content: Array) -> None:
        super().__init__(file)
        self._content = content

    def persistent_load(self, pid: Any) -> Any:
        kind, offset, dtype, shape = pid
        array: Array = np.ndarray(shape, dtype, buffer=self._content.data, offset=offset)
        return _tensors.wrap(array) if kind == "tensor" else array


def pack(batch: Any, name: str) -> Parcel:
    """Pack a batch; large ones are written to a new segment called `name`."""
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(batch)
    segment = _create(name, packer.size) if packer.size > _SMALL else None
    if segment is None:
        content = bytearray(packer.size)
        _write(packer.arrays, content)
        return Parcel(file.getvalue(), packer.size, None, bytes(content))
    try:
        _write(packer.arrays, _memory(segment))
    finally:
        segment.close()
    return Parcel(file.getvalue(), packer.size, name, None)


def unpack(parcel: Parcel) -> Any:
    """The batch of a parcel, with tensors made here. Its segment loses its name."""
    if parcel.segment is None:
        content = np.frombuffer(bytearray(parcel.content or b""), np.uint8)
    else:
        content = _adopt(parcel.segment)
    if not content.size:
        content = np.zeros(1, np.uint8)  # empty arrays still need a buffer to lie in
    return _Unpacker(io.BytesIO(parcel.structure), content).load()


def discard(name: str) -> None:
    """Remove a segment that will not be unpacked, if it was ever made."""
    try:
        segment = SharedMemory(name=name)
    except FileNotFoundError:
        return
    segment.close()
    segment.unlink()


def _create(name: str, size: int) -> SharedMemory | None:
    # Writing past what the file system can hold kills a process (SIGBUS) instead of raising, so
    # ask first and fall back to the pipe. Small /dev/shm is common in containers.
    try:
        if shutil.disk_usage("/dev/shm").free < 2 * size:
            return None
    except OSError:
        pass  # a system that keeps segments elsewhere
    # Registering comes before creating (which registers once more): a process killed in between
    # then leaves a name without a segment, not a segment that nobody knows of.
    tracked = f"/{name}"
    if os.name == "posix":
        resource_tracker.register(tracked, "shared_memory")
    try:
        return SharedMemory(name=name, create=True, size=size)
    except OSError:
        if os.name == "posix":
            resource_tracker.unregister(tracked, "shared_memory")
        return None


def _write(arrays: list[tuple[int, Array]], content: Any) -> None:
    for offset, array in arrays:
        target: Array = np.ndarray(array.shape, array.dtype, buffer=content, offset=offset)
        target[...] = array
        del target  # a segment cannot be closed while an array still looks at it


class _Mapping:
    """A mapped segment as memory for arrays; unmapped when the last array over it is gone.

    The arrays hold this object through `__array_interface__`, not through a buffer of the segment,
    which could never be closed while they live.
    """

    live = 0

    def __init__(self, segment: SharedMemory) -> None:
        self._segment = segment
        address = np.frombuffer(_memory(segment), np.uint8).ctypes.data
        self.__array_interface__ = {
            "version": 3,
            "data": (address, False),
            "shape": (segment.size,),
            "typestr": "|u1",
        }
        type(self).live += 1

    def __del__(self) -> None:
        type(self).live -= 1
        self._segment.close()


def _memory(segment: SharedMemory) -> memoryview:
    memory = segment.buf
    assert memory is not None  # it is None only once closed
    return memory


def _adopt(name: str) -> Array:
    segment = SharedMemory(name=name)
    segment.unlink()
    if _Mapping.live < _MAPPED_AT_MOST:
        return np.asarray(_Mapping(segment))
    copied = np.frombuffer(_memory(segment), np.uint8).copy()
    segment.close()
    return copied
