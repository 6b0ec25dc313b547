"""Memory that is used again: aligned, owned by what shows it, bounded."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core import dtypes
from thalweg.runtime import memory
from thalweg.runtime.buffer import Buffer
from thalweg.runtime.memory import address_of, allocate, array_at, round_size, statistics, trim


@given(st.integers(0, 1 << 20))
def test_sizes(nbytes: int) -> None:
    size = round_size(nbytes)
    assert size >= max(nbytes, 64) and size % 64 == 0
    assert size - nbytes <= max(64, min(4096, nbytes))
    assert round_size(size) == size


def test_memory_is_aligned_and_used_again() -> None:
    trim(0)
    first = allocate(1_000_000)
    assert first.address % 64 == 0 and first.size >= 1_000_000
    address, fresh = first.address, statistics.fresh
    del first
    again = allocate(1_000_000)
    assert again.address == address and statistics.fresh == fresh


def test_memory_lives_as_long_as_arrays_over_it() -> None:
    trim(0)
    owner = allocate(4000)
    array = array_at(owner, owner.address, (10, 100), np.dtype(np.float32))
    assert address_of(array) == owner.address and array.flags.c_contiguous
    assert array.flags.writeable
    array[:] = 3
    part = array[2:, ::7]
    address = owner.address
    del owner, array
    gc.collect()
    assert allocate(4000).address != address
    assert (part == 3).all()
    del part
    assert allocate(4000).address == address


@pytest.mark.parametrize("dtype", [dtypes.bfloat16, dtypes.bool_, dtypes.complex64, dtypes.int8])
def test_arrays_of_every_kind(dtype: dtypes.DType) -> None:
    values = np.ones((3, 2), dtype.np)
    owner = allocate(values.nbytes)
    array = array_at(owner, owner.address, values.shape, values.dtype)
    array[...] = values
    assert array.dtype == values.dtype and (array == values).all()
    assert array_at(owner, owner.address, (0, 4), values.dtype).shape == (0, 4)
    assert array_at(owner, owner.address, (), values.dtype).shape == ()


@pytest.fixture
def fresh_statistics(monkeypatch: pytest.MonkeyPatch) -> memory.Statistics:
    """Nothing used, nothing kept: what a new process has."""
    own = memory.Statistics()
    monkeypatch.setattr(memory, "statistics", own)
    monkeypatch.setattr(memory, "_free", {})
    return own


def test_what_is_kept_is_bounded(fresh_statistics: memory.Statistics) -> None:
    own = fresh_statistics
    held = [allocate(30 << 20) for _ in range(6)]
    peak = own.peak
    del held
    assert 0 < own.kept <= peak
    held = [allocate(80 << 20), allocate(70 << 20)]
    assert own.used + own.kept <= peak + max(memory._KEPT_LEAST, int(memory.KEPT_SHARE * peak))
    del held
    trim(0)
    assert own.kept == 0


def test_an_arena_that_is_most_of_the_memory_is_used_again(
    fresh_statistics: memory.Statistics,
) -> None:
    """Otherwise each training step faults all pages of its arena in, a tenth of its time."""
    parameters = allocate(30 << 20)
    for _ in range(3):
        arena, results = allocate(200 << 20), allocate(30 << 20)
        del arena
        parameters = results
        del results
    assert fresh_statistics.fresh == 3 and parameters.size == 30 << 20
    assert fresh_statistics.used + fresh_statistics.kept == fresh_statistics.peak


def test_out_of_memory_gives_up_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    block = allocate(20 << 20)
    del block
    real, calls = np.empty, []

    def scarce(*args: object) -> np.ndarray:
        calls.append(statistics.kept)
        if len(calls) == 1:
            raise MemoryError
        return real(*args)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(memory.np, "empty", scarce)
    assert allocate(21 << 20).size >= 21 << 20
    assert calls[0] > 0 and calls[1] == 0


def test_a_buffer_over_memory_becomes_an_array_when_read() -> None:
    owner = allocate(16)
    buffer = Buffer()
    buffer.fill_memory(owner, owner.address, (2, 2), np.dtype(np.float32))
    assert buffer.address() == owner.address and buffer._array is None
    array = buffer.get()
    assert array.shape == (2, 2) and buffer.get() is array
    assert address_of(array) == owner.address


def test_a_buffer_of_a_strided_array_becomes_dense_for_machine_code() -> None:
    values = np.arange(6.0).reshape(2, 3).T
    buffer = Buffer(values)
    assert buffer.address() == address_of(buffer.get())
    assert buffer.get().flags.c_contiguous and (buffer.get() == values).all()
