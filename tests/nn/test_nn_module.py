"""Module: registration, walking the tree, changing it, copying it, printing it, its errors."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nn_parity import assert_close, make_pair, message, text, to_thalweg

import thalweg
from thalweg import nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(thalweg.ones(3))
        self.register_buffer("seen", thalweg.zeros(1))
        self.register_buffer("scratch", thalweg.zeros(2), persistent=False)
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.note = "plain"

    def forward(self, x: Any) -> Any:
        return self.inner(x * self.scale)


class TorchBlock(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        self.note = "plain"


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def test_walks_give_torchs_names_in_torchs_order() -> None:
    ours, theirs = Block(), TorchBlock()
    for walk in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert names(getattr(ours, walk)()) == names(getattr(theirs, walk)()), walk
    assert names(ours.named_parameters("a.b")) == names(theirs.named_parameters("a.b"))
    assert names(ours.named_parameters(recurse=False)) == ["scale"]
    assert names(ours.named_buffers(recurse=False)) == ["seen", "scratch"]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert len(list(ours.parameters())) == 5
    assert len(list(ours.buffers())) == 5
    assert len(list(ours.modules())) == 4
    assert [type(m) for m in ours.children()] == [nn.Sequential]
    assert text(ours).replace("Block", "") == text(theirs).replace("TorchBlock", "")


def test_member_views_are_live_and_read_the_same_storage() -> None:
    block = Block()
    assert list(block._parameters) == ["scale"]
    assert block._parameters["scale"] is block.scale
    assert dict(block._modules) == {"inner": block.inner}
    block._modules["inner"] = nn.Linear(3, 3)
    assert block.inner.out_features == 3
    del block._modules["inner"]
    assert not hasattr(block, "inner")
    assert "inner" not in block._modules
    with pytest.raises(KeyError):
        block._buffers["scale"]
    block._parameters["extra"] = nn.Parameter(thalweg.ones(1))
    assert names(block.named_parameters()) == ["scale", "extra"]


def test_assignment_moves_a_name_between_kinds() -> None:
    module = nn.Module()
    module.x = 3
    module.x = nn.Parameter(thalweg.ones(2))
    assert names(module.named_parameters()) == ["x"]
    with pytest.raises(TypeError, match="cannot assign 'Linear' as parameter 'x'"):
        module.x = nn.Linear(1, 1)
    del module.x
    module.x = nn.Linear(1, 1)
    assert names(module.named_parameters()) == ["x.weight", "x.bias"]
    module.x = nn.Parameter(thalweg.ones(2))
    assert not list(module.children())
    module.x = None
    assert module.x is None
    assert list(module.named_parameters()) == []
    module.x = nn.Parameter(thalweg.ones(1))
    assert names(module.named_parameters()) == ["x"]
    del module.x
    assert not hasattr(module, "x")
    assert list(module.named_parameters()) == []


def test_a_buffer_keeps_its_name_when_assigned_a_tensor() -> None:
    block = Block()
    block.seen = thalweg.ones(1)
    assert names(block.named_buffers(recurse=False)) == ["seen", "scratch"]
    block.scratch = None
    assert names(block.named_buffers(recurse=False)) == ["seen"]
    block.scratch = thalweg.ones(2)
    assert "scratch" not in block.state_dict()


def test_tied_parameters_are_listed_once_and_stay_tied() -> None:
    def tied(package: Any) -> Any:
        model = package.nn.Sequential(package.nn.Embedding(5, 3), package.nn.Linear(3, 5, False))
        model[1].weight = model[0].weight
        return model

    ours, theirs = tied(thalweg), tied(torch)
    assert names(ours.named_parameters()) == names(theirs.named_parameters()) == ["0.weight"]
    both = names(ours.named_parameters(remove_duplicate=False))
    assert both == names(theirs.named_parameters(remove_duplicate=False))
    assert list(ours.state_dict()) == ["0.weight", "1.weight"]
    twin = copy.deepcopy(ours)
    assert twin[0].weight is twin[1].weight
    assert twin[0].weight is not ours[0].weight
    ours.load_state_dict({key: to_thalweg(v) for key, v in theirs.state_dict().items()})
    tokens = torch.tensor([[0, 3], [4, 4]])
    ours(to_thalweg(tokens)).sum().backward()
    theirs(tokens).sum().backward()
    assert_close(ours[0].weight.grad, theirs[0].weight.grad)
    shared = nn.Linear(2, 2)
    assert len(list(nn.Sequential(shared, shared).modules())) == 2


def test_deepcopy_and_pickle_are_independent_and_equal() -> None:
    block = Block().eval()
    for twin in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert not twin.training
        assert repr(twin) == repr(block)
        assert list(twin.state_dict()) == list(block.state_dict())
        x = thalweg.ones((2, 3))
        np.testing.assert_array_equal(twin(x).detach().numpy(), block(x).detach().numpy())
        with thalweg.no_grad():
            twin.scale.fill_(5.0)
        assert block.scale.detach().numpy().tolist() == [1, 1, 1]
        assert isinstance(twin.scale, nn.Parameter)
        assert twin.scale.requires_grad


def test_a_module_is_freed_without_the_cycle_collector() -> None:
    block = Block()
    gone = weakref.ref(block)
    gc.disable()
    try:
        del block
        assert gone() is None
    finally:
        gc.enable()


def test_train_eval_apply_and_requires_grad() -> None:
    block = Block()
    assert block.eval() is block
    assert not any(m.training for m in block.modules())
    assert all(m.training for m in block.train().modules())
    visited: list[str] = []
    assert block.apply(lambda m: visited.append(type(m).__name__)) is block
    assert visited == ["Linear", "BatchNorm1d", "Sequential", "Block"]
    block.requires_grad_(False)
    assert not any(p.requires_grad for p in block.parameters())
    block.requires_grad_()
    assert all(p.requires_grad for p in block.parameters())


def test_zero_grad_drops_or_clears() -> None:
    block = Block()
    block(thalweg.randn((4, 3))).pow(2).sum().backward()
    grad = block.scale.grad
    assert grad is not None
    block.zero_grad(set_to_none=False)
    assert block.scale.grad.numpy().tolist() == [0, 0, 0]
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())


def test_casts_keep_identity_and_integers() -> None:
    block = Block()
    before = list(block.parameters())
    block(thalweg.randn((4, 3))).pow(2).sum().backward()
    assert block.double() is block
    assert [id(p) for p in block.parameters()] == [id(p) for p in before]
    assert {p.dtype for p in block.parameters()} == {thalweg.float64}
    assert {p.grad.dtype for p in block.parameters()} == {thalweg.float64}
    assert block.inner[1].running_mean.dtype == thalweg.float64
    assert block.inner[1].num_batches_tracked.dtype == thalweg.int64
    assert block.inner[0].weight.is_leaf
    assert block.to(thalweg.float32).scale.dtype == thalweg.float32
    assert block.to("cpu", thalweg.float64).scale.dtype == thalweg.float64
    assert block.to(dtype=thalweg.float32).scale.dtype == thalweg.float32
    assert block.to(thalweg.zeros(1, dtype=thalweg.float64)).scale.dtype == thalweg.float64
    assert block.half().scale.dtype == thalweg.float16
    assert block.bfloat16().scale.dtype == thalweg.bfloat16
    assert block.float().seen.dtype == thalweg.float32
    assert block.cpu().scale.device.type == "cpu"


def test_to_after_a_step_is_trainable() -> None:
    ours, theirs = make_pair("Linear", 3, 2)
    ours.double(), theirs.double()
    x = torch.randn(4, 3, dtype=torch.float64)
    ours(to_thalweg(x)).sum().backward()
    theirs(x).sum().backward()
    assert_close(ours.weight.grad, theirs.weight.grad, 1e-12)


def test_get_and_set_submodule_parameter_buffer() -> None:
    block = Block()
    assert block.get_submodule("") is block
    assert block.get_submodule("inner.0") is block.inner[0]
    assert block.get_parameter("inner.0.weight") is block.inner[0].weight
    assert block.get_buffer("inner.1.running_mean") is block.inner[1].running_mean
    block.set_submodule("inner.0", nn.Identity())
    assert isinstance(block.inner[0], nn.Identity)
    block.set_submodule("fresh", nn.ReLU())
    assert isinstance(block.fresh, nn.ReLU)
    with pytest.raises(AttributeError, match="has no attribute `absent`"):
        block.set_submodule("absent", nn.ReLU(), strict=True)


def test_dir_hides_numbers_and_shows_members() -> None:
    assert "0" not in dir(nn.Sequential(nn.ReLU()))
    assert {"scale", "seen", "inner", "note", "forward"} <= set(dir(Block()))


def test_extra_repr_with_children_and_several_lines() -> None:
    def build(package: Any) -> Any:
        class Outer(package.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = package.nn.Sequential(package.nn.ReLU())
                self.nothing = None
                self.add_module("empty", None)

            def extra_repr(self) -> str:
                return "first\nsecond"

        return Outer()

    assert text(build(thalweg)) == text(build(torch))


def bare(package: Any) -> Any:
    """A module whose constructor does not call the base class's."""

    class Bare(package.nn.Module):
        def __init__(self, member: Any) -> None:
            self.member = member

    return Bare


def small(package: Any) -> Any:
    return package.nn.Sequential(package.nn.Linear(2, 2), package.nn.BatchNorm1d(2))


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "parameter from int": lambda t: setattr(small(t)[0], "weight", 3),
    "module from int": lambda t: setattr(small(t), "0", 3),
    "dotted parameter": lambda t: small(t).register_parameter("a.b", None),
    "empty parameter": lambda t: small(t).register_parameter("", None),
    "numbered parameter": lambda t: small(t).register_parameter(3, None),
    "taken parameter": lambda t: small(t).register_parameter("forward", None),
    "buffer from int": lambda t: small(t).register_buffer("b", 3),
    "dotted buffer": lambda t: small(t).register_buffer("a.b", None),
    "taken buffer": lambda t: small(t).register_buffer("training", None),
    "empty buffer": lambda t: small(t).register_buffer("", None),
    "numbered buffer": lambda t: small(t).register_buffer(3, None),
    "add int": lambda t: small(t).add_module("a", 3),
    "dotted module": lambda t: small(t).add_module("a.b", t.nn.ReLU()),
    "empty module": lambda t: small(t).add_module("", t.nn.ReLU()),
    "numbered module": lambda t: small(t).add_module(3, t.nn.ReLU()),
    "taken module": lambda t: small(t).add_module("training", t.nn.ReLU()),
    "no submodule": lambda t: small(t).get_submodule("0.foo"),
    "not a submodule": lambda t: small(t).get_submodule("0.weight"),
    "no parameter": lambda t: small(t).get_parameter("0.foo"),
    "not a parameter": lambda t: small(t).get_parameter("1.running_mean"),
    "not a buffer": lambda t: small(t).get_buffer("0.weight"),
    "no buffer": lambda t: small(t).get_buffer("0.foo"),
    "set nothing": lambda t: small(t).set_submodule("", t.nn.ReLU()),
    "no attribute": lambda t: small(t).foo,
    "delete nothing": lambda t: delattr(small(t), "foo"),
    "no forward": lambda t: t.nn.Module()(1),
    "cast to int": lambda t: small(t).to(t.int32),
    "train with int": lambda t: small(t).train(3),
    "index": lambda t: small(t)[7],
    "arguments": lambda t: t.nn.Module(3),
    "parameter before init": lambda t: bare(t)(t.nn.Parameter(t.ones(1))),
    "module before init": lambda t: bare(t)(t.nn.ReLU()),
    "groups": lambda t: t.nn.Conv2d(4, 6, 3, groups=3),
    "output groups": lambda t: t.nn.Conv2d(4, 6, 3, groups=4),
    "no groups": lambda t: t.nn.Conv2d(4, 6, 3, groups=0),
    "strided same": lambda t: t.nn.Conv2d(4, 6, 3, stride=2, padding="same"),
    "batch norm rank": lambda t: t.nn.BatchNorm2d(3)(t.ones(2, 3)),
    "batch norm 1d rank": lambda t: t.nn.BatchNorm1d(3)(t.ones(3)),
    "instance norm rank": lambda t: t.nn.InstanceNorm2d(3)(t.ones(2, 3)),
    "circular pad rank": lambda t: t.nn.CircularPad2d(1)(t.ones(2, 3)),
    "unflatten": lambda t: t.nn.Unflatten(1, 4),
    "unflatten entries": lambda t: t.nn.Unflatten(1, (2, "x")),
    "bilinear": lambda t: t.nn.Bilinear(0, 1, 1),
    "padding_idx": lambda t: t.nn.Embedding(3, 2, padding_idx=4),
    "multi margin": lambda t: t.nn.MultiMarginLoss(p=3),
    "hardtanh": lambda t: t.nn.Hardtanh(1.0, 1.0),
    "triplet margin": lambda t: t.nn.TripletMarginLoss(margin=0),
    "group norm": lambda t: t.nn.GroupNorm(3, 4),
    "transposed padding mode": lambda t: t.nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect"),
    "output size": lambda t: t.nn.ConvTranspose1d(1, 1, 3, 2)(t.ones(1, 1, 4), [3]),
    "output size rank": lambda t: t.nn.ConvTranspose1d(1, 1, 3, 2)(t.ones(1, 1, 4), [3, 4]),
    "softmax2d rank": lambda t: t.nn.Softmax2d()(t.ones(2)),
    "pretrained rank": lambda t: t.nn.Embedding.from_pretrained(t.ones(2)),
    "bag padding": lambda t: t.nn.EmbeddingBag(3, 2, padding_idx=-4),
    "heads": lambda t: t.nn.MultiheadAttention(5, 2),
    "no heads": lambda t: t.nn.MultiheadAttention(4, 0),
    "layer activation": lambda t: t.nn.TransformerEncoderLayer(4, 2, activation="tanh"),
    "lstm hidden": lambda t: t.nn.LSTM(3, 0),
    "lstm layers": lambda t: t.nn.LSTM(3, 2, 0),
    "lstm dropout": lambda t: t.nn.LSTM(3, 2, 2, dropout=1.5),
    "lstm projection": lambda t: t.nn.LSTM(3, 2, proj_size=2),
    "rnn nonlinearity": lambda t: t.nn.RNN(3, 2, nonlinearity="gelu"),
    "lstm rank": lambda t: t.nn.LSTM(3, 2)(t.ones(1, 1, 1, 3)),
    "lstm width": lambda t: t.nn.LSTM(3, 2)(t.ones(4, 1, 2)),
    "gru cell rank": lambda t: t.nn.GRUCell(3, 2)(t.ones(1, 1, 3)),
    "modulelist extend": lambda t: t.nn.ModuleList().extend(3),
    "moduledict update": lambda t: t.nn.ModuleDict().update(3),
    "parameterdict key": lambda t: t.nn.ParameterDict()["missing"],
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_raise_torchs_errors(name: str) -> None:
    mistake = MISTAKES[name]
    with pytest.raises(Exception) as theirs:
        mistake(torch)
    with pytest.raises(theirs.type) as ours:
        mistake(thalweg)
    assert message(ours.value) == message(theirs.value)


def test_mistakes_with_tensors_say_what_was_given() -> None:
    with pytest.raises(TypeError, match=r"cannot assign 'thalweg\.?\w*Tensor' object to param"):
        nn.Module().register_parameter("p", thalweg.ones(2))
    with pytest.raises(TypeError, match="cannot assign 'int' as buffer 'running_mean'"):
        nn.BatchNorm1d(2).running_mean = 3
    with pytest.raises(TypeError, match="as parameter 'weight'"):
        nn.Linear(2, 2).weight = thalweg.ones((2, 2))
    with pytest.raises(TypeError, match=r"got \(str, str\)"):
        nn.Linear(2, 2).to("cpu", "cpu")
    with pytest.raises(TypeError, match="got \\(\\)"):
        nn.Linear(2, 2).to()
    with pytest.raises(ValueError, match="Invalid padding string 'full', should be one of"):
        nn.Conv2d(4, 6, 3, padding="full")
