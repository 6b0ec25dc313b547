"""`LRScheduler`: which epoch it is, what the learning rates then are, and writing them down.

A subclass gives `get_lr`, the rates of epoch ``last_epoch`` from those of the epoch before; one
that knows a closed form as well gives ``_get_closed_form_lr``, used when an epoch is asked for.
The attributes are PyTorch's, since `state_dict` is the instance's dictionary.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...core.errors import located
from ...tensor import Tensor
from ..optimizer import Optimizer, notes_call

EPOCH_WARNING = (
    "The epoch parameter in `scheduler.step()` is deprecated: call `scheduler.step()` without it. "
    "Where a schedule has a closed form, an epoch selects that instead of the chainable form."
)
_ORDER_WARNING = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in the opposite "
    "order, `optimizer.step()` first; otherwise the first value of the schedule is skipped."
)
_OVERRIDDEN_WARNING = (
    "Seems like `optimizer.step()` has been overridden after learning rate scheduler "
    "initialization. Please make sure to call `optimizer.step()` before `lr_scheduler.step()`."
)


class LRScheduler:
    """Base of the schedules.

    Args: ``optimizer``; ``last_epoch``, the epoch to continue after (-1: a fresh start, which
    notes every group's rate as its ``initial_lr``).
    Raises TypeError for anything but an optimizer, KeyError when continuing without
    ``initial_lr`` in the groups.
    """

    optimizer: Optimizer
    base_lrs: list[Any]
    last_epoch: int
    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = checked(optimizer)
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise located(
                    KeyError(
                        f"param 'initial_lr' is not specified in param_groups[{index}] when "
                        f"resuming scheduler with last_epoch >= 0 (got {last_epoch}); load the "
                        "optimizer's state first"
                    )
                )
        self.base_lrs = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        notes_call(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        """The step of the constructor: it sets the rates of the first epoch."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    # ---- what a subclass gives

    def get_lr(self) -> list[Any]:
        """The rates of epoch ``last_epoch``, one per group; called by `step`."""
        raise NotImplementedError

    _get_closed_form_lr: Callable[[], list[Any]] | None = None

    # ---- the public interface

    def get_last_lr(self) -> list[Any]:
        """The rates that the last step set, one per group; tensors among them are copies."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch (or to ``epoch``, deprecated) and set its learning rates."""
        if self._step_count == 1:
            if not hasattr(self.optimizer.step, "notes_call"):
                warnings.warn(_OVERRIDDEN_WARNING, UserWarning, stacklevel=2)
            elif not self.optimizer._opt_called:
                warnings.warn(_ORDER_WARNING, UserWarning, stacklevel=2)
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        closed = self._get_closed_form_lr
        with self._inside_step():
            self._set(closed() if epoch is not None and closed is not None else self.get_lr())

    def _set(self, rates: Sequence[Any]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_value(group, "lr", rate)
        self._last_lr = group_values(self.optimizer, "lr")

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, as a dictionary."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.__dict__.update(state_dict)

    # ---- for subclasses

    @contextmanager
    def _inside_step(self) -> Iterator[None]:
        self._get_lr_called_within_step = True
        try:
            yield
        finally:
            self._get_lr_called_within_step = False

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    def _kept(self) -> list[Any]:
        """The rates as they are."""
        return group_values(self.optimizer, "lr")

    def _scaled(self, factor: float) -> list[Any]:
        """The rates as they are, times ``factor``."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]


def checked(optimizer: Any) -> Optimizer:
    """``optimizer`` itself; TypeError if it is something else."""
    if not isinstance(optimizer, Optimizer):
        raise located(TypeError(f"{type(optimizer).__name__} is not an Optimizer"))
    return optimizer


def copied(value: Any) -> Any:
    """A value that later in-place writes to a tensor do not reach."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def group_values(optimizer: Optimizer, key: str) -> list[Any]:
    """One option of every group. KeyError if a group lacks it."""
    return [copied(group[key]) for group in optimizer.param_groups]


def set_value(group: dict[str, Any], key: str, value: Any) -> None:
    """Set an option; an option that is a tensor stays that tensor and changes its value."""
    if isinstance(group[key], Tensor):
        group[key].fill_(float(value))
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """A value for every group, from one or from a list of them. ValueError for a wrong length."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [copied(value) for _ in range(count)]
    if len(value) != count:
        raise located(
            ValueError(
                f"{name} must have the same length as optimizer.param_groups. {name} has "
                f"{len(value)} values, param_groups has {count}."
            )
        )
    return [copied(v) for v in value]


def function_state(function: Any) -> dict[str, Any] | None:
    """What a checkpoint can hold of a callable: an object's attributes, nothing of a function."""
    return None if isinstance(function, types.FunctionType) else dict(function.__dict__)


def check(condition: bool, message: str) -> None:
    """ValueError unless an argument is in range."""
    if not condition:
        raise located(ValueError(message))
