"""Parametrized weights: computed as PyTorch computes them, trained, copied, removed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nn_parity import assert_close, to_numpy, to_thalweg

import thalweg
from thalweg.nn.utils import parametrizations, parametrize

LAYERS: list[tuple[Callable[[Any], Any], tuple[int, ...]]] = [
    (lambda lib: lib.nn.Linear(3, 4), (5, 3)),
    (lambda lib: lib.nn.Conv2d(2, 3, 2), (2, 2, 4, 4)),
    (lambda lib: lib.nn.ConvTranspose1d(2, 3, 2), (2, 2, 5)),
]


class Symmetric(thalweg.nn.Module):
    def forward(self, x: Any) -> Any:
        return x.triu() + x.triu(1).T

    def right_inverse(self, x: Any) -> Any:
        return x.triu()


class FirstRow(thalweg.nn.Module):
    def forward(self, x: Any) -> Any:
        return x[:1]


def pair(layer: int, name: str) -> tuple[Any, Any]:
    """A layer of both packages with the parametrization and the same state."""
    thalweg.manual_seed(layer)
    ours, theirs = LAYERS[layer][0](thalweg), LAYERS[layer][0](torch)
    getattr(parametrizations, name)(ours)
    getattr(torch.nn.utils.parametrizations, name)(theirs)
    state = {k: torch.from_numpy(to_numpy(v).copy()) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    return ours, theirs


@pytest.mark.parametrize("layer", range(len(LAYERS)))
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_weights_and_gradients_are_torchs(name: str, layer: int) -> None:
    ours, theirs = pair(layer, name)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(LAYERS[layer][1], generator=torch.Generator().manual_seed(layer))
    for _ in range(2):  # power iteration continues from where it was
        one, other = ours(to_thalweg(x)), theirs(x)
        assert_close(one, other, 1e-4)
        ours.zero_grad(), theirs.zero_grad()
        one.pow(2).sum().backward()
        other.pow(2).sum().backward()
        for (key, p), (wanted, q) in zip(ours.named_parameters(), theirs.named_parameters()):
            assert key == wanted
            assert_close(p.grad, q.grad, 1e-3, key)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_copies_and_removal(name: str) -> None:
    ours, _ = pair(0, name)
    ours.eval()
    x = thalweg.ones((2, 3))
    assert_close(copy.deepcopy(ours)(x), ours(x))
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        ours.__getstate__()
    weight = to_numpy(ours.weight)
    parametrize.remove_parametrizations(ours, "weight")
    assert type(ours) is thalweg.nn.Linear
    np.testing.assert_allclose(to_numpy(ours.weight), weight, rtol=1e-6)
    assert sorted(dict(ours.named_parameters())) == ["bias", "weight"]


def test_states_of_the_hook_based_form_load() -> None:
    theirs = torch.nn.Linear(3, 4)
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(theirs)
    ours = parametrizations.weight_norm(thalweg.nn.Linear(3, 4))
    ours.load_state_dict({k: to_thalweg(v.detach()) for k, v in theirs.state_dict().items()})
    assert_close(ours(thalweg.ones((2, 3))), theirs(torch.ones(2, 3)))


def test_a_parametrization_of_ones_own() -> None:
    layer = thalweg.nn.Linear(3, 3)
    weight = layer.weight
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert layer.parametrizations.weight.original is weight
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    assert parametrize.type_before_parametrizations(layer) is thalweg.nn.Linear
    assert (to_numpy(layer.weight) == to_numpy(layer.weight).T).all()
    layer.weight = thalweg.ones((3, 3))
    assert (to_numpy(layer.weight) == 1).all()
    assert layer.weight is not layer.weight
    with parametrize.cached():
        assert layer.weight is layer.weight
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert layer.weight is weight
    assert (to_numpy(weight) == np.triu(np.ones((3, 3)))).all()


def test_parametrizations_transfer() -> None:
    source, target = thalweg.nn.Linear(3, 3), thalweg.nn.Linear(3, 3)
    parametrize.register_parametrization(source, "weight", Symmetric())
    parametrize.transfer_parametrizations_and_params(source, target)
    assert_close(source.weight, target.weight)


def test_mistakes() -> None:
    layer = thalweg.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="may not change the shape"):
        parametrize.register_parametrization(layer, "weight", FirstRow())
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(layer, "nothing", Symmetric())
    with pytest.raises(ValueError, match="does not have a parametrization on weight"):
        parametrize.remove_parametrizations(layer, "weight")
    with pytest.raises(ValueError, match="sequence of tensors"):
        parametrize.remove_parametrizations(
            parametrizations.weight_norm(layer), "weight", leave_parametrized=False
        )
    with pytest.raises(ValueError, match="n_power_iterations"):
        parametrizations.spectral_norm(thalweg.nn.Linear(2, 2), n_power_iterations=0)
    with pytest.raises(ValueError, match="no parameter or buffer"):
        parametrizations.spectral_norm(thalweg.nn.Linear(2, 2), "nothing")


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize("layer", range(len(LAYERS)))
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_hook_based_forms_are_torchs(name: str, layer: int) -> None:
    make, shape = LAYERS[layer]
    thalweg.manual_seed(layer)
    ours, theirs = make(thalweg), make(torch)
    getattr(thalweg.nn.utils, name)(ours)
    getattr(torch.nn.utils, name)(theirs)
    state = ours.state_dict()
    assert sorted(state) == sorted(theirs.state_dict())
    theirs.load_state_dict({k: torch.from_numpy(to_numpy(v).copy()) for k, v in state.items()})
    x = torch.randn(shape, generator=torch.Generator().manual_seed(layer))
    for _ in range(2):
        one, other = ours(to_thalweg(x)), theirs(x)
        assert_close(one, other, 1e-4)
        ours.zero_grad(), theirs.zero_grad()
        one.pow(2).sum().backward()
        other.pow(2).sum().backward()
        wanted = dict(theirs.named_parameters())
        assert sorted(dict(ours.named_parameters())) == sorted(wanted)
        for key, parameter in ours.named_parameters():
            assert_close(parameter.grad, wanted[key].grad, 1e-3, key)
    with pytest.raises(RuntimeError, match="Cannot register two"):
        getattr(thalweg.nn.utils, name)(ours)
    ours.eval()
    before = ours(to_thalweg(x))
    getattr(thalweg.nn.utils, "remove_" + name)(ours)
    assert_close(ours(to_thalweg(x)), before, 1e-5)
    assert sorted(ours.state_dict()) == ["bias", "weight"]
    with pytest.raises(ValueError, match=f"{name} of 'weight' not found"):
        getattr(thalweg.nn.utils, "remove_" + name)(ours)
