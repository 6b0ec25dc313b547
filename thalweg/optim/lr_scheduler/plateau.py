"""A schedule led by a measured quantity: reduce the rate when it has stopped improving."""

from __future__ import annotations

import math
import warnings
from typing import Any, SupportsFloat

from ...core.errors import located
from ..optimizer import Optimizer
from .base import EPOCH_WARNING, LRScheduler, check, checked, group_values, set_value


class ReduceLROnPlateau(LRScheduler):
    """Times ``factor`` when ``step(metrics)`` saw no improvement for more than ``patience`` calls.

    Args: ``mode`` ('min' or 'max': which way is better); ``threshold`` and ``threshold_mode``
    ('rel', 'abs': the least change that counts, relative to the best or absolute); ``cooldown``
    (calls to wait after a reduction); ``min_lr`` (a bound, or one per group); ``eps`` (reductions
    smaller than this are not made).
    Raises ValueError for a factor of 1 or more, an unknown mode, or a wrong number of ``min_lr``.
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
        min_lr: list[float] | float = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        check(factor < 1.0, f"Factor should be < 1.0, but got {factor}.")
        self.optimizer = checked(optimizer)
        self.factor = factor
        count = len(optimizer.param_groups)
        self.default_min_lr: float | None = None
        if isinstance(min_lr, (list, tuple)):
            check(len(min_lr) == count, f"expected {count} min_lrs, got {len(min_lr)}")
            self.min_lrs = list(min_lr)
        else:
            self.default_min_lr = min_lr
            self.min_lrs = [min_lr] * count
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self._last_lr = group_values(optimizer, "lr")
        check(mode in ("min", "max"), f"mode {mode} is unknown!")
        check(threshold_mode in ("rel", "abs"), f"threshold mode {threshold_mode} is unknown!")
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self._reset()

    def _reset(self) -> None:
        """Forget the best value and the counters."""
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    @property
    def in_cooldown(self) -> bool:
        """Whether the last reduction is so recent that bad epochs do not count."""
        return self.cooldown_counter > 0

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:  # type: ignore[override]
        """Note one more value of the watched quantity (a number or a one-element tensor)."""
        current = float(metrics)
        if epoch is not None:
            warnings.warn(EPOCH_WARNING, UserWarning, stacklevel=2)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current, self.best):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = group_values(self.optimizer, "lr")

    def _is_better(self, value: float, best: float) -> bool:
        sign = -1.0 if self.mode == "min" else 1.0
        if self.threshold_mode == "rel":
            bar = best * (1.0 + sign * self.threshold)
        else:
            bar = best + sign * self.threshold
        return sign * value > sign * bar

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise located(
                    RuntimeError(
                        f"The number of param groups in the `optimizer` ({len(groups)}) differs "
                        "from when `ReduceLROnPlateau` was initialized "
                        f"({len(self.min_lrs)}), usually due to a new param group being added to "
                        "the optimizer. Please modify the `min_lrs` field to match the length of "
                        "the `optimizer` param groups."
                    )
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, least in zip(groups, self.min_lrs):
            old = float(group["lr"])
            new = max(old * self.factor, least)
            if old - new > self.eps:
                set_value(group, "lr", new)

    def get_lr(self) -> list[Any]:
        """The rates as they are: they follow from the metrics, not from the epoch."""
        return self._kept()
