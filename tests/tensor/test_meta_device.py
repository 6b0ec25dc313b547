"""The meta device: shapes and dtypes without data, as PyTorch has them."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import thalweg
from thalweg.runtime.program import executed


def outcome(call: Callable[[Any], Any], lib: Any) -> Any:
    """What a call gives: device, shape, dtype and strides of a tensor, or the exception's type."""
    try:
        made = call(lib)
    except Exception as error:
        return next(t.__name__ for t in type(error).__mro__ if t.__module__ == "builtins")
    tensors = made if isinstance(made, (list, tuple)) else [made]
    return [
        (str(t.device), tuple(t.shape), str(t.dtype).rpartition(".")[2], t.stride())
        if hasattr(t, "stride")
        else t
        for t in tensors
    ]


def meta(lib: Any, *shape: int, **options: Any) -> Any:
    return lib.ones(*shape, device="meta", **options)


CALLS: dict[str, Callable[[Any], Any]] = {
    "factories": lambda lib: [
        lib.empty(2, 3, device="meta"), lib.zeros(2, device="meta", dtype=lib.int32),
        lib.rand(4, device="meta"), lib.arange(5, device="meta"), lib.randperm(3, device="meta"),
        lib.full((2, 2), 1.5, device="meta"), lib.tensor([1, 2], device="meta"),
        lib.as_tensor([1.5], device="meta"), lib.eye(3, device="meta"),
    ],
    "like": lambda lib: [
        lib.empty_like(meta(lib, 2)), lib.zeros_like(lib.ones(2), device="meta"),
        lib.rand_like(meta(lib, 2, 3)), meta(lib, 2).new_zeros(3), meta(lib, 2).new_tensor([1.0]),
        lib.zeros_like(meta(lib, 2), device="cpu"), lib.full_like(meta(lib, 3), 2, device="cpu"),
    ],
    "arithmetic": lambda lib: meta(lib, 2, 1) * 2 + meta(lib, 3),
    "comparison": lambda lib: meta(lib, 2) > 0,
    "a number beside it": lambda lib: meta(lib, 2) + lib.tensor(1.0),
    "product": lambda lib: meta(lib, 2, 3) @ meta(lib, 3, 4),
    "views": lambda lib: [
        meta(lib, 2, 3).t(), meta(lib, 4, 3)[1:, ::2], meta(lib, 2, 6).view(3, 4),
        meta(lib, 1, 3).expand(2, 3), *meta(lib, 4).split(2), *meta(lib, 2, 3).unbind(),
    ],
    "several results": lambda lib: list(meta(lib, 2, 3).max(1)),
    "join": lambda lib: lib.cat([meta(lib, 2, 3), meta(lib, 1, 3)]),
    "wrong shapes": lambda lib: meta(lib, 2) + meta(lib, 3),
    "wrong product": lambda lib: meta(lib, 2, 3) @ meta(lib, 2, 3),
    "cast": lambda lib: [meta(lib, 2).to(lib.float64), meta(lib, 2).half(), meta(lib, 2).long()],
    "moves": lambda lib: [lib.ones(2, 3).t().to("meta"), meta(lib, 2).to("meta", lib.int8)],
    "to the cpu": lambda lib: meta(lib, 2).to("cpu"),
    "cpu": lambda lib: meta(lib, 2).cpu(),
    "item": lambda lib: meta(lib, 1).item(),
    "float": lambda lib: float(meta(lib, 1)),
    "bool": lambda lib: bool(meta(lib, 1)),
    "numpy": lambda lib: meta(lib, 1).numpy(),
    "tolist": lambda lib: meta(lib, 1).tolist(),
    "nonzero": lambda lib: meta(lib, 2).nonzero(),
    "beside data": lambda lib: meta(lib, 2, 3) + lib.ones(2, 3),
    "copied into data": lambda lib: lib.ones(2).copy_(meta(lib, 2)),
    "data copied in": lambda lib: meta(lib, 2).copy_(lib.ones(2)),
    "in place": lambda lib: [
        meta(lib, 2).add_(1), meta(lib, 2, 3).normal_(), meta(lib, 2).zero_(), meta(lib, 3).fill_(2)
    ],
    "in place, wrong shape": lambda lib: meta(lib, 2).add_(meta(lib, 3)),
    "in place on a leaf": lambda lib: meta(lib, 2, requires_grad=True).add_(1),
    "out": lambda lib: lib.add(meta(lib, 2), 1, out=lib.empty(2, device="meta")),
    "huge": lambda lib: lib.empty(10**12, device="meta") * 2,
    "facts": lambda lib: [
        meta(lib, 2).is_meta, lib.ones(2).is_meta, meta(lib, 2).is_cpu, meta(lib, 2).data_ptr(),
        meta(lib, 2).type(), f"{meta(lib, 2).sum()}", repr(meta(lib, 2, 3)),
        repr(meta(lib, 2, dtype=lib.int32, requires_grad=False)),
        repr(lib.nn.Parameter(meta(lib, 2))),
    ],
    "linear": lambda lib: lib.nn.Linear(3, 4, device="meta")(meta(lib, 2, 3)),
    "linear of data": lambda lib: lib.nn.Linear(3, 4, device="meta")(lib.ones(2, 3)),
    "module moved": lambda lib: lib.nn.Linear(3, 4, device="meta").to("cpu").weight,
    "module emptied": lambda lib: lib.nn.Linear(3, 4, device="meta").to_empty(device="cpu").weight,
    "module to meta": lambda lib: lib.nn.BatchNorm2d(3).to("meta").running_mean,
    "deepcopy": lambda lib: copy.deepcopy(lib.nn.Parameter(meta(lib, 2))),
    "pickle": lambda lib: pickle.loads(pickle.dumps(meta(lib, 2, 3))),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_as_in_pytorch(name: str) -> None:
    for _ in range(2):  # the second call takes the recorded path
        assert outcome(CALLS[name], thalweg) == outcome(CALLS[name], torch)


def made_by_default(lib: Any) -> list[Any]:
    with lib.device("meta"):
        return [
            lib.ones(2), lib.tensor([1, 2]), lib.nn.Linear(2, 2).weight, lib.arange(3),
            lib.zeros(2, device="cpu"), lib.from_numpy(np.ones(2)), lib.randperm(3),
            lib.Tensor([1.0]), lib.as_tensor([1]), lib.nn.Parameter(lib.empty(2)),
            lib.ones(3, device="cpu") + 1, lib.nn.LSTM(2, 3).weight_hh_l0,
        ]  # fmt: skip


def test_as_the_default_device() -> None:
    assert outcome(made_by_default, thalweg) == outcome(made_by_default, torch)
    assert thalweg.ones(2).device.type == "cpu" and thalweg.get_default_device().type == "cpu"


def test_set_default_device() -> None:
    thalweg.set_default_device("meta")
    try:
        assert thalweg.rand(3).is_meta
    finally:
        thalweg.set_default_device(None)
    assert thalweg.rand(3).sum().item() > 0


def test_what_was_recorded_on_one_device_is_not_taken_for_the_other() -> None:
    for _ in range(4):
        for device in ("cpu", "meta"):
            x = thalweg.ones(3, 4, device=device)
            y = (x * 2).sum(1)
            assert y.device.type == device
            assert device == "meta" or y.tolist() == [8.0] * 3


def test_nothing_runs() -> None:
    thalweg.synchronize()
    executed.reset()
    with thalweg.device("meta"):
        model = thalweg.nn.Sequential(
            thalweg.nn.Linear(1 << 20, 1 << 20), thalweg.nn.ReLU(), thalweg.nn.Linear(1 << 20, 10)
        )
    scores = model(thalweg.empty(8, 1 << 20, device="meta"))
    thalweg.synchronize()
    assert scores.shape == (8, 10) and scores.requires_grad and executed.total == 0


def test_states_are_loaded_by_assignment() -> None:
    given = thalweg.nn.Linear(3, 4)
    model = thalweg.nn.Linear(3, 4, device="meta")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.load_state_dict(given.state_dict())
    assert "which is a no-op" in str(caught[0].message) and model.weight.is_meta
    model.load_state_dict(given.state_dict(), assign=True)
    x = thalweg.ones(2, 3)
    assert model(x).tolist() == given(x).tolist() and model.weight.requires_grad


def test_there_is_no_backward() -> None:
    w = thalweg.ones(3, 2, device="meta", requires_grad=True)
    loss = (thalweg.ones(2, 3, device="meta") @ w).sum()
    with pytest.raises(NotImplementedError, match="only tensors that hold data have gradients"):
        loss.backward()


def test_files_hold_data(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="no data"):
        thalweg.save({"x": thalweg.ones(2, device="meta")}, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())
