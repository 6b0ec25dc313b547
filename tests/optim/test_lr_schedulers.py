"""Every schedule gives PyTorch's learning rates, step by step, resumed, and for tensors."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import thalweg
from thalweg.optim import lr_scheduler

Make = Callable[[Any, Any], Any]


class Halving:
    """A schedule function with state of its own."""

    def __init__(self) -> None:
        self.base = 0.5

    def __call__(self, epoch: float) -> float:
        return self.base ** (epoch / 4)


def schedules(t: Any) -> Any:
    return t.optim.lr_scheduler


SCHEDULES: dict[str, Make] = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 0.9**epoch),
    "lambda per group": lambda s, o: s.LambdaLR(o, [lambda e: 1 / (e + 1), Halving()]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda e: 1 - 0.01 * e),
    "multiplicative object": lambda s, o: s.MultiplicativeLR(o, (Halving(), lambda e: 0.9)),
    "step": lambda s, o: s.StepLR(o, 3, gamma=0.5),
    "step 1": lambda s, o: s.StepLR(o, 1),
    "milestones": lambda s, o: s.MultiStepLR(o, [8, 2, 2, 5], 0.7),
    "constant": lambda s, o: s.ConstantLR(o),
    "constant 0.5": lambda s, o: s.ConstantLR(o, factor=0.5, total_iters=3),
    "linear": lambda s, o: s.LinearLR(o),
    "linear down": lambda s, o: s.LinearLR(o, start_factor=0.9, end_factor=0.1, total_iters=7),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "polynomial": lambda s, o: s.PolynomialLR(o),
    "polynomial 2": lambda s, o: s.PolynomialLR(o, total_iters=13, power=2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 5),
    "cosine eta_min": lambda s, o: s.CosineAnnealingLR(o, T_max=4, eta_min=0.01),
    "cosine 1": lambda s, o: s.CosineAnnealingLR(o, T_max=1),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4),
    "restarts growing": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, eta_min=0.01),
    "triangular": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=4),
    "triangular2": lambda s, o: s.CyclicLR(
        o, [0.01, 0.02], [0.1, 0.3], step_size_up=3, step_size_down=5, mode="triangular2"
    ),
    "exp_range": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9),
    "own scale": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, 3, scale_fn=Halving(), scale_mode="iterations", cycle_momentum=False
    ),
    "own scale by cycle": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, 3, scale_fn=lambda x: 1 / x, base_momentum=0.5, max_momentum=0.7
    ),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=31),
    "one cycle epochs": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.3], epochs=4, steps_per_epoch=8, pct_start=0.4, anneal_strategy="linear"
    ),
    "one cycle in three": lambda s, o: s.OneCycleLR(
        o, 0.5, 40, three_phase=True, div_factor=10, final_div_factor=100, cycle_momentum=False
    ),
    "sequential": lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 9), s.ExponentialLR(o, 0.8)],
        [4, 12],
    ),
    "sequential from 0": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.2), s.StepLR(o, 2)], milestones=[0]
    ),
    "chained": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1, total_iters=4), s.ExponentialLR(o, 0.9)]
    ),
    "chained with optimizer": lambda s, o: s.ChainedScheduler(
        [s.LinearLR(o), s.StepLR(o, 4), s.LambdaLR(o, lambda e: 1.0)], optimizer=o
    ),
}
CLOSED = ["step", "milestones", "constant", "linear down", "exponential", "polynomial 2", "cosine",
          "restarts", "restarts growing", "lambda"]  # fmt: skip


def optimizer(t: Any, kind: str = "SGD", lr: Any = 0.1) -> Any:
    params = [t.nn.Parameter(t.ones(2)) for _ in range(2)]
    for param in params:
        param.grad = t.ones(2)
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.03}]
    options = {"momentum": 0.9} if kind in ("SGD", "RMSprop") else {}
    return getattr(t.optim, kind)(groups, lr=lr, **options)


def momenta(o: Any) -> list[Any]:
    return [group["betas"] if "betas" in group else group["momentum"] for group in o.param_groups]


def rates(scheduler: Any, steps: int = 30) -> list[Any]:
    """Learning rates and momenta at every step, checked against `get_last_lr`."""
    found = []
    for _ in range(steps):
        current = [float(group["lr"]) for group in scheduler.optimizer.param_groups]
        assert [float(rate) for rate in scheduler.get_last_lr()] == current
        found.append((current, momenta(scheduler.optimizer)))
        scheduler.optimizer.step()
        scheduler.step()
    return found


def assert_same(ours: list[Any], theirs: list[Any], tolerance: float = 1e-12) -> None:
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        for mine, expected in zip(one, other, strict=True):
            np.testing.assert_allclose(
                np.array(mine), np.array(expected), tolerance, tolerance, err_msg=f"step {step}"
            )


def plain(state: Any) -> Any:
    """A state dict that compares: floats rounded, tensors and counters as what they hold."""
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [plain(value) for value in state]
    return float(f"{state:.9g}") if isinstance(state, float) and math.isfinite(state) else state


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_rates_and_momenta(name: str, kind: str) -> None:
    ours, theirs = (SCHEDULES[name](schedules(t), optimizer(t, kind)) for t in (thalweg, torch))
    assert plain(ours.state_dict()) == plain(theirs.state_dict())
    assert_same(rates(ours), rates(theirs))
    assert plain(ours.state_dict()) == plain(theirs.state_dict())


@pytest.mark.parametrize("name", SCHEDULES)
def test_resuming_from_a_checkpoint(name: str) -> None:
    """Stopped after 7 steps and loaded, also from PyTorch's state, the rates go on the same."""
    make = SCHEDULES[name]
    expected = rates(make(schedules(torch), optimizer(torch)))
    for origin in (thalweg, torch):
        first = make(schedules(origin), optimizer(origin))
        rates(first, 7)
        saved = copy.deepcopy((first.state_dict(), first.optimizer.state_dict()["param_groups"]))
        before = plain(saved[0])
        second = make(lr_scheduler, optimizer(thalweg))
        second.optimizer.load_state_dict({"state": {}, "param_groups": saved[1]})
        second.load_state_dict(saved[0])
        assert plain(saved[0]) == before, "loading must not change what it is given"
        assert_same(rates(second, 23), expected[7:])


@pytest.mark.parametrize("name", [n for n in SCHEDULES if "sequential" not in n and
                                  "chained" not in n])  # fmt: skip
def test_last_epoch(name: str) -> None:
    """A schedule made with ``last_epoch`` continues from the groups' ``initial_lr``."""
    found = []
    for t in (thalweg, torch):
        first = SCHEDULES[name](schedules(t), optimizer(t))
        rates(first, 6)
        made = SCHEDULES[name](_Resumed(schedules(t), first.last_epoch), first.optimizer)
        found.append(rates(made, 20))
    assert_same(*found)


class _Resumed:
    """The schedules, made with a ``last_epoch``."""

    def __init__(self, module: Any, last_epoch: int) -> None:
        self.module, self.last_epoch = module, last_epoch

    def __getattr__(self, name: str) -> Any:
        make = getattr(self.module, name)
        return lambda *args, **kwargs: make(*args, last_epoch=self.last_epoch, **kwargs)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name: str) -> None:
    found = []
    for t in (thalweg, torch):
        scheduler = SCHEDULES[name](schedules(t), optimizer(t))
        sequence = []
        for epoch in (3, 1, 10, 17, 0, 2):
            scheduler.optimizer.step()
            if "restarts" in name:
                scheduler.step(epoch + 0.25)
            else:
                with pytest.warns(UserWarning, match="The epoch parameter in"):
                    scheduler.step(epoch)
            sequence.append((scheduler.get_last_lr(), [scheduler.last_epoch]))
        scheduler.step()
        sequence.append((scheduler.get_last_lr(), [scheduler.last_epoch]))
        found.append(sequence)
    assert_same(*found)


@pytest.mark.parametrize("name", SCHEDULES)
def test_tensor_rates_stay_tensors(name: str) -> None:
    """A rate that is a tensor is written in place, and what `get_last_lr` returns is a copy."""
    found = []
    for t in (thalweg, torch):
        rate = t.tensor(0.1)
        o = optimizer(t, lr=rate)
        o.param_groups[1]["lr"] = t.tensor(0.03)
        scheduler = SCHEDULES[name](schedules(t), o)
        last = scheduler.get_last_lr()
        first = [float(value) for value in last]
        found.append(rates(scheduler, 12))
        assert o.param_groups[0]["lr"] is rate
        assert [float(value) for value in last] == first
    assert_same(*found, tolerance=2e-6)


MODES: list[dict[str, Any]] = [
    {},
    {"patience": 1},
    {"patience": 0, "factor": 0.5, "min_lr": [0.02, 0.001]},
    {"mode": "max", "patience": 1, "threshold": 0.1, "threshold_mode": "abs"},
    {"mode": "max", "patience": 1, "threshold": 0.2},
    {"patience": 0, "threshold": 0.5, "threshold_mode": "abs", "cooldown": 2},
    {"patience": 0, "factor": 0.1, "eps": 1e-3, "min_lr": 1e-4},
]


@pytest.mark.parametrize("options", MODES, ids=str)
def test_reduce_on_plateau(options: dict[str, Any]) -> None:
    losses = np.round(1 + np.sin(np.arange(30) * 0.8) / (1 + np.arange(30) % 7), 3)
    losses[20] = math.nan
    found = []
    for t in (thalweg, torch):
        scheduler = schedules(t).ReduceLROnPlateau(optimizer(t), **options)
        sequence, states = [], []
        for step, loss in enumerate(losses):
            if step == 11:
                state = copy.deepcopy(scheduler.state_dict())
                groups = scheduler.optimizer.param_groups
                scheduler = schedules(t).ReduceLROnPlateau(optimizer(t), **options)
                scheduler.load_state_dict(state)
                for group, old in zip(scheduler.optimizer.param_groups, groups):
                    group["lr"] = old["lr"]
            scheduler.step(t.tensor(loss) if step % 2 else loss)
            sequence.append((scheduler.get_last_lr(), [scheduler.in_cooldown]))
            states.append(plain(scheduler.state_dict()))
        found.append((sequence, states))
    assert_same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_plateau_with_a_group_more() -> None:
    for t in (thalweg, torch):
        o = optimizer(t)
        scheduler = schedules(t).ReduceLROnPlateau(o, patience=0, min_lr=[0.01, 0.01])
        o.add_param_group({"params": [t.nn.Parameter(t.ones(1))], "lr": 1.0})
        scheduler.step(1.0)
        with pytest.raises(RuntimeError, match=r"in the `optimizer` \(3\) differs"):
            scheduler.step(2.0)
        scheduler = schedules(t).ReduceLROnPlateau(optimizer(t), patience=0, min_lr=0.02)
        scheduler.optimizer.add_param_group({"params": [t.nn.Parameter(t.ones(1))], "lr": 1.0})
        scheduler.step(1.0)
        scheduler.step(2.0)
        assert scheduler.get_last_lr() == [0.02, 0.02, 0.1]


BAD: dict[str, tuple[Make, type[Exception]]] = {
    "an optimizer": (lambda s, o: s.StepLR("sgd", 3), TypeError),
    "an optimizer for plateau": (lambda s, o: s.ReduceLROnPlateau(3), TypeError),
    "an optimizer for one cycle": (lambda s, o: s.OneCycleLR(3, 1.0, 5), TypeError),
    "an optimizer for cyclic": (lambda s, o: s.CyclicLR(3, 1.0, 5), TypeError),
    "initial_lr": (lambda s, o: s.StepLR(o, 3, last_epoch=2), KeyError),
    "lambda count": (lambda s, o: s.LambdaLR(o, [lambda e: 1.0]), ValueError),
    "lambda kind": (lambda s, o: s.MultiplicativeLR(o, 0.9), TypeError),
    "constant": (lambda s, o: s.ConstantLR(o, factor=1.5), ValueError),
    "linear start": (lambda s, o: s.LinearLR(o, start_factor=0), ValueError),
    "linear end": (lambda s, o: s.LinearLR(o, end_factor=2.0), ValueError),
    "T_0": (lambda s, o: s.CosineAnnealingWarmRestarts(o, 0), ValueError),
    "T_mult": (lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 1.5), ValueError),
    "eta_min": (lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 1, "0"), ValueError),
    "epoch": (lambda s, o: s.CosineAnnealingWarmRestarts(o, 3).step(-1), ValueError),
    "cyclic mode": (lambda s, o: s.CyclicLR(o, 0.1, 1.0, mode="square"), ValueError),
    "cyclic count": (lambda s, o: s.CyclicLR(o, 0.1, [1.0]), ValueError),
    "total_steps": (lambda s, o: s.OneCycleLR(o, 1.0, -3), ValueError),
    "epochs": (lambda s, o: s.OneCycleLR(o, 1.0, epochs=0, steps_per_epoch=3), ValueError),
    "steps": (lambda s, o: s.OneCycleLR(o, 1.0, epochs=2, steps_per_epoch=0.5), ValueError),
    "neither": (lambda s, o: s.OneCycleLR(o, 1.0, epochs=3), ValueError),
    "pct_start": (lambda s, o: s.OneCycleLR(o, 1.0, 9, pct_start=2.0), ValueError),
    "strategy": (lambda s, o: s.OneCycleLR(o, 1.0, 9, anneal_strategy="sine"), ValueError),
    "factor": (lambda s, o: s.ReduceLROnPlateau(o, factor=1.0), ValueError),
    "min_lr": (lambda s, o: s.ReduceLROnPlateau(o, min_lr=[1.0]), ValueError),
    "plateau mode": (lambda s, o: s.ReduceLROnPlateau(o, mode="best"), ValueError),
    "threshold": (lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="abr"), ValueError),
    "no schedules": (lambda s, o: s.SequentialLR(o, [], []), ValueError),
    "milestones": (lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [3]), ValueError),
    "none chained": (lambda s, o: s.ChainedScheduler([]), ValueError),
    "chained plateau": (lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]), ValueError),
    "chained things": (lambda s, o: s.ChainedScheduler([s.StepLR(o, 1), 3]), TypeError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    """The same exception type, and a message that begins as PyTorch's does."""
    make, kind = BAD[name]
    messages = []
    for t in (thalweg, torch):
        with pytest.raises(kind) as caught:
            make(schedules(t), optimizer(t))
        assert type(caught.value) is kind
        messages.append(str(caught.value).strip("'\""))
    assert messages[0][:14] == messages[1][:14]


def test_optimizers_without_momentum_and_of_others() -> None:
    for t in (thalweg, torch):
        plain_optimizer = optimizer(t, "Adagrad")
        s = schedules(t)
        with pytest.raises(ValueError, match="optimizer must support momentum or beta1"):
            s.CyclicLR(plain_optimizer, 0.1, 1.0)
        with pytest.raises(ValueError, match="optimizer must support momentum or beta1"):
            s.OneCycleLR(plain_optimizer, 0.1, 9)
        here, there = s.StepLR(optimizer(t), 1), s.StepLR(optimizer(t), 1)
        with pytest.raises(ValueError, match="expects all schedulers to belong to the same"):
            s.ChainedScheduler([here, there])
        with pytest.raises(ValueError, match="expects all schedulers to belong to the same"):
            s.SequentialLR(here.optimizer, [here, there], [1])


def test_one_cycle_ends() -> None:
    for t in (thalweg, torch):
        scheduler = schedules(t).OneCycleLR(optimizer(t), 0.1, total_steps=4)
        rates(scheduler, 4)
        with pytest.raises(ValueError, match="Tried to step 5 times"):
            scheduler.step()


def test_order_of_steps_is_watched() -> None:
    for t in (thalweg, torch):
        scheduler = schedules(t).ExponentialLR(optimizer(t), 0.9)
        with pytest.warns(UserWarning, match=r"Detected call of `lr_scheduler.step\(\)` before"):
            scheduler.step()
        scheduler.step()  # said once
        scheduler = schedules(t).ExponentialLR(optimizer(t), 0.9)
        scheduler.optimizer.step = lambda: None
        with pytest.warns(UserWarning, match="has been overridden after learning rate sched"):
            scheduler.step()
        with pytest.warns(UserWarning, match=r"please use `get_last_lr\(\)`"):
            scheduler.get_lr()


def test_a_step_replaced_before_is_watched_too() -> None:
    o = optimizer(thalweg)
    calls = []
    o.step = lambda: calls.append(1)
    scheduler = lr_scheduler.ExponentialLR(o, 0.9)
    o.step()
    scheduler.step()
    assert calls == [1]


def test_subclasses_give_get_lr() -> None:
    found = []
    for t in (thalweg, torch):

        class Warmup(schedules(t).LRScheduler):
            def get_lr(self) -> list[float]:
                return [base * min(1, (self.last_epoch + 1) / 4) for base in self.base_lrs]

        found.append(rates(Warmup(optimizer(t)), 6))
    assert_same(*found)


@pytest.mark.parametrize("name", lr_scheduler.__all__)
def test_signatures_are_torchs(name: str) -> None:
    ours = inspect.signature(getattr(lr_scheduler, name)).parameters.values()
    theirs = inspect.signature(getattr(torch.optim.lr_scheduler, name)).parameters.values()
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


def test_every_schedule_of_torch_is_there() -> None:
    assert set(lr_scheduler.__all__) == set(torch.optim.lr_scheduler.__all__)


def test_pickling_keeps_schedule_and_optimizer_together() -> None:
    first = lr_scheduler.OneCycleLR(optimizer(thalweg), 0.3, 20)
    rates(first, 5)
    second = pickle.loads(pickle.dumps(first))
    assert second.optimizer is not first.optimizer
    assert_same(rates(second, 10), rates(first, 10))
