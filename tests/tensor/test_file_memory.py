"""Bytes of files as storages, and bytes as elements of another dtype."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import thalweg


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.bin"
    np.arange(6, dtype=np.float32).tofile(path)
    return path


def test_a_storage_of_a_file(file: Path) -> None:
    for lib in (torch, thalweg):
        storage = lib.UntypedStorage.from_file(str(file), shared=False, nbytes=24)
        assert (len(storage), storage.nbytes(), storage.size()) == (24, 24, 24)
        assert storage.tolist()[4:8] == [0, 0, 128, 63] and storage[7] == 63
        part = storage[8:20]
        made = lib.asarray(part, dtype=lib.uint8).view(dtype=lib.float32).reshape((3, 1))
        assert made.tolist() == [[2.0], [3.0], [4.0]]
        assert str(storage.device) == "cpu" and len(lib.UntypedStorage(5)) == 5


def test_writes_stay_in_memory(file: Path) -> None:
    """A storage that is not shared never changes the file, and tensors have copies."""
    storage = thalweg.UntypedStorage.from_file(file, nbytes=24)
    made = thalweg.asarray(storage, dtype=thalweg.uint8)
    made.zero_()
    assert made.sum().item() == 0 and storage[7] == 63
    assert np.fromfile(file, np.float32).tolist() == [0, 1, 2, 3, 4, 5]


def test_what_a_storage_refuses(file: Path) -> None:
    with pytest.raises(ValueError, match="30 bytes asked for, it has 24"):
        thalweg.UntypedStorage.from_file(file, nbytes=30)
    with pytest.raises(OSError):
        thalweg.UntypedStorage.from_file(file.with_name("absent"), nbytes=1)
    with pytest.raises(ValueError, match="slices have step 1"):
        thalweg.UntypedStorage(4)[::2]


@pytest.mark.parametrize("target", ["int32", "uint8", "float16", "float64", "bfloat16", "bool"])
def test_view_as_a_dtype(target: str) -> None:
    array = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    ours = thalweg.tensor(array).view(getattr(thalweg, target))
    theirs = torch.tensor(array).view(getattr(torch, target))
    assert tuple(ours.shape) == tuple(theirs.shape) and ours.dtype.name == target
    back, expected = ours.view(thalweg.uint8), theirs.view(torch.uint8)
    assert back.tolist() == expected.tolist()


def test_view_as_a_dtype_is_a_copy() -> None:
    x = thalweg.ones(2)
    y = x.view(thalweg.int32)
    x.zero_()
    assert y.tolist() == [1065353216] * 2
    assert not thalweg.ones(2, requires_grad=True).view(thalweg.int32).requires_grad
    assert x.view(thalweg.float32).tolist() == [0.0, 0.0]
    with pytest.raises(RuntimeError, match="must be divisible by 4"):
        thalweg.ones(2, 3, dtype=thalweg.int16).view(thalweg.int64)
    with pytest.raises(RuntimeError, match="cannot be 0"):
        thalweg.tensor(1.0).view(thalweg.uint8)
    with pytest.raises(TypeError):
        x.view()
