"""The parent's side of worker processes: start, tell, hear, notice a death, clean up."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import signal
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from typing import Any

from thalweg.data import _tensors
from thalweg.data.dataset import settle
from thalweg.data.fetch import FetchPlan
from thalweg.data.transport import discard, unpack
from thalweg.data.worker import Answer, BeginEpoch, Fetch, WorkerPlan, run, segment_name

_GRACE_SECONDS = 2.0


@dataclass
class _Member:
    process: Any
    pipe: connection.Connection
    waiting: deque[int] = field(default_factory=deque)


def default_context() -> Any:
    """fork on Linux, where it is cheap and needs nothing to be picklable; else the platform's."""
    return multiprocessing.get_context("fork" if sys.platform.startswith("linux") else None)


class WorkerPool:
    """`num_workers` processes, each with a pipe and the tasks it has not answered yet.

    Invariant: every segment that a worker made or may still make has the name of a task in some
    `waiting`, so closing the pool removes all of them, whatever state the workers are in.
    """

    def __init__(
        self, fetch: FetchPlan, num_workers: int, init: Callable[[int], None] | None, context: Any
    ) -> None:
        # Before forking: children then report their segments to the parent's tracker, which
        # removes them even if the parent is killed.
        resource_tracker.ensure_running()
        self._token = secrets.token_hex(4)
        self._tasks = 0
        self._members: list[_Member] = []
        owner = os.getpid()
        self._close = weakref.finalize(self, _close_all, self._members, self._token, owner)
        method = context.get_start_method()
        parent = None if method == "forkserver" else owner
        plan = WorkerPlan(fetch, num_workers, self._token, init, parent)
        forked = method == "fork"
        settle(fetch.dataset)
        _tensors.settle()
        try:
            for worker in range(num_workers):
                self._members.append(self._start(plan, worker, context, forked))
        except BaseException:
            self._close()
            raise

    def _start(self, plan: WorkerPlan, worker: int, context: Any, forked: bool) -> _Member:
        ours, theirs = multiprocessing.Pipe()
        inherited = [member.pipe for member in self._members] + [ours] if forked else []
        process = context.Process(
            target=run,
            args=(plan, worker, theirs, inherited),
            name=f"thalweg-data-{worker}",
            daemon=True,
        )
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return _Member(process, ours)

    @property
    def closed(self) -> bool:
        """Whether the workers are gone."""
        return not self._close.alive

    def begin_epoch(self, seed: int) -> None:
        """Forget unanswered tasks, and have every worker begin anew."""
        for worker in range(len(self._members)):
            while self._members[worker].waiting:
                self._hear(worker, None, keep=False)
            self._tell(worker, BeginEpoch(seed))

    def submit(self, worker: int, batch: int, keys: Any, skip: bool) -> None:
        """Give a worker one more task."""
        task = self._tasks
        self._tasks += 1
        self._members[worker].waiting.append(task)
        self._tell(worker, Fetch(task, batch, keys, skip))

    def receive(self, worker: int, timeout: float | None) -> tuple[Answer, Any]:
        """The answer to a worker's oldest task, with its batch unpacked.

        Raises RuntimeError when the worker has died, or has not answered within `timeout` seconds.
        Any error but the latter closes the pool: what is in the pipes can no longer be told.
        """
        return self._hear(worker, timeout, keep=True)

    def close(self) -> None:
        """Stop the workers and remove everything they made."""
        self._close()

    def _tell(self, worker: int, message: Any) -> None:
        try:
            # A death is reported when an answer is due that never came: earlier ones still count.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._members[worker].pipe.send(message)
        except BaseException:
            self._close()
            raise

    def _hear(self, worker: int, timeout: float | None, keep: bool) -> tuple[Answer, Any]:
        member = self._members[worker]
        try:
            ready = connection.wait([member.pipe, member.process.sentinel], timeout)
            if not ready:
                raise _TimedOut
            if member.pipe not in ready and not member.pipe.poll():
                raise EOFError
            answer: Answer = member.pipe.recv()
            parcel, batch = answer.parcel, None
            if parcel is not None:
                if keep:
                    batch = unpack(parcel)
                elif parcel.segment is not None:
                    discard(parcel.segment)
            member.waiting.popleft()
            return answer, batch
        except _TimedOut:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds") from None
        except (EOFError, ConnectionResetError, BrokenPipeError):
            raise self._death(worker) from None
        except BaseException:
            self._close()
            raise

    def _death(self, worker: int) -> RuntimeError:
        process = self._members[worker].process
        process.join(_GRACE_SECONDS)
        code = process.exitcode
        self._close()
        return RuntimeError(
            f"DataLoader worker {worker} (pid {process.pid}) exited unexpectedly: {_cause(code)}"
        )


class _TimedOut(Exception):
    pass


def _cause(code: int | None) -> str:
    if code is None:
        return "it closed its pipe"
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    hints = {
        "SIGKILL": "; the system may have run out of memory",
        "SIGBUS": "; shared memory may be exhausted (/dev/shm)",
    }
    return f"killed by {name}{hints.get(name, '')}"


def _close_all(members: list[_Member], token: str, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child's copy of the pool: the workers are not its to stop
    for member in members:
        with contextlib.suppress(OSError):
            member.pipe.send(None)
        # A worker that is writing an answer gets a broken pipe now, and ends.
        member.pipe.close()
    deadline = time.monotonic() + _GRACE_SECONDS
    for member in members:
        member.process.join(max(0.0, deadline - time.monotonic()))
        if member.process.exitcode is None:
            member.process.terminate()
            member.process.join(_GRACE_SECONDS)
        if member.process.exitcode is None:
            member.process.kill()
            member.process.join()
    for member in members:
        for task in member.waiting:
            discard(segment_name(token, task))
        member.waiting.clear()
