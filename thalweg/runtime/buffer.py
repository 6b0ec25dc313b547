"""Buffers: the storage a program fills, available now or when its job has run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .executor import Job

Array = np.ndarray[Any, Any]


class Buffer:
    """An array, or the promise of one.

    ``job`` is the pending job that fills the buffer (None once it has run). ``overwritten``
    counts how often an in-place operation replaced the value that a tensor held here, so that a
    backward pass that saved it can tell.
    """

    __slots__ = ("_array", "job", "overwritten")

    def __init__(self, array: Array | None = None, job: Job | None = None) -> None:
        self._array = array
        self.job = job
        self.overwritten = 0

    def get(self) -> Array:
        """The array; waits for the job, and raises its error."""
        if self._array is None:
            assert self.job is not None
            self.job.wait()
        assert self._array is not None
        return self._array

    def fill(self, array: Array) -> None:
        self._array = array
        self.job = None
