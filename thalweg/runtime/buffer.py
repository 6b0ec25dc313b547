"""Buffers: the storage a program fills, available now or when its job has run.

A value is an array, or memory that machine code filled and that nobody has looked at through NumPy
yet; most results of a training step never become arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .memory import Memory, address_of, array_at

if TYPE_CHECKING:
    from .executor import Job

Array = np.ndarray[Any, Any]


class _Never:
    """The job of buffers that nothing will ever fill: those of tensors on the meta device."""

    def wait(self) -> NoReturn:
        raise NotImplementedError(NO_DATA)


NO_DATA = "Cannot copy out of meta tensor; no data!"
_NEVER = _Never()


class Buffer:
    """An array, memory that holds one, or the promise of either.

    ``job`` is the pending job that fills the buffer (None once it has run). ``overwritten``
    counts how often an in-place operation replaced the value that a tensor held here, so that a
    backward pass that saved it can tell.
    """

    __slots__ = (
        "__weakref__", "_address", "_array", "_dtype", "_memory", "_shape", "job", "overwritten",
    )  # fmt: skip

    _shape: tuple[int, ...]
    _dtype: np.dtype[Any]

    def __init__(self, array: Array | None = None, job: Job | _Never | None = None) -> None:
        self._array = array
        self._memory: Memory | None = None
        self._address = 0
        self.job = job
        self.overwritten = 0

    def get(self) -> Array:
        """The array; waits for the job, and raises its error."""
        array = self._array
        if array is None:
            if self.job is not None:
                self.job.wait()
            array = self._array
            if array is None:
                assert self._memory is not None
                array = array_at(self._memory, self._address, self._shape, self._dtype)
                self._array = array
        return array

    def fill(self, array: Array) -> None:
        self._array = array
        self.job = None

    def fill_memory(
        self, memory: Memory, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        """Let the buffer hold the dense array at ``address`` in ``memory``."""
        self._shape = shape
        self._dtype = dtype
        self._address = address
        self._memory = memory
        self.job = None

    def address(self) -> int:
        """Where the value lies, dense and row-major; waits for the job, and raises its error."""
        if self._address:
            return self._address
        array = self._array
        if array is None:
            if self.job is not None:
                self.job.wait()
            if self._address:
                return self._address
            array = self._array
            assert array is not None
        if not array.flags.c_contiguous or not array.flags.aligned:
            # Of equal value, so whoever holds the old one loses nothing; no user's memory is ever
            # a buffer's (see `tensor.alias`), so no writes are missed either.
            array = self._array = array.copy()
        self._address = address_of(array)
        return self._address

    @property
    def memory(self) -> Memory | None:
        """The memory that holds the value, where machine code filled it."""
        return self._memory


def absent() -> Buffer:
    """A buffer that holds nothing: NotImplementedError for reading it."""
    return Buffer(job=_NEVER)
