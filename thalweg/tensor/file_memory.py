"""Bytes of files as PyTorch's untyped storages, from which readers make tensors."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..core.device import CPU, Device
from ..core.errors import ArgumentError, ValueRangeError, located


class UntypedStorage:
    """Bytes without a dtype (`torch.UntypedStorage`): those of a file, or ``size`` zeros.

    Slices are storages of the same memory; tensors that are made of them have copies.
    """

    __slots__ = ("_bytes",)

    def __init__(self, size: int = 0, *, device: Any = None) -> None:
        if device is not None and Device(device).type != "cpu":
            raise located(ArgumentError(f"UntypedStorage(): expected the cpu, got {device!r}"))
        self._bytes: Any = np.zeros(size, np.uint8)

    @staticmethod
    def from_file(
        filename: str | os.PathLike[str], shared: bool = False, nbytes: int = 0
    ) -> UntypedStorage:
        """The first ``nbytes`` of a file, read as they are needed. With ``shared``, what is written
        to them reaches the file. OSError if it cannot be opened, ValueError if it is shorter."""
        found = os.path.getsize(filename)
        if nbytes > found:
            raise located(
                ValueRangeError(f"{os.fspath(filename)}: {nbytes} bytes asked for, it has {found}")
            )
        made = UntypedStorage()
        if nbytes:
            mode: Any = "r+" if shared else "c"
            made._bytes = np.memmap(filename, np.uint8, mode, shape=(nbytes,))
        return made

    def __len__(self) -> int:
        return len(self._bytes)

    size = nbytes = __len__

    def __getitem__(self, index: Any) -> Any:
        """A byte, or a storage of a slice (step 1)."""
        if not isinstance(index, slice):
            return int(self._bytes[index])
        if index.step not in (None, 1):
            raise located(ValueRangeError(f"a storage's slices have step 1, got {index.step}"))
        made = UntypedStorage()
        made._bytes = self._bytes[index]
        return made

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self._bytes, dtype) if copy or dtype else np.asarray(self._bytes)

    def tolist(self) -> list[int]:
        return list(map(int, self._bytes))

    def untyped(self) -> UntypedStorage:
        return self

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return int(self._bytes.__array_interface__["data"][0])

    @property
    def device(self) -> Device:
        return CPU
