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


def test_what_is_kept_is_bounded() -> None:
    held = [allocate(30 << 20) for _ in range(6)]
    del held
    limit = max(memory._KEPT_LEAST, int(memory.KEPT_SHARE * statistics.peak))
    assert 0 < statistics.kept <= limit
    trim(0)
    assert statistics.kept == 0


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
