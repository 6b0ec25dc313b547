"""State dictionaries: interchange with PyTorch, mismatches named, hooks, formats, extra state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nn_parity import assert_close, message, to_numpy, to_thalweg

import thalweg
from thalweg import nn


def small(t: Any) -> Any:
    return t.nn.Sequential(t.nn.Linear(2, 2), t.nn.BatchNorm1d(2))


STATES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "empty": lambda t: {},
    "unexpected": lambda t: {"x": t.ones(1)},
    "sizes and types": lambda t: {
        "0.weight": t.zeros(3),
        "0.bias": t.zeros(2),
        "0.deep.er": t.ones(1),
        "1.weight": t.zeros(2, 1),
    },
}


@pytest.mark.parametrize("name", STATES)
def test_mismatches_are_listed_as_torch_lists_them(name: str) -> None:
    make = STATES[name]
    with pytest.raises(RuntimeError) as theirs:
        small(torch).load_state_dict(make(torch))
    with pytest.raises(RuntimeError) as ours:
        small(thalweg).load_state_dict(make(thalweg))
    assert message(ours.value) == message(theirs.value)


@pytest.mark.parametrize("name", ["empty", "unexpected"])
def test_not_strict_returns_torchs_lists(name: str) -> None:
    make = STATES[name]
    ours = small(thalweg).load_state_dict(make(thalweg), strict=False)
    theirs = small(torch).load_state_dict(make(torch), strict=False)
    assert ours.missing_keys == theirs.missing_keys
    assert ours.unexpected_keys == theirs.unexpected_keys
    assert repr(ours) == repr(theirs)


def test_wrong_things_are_named() -> None:
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like, got <class 'list'>"):
        small(thalweg).load_state_dict([])
    state = small(thalweg).state_dict()
    state["0.bias"] = 3
    with pytest.raises(RuntimeError, match=r'"0\.bias", expected .* but received <class \'int\'>'):
        small(thalweg).load_state_dict(state)


def test_round_trip_through_torch_and_back() -> None:
    ours, theirs = small(thalweg), small(torch)
    ours(thalweg.randn((8, 2)))
    theirs.load_state_dict({k: torch.from_numpy(to_numpy(v)) for k, v in ours.state_dict().items()})
    assert int(theirs[1].num_batches_tracked) == 1
    other = small(thalweg)
    result = other.load_state_dict({k: to_thalweg(v) for k, v in theirs.state_dict().items()})
    assert repr(result) == "<All keys matched successfully>"
    for (name, one), (_, two) in zip(ours.state_dict().items(), other.state_dict().items()):
        assert_close(one, two, what=name)


def test_state_is_detached_shared_and_versioned() -> None:
    module = small(thalweg)
    state = module.state_dict()
    assert not state["0.weight"].requires_grad
    assert module.state_dict(keep_vars=True)["0.weight"] is module[0].weight
    assert state._metadata == small(torch).state_dict()._metadata
    assert list(module.state_dict(prefix="p.")) == ["p." + key for key in state]
    with thalweg.no_grad():
        module[0].weight.fill_(7.0)
    assert state["0.weight"].numpy().tolist() == [[7, 7], [7, 7]]


def test_loading_copies_into_the_same_parameter_objects() -> None:
    module = small(thalweg)
    weight = module[0].weight
    state = {key: thalweg.ones_like(value) for key, value in module.state_dict().items()}
    module.load_state_dict(state)
    assert module[0].weight is weight
    assert weight.requires_grad and weight.is_leaf
    assert weight.detach().numpy().tolist() == [[1, 1], [1, 1]]
    with thalweg.no_grad():
        state["0.weight"].fill_(9.0)
    assert weight.detach().numpy().tolist() == [[1, 1], [1, 1]]


def test_assign_takes_the_given_tensors_and_their_dtype() -> None:
    module = small(thalweg)
    module[0].weight.requires_grad_(False)
    state = {key: value.double() for key, value in small(thalweg).state_dict().items()}
    module.load_state_dict(state, assign=True)
    assert module[0].weight.dtype == thalweg.float64
    assert isinstance(module[0].weight, nn.Parameter)
    assert not module[0].weight.requires_grad
    assert module[0].bias.requires_grad
    assert module[1].running_mean is state["1.running_mean"]


def test_old_batch_norm_states_without_a_counter_load() -> None:
    for package in (thalweg, torch):
        state = dict(package.nn.BatchNorm1d(2).state_dict())
        del state["num_batches_tracked"]
        assert not package.nn.BatchNorm1d(2).load_state_dict(state).missing_keys


def test_non_persistent_buffers_and_none_members_are_left_out() -> None:
    module = nn.Linear(2, 2, bias=False)
    module.register_buffer("cache", thalweg.ones(1), persistent=False)
    module.register_buffer("later", None)
    assert list(module.state_dict()) == ["weight"]
    assert not module.load_state_dict(module.state_dict()).missing_keys
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "cache"'):
        module.load_state_dict({**module.state_dict(), "cache": thalweg.ones(1)})


def test_extra_state_travels() -> None:
    def build(t: Any) -> Any:
        class Counted(t.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.count = 0

            def get_extra_state(self) -> Any:
                return {"count": self.count}

            def set_extra_state(self, state: Any) -> None:
                self.count = state["count"]

        return t.nn.Sequential(Counted())

    for package in (thalweg, torch):
        one, two = build(package), build(package)
        one[0].count = 5
        assert list(one.state_dict()) == ["0._extra_state"]
        two.load_state_dict(one.state_dict())
        assert two[0].count == 5
        assert two.load_state_dict({}, strict=False).missing_keys == ["0._extra_state"]
        plain = package.nn.Sequential(package.nn.ReLU())
        result = plain.load_state_dict(one.state_dict(), strict=False)
        assert result.unexpected_keys == ["0._extra_state"]


def hook_log(t: Any) -> list[Any]:
    log: list[Any] = []
    net = small(t)
    net[0].register_state_dict_pre_hook(
        lambda module, prefix, keep_vars: log.append(("pre", prefix, keep_vars))
    )

    def rename(module: Any, state: Any, prefix: str, metadata: Any) -> None:
        log.append(("post", prefix, sorted(metadata)))
        state[prefix + "kernel"] = state.pop(prefix + "weight")

    def name_back(module: Any, state: Any, prefix: str, *rest: Any) -> None:
        log.append(("load", prefix, len(rest)))
        state[prefix + "weight"] = state.pop(prefix + "kernel")

    def forgive(module: Any, incompatible: Any) -> None:
        log.append(("loaded", list(incompatible.missing_keys)))
        incompatible.missing_keys.clear()

    net[0].register_state_dict_post_hook(rename)
    net[0].register_load_state_dict_pre_hook(name_back)
    net.register_load_state_dict_post_hook(forgive)
    state = net.state_dict()
    log.append(sorted(state))
    del state["1.bias"]
    net.load_state_dict(state)
    return log


def test_state_hooks_run_as_in_torch() -> None:
    assert hook_log(thalweg) == hook_log(torch)


@pytest.mark.parametrize("package", [thalweg, torch], ids=["thalweg", "torch"])
def test_hooks_may_not_return_values(package: Any) -> None:
    net = small(package)
    handle = net.register_state_dict_post_hook(lambda *args: {})
    with pytest.raises(RuntimeError, match="must return None"):
        net.state_dict()
    handle.remove()
    state = net.state_dict()
    net.register_load_state_dict_post_hook(lambda module, keys: keys)
    with pytest.raises(AssertionError, match="are not expected to return new values"):
        net.load_state_dict(state)


def test_an_overridden_loader_can_migrate_old_names() -> None:
    class Renamed(nn.Linear):
        def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
            if prefix + "w" in state:
                state[prefix + "weight"] = state.pop(prefix + "w")
            super()._load_from_state_dict(state, prefix, *rest)

    net = nn.Sequential(Renamed(2, 2))
    state = net.state_dict()
    given = {"0.w": thalweg.ones((2, 2)), "0.bias": state["0.bias"]}
    net.load_state_dict(given)
    assert sorted(given) == ["0.bias", "0.w"]
    assert net[0].weight.detach().numpy().tolist() == [[1, 1], [1, 1]]
