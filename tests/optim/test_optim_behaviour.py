"""Groups, gradients, closures, hooks and errors work as PyTorch's; a step is one transition."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from optim_parity import (
    assert_same_params,
    assert_same_state,
    numbers,
    parameters,
    set_gradients,
    start,
)

import thalweg
from thalweg.tensor import trace

FRAMEWORKS = (thalweg, torch)


def both(run: Callable[[Any], Any]) -> tuple[Any, Any]:
    return run(thalweg), run(torch)


def test_groups_have_options_of_their_own() -> None:
    def run(t: Any) -> Any:
        params = parameters(t, start())
        optimizer = t.optim.SGD(
            [{"params": params[0]}, {"params": params[1:2], "lr": 0.5, "momentum": 0.0}],
            lr=0.1, momentum=0.9,
        )  # fmt: skip
        optimizer.add_param_group({"params": iter(params[2:]), "weight_decay": 0.3})
        for step in range(6):
            set_gradients(t, params, step)
            optimizer.step()
            optimizer.param_groups[0]["lr"] *= 0.9
        return params, optimizer.state_dict()

    ours, theirs = both(run)
    assert_same_params(ours[0], theirs[0], 1e-5, "SGD")
    assert_same_state(ours[1], theirs[1], 1e-5)


def test_parameters_without_gradients_are_left_alone() -> None:
    def run(t: Any) -> Any:
        params = parameters(t, start())
        optimizer = t.optim.AdamW(params, lr=0.1, weight_decay=0.5)
        optimizer.step()
        assert optimizer.state_dict()["state"] == {}
        set_gradients(t, params[1:2], 0)
        optimizer.step()
        assert list(optimizer.state_dict()["state"]) == [1]
        return params

    ours, theirs = both(run)
    assert_same_params(ours, theirs, 1e-6, "AdamW")
    np.testing.assert_array_equal(numbers(ours[0]), start()[0].astype(np.float32))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "Adagrad", "RMSprop"])
def test_a_rate_may_be_a_tensor(name: str) -> None:
    def run(t: Any) -> Any:
        rate = t.tensor(0.1)
        params = parameters(t, start())
        optimizer = getattr(t.optim, name)(params, lr=rate)
        for step in range(5):
            set_gradients(t, params, step)
            optimizer.step()
            rate.mul_(0.5)
        assert optimizer.param_groups[0]["lr"] is rate
        return params

    assert_same_params(*both(run), 1e-5, name)


def test_momentum_may_be_switched_on_later() -> None:
    def run(t: Any) -> Any:
        params = parameters(t, start())
        optimizer = t.optim.SGD(params, lr=0.1, dampening=0.5)
        for step in range(6):
            optimizer.param_groups[0]["momentum"] = 0.9 if step >= 2 else 0
            set_gradients(t, params, step)
            optimizer.step()
        return params, optimizer.state_dict()

    ours, theirs = both(run)
    assert_same_params(ours[0], theirs[0], 1e-5, "SGD")
    assert_same_state(ours[1], theirs[1], 1e-5)


def test_closure() -> None:
    def run(t: Any) -> Any:
        param = t.nn.Parameter(t.tensor([3.0, -2.0]))
        optimizer = t.optim.Adam([param], lr=0.5)

        def closure() -> Any:
            assert t.is_grad_enabled()
            optimizer.zero_grad()
            loss = (param**2).sum()
            loss.backward()
            return loss

        with t.no_grad():
            losses = [optimizer.step(closure).item() for _ in range(4)]
        assert optimizer.step() is None
        return losses, param

    ours, theirs = both(run)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    assert_same_params([ours[1]], [theirs[1]], 1e-5, "Adam")


def test_zero_grad() -> None:
    for t in FRAMEWORKS:
        params = parameters(t, start())
        optimizer = t.optim.SGD(params)
        (params[0].sum() * params[1].sum()).backward()
        first = params[0].grad
        optimizer.zero_grad(set_to_none=False)
        assert params[0].grad is first, "zeroed in place"
        assert numbers(first).tolist() == np.zeros((3, 4)).tolist()
        assert params[2].grad is None
        (params[0].sum() * 2).backward()
        assert numbers(first).max() == 2
        optimizer.zero_grad()
        assert [p.grad for p in params] == [None] * 4
        assert numbers(first).max() == 2, "forgotten, not changed"


def test_zero_grad_cuts_gradients_off_their_history() -> None:
    for t in FRAMEWORKS:
        param = t.nn.Parameter(t.tensor([2.0]))
        optimizer = t.optim.SGD([param])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about cycles of gradients and parameters
            (param**3).sum().backward(create_graph=True)
        assert param.grad.requires_grad
        optimizer.zero_grad(set_to_none=False)
        assert not param.grad.requires_grad
        assert param.grad.item() == 0


def test_tied_parameters_are_updated_once() -> None:
    def run(t: Any) -> Any:
        embed, project = t.nn.Embedding(5, 3), t.nn.Linear(3, 5, bias=False)
        with t.no_grad():
            embed.weight.copy_(t.tensor(start([(5, 3)])[0]))
        project.weight = embed.weight
        model = t.nn.Sequential(embed, project)
        assert len(list(model.parameters())) == 1
        optimizer = t.optim.AdamW(model.parameters(), lr=0.05)
        for step in range(5):
            optimizer.zero_grad()
            out = model(t.tensor([step % 5, 1, 3]))
            (out**2).mean().backward()
            optimizer.step()
        assert project.weight is embed.weight
        return [embed.weight]

    assert_same_params(*both(run), 1e-5, "tied")


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
@pytest.mark.parametrize("name", ["SGD", "Adam", "Rprop"])
def test_a_parameter_listed_twice_is_updated_twice(name: str) -> None:
    def run(t: Any) -> Any:
        params = parameters(t, start())
        optimizer = getattr(t.optim, name)([params[0], params[1], params[0]], lr=0.1)
        for step in range(3):
            set_gradients(t, params, step)
            optimizer.step()
        return params, optimizer.state_dict()["state"]

    ours, theirs = both(run)
    assert_same_params(ours[0], theirs[0], 1e-5, name)
    assert_same_state(ours[1], theirs[1], 1e-5)


def test_named_parameters() -> None:
    def run(t: Any) -> Any:
        model = t.nn.Sequential(t.nn.Linear(2, 3), t.nn.Linear(3, 1))
        optimizer = t.optim.SGD(model.named_parameters(), lr=0.1)
        extra = t.nn.Parameter(t.ones(1))
        optimizer.add_param_group({"params": [("extra", extra)], "lr": 0.5})
        with pytest.raises(ValueError, match="should be with/without names"):
            optimizer.add_param_group({"params": [t.nn.Parameter(t.ones(1))]})
        with pytest.raises(ValueError, match="should be with/without names"):
            t.optim.SGD([t.nn.Parameter(t.ones(1)), ("extra", extra)])
        with pytest.raises(ValueError, match="should be with/without names"):
            t.optim.SGD([extra]).add_param_group({"params": list(model.named_parameters())})
        names = [group["param_names"] for group in optimizer.param_groups]
        unnamed = t.optim.SGD(model.parameters(), lr=0.3)
        unnamed.load_state_dict(t.optim.SGD(model.named_parameters(), lr=0.2).state_dict())
        return names, sorted(unnamed.param_groups[0]), unnamed.param_groups[0]["lr"]

    ours, theirs = both(run)
    assert ours == theirs


BAD: dict[str, Callable[[Any, Any], Any]] = {
    "lr": lambda o, p: o.SGD(p, lr=-0.5),
    "momentum": lambda o, p: o.SGD(p, momentum=-0.5),
    "decay": lambda o, p: o.SGD(p, weight_decay=-1),
    "nesterov": lambda o, p: o.SGD(p, nesterov=True),
    "nesterov dampening": lambda o, p: o.SGD(p, momentum=0.9, nesterov=True, dampening=0.1),
    "adam lr": lambda o, p: o.Adam(p, lr=-1.0),
    "nan lr": lambda o, p: o.Adam(p, lr=float("nan")),
    "adam beta 0": lambda o, p: o.Adam(p, betas=(1.0, 0.5)),
    "adam beta 1": lambda o, p: o.AdamW(p, betas=(0.5, -0.1)),
    "adam eps": lambda o, p: o.Adam(p, eps=-1e-8),
    "adamw decay": lambda o, p: o.AdamW(p, weight_decay=-0.1),
    "rmsprop alpha": lambda o, p: o.RMSprop(p, alpha=-0.1),
    "rmsprop momentum": lambda o, p: o.RMSprop(p, momentum=-0.1),
    "adagrad decay": lambda o, p: o.Adagrad(p, lr_decay=-0.1),
    "adagrad start": lambda o, p: o.Adagrad(p, initial_accumulator_value=-0.1),
    "nadam": lambda o, p: o.NAdam(p, momentum_decay=-0.1),
    "radam": lambda o, p: o.RAdam(p, betas=(0.9, 2.0)),
    "adamax": lambda o, p: o.Adamax(p, eps=-1.0),
    "adadelta": lambda o, p: o.Adadelta(p, rho=1.5),
    "asgd": lambda o, p: o.ASGD(p, weight_decay=-1.0),
    "rprop": lambda o, p: o.Rprop(p, etas=(1.1, 1.2)),
    "empty": lambda o, p: o.SGD([]),
    "one tensor": lambda o, p: o.SGD(p[0]),
    "a number": lambda o, p: o.SGD([1.0]),
    "a set": lambda o, p: o.SGD([{"params": set(p)}]),
    "not a leaf": lambda o, p: o.SGD([p[0] * 2]),
    "two groups": lambda o, p: o.SGD([{"params": p}, {"params": p[:1]}]),
    "a group": lambda o, p: o.SGD(p).add_param_group(p),
    "fused and foreach": lambda o, p: o.Adam(p, fused=True, foreach=True),
}
EXPECTED: dict[str, tuple[type[Exception], str]] = {
    "one tensor": (TypeError, "params argument given to the optimizer should be an iterable"),
    "a number": (TypeError, "optimizer can only optimize Tensors, but one of the params is"),
    "a set": (TypeError, "optimizer parameters need to be organized in ordered collections"),
    "a group": (TypeError, "param_group must be a dict, but got"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    caught = []
    for t in FRAMEWORKS:
        with pytest.raises((ValueError, TypeError, RuntimeError)) as error:
            BAD[name](t.optim, parameters(t, start()))
        caught.append((type(error.value), str(error.value).split("\n")[0]))
    if name in EXPECTED:
        kind, beginning = EXPECTED[name]
        for found, message in caught:
            assert found is kind
            assert message.startswith(beginning)
    else:
        assert caught[0] == caught[1]


def test_a_rate_of_many_elements_is_refused() -> None:
    for t in FRAMEWORKS:
        with pytest.raises(ValueError, match="Tensor lr must be 1-element"):
            t.optim.SGD(parameters(t, start()), lr=t.ones(2))


def test_duplicates_are_warned_of() -> None:
    for t in FRAMEWORKS:
        (param,) = parameters(t, start([(2,)]))
        with pytest.warns(UserWarning, match="optimizer contains a parameter group with dupl"):
            t.optim.SGD([param, param])


def test_differentiable_steps_are_refused_not_ignored() -> None:
    with pytest.raises(NotImplementedError, match="differentiable=True is not supported"):
        thalweg.optim.Adam(parameters(thalweg, start()), differentiable=True)


def test_step_hooks() -> None:
    def run(t: Any) -> list[Any]:
        params = parameters(t, start([(2,)]))
        set_gradients(t, params, 0)
        optimizer = t.optim.SGD(params, lr=1.0)
        log: list[Any] = []

        def before(self: Any, args: Any, kwargs: Any) -> Any:
            log.append(("before", self is optimizer, args[0] is optimizer, len(args), kwargs))

        def changes(self: Any, args: Any, kwargs: Any) -> Any:
            return args, {"closure": lambda: "changed"}

        def after(self: Any, args: Any, kwargs: Any) -> Any:
            log.append(("after", self is optimizer, len(args), len(kwargs)))

        optimizer.register_step_pre_hook(before)
        last = optimizer.register_step_post_hook(after)
        log.append(optimizer.step())
        log.append(optimizer.step(lambda: "given"))
        handle = optimizer.register_step_pre_hook(changes)
        log.append(optimizer.step())
        handle.remove()
        last.remove()
        log.append(optimizer.step())
        optimizer.register_step_pre_hook(lambda *_: 3)
        with pytest.raises(RuntimeError, match=r"None or a tuple of \(new_args, new_kwargs\)"):
            optimizer.step()
        return log

    ours, theirs = both(run)
    assert ours == theirs


def test_an_optimizer_of_ones_own() -> None:
    """A subclass may define ``step`` in tensor operations; hooks and schedules know of it."""

    def run(t: Any) -> Any:
        class Signed(t.optim.Optimizer):
            def __init__(self, params: Any, lr: float = 0.1) -> None:
                super().__init__(params, {"lr": lr})

            @t.no_grad()
            def step(self, closure: Any = None) -> None:
                for group in self.param_groups:
                    for param in group["params"]:
                        if param.grad is None:
                            continue
                        state = self.state[param]
                        if "mean" not in state:
                            state["mean"] = t.zeros_like(param)
                        state["mean"].mul_(0.9).add_(param.grad, alpha=0.1)
                        param.add_(state["mean"].sign(), alpha=-group["lr"])

        calls = []
        params = parameters(t, start())
        optimizer = Signed(params)
        optimizer.register_step_post_hook(lambda *_: calls.append(1))
        scheduler = t.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for step in range(4):
            set_gradients(t, params, step)
            optimizer.step()
            scheduler.step()
        assert len(calls) == 4
        return params, optimizer.state_dict()

    ours, theirs = both(run)
    assert_same_params(ours[0], theirs[0], 1e-6, "own")
    assert_same_state(ours[1], theirs[1], 1e-6)


def test_a_required_option() -> None:
    class Needs(thalweg.optim.Optimizer):
        pass

    (param,) = parameters(thalweg, start([(2,)]))
    from thalweg.optim.optimizer import required

    with pytest.raises(ValueError, match="didn't specify a value of required optimization param"):
        Needs([param], {"lr": required})
    assert Needs([{"params": [param], "lr": 0.5}], {"lr": required}).param_groups[0]["lr"] == 0.5


def test_classes_of_one_name_do_not_share_traces() -> None:
    def make(factor: float) -> Any:
        class Plain(thalweg.optim.SGD):
            def rule(self, static: Any, numbers: Any, param: Any, grad: Any, *state: Any) -> Any:
                return (param - grad * factor,)

        return Plain

    found = []
    for factor in (1.0, 3.0):
        param = thalweg.nn.Parameter(thalweg.zeros(2))
        param.grad = thalweg.ones(2)
        make(factor)([param]).step()
        found.append(param.tolist())
    assert found == [[-1.0, -1.0], [-3.0, -3.0]]


def test_steps_of_a_parameter_that_is_a_view() -> None:
    def run(t: Any) -> Any:
        whole = t.tensor(start([(4, 3)])[0])
        param = whole[1:3].detach().requires_grad_()
        optimizer = t.optim.SGD([param], lr=0.1, momentum=0.9)
        for step in range(3):
            set_gradients(t, [param], step)
            optimizer.step()
        return [whole, param]

    assert_same_params(*both(run), 1e-9, "view")


RULES = sorted(set(thalweg.optim.__all__) - {"Optimizer", "lr_scheduler", "swa_utils", "LBFGS"})


@pytest.mark.parametrize("name", RULES)
def test_a_changing_rate_adds_nothing_to_the_trie(name: str) -> None:
    kind = getattr(thalweg.optim, name)
    model = thalweg.nn.Sequential(
        thalweg.nn.Linear(4, 8), thalweg.nn.Tanh(), thalweg.nn.Linear(8, 1)
    )
    optimizer = kind(model.parameters(), lr=0.01)
    scheduler = thalweg.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.97**epoch)
    data = thalweg.randn(6, 4)
    sizes = []
    for _ in range(16):
        optimizer.zero_grad()
        (model(data) ** 2).mean().backward()
        optimizer.step()
        scheduler.step()
        sizes.append(trace.trie.size)
    # RAdam's rule changes form once, after its first steps.
    assert sizes[8:] == [sizes[8]] * 8
    rate = optimizer.param_groups[0]["lr"]
    assert rate == pytest.approx(0.01 * 0.97**16)


@pytest.mark.parametrize("name", ["SGD", "AdamW", "NAdam"])
def test_a_step_is_one_transition(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of parameters; beside it, only the leaves it reads enter the trace."""
    counts = []
    kind = getattr(thalweg.optim, name)
    update = kind._update

    def watched(self: Any, group: Any) -> None:
        update(self, group)
        keys = [state.key for state in trace.local.trace.state.path()]
        counts.append(sum(not isinstance(key, trace.LeafKey) for key in keys))

    monkeypatch.setattr(kind, "_update", watched)
    for size in (1, 400):
        params = [thalweg.nn.Parameter(thalweg.ones(2)) for _ in range(size)]
        optimizer = kind(params, lr=0.1)
        gradients = [thalweg.ones(2) for _ in params]
        thalweg.synchronize()
        for _ in range(3):
            for param, gradient in zip(params, gradients):
                param.grad = gradient
            optimizer.step()
        assert params[-1].tolist() != [1.0, 1.0]
    assert counts[-2:] == [1, 1]
    assert counts[1:3] == [1, 1]


def test_parameters_in_the_memory_of_an_array() -> None:
    """Reading through ``numpy()`` shares memory, and steps write there from then on."""

    def run(t: Any) -> Any:
        params = parameters(t, start())
        optimizer = t.optim.Adam(params, lr=0.1)
        arrays = [param.detach().numpy() for param in params]
        for step in range(3):
            set_gradients(t, params, step)
            optimizer.step()
        for param, array in zip(params, arrays):
            np.testing.assert_array_equal(array, param.detach().numpy())
        arrays[0][:] = 2.0
        set_gradients(t, params, 4)
        optimizer.step()
        return params

    assert_same_params(*both(run), 1e-5, "shared")
