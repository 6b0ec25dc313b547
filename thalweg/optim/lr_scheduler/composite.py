"""Schedules made of schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ...core.errors import located
from ..optimizer import Optimizer
from .base import LRScheduler, check, group_values, set_value
from .plateau import ReduceLROnPlateau


class _Composite(LRScheduler):
    """What holds several schedules of one optimizer."""

    _schedulers: Sequence[LRScheduler]

    def _check_schedulers(self, optimizer: Any, schedulers: Sequence[LRScheduler]) -> None:
        name = type(self).__name__
        for index, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise located(
                    TypeError(f"{name} at index {index} should have `optimizer` as its attribute.")
                )
            kind = type(scheduler).__name__
            check(
                not isinstance(scheduler, ReduceLROnPlateau),
                f"{name} does not support `ReduceLROnPlateau` scheduler as its `step` needs the "
                f"metrics, but got one at index {index} in the given schedulers sequence.",
            )
            check(
                scheduler.optimizer is optimizer,
                f"{name} expects all schedulers to belong to the same optimizer, but got scheduler "
                f"{kind} at index {index} of a different {type(scheduler.optimizer).__name__}.",
            )

    def state_dict(self) -> dict[str, Any]:
        """The state, with those of the schedulers under ``_schedulers``."""
        state = super().state_dict()
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, the schedulers' too."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(_Composite):
    """The first of ``schedulers`` until the first of ``milestones``, then the second, and so on;
    each begins at its own epoch 0, from the initial rates where it has a closed form."""

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int],
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        check(len(schedulers) >= 1, f"{name} expects at least one scheduler, but got no scheduler.")
        self._check_schedulers(optimizer, schedulers)
        check(
            len(milestones) == len(schedulers) - 1,
            "Sequential Schedulers expects number of schedulers provided to be one more than the "
            f"number of milestone points, but got number of schedulers {len(schedulers)} and the "
            f"number of milestones to be equal to {len(milestones)}",
        )
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        # Each scheduler has set its own first rate when it was made: undo that, then start one.
        for group in optimizer.param_groups:
            set_value(group, "lr", group["initial_lr"])
        _undo_first_step(self)
        current = schedulers[bisect_right(milestones, 0)]
        current._initial_step()
        self._last_lr = current.get_last_lr()

    def step(self) -> None:  # type: ignore[override]
        """Go to the next epoch with the scheduler whose turn it is."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Composite):
    """All of ``schedulers`` take every step, each changing the rate the one before left."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        check(
            len(schedulers) >= 1,
            f"{type(self).__name__} expects at least one scheduler to be chained, but got no "
            "scheduler.",
        )
        optimizer = optimizer or getattr(schedulers[0], "optimizer", None)
        self._check_schedulers(optimizer, schedulers)
        assert optimizer is not None  # a scheduler without one was refused
        self._schedulers = schedulers
        self.optimizer = optimizer
        self._last_lr = group_values(optimizer, "lr")

    def step(self) -> None:  # type: ignore[override]
        """Step every scheduler in turn."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = group_values(self.optimizer, "lr")

    def _update_lr(self, epoch: int | None = None) -> None:
        # Reached from a SequentialLR at the milestone where this chain takes over.
        for scheduler in self._schedulers:
            scheduler._update_lr(epoch)
        self._last_lr = group_values(self.optimizer, "lr")


def _undo_first_step(scheduler: Any) -> None:
    for part in getattr(scheduler, "_schedulers", ()):
        _undo_first_step(part)
    if not hasattr(scheduler, "_schedulers"):
        scheduler.last_epoch -= 1
