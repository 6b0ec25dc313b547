"""PyTorch's files: read as PyTorch wrote them, written as it reads them, hostile ones refused."""

import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thalweg
from thalweg import mock_torch, torch_files

DTYPES = ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8",
          "bool", "complex64", "complex128"]  # fmt: skip


def pytorch_file(obj, **options):
    file = io.BytesIO()
    torch.save(obj, file, **options)
    file.seek(0)
    return file


def our_file(obj):
    file = io.BytesIO()
    torch_files.write(obj, file)
    file.seek(0)
    return file


def values(tensor):
    """A tensor of either engine as a comparable array."""
    detached = tensor.detach()
    plain = str(detached.dtype).rpartition(".")[2]
    return np.array(detached.float().numpy() if plain == "bfloat16" else detached.numpy()), plain


def same(found, expected):
    if isinstance(expected, (torch.Tensor, thalweg.Tensor)):
        for a, b in zip(values(found), values(expected)):
            np.testing.assert_array_equal(a, b)
        assert tuple(found.shape) == tuple(expected.shape)
        assert found.requires_grad == expected.requires_grad
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)) and not isinstance(expected, torch.Size):
        assert len(found) == len(expected)
        for pair in zip(found, expected):
            same(*pair)
    elif isinstance(expected, (torch.dtype, torch.device)):
        assert str(found).rpartition(".")[2] == str(expected).rpartition(".")[2]
    else:
        assert found == expected and type(found).__name__ == type(expected).__name__


def nest(engine):
    x = engine.arange(12.0).reshape(3, 4)
    return collections.OrderedDict(
        plain=[1, -2, 2**70, 2.5, float("inf"), "é", None, True, (), (1, (2,)), b"\xff", 3 - 4j],
        dict={"a": {1: "one", (1, "k"): 2.5, None: []}}, set={1, "b"}, size=engine.Size([2, 3]),
        dtype=engine.bfloat16, device=engine.device("cpu"), tensor=x, row=x[1], turned=x.t(),
        again=x, gapped=x[:, ::2], parameter=engine.nn.Parameter(engine.ones(2)),
        leaf=engine.ones(2).requires_grad_(), scalar=engine.tensor(3), empty=engine.zeros(0, 3),
    )  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=str)
def test_pytorchs_files_are_read(options):
    expected = nest(torch)
    found = thalweg.load(pytorch_file(expected, **options))
    same(found, expected)
    assert isinstance(found["parameter"], thalweg.nn.Parameter)
    assert found["again"] is found["tensor"]
    found["tensor"][1, 0] = 99  # memory that was shared is shared again
    assert found["row"][0] == 99 and found["turned"][0, 1] == 99


def test_pytorch_reads_our_files():
    ours = nest(thalweg)
    found = torch.load(our_file(ours), weights_only=True)
    same(found, nest(torch))
    assert found["again"] is found["tensor"]
    same(thalweg.load(our_file(ours)), ours)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)], ids=str)
def test_every_dtype_and_shape_both_ways(dtype, shape):
    theirs = torch.arange(int(np.prod(shape))).reshape(shape).to(getattr(torch, dtype))
    ours = thalweg.load(pytorch_file(theirs))
    same(ours, theirs)
    same(torch.load(our_file(ours)), theirs)


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**80), 2**80), st.floats(allow_nan=False),
    st.text(max_size=5), st.binary(max_size=5),
)  # fmt: skip
nests = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3) | st.integers(-5, 5), inner, max_size=3),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(nests)
def test_any_nest_of_plain_values_survives_both_ways(value):
    assert torch.load(our_file(value), weights_only=True) == value
    assert thalweg.load(pytorch_file(value)) == value


def test_state_dicts_of_training_go_both_ways(tmp_path):
    def trained(engine):
        engine.manual_seed(0)
        model = engine.nn.Sequential(engine.nn.Linear(3, 4), engine.nn.BatchNorm1d(4))
        optimizer = engine.optim.AdamW(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            model(engine.ones(2, 3) * engine.arange(2.0)[:, None]).square().sum().backward()
            optimizer.step()
        return model, optimizer

    theirs, ours = trained(torch), trained(thalweg)
    path = os.fspath(tmp_path / "checkpoint.pt")
    torch.save({"model": theirs[0].state_dict(), "optimizer": theirs[1].state_dict()}, path)
    state = thalweg.load(path)
    ours[0].load_state_dict(state["model"])
    ours[1].load_state_dict(state["optimizer"])
    same(dict(ours[0].state_dict()), dict(theirs[0].state_dict()))
    with mock_torch.enable():
        import torch as mocked

        mocked.save({"model": ours[0].state_dict(), "optimizer": ours[1].state_dict()}, path)
    back = torch.load(path, weights_only=True)
    theirs[0].load_state_dict(back["model"])
    theirs[1].load_state_dict(back["optimizer"])
    assert back["model"]._metadata[""] == {"version": 1}


def test_locations_are_told_and_read_to_the_cpu():
    seen = []

    def place(tensor, location):
        seen.append(location)
        return tensor.double()

    stored = pytorch_file({"a": torch.ones(2)}).getvalue()
    data = zipfile.ZipFile(io.BytesIO(stored)).read("archive/data.pkl")
    assert data.count(b"cpu") == 1
    moved = edited(lambda n, c: c.replace(b"cpu", b"gpu") if n == "data.pkl" else c)
    found = thalweg.load(moved, map_location=place)
    assert seen == ["gpu"] and found["a"].dtype is thalweg.float64
    moved.seek(0)
    assert thalweg.load(moved, map_location={"gpu": "cpu"})["a"].device.type == "cpu"
    moved.seek(0)
    with pytest.raises(RuntimeError, match="'cuda' is not available"):
        thalweg.load(moved, map_location="cuda")


def hostile(opcodes):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", opcodes)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("opcodes", "fault"),
    [
        (b"cos\nsystem\n(S'touch pwned'\ntR.", "asks for os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "asks for builtins.eval"),
        (b"c__builtin__\ngetattr\n(S'1'\ntR.", "asks for __builtin__.getattr"),
        (b"(S'touch pwned'\nios\nsystem\n.", "asks for os.system"),
        (b"ctorch\nload\n(S'x'\ntR.", "asks for torch.load"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)))NtR.", "built on a NoneType"),
        (b"ctorch._utils\n_rebuild_parameter\n(K\x01NNtR.", "built on a int"),
        (b"ctorch\nSize\n((lp0\nJ\xff\xff\xff\xffatR.", "expected integers"),
        (b"ctorch\nFloatStorage\n(K\x05tR.", "damaged"),
        (b"cnumpy\ndtype\n(S'O8'\nI00\nI01\ntR.", "expected one of numbers"),
        (b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.", "unexpected way"),
        (b"(dS'a'\n", "damaged"),
        (b"}.}", None),
        (b"K\x01Q.", "refers to 1"),
        (b"\x80\x04\x95", "damaged"),
    ],
)
def test_hostile_pickles_execute_nothing(tmp_path, monkeypatch, opcodes, fault):
    monkeypatch.chdir(tmp_path)
    if fault is None:
        assert thalweg.load(hostile(opcodes)) == {}
        return
    with pytest.raises(RuntimeError, match=fault):
        thalweg.load(hostile(opcodes))
    assert not os.listdir(tmp_path)


def edited(change):
    """A good archive, with ``change(name, content)`` applied to its entries."""
    source = zipfile.ZipFile(pytorch_file({"a": torch.arange(6.0).reshape(2, 3)}))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for info in source.infolist():
            content = change(info.filename.partition("/")[2], source.read(info))
            if content is not None:
                archive.writestr(info.filename, content)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda n, c: c[:-4] if n == "data/0" else c, "should have 6 elements"),
        (lambda n, c: None if n == "data/0" else c, "damaged"),
        (lambda n, c: None if n == "data.pkl" else c, "no data.pkl"),
        (lambda n, c: c.replace(b"K\x02K\x03\x86", b"K\x02K\x09\x86") if n == "data.pkl" else c,
         "reads element"),
        (lambda n, c: c, None),
    ],
)  # fmt: skip
def test_damaged_archives_are_named_with_their_fault(change, fault):
    if fault is None:
        assert thalweg.load(edited(change))["a"].shape == (2, 3)
        return
    with pytest.raises(RuntimeError, match=f"file object: .*{fault}"):
        thalweg.load(edited(change))


def test_other_archives_are_refused(tmp_path):
    script = torch.jit.script(torch.nn.Linear(1, 1))
    path = os.fspath(tmp_path / "script.pt")
    torch.jit.save(script, path)
    with pytest.raises(RuntimeError, match=r"script\.pt.*TorchScript"):
        thalweg.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(RuntimeError, match=r"script\.pt.*not one of PyTorch's"):
        thalweg.load(path)


def test_every_truncation_is_noticed():
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        content = pytorch_file([torch.ones(3), "x"], **options).getvalue()
        for end in range(4, len(content) - 1, 7):
            with pytest.raises(RuntimeError, match="cannot load"):
                thalweg.load(io.BytesIO(content[:end]))


def test_byte_order_is_respected():
    def swap(name, content):
        if name == "byteorder":
            return b"big"
        if name == "data/0":
            return struct.pack(">6f", *struct.unpack("<6f", content))
        return content

    same(thalweg.load(edited(swap))["a"], torch.arange(6.0).reshape(2, 3))


class Trusted:
    """A class of the user's own."""

    def __init__(self, value=0):
        self.value = value


def test_a_class_is_read_only_once_it_is_trusted():
    file = pytorch_file(Trusted(3))
    with pytest.raises(RuntimeError, match=r"asks for .*Trusted.*add_safe_globals"):
        thalweg.load(file)
    with torch_files.safe_globals([Trusted]):
        file.seek(0)
        assert thalweg.load(file).value == 3
    assert torch_files.get_safe_globals() == []


def test_what_cannot_be_written_is_named_with_its_place():
    with pytest.raises(TypeError, match=r"given a .*Trusted at obj\['a'\]\['1'\]"):
        torch_files.write({"a": [0, Trusted()]}, io.BytesIO())


def test_a_nest_may_contain_itself():
    loop = [1]
    loop.append(loop)
    found = torch.load(our_file(loop))
    assert found[1] is found and pickle.HIGHEST_PROTOCOL >= 2
