"""`save` and `load`: round trips of every kind of value, and files that must be refused."""

import collections
import io
import json
import math
import os
import pickle
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

import thalweg

DTYPES = [
    np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64,
    np.uint8, np.bool_, np.complex64, np.complex128,
]  # fmt: skip


def saved(tmp_path, obj):
    path = tmp_path / "state.safetensors"
    thalweg.save(obj, path)
    return path


def round_trip(tmp_path, obj):
    return thalweg.load(saved(tmp_path, obj))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3, 4)], ids=str)
def test_every_dtype_and_shape(tmp_path, dtype, shape):
    values = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    if np.dtype(dtype).kind == "c":
        values = np.asarray(values + 2j * values, dtype)
    back = round_trip(tmp_path, {"t": thalweg.from_numpy(values), "a": values})
    for array in (back["t"].numpy(), back["a"]):
        assert array.dtype == values.dtype and array.shape == shape
        np.testing.assert_array_equal(array, values)
    assert isinstance(back["t"], thalweg.Tensor) and isinstance(back["a"], np.ndarray)


def test_plain_values_come_back_equal_and_of_their_type(tmp_path):
    nest = {
        "none": None, "true": True, "int": 3, "big": 2**80, "float": 0.1, "whole": 1.0,
        "inf": -math.inf, "complex": 1 - 2j, "text": "é\n\"\u2028", "bytes": b"\x00\xff",
        "list": [1, [2, (3,)], ()], "empty": {}, 0: {"int key": (1, "x")}, (1, "k"): 2.5,
        "scalar": np.float32(0.1), "np bool": np.bool_(True),
    }  # fmt: skip
    back = round_trip(tmp_path, nest)
    assert back == nest and list(back) == list(nest)
    flat = [back["true"], back["int"], back["float"], back["whole"], back["list"][1][1]]
    assert [type(value) for value in flat] == [bool, int, float, float, tuple]
    assert type(back["scalar"]) is np.float32 and type(back["np bool"]) is np.bool_
    assert math.isnan(round_trip(tmp_path, math.nan))


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, (1, 2)], ids=repr)
def test_the_nest_may_be_a_single_value(tmp_path, value):
    assert round_trip(tmp_path, value) == value


def test_subclasses_become_plain(tmp_path):
    back = round_trip(tmp_path, collections.OrderedDict(a=collections.Counter([1, 1])))
    assert type(back) is dict and back == {"a": {1: 2}} and type(back["a"]) is dict


def test_shared_tensors_are_stored_once_and_shared_again(tmp_path):
    values = np.random.default_rng(0).random((100, 100))
    tensor = thalweg.from_numpy(values)
    # Tied weights reach a state dict as two detached handles of one memory.
    path = saved(tmp_path, {"embed": tensor.detach(), "head": tensor.detach(), "again": [tensor]})
    assert path.stat().st_size < 1.2 * values.nbytes
    back = thalweg.load(path)
    assert back["embed"] is back["head"] is back["again"][0]
    arrays = round_trip(tmp_path, [values, values, values.copy(), values.T])
    assert arrays[0] is arrays[1]
    assert arrays[0] is not arrays[2]
    np.testing.assert_array_equal(arrays[3], values.T)


def test_views_big_endian_and_strided_arrays_keep_their_values(tmp_path):
    base = np.arange(24.0).reshape(4, 6)
    nest = [base[:, ::2], base[::-1], base.T, base.astype(">f4"), np.asfortranarray(base)]
    for array, back in zip(nest, round_trip(tmp_path, nest)):
        np.testing.assert_array_equal(back, array)


def test_requires_grad_is_kept(tmp_path):
    back = round_trip(tmp_path, [thalweg.tensor([1.0], requires_grad=True), thalweg.zeros(1)])
    assert [tensor.requires_grad for tensor in back] == [True, False]


def test_names_that_collide_stay_apart(tmp_path):
    nest = {
        "a.b": np.ones(1),
        "a": {"b": np.zeros(1)},
        "__metadata__": np.full(1, 2.0),
        "": np.ones(2),
    }
    back = round_trip(tmp_path, nest)
    assert back["a.b"][0] == 1 and back["a"]["b"][0] == 0 and back["__metadata__"][0] == 2


def test_the_safetensors_package_reads_our_files(tmp_path):
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.int64)
    path = saved(tmp_path, {"layer.weight": thalweg.from_numpy(weight), "bias": bias, "step": 3})
    foreign = safetensors.numpy.load_file(path)
    assert sorted(foreign) == ["bias", "layer.weight"]
    np.testing.assert_array_equal(foreign["layer.weight"], weight)
    np.testing.assert_array_equal(foreign["bias"], bias)
    every = {np.dtype(dtype).name: np.ones((2, 3), dtype) for dtype in DTYPES}
    with safe_open(saved(tmp_path, every), "pt") as file:
        assert sorted(file.keys()) == sorted(every)
        assert file.get_slice("bfloat16").get_dtype() == "BF16"
        assert file.get_slice("complex128").get_shape() == [2, 3, 2]


def test_we_read_the_safetensors_package_s_files(tmp_path):
    arrays = {"w": np.random.default_rng(0).random((3, 4)), "n": np.array(7, np.int32)}
    safetensors.numpy.save_file(arrays, tmp_path / "f", metadata={"format": "np"})
    back = thalweg.load(tmp_path / "f")
    assert sorted(back) == ["n", "w"]
    for name, array in arrays.items():
        assert isinstance(back[name], thalweg.Tensor)
        np.testing.assert_array_equal(back[name].numpy(), array)


def test_file_objects(tmp_path):
    buffer = io.BytesIO()
    thalweg.save({"a": np.arange(3)}, buffer)
    buffer.seek(0)
    np.testing.assert_array_equal(thalweg.load(buffer)["a"], np.arange(3))


@pytest.mark.parametrize(
    "where",
    ["cpu", {"cpu": "cpu"}, {}, lambda tensor, place: tensor],
    ids=["name", "dict", "empty", "function"],
)
def test_map_location(tmp_path, where):
    path = saved(tmp_path, [thalweg.zeros(2)])
    np.testing.assert_array_equal(thalweg.load(path, where)[0].numpy(), np.zeros(2))


def test_other_types_are_refused_with_their_place(tmp_path):
    with pytest.raises(TypeError, match=r"builtins\.object at obj\['model'\]\['1'\]"):
        thalweg.save({"model": [1, object()]}, tmp_path / "f")
    with pytest.raises(TypeError, match="array of object"):
        thalweg.save([np.array([object()])], tmp_path / "f")
    with pytest.raises(TypeError, match="keys of plain types, given bytes"):
        thalweg.save({b"k": 1}, tmp_path / "f")
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        thalweg.save(loop, tmp_path / "f")
    assert os.listdir(tmp_path) == []


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = saved(tmp_path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        thalweg.save({"a": 2}, path)
    assert thalweg.load(path) == {"a": 1}
    assert os.listdir(tmp_path) == [path.name]


def test_saving_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    thalweg.save(1, tmp_path / "link")
    thalweg.save(2, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and thalweg.load(tmp_path / "target") == 2


def test_every_truncation_and_every_flipped_byte_is_noticed(tmp_path):
    nest = {"w": np.arange(5, dtype=np.float32), "step": 12, "lr": [0.1, {"k": "v"}]}
    path = saved(tmp_path, nest)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(RuntimeError, match=r"state\.safetensors"):
            thalweg.load(path)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x01
        path.write_bytes(damaged)
        try:
            back = thalweg.load(path)
        except RuntimeError:
            continue
        # A flip that is not an error can only be one in the padding of the header or the spelling
        # of the container's own keys, never in a value.
        np.testing.assert_array_equal(_array(back["w"]), nest["w"])
        assert "step" not in back or (back["step"], back["lr"]) == (nest["step"], nest["lr"])
    path.write_bytes(whole + b"\0")
    with pytest.raises(RuntimeError, match="1 bytes follow its last tensor"):
        thalweg.load(path)


def _array(value):
    return value if isinstance(value, np.ndarray) else value.numpy()


def _container(header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def _entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


MALFORMED = {
    "empty": (b"", "truncated"),
    "text": (b"hello world, this is a text file", "no header length"),
    "json": (_container(b"[1]"), "not a table"),
    "no json": (_container(b"{nope"), "not JSON"),
    "deep json": (_container(b"[" * 100_000), "not JSON"),
    "entry": (_container({"a": 1}), "malformed entry"),
    "offsets": (_container({"a": _entry(offsets=(0, -4))}), "malformed entry"),
    "dtype": (_container({"a": _entry(dtype="Q4")}, b"1234"), "unknown dtype 'Q4'"),
    "shape": (_container({"a": _entry(shape=("x",))}, b"1234"), "malformed shape"),
    "size": (_container({"a": _entry(shape=(2,))}, b"1234"), "should take bytes 0 to 8"),
    "gap": (_container({"a": _entry(offsets=(4, 8))}, b"12345678"), "should take bytes 0 to 4"),
    "overlap": (_container({"a": _entry(), "b": _entry()}, b"1234"), "should take bytes 4 to 8"),
    "huge": (_container({"a": _entry(shape=(2**60,), offsets=(0, 2**62))}), "truncated"),
    "metadata": (_container({"__metadata__": 3}), "metadata"),
    "version": (_container({"__metadata__": {"thalweg": "99"}}), "format '99'"),
    "pickle": (pickle.dumps({"a": list(range(50))}), "pickled objects"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_named_with_their_fault(tmp_path, name):
    content, fault = MALFORMED[name]
    path = tmp_path / "bad.file"
    path.write_bytes(content)
    with pytest.raises(RuntimeError, match=rf"bad\.file.*{fault}"):
        thalweg.load(path)


def test_a_header_length_that_looks_like_a_pickle_is_no_pickle(tmp_path):
    text = b"{}" + b" " * 126  # 128 is 0x80, with which pickles begin
    (tmp_path / "f").write_bytes(_container(text))
    assert thalweg.load(tmp_path / "f") == {}


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        thalweg.load(tmp_path / "none")
