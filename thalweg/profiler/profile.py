"""Recording: who listens to the runtime, from when to when."""

from __future__ import annotations

import enum
import functools
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..core.errors import located
from ..runtime import native_run, program
from .events import Averages, EventList, FunctionEvent

Schedule = Callable[[int], "ProfilerAction"]


class ProfilerActivity(enum.Enum):
    """What a profiler watches. Only CPU exists here; others are accepted and find nothing."""

    CPU, CUDA, XPU, MTIA, HPU, PrivateUse1 = range(6)


class ProfilerAction(enum.Enum):
    """What a profiler does in a step."""

    NONE, WARMUP, RECORD, RECORD_AND_SAVE = range(4)


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
_open: list[profile] = []  # profiles that record; blocks tell them their times
_lock = threading.Lock()


class record_function:
    """A ``with`` block under a name, or a decorator; its time is that of Python in it, which
    records while earlier work still runs."""

    def __init__(self, name: str, args: Any = None) -> None:
        self.name = name
        self._start = 0

    def __enter__(self) -> record_function:
        self._start = time.perf_counter_ns()
        return self

    def __exit__(self, *error: object) -> None:
        end = time.perf_counter_ns()
        for recording in list(_open):
            recording._note(self.name, "block", self._start, end)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name):
                return function(*args, **kwargs)

        return wrapped


class profile:
    """Records every kernel between ``start`` and ``stop`` (or in a ``with`` block).

    ``schedule`` says in which steps to record (call `step` at the end of each); without one,
    everything is recorded. ``on_trace_ready(profile)`` is called when a recorded cycle ends.
    Programs run asynchronously: starting and stopping wait for what was submitted. RuntimeError
    if it is started twice.
    """

    def __init__(
        self, *, activities: Iterable[Any] | None = None, schedule: Schedule | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        self.step_num = 0
        self._schedule = schedule or (lambda step: ProfilerAction.RECORD)
        self._ready = on_trace_ready
        self._events: list[FunctionEvent] = []
        self._origin = 0
        self._action: ProfilerAction | None = None
        self._listening = False

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin with step 0 of the schedule."""
        if self._action is not None:
            raise located(RuntimeError("profiler: already started"))
        self._action = self._schedule(self.step_num)
        self._begin_or_end()

    def stop(self) -> None:
        """End, and hand over what was recorded since the last cycle ended."""
        recorded = self._action in _RECORDING
        self._action = None
        self._begin_or_end()
        if recorded and self._ready is not None:
            self._ready(self)

    def step(self) -> None:
        """The next step begins."""
        ended = self._action
        self.step_num += 1
        if ended is None:
            return
        self._action = self._schedule(self.step_num)
        if ended is ProfilerAction.RECORD_AND_SAVE:
            _finish_running()
            if self._ready is not None:
                self._ready(self)
        self._begin_or_end()
        if ended is ProfilerAction.RECORD_AND_SAVE and self._action in _RECORDING:
            self._events.clear()

    def events(self) -> EventList:
        """All events in the order in which they began."""
        return EventList(sorted(self._events, key=lambda event: event.start))

    def key_averages(self, group_by_input_shape: bool = False, **options: Any) -> Averages:
        """Events added up by name (shapes are part of kernels' names)."""
        return self.events().averages()

    def export_chrome_trace(self, path: str) -> None:
        """Write the trace for chrome://tracing or ui.perfetto.dev."""
        Path(path).write_text(self.events().chrome_trace(), encoding="utf-8")

    # --- listening ------------------------------------------------------------------------------

    def _begin_or_end(self) -> None:
        wanted = self._action in _RECORDING
        if wanted == self._listening:
            return
        _finish_running()
        with _lock:
            if wanted:
                self._events.clear()
                self._origin = time.perf_counter_ns()
                _open.append(self)
                native_run.observers.append(self._segment)
                program.observers.append(self._python)
            else:
                _open.remove(self)
                native_run.observers.remove(self._segment)
                program.observers.remove(self._python)
            self._listening = wanted

    def _note(
        self, name: str, kind: str, start: int, end: int, flops: int = 0, nbytes: int = 0
    ) -> None:
        origin = self._origin
        self._events.append(
            FunctionEvent(name, kind, max(start - origin, 0), end - origin, flops, nbytes)
        )

    def _python(self, name: str, start: int, end: int) -> None:
        self._note(name, "python", start, end)

    def _segment(self, native: Any, segment: Any, nanoseconds: Any) -> None:
        """A stretch of native launches has just ended: lay their times out backwards from now.

        A kernel's flops and bytes belong to all its launches together; they are booked with the
        one that computes, which is its last but for the sum of parts: the longest.
        """
        records = native.records[segment.first : segment.last]
        times = [int(t) for t in nanoseconds]
        at = time.perf_counter_ns() - sum(times)
        longest: dict[tuple[int, int], int] = {}
        for i, record in enumerate(records):
            key = (record.step, record.kernel)
            if key not in longest or times[longest[key]] < times[i]:
                longest[key] = i
        chosen = set(longest.values())
        for i, (record, taken) in enumerate(zip(records, times)):
            kernel = native.kernels[record.kernel]
            name = f"{kernel.name}.{record.symbol}"
            flops, nbytes = (kernel.flops, kernel.bytes) if i in chosen else (0, 0)
            self._note(name, "kernel", at, at + taken, flops, nbytes)
            at += taken


def _finish_running() -> None:
    from ..tensor.predicates import synchronize

    synchronize()


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, **options: Any
) -> Schedule:
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


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """An ``on_trace_ready`` that writes each cycle's trace into a folder, under the name that
    TensorBoard's profile plugin looks for."""

    def handle(recording: profile) -> None:
        folder = Path(dir_name)
        folder.mkdir(parents=True, exist_ok=True)
        worker = worker_name or "thalweg"
        name = f"{worker}.{time.time_ns() // 1_000_000}.pt.trace.json"
        trace = recording.events().chrome_trace()
        if use_gzip:
            import gzip

            (folder / f"{name}.gz").write_bytes(gzip.compress(trace.encode()))
        else:
            (folder / name).write_text(trace, encoding="utf-8")

    return handle
