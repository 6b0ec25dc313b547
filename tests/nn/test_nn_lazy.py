"""Layers without input sizes, buffers made by assignment, batch norm over whole batches."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nn_parity import assert_close, text

import thalweg

LAZY: list[tuple[Callable[[Any], Any], tuple[int, ...]]] = [
    (lambda nn: nn.LazyLinear(4), (3, 5)),
    (lambda nn: nn.LazyConv1d(4, 3, bias=False), (6, 5)),
    (lambda nn: nn.LazyConv2d(4, 3, groups=2), (2, 6, 5, 5)),
    (lambda nn: nn.LazyConv3d(4, 2, padding=1), (1, 2, 3, 3, 3)),
    (lambda nn: nn.LazyConvTranspose1d(4, 3, stride=2), (2, 6, 5)),
    (lambda nn: nn.LazyConvTranspose2d(4, 3, groups=2), (2, 6, 5, 5)),
    (lambda nn: nn.LazyConvTranspose3d(2, 2), (1, 2, 3, 3, 3)),
    (lambda nn: nn.LazyBatchNorm1d(), (4, 3)),
    (lambda nn: nn.LazyBatchNorm2d(0.1, None, bias=False), (2, 3, 4, 5)),
    (lambda nn: nn.LazyBatchNorm3d(momentum=0.3, track_running_stats=False), (2, 3, 2, 2, 2)),
    (lambda nn: nn.LazyInstanceNorm1d(), (4, 3, 5)),
    (lambda nn: nn.LazyInstanceNorm2d(affine=True, track_running_stats=False), (2, 3, 4, 5)),
    (lambda nn: nn.LazyInstanceNorm3d(bias=False), (2, 3, 2, 2, 2)),
]


@pytest.mark.parametrize("case", range(len(LAZY)))
def test_the_first_input_gives_the_sizes(case: int) -> None:
    make, shape = LAZY[case]
    ours, theirs = make(thalweg.nn), make(torch.nn)
    assert text(ours) == text(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    loaded = copy.deepcopy(ours)
    result = ours(thalweg.ones(shape))
    assert tuple(result.shape) == tuple(theirs(torch.ones(shape)).shape)
    assert text(ours) == text(theirs)
    for (name, one), (wanted, other) in zip(ours.named_parameters(), theirs.named_parameters()):
        assert name == wanted and tuple(one.shape) == tuple(other.shape) and one.requires_grad
    if result.requires_grad:
        (result * result).sum().backward()
        assert ours.weight.grad is not None
    loaded.load_state_dict(ours.state_dict())
    assert_close(loaded(thalweg.ones(shape)), result)
    assert type(loaded) is type(ours)


def test_parameters_without_a_shape_cannot_be_used() -> None:
    weight = thalweg.nn.LazyLinear(4).weight
    with pytest.raises(RuntimeError, match="shape of an uninitialized parameter"):
        _ = weight.shape
    for use in (lambda: weight + 1, lambda: weight.sum(), lambda: thalweg.ones(2) * weight):
        with pytest.raises(ValueError, match="use an uninitialized parameter"):
            use()
    assert repr(weight) == "<UninitializedParameter>"


def test_wrong_inputs_of_lazy_layers() -> None:
    with pytest.raises(RuntimeError, match="Expected 3D"):
        thalweg.nn.LazyConv2d(4, 3)(thalweg.ones((2, 2)))
    with pytest.raises(ValueError, match="divisible by groups"):
        thalweg.nn.LazyConv1d(4, 3, groups=2)(thalweg.ones((1, 3, 5)))


NORMS = [name + d for name in ("LazyBatchNorm", "LazyInstanceNorm") for d in ("1d", "2d", "3d")]


def images(name: str, seed: int = 0) -> Any:
    shape = (4, 3, 5, 2, 3)[: int(name[-2]) + 2]
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", NORMS)
def test_lazy_normalisations_compute_what_others_do(name: str) -> None:
    ours, theirs = getattr(thalweg.nn, name)(), getattr(torch.nn, name)()
    for model in (ours, theirs):
        assert type(model).__name__ == name and model.num_features == 0
        assert model.has_uninitialized_params()
    members = {**dict(ours.named_parameters()), **dict(ours.named_buffers())}
    for step in range(2):
        x = images(name, step)
        assert_close(ours(thalweg.tensor(x)), theirs(torch.tensor(x)))
    assert text(ours) == text(theirs) and type(ours).__name__ == name.removeprefix("Lazy")
    assert type(ours) is getattr(thalweg.nn, name).cls_to_become
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value)
    # Optimizers may have been given the parameters already.
    assert all(getattr(ours, key) is value for key, value in members.items())
    assert type(ours.running_mean) is thalweg.Tensor and ours.running_mean.shape == (3,)
    assert type(ours.weight) is thalweg.nn.Parameter and ours.weight.requires_grad
    assert_close(
        ours.eval()(thalweg.tensor(images(name, 9))), theirs.eval()(torch.tensor(images(name, 9)))
    )


@pytest.mark.parametrize("name", NORMS)
def test_states_of_lazy_normalisations(name: str) -> None:
    def states(lib: Any) -> list[Any]:
        nn = lib.nn
        make, full = getattr(nn, name), getattr(nn, name.removeprefix("Lazy"))
        given = full(3, affine=True, track_running_stats=True)
        given(lib.tensor(images(name)))
        lazy = make()
        seen = [list(make().load_state_dict(make().state_dict()).missing_keys), text(lazy)]
        seen.append([repr(v) for v in lazy.state_dict().values()])
        lazy.load_state_dict(given.state_dict())
        # A loaded layer has its tensors, and becomes the ordinary one by its first input. PyTorch's
        # does not know their size then.
        lazy.num_features = 3
        seen += [type(lazy).__name__, lazy.running_var.tolist()]
        lazy(lib.tensor(images(name, 1)))
        seen += [type(lazy).__name__, int(lazy.num_batches_tracked)]
        for options in ({"affine": False}, {"track_running_stats": False}, {"bias": False}):
            seen.append(list(make(**options).state_dict()))
        made = make(affine=False, track_running_stats=False)
        seen += [made.has_uninitialized_params(), made.running_mean, made.weight]
        return seen

    ours, theirs = states(thalweg), states(torch)
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(other, list) and other and isinstance(other[0], float):
            assert one == pytest.approx(other, rel=1e-5)
        else:
            assert one == other
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized parameter"):
        full = getattr(thalweg.nn, name.removeprefix("Lazy"))
        full(3, affine=True).load_state_dict(getattr(thalweg.nn, name)().state_dict())


USES: dict[str, Callable[[Any, Any], Any]] = {
    "shape": lambda lib, t: t.shape,
    "arithmetic": lambda lib, t: t + 1,
    "other side": lambda lib, t: lib.ones(2) * t,
    "method": lambda lib, t: t.sum(),
    "reset": lambda lib, t: lib.nn.LazyBatchNorm1d().reset_running_stats(),
    "shared": lambda lib, t: t.share_memory_(),
    "dimensions of a batch": lambda lib, t: lib.nn.LazyBatchNorm2d()(lib.ones(2, 3)),
    "no dimension": lambda lib, t: lib.nn.LazyBatchNorm1d()(lib.ones(3)),
    "unbatched": lambda lib, t: lib.nn.LazyInstanceNorm1d()(lib.ones(3, 4)),
    "other features": lambda lib, t: [
        m := lib.nn.LazyBatchNorm1d(), m(lib.ones(2, 3)), m(lib.ones(2, 4))
    ],
    "written": lambda lib, t: t.zero_(),
}  # fmt: skip


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("kind", ["UninitializedParameter", "UninitializedBuffer"])
def test_errors_of_what_has_no_shape(name: str, kind: str) -> None:
    raised = []
    for lib in (thalweg, torch):
        with pytest.raises(Exception) as caught:
            USES[name](lib, getattr(lib.nn, kind)())
        raised.append(next(t for t in caught.type.__mro__ if t.__module__ == "builtins"))
    assert raised[0] is raised[1]


@pytest.mark.parametrize("kind", ["UninitializedParameter", "UninitializedBuffer"])
def test_facts_of_what_has_no_shape(kind: str) -> None:
    def facts(lib: Any) -> list[Any]:
        cls = getattr(lib.nn, kind)
        made = cls(dtype=lib.float64)
        again = pickle.loads(pickle.dumps(made))
        elsewhere = cls(device="meta")
        seen = [
            repr(made), str(made.dtype)[-7:], str(made.device), made.is_leaf, made.requires_grad,
            isinstance(made, lib.Tensor), isinstance(made, lib.nn.Buffer), repr(again),
            isinstance(made, lib.nn.Parameter), str(made.half().dtype)[-7:],
            str(made.to(lib.float32).dtype)[-7:], made.cls_to_become.__name__,
            str(elsewhere.device), elsewhere.is_meta, made.is_floating_point(),
            getattr(made, "persistent", None),
        ]  # fmt: skip
        made.materialize((2, 3))
        elsewhere.materialize((4,), dtype=lib.int32 if kind.endswith("Buffer") else None)
        seen += [type(made).__name__, tuple(made.shape), made.requires_grad, str(elsewhere.device)]
        return [*seen, tuple(elsewhere.shape), str(elsewhere.dtype)[-5:], str(made.dtype)[-7:]]

    assert facts(thalweg) == facts(torch)


def test_lazy_layers_on_devices_and_in_dtypes() -> None:
    def seen(lib: Any) -> list[Any]:
        half = lib.nn.LazyBatchNorm1d().double()
        meta = lib.nn.Sequential(lib.nn.LazyLinear(3), lib.nn.LazyBatchNorm1d(device="meta"))
        found = [str(t.dtype)[-7:] for t in (half.weight, half.running_mean)]
        found.append([str(t.device) for t in meta[1].state_dict().values()])
        moved = lib.nn.LazyBatchNorm1d().to("meta")
        found.append([str(t.device) for t in moved.state_dict().values()])
        with lib.device("meta"):
            model = lib.nn.Sequential(lib.nn.LazyLinear(3), lib.nn.LazyBatchNorm1d())
            y = model(lib.ones(2, 5))
        found += [tuple(y.shape), str(y.device), text(model)]
        return [*found, [(k, tuple(v.shape), v.is_meta) for k, v in model.state_dict().items()]]

    assert seen(thalweg) == seen(torch)


def test_buffers_without_a_shape_keep_whether_they_are_saved() -> None:
    def names(lib: Any) -> list[Any]:
        model = lib.nn.Module()
        model.kept = lib.nn.UninitializedBuffer()
        model.hidden = lib.nn.UninitializedBuffer(persistent=False)
        before = list(dict(model.named_buffers()))
        model.hidden.materialize((2,))
        model.kept.materialize((3,))
        return [before, list(model.state_dict()), [tuple(b.shape) for b in model.buffers()]]

    assert names(thalweg) == names(torch)


def test_assigned_buffers_are_registered() -> None:
    module = thalweg.nn.Module()
    module.kept = thalweg.nn.Buffer(thalweg.ones(2))
    module.hidden = thalweg.nn.Buffer(thalweg.ones(2), persistent=False)
    assert list(module.state_dict()) == ["kept"]
    assert list(dict(module.named_buffers())) == ["kept", "hidden"]
    module.hidden = thalweg.nn.Buffer(thalweg.zeros(2))
    assert list(module.state_dict()) == ["kept", "hidden"]
    assert (module.kept + 1).tolist() == [2.0, 2.0]


def test_sync_batch_norm_is_batch_norm() -> None:
    model = thalweg.nn.Sequential(thalweg.nn.Conv1d(2, 3, 1), thalweg.nn.BatchNorm1d(3))
    x = thalweg.randn((4, 2, 5))
    expected = model(x)
    state = list(model.state_dict())
    converted = thalweg.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(converted[1], thalweg.nn.SyncBatchNorm)
    assert list(converted.state_dict()) == state
    assert_close(converted(x), expected)
    with pytest.raises(ValueError, match="at least 2D"):
        thalweg.nn.SyncBatchNorm(3)(thalweg.ones(3))
    with pytest.raises(NotImplementedError, match="process group"):
        thalweg.nn.SyncBatchNorm(3, process_group="workers")
