"""Devices: parsing and printing compared with PyTorch's, identity, and availability."""

import copy
import pickle

import pytest
import torch

from thalweg.core.device import CPU, Device, require_available

GOOD = [("cpu",), ("cpu:0",), ("cuda",), ("cuda:12",), ("meta",), ("cuda", 1), ("cpu", 0)]


@pytest.mark.parametrize("arguments", GOOD)
def test_parsing_and_printing(arguments):
    ours, theirs = Device(*arguments), torch.device(*arguments)
    assert (ours.type, ours.index) == (theirs.type, theirs.index)
    assert repr(ours) == repr(theirs)
    assert str(ours) == str(theirs)
    assert Device(ours) is ours
    assert Device(str(ours)) is ours
    assert pickle.loads(pickle.dumps(ours)) is ours
    assert copy.deepcopy(ours) is ours


def test_keywords_and_equality():
    assert Device(type="cuda", index=1) == Device("cuda:1")
    assert Device("cpu") != Device("cpu:0")
    assert len({Device("cpu"), CPU, Device("cuda:0"), Device("cuda", 0)}) == 2


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("",), "must not be empty"),
        (("tpu9",), "Invalid device string: 'tpu9'"),
        (("foo",), "Expected one of cpu, cuda, meta device type at start of device string: foo"),
        (("CPU",), "Expected one of"),
        (("cuda:",), "Invalid device string: 'cuda:'"),
        (("cuda:-1",), "Invalid"),
        (("cuda:01",), "Invalid"),
        (("cuda:x",), "Invalid"),
        ((":0",), "Invalid"),
        (("cuda:0", 1), "must not include an index"),
        (("cpu", -1), "got -1"),
    ],
)
def test_bad_devices_raise_as_pytorch_does(arguments, message):
    with pytest.raises(RuntimeError):
        torch.device(*arguments)
    with pytest.raises(RuntimeError) as caught:
        Device(*arguments)
    assert message in str(caught.value)


def test_a_bare_number_names_an_accelerator_which_there_is_none_of():
    # PyTorch's answer depends on how it was built, so it is not asked.
    with pytest.raises(RuntimeError, match="Cannot access accelerator device"):
        Device(0)


@pytest.mark.parametrize("arguments", [(1.5,), (None,), ("cpu", "x"), ("cpu", 1.0)])
def test_bad_types_raise_type_error(arguments):
    with pytest.raises(TypeError):
        torch.device(*arguments)
    with pytest.raises(TypeError, match="must be"):
        Device(*arguments)
    with pytest.raises(TypeError, match="index 1 beside"):
        Device(CPU, 1)


def test_an_index_past_the_last_is_an_error():
    assert Device("cuda:127").index == 127
    with pytest.raises(RuntimeError, match="Invalid"):
        Device("cuda:128")
    with pytest.raises(RuntimeError, match=r"0\.\.127, got 128"):
        Device("cuda", 128)


def test_a_device_cannot_be_changed():
    with pytest.raises(AttributeError, match="immutable"):
        CPU.index = 3
    with pytest.raises(AttributeError, match="immutable"):
        del CPU.type


def test_what_is_available():
    require_available(CPU)
    require_available(Device("cpu:0"))
    require_available(Device("meta"))
    with pytest.raises(RuntimeError, match="device 'cuda:1' is not available"):
        require_available(Device("cuda:1"))
