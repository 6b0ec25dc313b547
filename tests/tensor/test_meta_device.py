"""The meta device: shapes and dtypes without data, as PyTorch has them."""

from __future__ import annotations

import copy
import pickle
import threading
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
    return lib.ones(shape, device="meta", **options)


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


def gradients(lib: Any) -> list[Any]:
    """Gradients of a small network whose inputs and weights have no data."""
    with lib.device("meta"):
        model = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.ReLU(), lib.nn.Linear(4, 1))
        x = lib.ones(2, 3, requires_grad=True)
    loss = model(x).pow(2).mean()
    loss.backward()
    return [loss, x.grad, *[p.grad for p in model.parameters()]]


def second_gradients(lib: Any) -> list[Any]:
    x = meta(lib, 2, 3, requires_grad=True)
    (first,) = lib.autograd.grad((x**3).sum(), x, create_graph=True)
    return [first, *lib.autograd.grad(first.sum(), x)]


def trained(lib: Any) -> list[Any]:
    """Two steps of an optimizer, its state and what is accumulated."""
    model = lib.nn.Linear(3, 4, device="meta")
    optimizer = lib.optim.Adam(model.parameters())
    for _ in range(2):
        model(meta(lib, 2, 3)).sum().backward()
        optimizer.step()
    state = optimizer.state[model.weight]
    return [model.weight, model.weight.grad, state["exp_avg"], state["exp_avg_sq"]]


def hooked(lib: Any) -> list[Any]:
    x = meta(lib, 2, 3, requires_grad=True)
    seen: list[Any] = []
    y = x * 2
    y.register_hook(lambda g: seen.append(g.contiguous()) or g * 3)
    y.sum().backward()
    return [*seen, x.grad]


BACKWARD: dict[str, Callable[[Any], Any]] = {
    "network": gradients,
    "second order": second_gradients,
    "optimizer": trained,
    "hook": hooked,
    "writes": lambda lib: (
        lambda x, y: [y.zero_(), y.requires_grad, *lib.autograd.grad(y.sum(), x)]
    )(*(lambda x: (x, x * 2))(meta(lib, 3, requires_grad=True))),
    "a leaf with data": lambda lib: lib.autograd.grad(
        (lib.ones(2, requires_grad=True) * 2).to("meta").sum(), [lib.ones(2, requires_grad=True)]
    ),
    "into data": lambda lib: lib.ones(2, requires_grad=True).to("meta").sum().backward(),
    "a number that needs one": lambda lib: (
        (lib.tensor(2.0, requires_grad=True) * meta(lib, 2)).sum().backward()
    ),
    "gradient with data": lambda lib: setattr(
        lib.nn.Linear(2, 2, device="meta").weight, "grad", lib.ones(2, 2)
    ),
    "data": lambda lib: setattr(lib.nn.Linear(2, 2, device="meta").weight, "data", lib.ones(2, 2)),
    "not a scalar": lambda lib: meta(lib, 2, requires_grad=True).backward(),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_gradients_as_in_pytorch(name: str) -> None:
    for _ in range(3):  # found on a miss, then on the recorded path
        assert outcome(BACKWARD[name], thalweg) == outcome(BACKWARD[name], torch)


MIXED: dict[str, Callable[[Any], Any]] = {
    "data of one element": lambda lib: meta(lib) + lib.ones(1),
    "numbers of both": lambda lib: [meta(lib) + lib.tensor(1.0), lib.tensor(1.0) + meta(lib, 2)],
    "a number without data": lambda lib: lib.ones(2) + meta(lib),
    "a condition": lambda lib: lib.where(lib.ones(2) > 0, meta(lib, 2), meta(lib, 2)),
    "joined": lambda lib: lib.cat([lib.ones(2), meta(lib, 2)]),
    "integers": lambda lib: meta(lib, 2, dtype=lib.int64) + lib.arange(2),
    "positions": lambda lib: [
        meta(lib, 4, 3)[lib.tensor([0, 2])],
        meta(lib, 4, 3).index_select(0, lib.tensor([1])),
        lib.nn.functional.embedding(lib.tensor([0, 1]), meta(lib, 4, 3)),
    ],
    "a mask": lambda lib: meta(lib, 3)[meta(lib, 3) > 0],
    "index": lambda lib: [1, 2][meta(lib, dtype=lib.int64)],
    "contains": lambda lib: 1.0 in meta(lib, 2),
    "format": lambda lib: f"{meta(lib):.2f}",
    "many items": lambda lib: meta(lib, 2).item(),
    "like, elsewhere": lambda lib: [
        lib.randint_like(meta(lib, 2), 3), lib.ones_like(meta(lib, 2, 3), device="cpu"),
        lib.as_tensor(meta(lib, 2)), lib.as_tensor(lib.ones(2), device="meta"),
    ],
    "as_tensor on the cpu": lambda lib: lib.as_tensor(meta(lib, 2), device="cpu"),
    "decompositions": lambda lib: [  # their strides are LAPACK's in PyTorch
        *[t.contiguous() for t in lib.linalg.svd(meta(lib, 2, 3))],
        lib.linalg.inv(meta(lib, 2, 2)).contiguous(), lib.fft.fft(meta(lib, 4)),
        *lib.sort(meta(lib, 2, 3)),
    ],
    "drawn": lambda lib: [
        lib.bernoulli(meta(lib, 2)), lib.nn.functional.dropout(meta(lib, 3)),
        lib.nn.init.kaiming_uniform_(meta(lib, 3, 4)), lib.nn.init.trunc_normal_(meta(lib, 3)),
        lib.nn.init.orthogonal_(meta(lib, 3, 4)), lib.nn.init.eye_(meta(lib, 3, 4)),
    ],
    "written through a view": lambda lib: (
        lambda x: [x[0].copy_(lib.ones(3)), x.__setitem__(1, 2.0), x.t().add_(1), x]
    )(meta(lib, 2, 3)),
    "resized": lambda lib: meta(lib, 2).resize_(3, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_beside_data_as_in_pytorch(name: str) -> None:
    for _ in range(2):
        assert outcome(MIXED[name], thalweg) == outcome(MIXED[name], torch)


def network(lib: Any, layer: str, *shape: int, **options: Any) -> list[Any]:
    """A layer's result and the gradients of its parameters."""
    sizes = {"LSTM": (3, 4), "GRU": (3, 4), "TransformerEncoderLayer": (8, 2, 16),
             "BatchNorm2d": (3,), "Conv2d": (3, 4, 3), "GroupNorm": (1, 3)}[layer]  # fmt: skip
    model = getattr(lib.nn, layer)(*sizes, device="meta", **options)
    made = model(meta(lib, *shape))
    made = made[0] if isinstance(made, tuple) else made
    made.sum().backward()
    return [made.contiguous(), *[p.grad.contiguous() for p in model.parameters()]]


def clipped(lib: Any) -> list[Any]:
    model = lib.nn.Linear(3, 2, device="meta")
    optimizer = lib.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(meta(lib, 4, 3)).sum().backward()
    norm = lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    return [norm, model.weight.grad, optimizer.state[model.weight]["momentum_buffer"]]


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "lstm": lambda lib: network(lib, "LSTM", 5, 2, 3),
    "gru": lambda lib: network(lib, "GRU", 5, 3),
    "attention": lambda lib: network(lib, "TransformerEncoderLayer", 2, 5, 8),
    "batch norm": lambda lib: network(lib, "BatchNorm2d", 2, 3, 4, 4),
    "plain average": lambda lib: network(lib, "BatchNorm2d", 2, 3, 4, 4, momentum=None),
    "convolution": lambda lib: network(lib, "Conv2d", 2, 3, 8, 8, stride=2),
    "group norm": lambda lib: network(lib, "GroupNorm", 2, 3, 4),
    "clipped": clipped,
    "targets with data": lambda lib: lib.nn.functional.cross_entropy(
        meta(lib, 2, 3), lib.zeros(2, dtype=lib.int64)
    ),
    "transforms": lambda lib: [
        lib.func.grad(lambda x: (x**2).sum())(meta(lib, 3)),
        lib.func.vmap(lambda x: (x**2).sum())(meta(lib, 4, 3)),
        *lib.func.jvp(lambda x: x.sin(), (meta(lib, 3),), (meta(lib, 3),)),
        lib.func.jacrev(lambda x: x.sin())(meta(lib, 3)).contiguous(),
    ],
    "huge": lambda lib: (
        lib.empty(10**6, 10**6, device="meta") @ lib.empty(10**6, 10**6, device="meta")
    ),
    "huge ramp": lambda lib: lib.arange(10**13, device="meta")[::2],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_as_in_pytorch(name: str) -> None:
    for _ in range(2):
        assert outcome(PROGRAMS[name], thalweg) == outcome(PROGRAMS[name], torch)


def test_products_do_not_read_memory_of_the_other_kind() -> None:
    """PyTorch multiplies data with a tensor that has none and gives what happens to be there."""
    for call in (lambda a, b: a @ b, thalweg.mm, lambda a, b: a.add_(b)):
        with pytest.raises(RuntimeError, match="not on the expected device"):
            call(thalweg.ones(2, 2), thalweg.ones(2, 2, device="meta"))


def test_a_flush_between_forward_and_backward() -> None:
    """What is read in between does not end the history of tensors without data."""
    for _ in range(2):
        w = meta(thalweg, 3, 2, requires_grad=True)
        loss = (meta(thalweg, 4, 3) @ w).sigmoid().sum()
        assert (thalweg.ones(2) + 1).tolist() == [2.0, 2.0]
        thalweg.synchronize()
        assert loss.is_meta and loss.grad_fn is not None
        loss.backward()
        assert w.grad.shape == (3, 2) and w.grad.is_meta


def test_data_and_no_data_in_one_trace_of_machine_code() -> None:
    """Flushes that are run by machine code leave what has no data alone."""
    thalweg.use_deterministic_algorithms(True)  # compiles at once
    try:
        w = thalweg.ones(3, requires_grad=True)
        for step in range(8):
            shapes = meta(thalweg, 5, 3) * 2 + 1
            loss = (w * 2).sum()
            loss.backward()
            assert w.grad.tolist() == [2.0 * (step + 1)] * 3
            assert (shapes - 1).shape == (5, 3) and shapes.is_meta
    finally:
        thalweg.use_deterministic_algorithms(False)


def test_random_numbers_are_not_used_up() -> None:
    thalweg.manual_seed(7)
    expected = thalweg.rand(3).tolist()
    thalweg.manual_seed(7)
    for _ in range(2):
        thalweg.rand(4, device="meta")
        meta(thalweg, 4).normal_()
        thalweg.nn.functional.dropout(meta(thalweg, 4))
        thalweg.rand_like(meta(thalweg, 4))
        thalweg.nn.Linear(3, 4, device="meta")
        with thalweg.device("meta"):
            thalweg.randn(3)
    assert thalweg.rand(3).tolist() == expected


def test_another_thread_sees_what_has_no_data() -> None:
    made = meta(thalweg, 2, 3) * 2
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append((made + 1).sum(1)))
    thread.start()
    thread.join()
    assert found[0].is_meta and found[0].shape == (2,)


def test_moved_parameters_are_new_ones() -> None:
    """As in PyTorch: optimizers are made after a module got its memory."""
    for lib in (thalweg, torch):
        model = lib.nn.Linear(3, 4, device="meta")
        before = model.weight
        model.to_empty(device="cpu")
        assert model.weight is not before and before.is_meta and model.weight.requires_grad
        same = model.weight
        assert model.to("cpu").weight is same


def test_a_text_of_every_kind() -> None:
    def texts(lib: Any) -> list[str]:
        x = meta(lib, 2, 3)
        return [
            repr(x), str(x.requires_grad_()), repr(x[None].int()), repr(meta(lib)),
            repr(lib.nn.Parameter(meta(lib, 0))), str(meta(lib, 2, dtype=lib.int64)),
        ]  # fmt: skip

    assert texts(thalweg) == texts(torch)


def test_files_hold_data(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="no data"):
        thalweg.save({"x": thalweg.ones(2, device="meta")}, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())
