"""The executor: runs programs in submission order on one worker thread.

Python records the next step while this thread runs the last one. Small programs run on the
calling thread when what they read is there, because a thread switch would cost more than they do;
so do larger ones that it is about to wait for. A job's error is kept and raised, with the user's
line, wherever one of its results is read.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from ..core import flags
from ..core.errors import located
from . import loader, quick  # registers its hook before this module does: a fork drains, then locks
from .buffer import Buffer
from .program import KernelError


class Runnable(Protocol):
    """A program. ``elements`` estimates the work of its next run, an element being as long as
    16 bytes take to move; there is one entry in ``outputs`` per result."""

    @property
    def elements(self) -> int: ...

    @property
    def outputs(self) -> Sequence[Any]: ...

    def run(self, inputs: Sequence[Buffer], outputs: Sequence[Buffer]) -> None: ...


class Job:
    """A submitted program with its input and output buffers."""

    __slots__ = ("_done", "error", "inputs", "outputs", "program")

    def __init__(self, program: Runnable, inputs: Sequence[Buffer]) -> None:
        self.program = program
        self.inputs: Sequence[Buffer] = inputs
        self.outputs: list[Buffer]
        count = len(program.outputs)
        if quick.current is not None:
            self.outputs = quick.current.buffers(count, self)
        else:
            self.outputs = [Buffer(job=self) for _ in range(count)]
        self.error: Exception | None = None
        self._done: threading.Event | None = None

    def run(self) -> None:
        """Execute, then fill the outputs or keep the error. Never raises."""
        try:
            self.program.run(self.inputs, self.outputs)
        except KernelError as failure:
            self.error = located(failure.error, failure.location)
        except Exception as error:
            self.error = error  # an input's own job failed: pass its error on
        except KeyboardInterrupt:
            self.error = RuntimeError("this value was being computed when Ctrl-C was pressed")
            raise
        self.inputs = ()
        self.outputs = []
        if self._done is not None:
            self._done.set()

    def wait(self) -> None:
        if self._done is not None:
            self._done.wait()
        if self.error is not None:
            raise self.error


class Executor:
    """One queue, one lazily started daemon thread, restarted in forked children."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(before=self.drain, after_in_child=self._reset)
        atexit.register(self.drain)

    def _reset(self) -> None:
        self._queue: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._last: Job | None = None
        self._interrupt: KeyboardInterrupt | None = None

    def submit(
        self, program: Runnable, inputs: Sequence[Buffer], waiting: bool = False
    ) -> list[Buffer]:
        """Run the program now (small, inputs ready) or queue it; the buffers of its outputs.
        ``waiting`` tells that the caller will wait for them at once."""
        job = Job(program, inputs)
        outputs = job.outputs
        small = program.elements < (flags.wait_limit if waiting else flags.inline_limit)
        if small and all(b.job is None for b in inputs):
            try:
                job.run()
            except KeyboardInterrupt as interrupt:
                self._interrupt = interrupt
            return outputs
        job._done = threading.Event()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, args=(self._queue,), name="thalweg-executor", daemon=True
                )
                self._thread.start()
            self._queue.put(job)  # first: what an interrupt keeps from the queue is not waited for
            self._last = job
        return outputs

    def raise_interrupt(self) -> None:
        """Raise the interrupt from the keyboard that stopped a program on the calling thread, once
        its results are in their places: they raise the error of the job."""
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None:
            raise interrupt

    def drain(self) -> None:
        """Wait until everything submitted has run. Errors stay with their jobs."""
        last = self._last
        if last is not None and last._done is not None:
            if threading.current_thread() is not self._thread:
                last._done.wait()
            self._last = None

    @staticmethod
    def _work(jobs: queue.SimpleQueue[Job]) -> None:
        while True:
            job = jobs.get()
            job.run()
            del job


__all__ = ["Executor", "Job", "executor", "loader"]

executor = Executor()
