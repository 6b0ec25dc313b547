"""Schedules that come and go within a cycle: cyclical rates, 1cycle, warm restarts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...core.errors import located
from ..optimizer import Optimizer
from .base import LRScheduler, check, checked, function_state, per_group, set_value


class _MomentumCycle(LRScheduler):
    """A schedule that may move the momentum (or the first beta) against the rate."""

    cycle_momentum: bool
    use_beta1: bool

    def _begin_momentum(self, low: Any, high: Any, fresh: bool) -> tuple[list[Any], list[Any]]:
        """Bounds per group; for a fresh start also noted in the groups, which begin at ``high``."""
        optimizer = self.optimizer
        self.use_beta1 = "betas" in optimizer.defaults
        check(
            self.use_beta1 or "momentum" in optimizer.defaults,
            "optimizer must support momentum or beta1 with `cycle_momentum` option enabled, but "
            f"{type(optimizer).__name__} has neither",
        )
        highs = per_group("max_momentum", optimizer, high)
        lows = per_group("base_momentum", optimizer, low)
        if fresh:
            for group, least, most in zip(optimizer.param_groups, lows, highs):
                self._set_momentum(group, most)
                group["max_momentum"] = most
                group["base_momentum"] = least
        return lows, highs

    def _set_momentum(self, group: dict[str, Any], value: Any) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(_MomentumCycle):
    """Up from ``base_lr`` to ``max_lr`` in ``step_size_up`` steps, down in ``step_size_down``,
    again and again (Smith, arXiv 1506.01186).

    Args: ``mode``: 'triangular', 'triangular2' (half the height each cycle) or 'exp_range' (times
    ``gamma ** step``); ``scale_fn``, a function of the cycle or the step (``scale_mode`` 'cycle',
    'iterations') instead; ``cycle_momentum``: move the momentum the other way, between
    ``base_momentum`` and ``max_momentum``.
    """

    _modes: dict[str, str] = {
        "triangular": "cycle", "triangular2": "cycle", "exp_range": "iterations",
    }  # fmt: skip

    def __init__(
        self, optimizer: Optimizer, base_lr: float | list[float], max_lr: float | list[float],
        step_size_up: int = 2000, step_size_down: int | None = None, mode: str = "triangular",
        gamma: float = 1.0, scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle", cycle_momentum: bool = True, base_momentum: float = 0.8,
        max_momentum: float = 0.9, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self.optimizer = checked(optimizer)
        base_lrs = per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base_lrs):
                set_value(group, "lr", rate)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        check(
            mode in self._modes or scale_fn is not None,
            f"mode is invalid and scale_fn is None: expected one of {list(self._modes)}, got "
            f"{mode!r}",
        )
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else self._modes[mode]
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._begin_momentum(
                base_momentum, max_momentum, last_epoch == -1
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The height of cycle (or at step) ``x``, where the first cycle is 1."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular2":
            return 1 / 2.0 ** (x - 1)
        return float(self.gamma**x) if self.mode == "exp_range" else 1.0

    def get_lr(self) -> list[Any]:
        """The rates of this step; sets the momentum as well."""
        self._warn_outside_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        rising = x <= self.step_ratio
        part = x / self.step_ratio if rising else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            bounds = zip(self.base_momentums, self.max_momentums)
            for group, (low, high) in zip(self.optimizer.param_groups, bounds, strict=True):
                self._set_momentum(group, high - (high - low) * part * scale)
        return [
            low + (high - low) * part * scale
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """The state; of a ``scale_fn`` only the attributes, if it is an object."""
        state = super().state_dict()
        custom = self._scale_fn_custom
        state["_scale_fn_custom"] = None if custom is None else function_state(custom)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; a ``scale_fn`` stays the one that was given."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        attributes = state_dict.get("_scale_fn_custom")
        if attributes is not None and self._scale_fn_custom is not None:
            self._scale_fn_custom.__dict__.update(attributes)


class OneCycleLR(_MomentumCycle):
    """One rise to ``max_lr`` and one long fall, to far below the start (Smith & Topin, arXiv
    1708.07120).

    Args: ``total_steps``, or ``epochs`` and ``steps_per_epoch``; ``pct_start``, the part that
    rises; ``anneal_strategy`` 'cos' or 'linear'; ``cycle_momentum`` between ``max_momentum`` and
    ``base_momentum``, against the rate; the first rate is ``max_lr / div_factor``, the last that
    over ``final_div_factor``; ``three_phase``: fall as long as the rise took, then to the last.
    Raises ValueError for arguments out of range and for more than ``total_steps`` steps.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85, max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self.optimizer = checked(optimizer)
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        check(
            isinstance(pct_start, float) and 0 <= pct_start <= 1,
            f"Expected float between 0 and 1 pct_start, but got {pct_start}",
        )
        check(
            anneal_strategy in ("cos", "linear"),
            f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}",
        )
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        highest = per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, highest):
                group["initial_lr"] = rate / div_factor
                group["max_lr"] = rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._begin_momentum(base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def _anneal(self, start: Any, end: Any, part: float) -> Any:
        if self._anneal_func_type == "cos":
            return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)
        return (end - start) * part + start

    def get_lr(self) -> list[Any]:
        """The rates of this step; sets the momentum as well."""
        self._warn_outside_step()
        step = self.last_epoch
        check(
            step <= self.total_steps,
            f"Tried to step {step} times. The specified number of total steps is "
            f"{self.total_steps}",
        )
        begin = 0.0
        for phase in self._schedule_phases[:-1]:
            if step <= phase["end_step"]:
                break
            begin = phase["end_step"]
        else:
            phase = self._schedule_phases[-1]
        part = (step - begin) / (phase["end_step"] - begin)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._anneal(group[phase["start_lr"]], group[phase["end_lr"]], part))
            if self.cycle_momentum:
                bounds = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._anneal(*bounds, part))
        return rates


def _total_steps(total: int | None, epochs: int | None, per_epoch: int | None) -> int:
    given = {"total_steps": total} if total is not None else {
        "epochs": epochs, "steps_per_epoch": per_epoch,
    }  # fmt: skip
    count = 1
    for name, value in given.items():
        check(
            value is not None, "You must define either total_steps OR (epochs AND steps_per_epoch)"
        )
        check(
            isinstance(value, int) and value > 0,
            f"Expected positive integer {name}, but got {value}",
        )
        count *= value or 1
    return count


def _phases(total: int, part: float, three: bool) -> list[dict[str, Any]]:
    """Where each phase ends and between which options of a group it goes."""
    rates = ["initial_lr", "max_lr", "initial_lr", "min_lr"] if three else [
        "initial_lr", "max_lr", "min_lr",
    ]  # fmt: skip
    momenta = ["max_momentum", "base_momentum", "max_momentum", "max_momentum"]
    rise = float(part * total)
    ends = [rise - 1, float(2 * part * total) - 2, total - 1] if three else [rise - 1, total - 1]
    return [
        {
            "end_step": end, "start_lr": rates[i], "end_lr": rates[i + 1],
            "start_momentum": momenta[i], "end_momentum": momenta[i + 1],
        }
        for i, end in enumerate(ends)
    ]  # fmt: skip


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the initial rate to ``eta_min`` in ``T_0`` epochs, then again from the
    start, each run ``T_mult`` times as long (SGDR, Loshchilov & Hutter, arXiv 1608.03983)."""

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check(isinstance(T_0, int) and T_0 > 0, f"Expected positive integer T_0, but got {T_0}")
        check(
            isinstance(T_mult, int) and T_mult >= 1,
            f"Expected integer T_mult >= 1, but got {T_mult}",
        )
        check(
            isinstance(eta_min, (float, int)),
            f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}",
        )
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        self._warn_outside_step()
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go to the next epoch, or to ``epoch``, which may be a fraction (within an epoch)."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            if epoch < 0:
                raise located(ValueError(f"Expected non-negative epoch, but got {epoch}"))
            self._locate(epoch)
        self.last_epoch = math.floor(epoch)
        with self._inside_step():
            self._set(self.get_lr())

    def _locate(self, epoch: float) -> None:
        """Which run ``epoch`` lies in, and how far into it."""
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            grown = epoch / self.T_0 * (self.T_mult - 1) + 1
            runs = int(math.log(grown, self.T_mult))
            passed = self.T_0 * (self.T_mult**runs - 1) / (self.T_mult - 1)
            self.T_i, self.T_cur = self.T_0 * self.T_mult**runs, epoch - passed
