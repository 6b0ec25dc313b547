"""`torch.profiler`'s names: blocks that can be marked, and a profiler that measures nothing yet.

Programs that mark their parts run as they are. A profile has no events: `key_averages` says so.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, NoReturn


class ProfilerActivity(enum.Enum):
    """What a profiler would watch."""

    CPU, CUDA, XPU, MTIA, HPU, PrivateUse1 = range(6)


class ProfilerAction(enum.Enum):
    """What a profiler does in a step."""

    NONE, WARMUP, RECORD, RECORD_AND_SAVE = range(4)


class record_function:
    """A ``with`` block under a name, or a decorator."""

    def __init__(self, name: str, args: Any = None) -> None:
        self.name = name

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, function: Any) -> Any:
        return function


class profile:
    """A block whose steps are counted; nothing is measured."""

    def __init__(
        self, *, activities: Iterable[Any] | None = None, schedule: Any = None,
        on_trace_ready: Callable[[Any], Any] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        self.step_num = 0

    def __enter__(self) -> profile:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""

    def step(self) -> None:
        """Begin the next step."""
        self.step_num += 1

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """NotImplementedError: nothing was measured."""
        raise NotImplementedError("profiler: thalweg does not measure single ops yet")

    key_averages = export_chrome_trace = export_stacks = events = _refuse


def schedule(*, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0,
             **options: Any) -> Callable[[int], ProfilerAction]:  # fmt: skip
    """What to do in which step: after ``skip_first``, cycles of ``wait``, ``warmup`` and
    ``active`` steps, ``repeat`` times (0: for ever)."""

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        cycle = wait + warmup + active
        if step < 0 or (repeat and step // cycle >= repeat) or step % cycle < wait:
            return ProfilerAction.NONE
        if step % cycle < wait + warmup:
            return ProfilerAction.WARMUP
        last = step % cycle == cycle - 1
        return ProfilerAction.RECORD_AND_SAVE if last else ProfilerAction.RECORD

    return action


def tensorboard_trace_handler(dir_name: str, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
    """What to do with a trace: nothing, as there is none."""
    return lambda profiler: None
