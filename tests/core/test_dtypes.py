"""Dtypes: identity, fields and limits, each compared with PyTorch's."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest
import torch

from thalweg.core import dtypes
from thalweg.core.dtypes import ALL, BY_NAME, DType, finfo, from_numpy, iinfo


@pytest.fixture
def restore_default():
    before = dtypes.default_dtype()
    yield
    dtypes.set_default_dtype(before)


@pytest.mark.parametrize("dtype", ALL, ids=lambda d: d.name)
def test_fields_are_those_of_pytorch(dtype):
    theirs = getattr(torch, dtype.name)
    assert repr(dtype) == repr(theirs).replace("torch", "thalweg")
    assert dtype.itemsize == theirs.itemsize == dtype.np.itemsize
    assert dtype.is_floating_point == theirs.is_floating_point
    assert dtype.is_complex == theirs.is_complex
    assert dtype.is_signed == theirs.is_signed
    assert dtype.to_real().name == str(theirs.to_real()).removeprefix("torch.")
    assert ALL[dtype.index] is dtype


@pytest.mark.parametrize("dtype", ALL, ids=lambda d: d.name)
def test_copies_and_round_trips_are_the_same_object(dtype):
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert copy.copy(dtype) is dtype
    assert copy.deepcopy([dtype])[0] is dtype
    assert from_numpy(dtype.np) is dtype
    assert from_numpy(np.zeros(2, dtype.np).dtype) is dtype
    assert BY_NAME[dtype.name] is dtype


def test_aliases_are_those_of_pytorch():
    for alias in ("half", "float", "double", "short", "int", "long", "cfloat", "cdouble"):
        assert repr(getattr(torch, alias)) == f"torch.{BY_NAME[alias].name}"


def test_platform_names_of_integers_resolve():
    assert from_numpy("q") is dtypes.int64
    assert from_numpy(np.longlong) is dtypes.int64
    assert from_numpy(ml_dtypes.bfloat16) is dtypes.bfloat16


@pytest.mark.parametrize("bad", ["U3", "O", "M8[s]", ">f4", "V2", "i4,f4"])
def test_unsupported_numpy_dtypes_are_named(bad):
    with pytest.raises(TypeError, match=r"float16, bfloat16, .*; got dtype\("):
        from_numpy(np.dtype(bad))


def test_a_dtype_can_be_neither_made_nor_changed():
    with pytest.raises(TypeError, match="cannot create"):
        DType("float8")
    with pytest.raises(AttributeError, match="immutable"):
        dtypes.float32.name = "x"
    with pytest.raises(AttributeError):
        dtypes.float32.extra = 1
    with pytest.raises(AttributeError, match="immutable"):
        del dtypes.float32.name


def test_to_complex():
    for dtype in (dtypes.float32, dtypes.bfloat16, dtypes.float64, *(d for d in ALL if d.rank > 2)):
        theirs = getattr(torch, dtype.name).to_complex()
        assert repr(theirs) == f"torch.{dtype.to_complex().name}"
    assert dtypes.float16.to_complex() is dtypes.complex64
    with pytest.raises(RuntimeError, match="floating-point dtype, got int8"):
        dtypes.int8.to_complex()


def test_default_dtype(restore_default):
    assert dtypes.default_dtype() is dtypes.float32
    assert dtypes.default_complex_dtype() is dtypes.complex64
    dtypes.set_default_dtype(dtypes.float64)
    assert dtypes.default_dtype() is dtypes.float64
    assert dtypes.default_complex_dtype() is dtypes.complex128
    assert finfo().dtype == "float64"
    for bad in (dtypes.int32, dtypes.bool_, dtypes.complex64, "float32", None):
        with pytest.raises(TypeError, match="only floating-point types"):
            dtypes.set_default_dtype(bad)
    assert dtypes.default_dtype() is dtypes.float64


@pytest.mark.parametrize("dtype", ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("ours,theirs", [(finfo, torch.finfo), (iinfo, torch.iinfo)])
def test_limits_are_those_of_pytorch(ours, theirs, dtype):
    try:
        expected = theirs(getattr(torch, dtype.name))
    except TypeError:
        with pytest.raises(TypeError, match="requires a"):
            ours(dtype)
        return
    info = ours(dtype)
    fields = ["bits", "max", "min", "dtype"]
    if ours is finfo:
        fields += ["eps", "tiny", "smallest_normal", "resolution"]
        assert repr(info) == repr(expected)
    for field in fields:
        assert getattr(info, field) == getattr(expected, field), field
    assert info == ours(dtype)
    assert hash(info) == hash(ours(dtype))


def test_limits_are_read_only_and_differ_by_dtype():
    assert finfo(dtypes.float32) != finfo(dtypes.float64)
    assert iinfo(dtypes.int8) != finfo(dtypes.float16)
    assert repr(iinfo(dtypes.int32)) == "iinfo(min=-2147483648, max=2147483647, dtype=int32)"
    with pytest.raises(AttributeError, match="read-only"):
        finfo(dtypes.float32).max = 1.0
