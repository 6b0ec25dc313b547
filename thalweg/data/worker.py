"""A worker process: reads tasks from its pipe, answers each with a batch, an error or an end."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from thalweg.data import _tensors
from thalweg.data.fetch import Exhausted, FetchPlan, IterableFetcher, MapFetcher
from thalweg.data.info import WorkerInfo, set_worker_info
from thalweg.data.seeding import mixed_seed
from thalweg.data.transport import Pending, pack

_PARENT_CHECK_SECONDS = 2.0


@dataclass(frozen=True)
class BeginEpoch:
    """A new epoch: its seed, and for iterable datasets a new iteration."""

    seed: int


@dataclass(frozen=True)
class Fetch:
    """Batch number `batch` of the epoch, of these keys; only passed over if `skip`."""

    task: int
    batch: int
    keys: Any
    skip: bool


@dataclass(frozen=True)
class Answer:
    """What became of a task: a parcel, an error, or neither at the end of an iterable dataset."""

    task: int
    parcel: Any = None
    error: WorkerError | None = None
    exhausted: bool = False


@dataclass(frozen=True)
class WorkerError:
    """An exception of a worker, told in text since its object may not survive the journey."""

    kind: type[BaseException]
    text: str

    def rebuilt(self, worker: int) -> BaseException:
        """The exception to raise here: of its own type where that can be built from a message."""
        message = (
            f"Caught {self.kind.__name__} in DataLoader worker process {worker}.\n"
            f"Original {self.text}"
        )
        if issubclass(self.kind, KeyError):
            return self.kind(_Plain(message))
        try:
            return self.kind(message)
        except Exception:
            return RuntimeError(message)


class _Plain(str):
    """Text whose repr is itself: KeyError shows the repr of its argument."""

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class WorkerPlan:
    """Everything a worker needs to know, the same for all of them but the id."""

    fetch: FetchPlan
    num_workers: int
    token: str
    init: Callable[[int], None] | None
    parent: int | None  # to be watched; None where another process does the forking


def segment_name(token: str, task: int) -> str:
    """The shared-memory name of a task's batch; the parent can tell it without being told."""
    return f"tw{token}_{task}"


def run(plan: WorkerPlan, worker: int, pipe: Connection, inherited: Sequence[Connection]) -> None:
    """The main function of a worker process."""
    # Ends of the other workers' pipes came along with a fork. Kept open here, the other workers
    # would not notice the end of the parent.
    for connection in inherited:
        connection.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    tasks: queue.SimpleQueue[BeginEpoch | Fetch | None] = queue.SimpleQueue()
    threading.Thread(target=_read_tasks, args=(plan.parent, pipe, tasks), daemon=True).start()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _Worker(plan, worker, pipe).serve(tasks)


def _read_tasks(parent: int | None, pipe: Connection, tasks: queue.SimpleQueue[Any]) -> None:
    # A thread of its own, so that the parent can always write and the end of the parent is noticed
    # even while a sample is being computed.
    while True:
        try:
            if pipe.poll(_PARENT_CHECK_SECONDS):
                task = pipe.recv()
                tasks.put(task)
                if task is None:
                    return
            elif parent is not None and parent != os.getppid():
                os._exit(1)
        except (EOFError, OSError):
            os._exit(1)


class _Worker:
    def __init__(self, plan: WorkerPlan, worker: int, pipe: Connection) -> None:
        self._plan = plan
        self._worker = worker
        self._pipe = pipe
        self._seed = 0
        self._fetcher: MapFetcher | IterableFetcher | None = None
        self._failure: WorkerError | None = None
        self._initialized = False

    def serve(self, tasks: queue.SimpleQueue[BeginEpoch | Fetch | None]) -> None:
        while (task := tasks.get()) is not None:
            if isinstance(task, BeginEpoch):
                self._begin(task.seed)
            else:
                self._pipe.send(self._answer(task))

    def _begin(self, seed: int) -> None:
        self._seed = seed
        own = seed + self._worker
        dataset = self._plan.fetch.dataset
        set_worker_info(WorkerInfo(self._worker, self._plan.num_workers, own, dataset))
        try:
            if not self._initialized:
                _tensors.seed_everything(own)
                if self._plan.init is not None:
                    self._plan.init(self._worker)
                self._initialized = True
            self._fetcher = self._plan.fetch.fetcher(Pending)
        except Exception as error:
            self._failure = _told(error)

    def _answer(self, task: Fetch) -> Answer:
        if self._failure is not None or self._fetcher is None:
            return Answer(task.task, error=self._failure)
        try:
            self._seed_batch(task)
            if task.skip:
                self._fetcher.skip(task.keys)
                return Answer(task.task)
            batch = self._fetcher(task.keys)
            return Answer(task.task, pack(batch, segment_name(self._plan.token, task.task)))
        except Exhausted:
            return Answer(task.task, exhausted=True)
        except Exception as error:
            return Answer(task.task, error=_told(error))

    def _seed_batch(self, task: Fetch) -> None:
        # Random augmentation then depends on the batch, not on which worker had it or what that
        # worker did before: the same for any number of workers, and after resuming. A user's own
        # worker_init_fn has seeded as it likes and is left in charge.
        if self._plan.init is not None:
            return
        share = [self._worker] if isinstance(self._fetcher, IterableFetcher) else []
        _tensors.seed_everything(mixed_seed(self._seed, task.batch, *share))


def _told(error: BaseException) -> WorkerError:
    kind = type(error)
    try:
        pickle.dumps(kind)
    except Exception:  # a class the parent cannot import
        kind = RuntimeError
    if issubclass(kind, StopIteration):  # would end the parent's loop without a word
        kind = RuntimeError
    return WorkerError(kind, "".join(traceback.format_exception(error)))
